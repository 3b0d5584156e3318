//! `lab redrive`: gives blobs that failed too often another five tries.

use std::path::Path;

use anyhow::Context;
use url::Url;

use super::EXIT_OK;
use crate::{
    app::{
        blob_message::{POISON_QUEUE, trigger_queue},
        redrive::{only_trigger_queue, redrive},
    },
    machine::{
        azurite::{Azurite, Ports},
        storage::{Storage, developer_account},
        workspace::{Folder, FolderError},
    },
};
use incident_labs::blob::StorageAccount;

/// Moves the poison queue of a run folder back, whether or not a lab is running on it.
///
/// # Errors
/// When the folder has no storage, or storage does not answer.
pub async fn run(folder: &Path) -> anyhow::Result<u8> {
    let target = trigger_queue();
    let moved = match Folder::open(folder).await {
        Ok(folder) => {
            let azurite = Azurite::start(&folder, Ports::Free).await?;
            let moved = redrive(&Storage::open(azurite.account())?, &target).await;
            azurite.stop().await;
            moved?
        }
        Err(FolderError::InUse { path }) => {
            let [blob, queue, _] =
                Folder::ports_of(&path).with_context(|| format!("{} names no ports in lab.json", path.display()))?;
            redrive(&Storage::open(&StorageAccount::emulator(blob, queue)?)?, &target).await?
        }
        Err(error) => return Err(error.into()),
    };
    tell(&moved, &target);
    Ok(EXIT_OK)
}

/// Moves the poison queue of an account back, into the trigger queue of the app that uses it.
///
/// # Errors
/// When the account refuses or is away, or has not one trigger queue.
pub async fn run_on(storage_url: &Url, queue: Option<String>) -> anyhow::Result<u8> {
    let storage = Storage::open(&developer_account(storage_url)?)?;
    let target = match queue {
        Some(queue) => queue,
        None => only_trigger_queue(&storage).await?,
    };
    tell(&redrive(&storage, &target).await?, &target);
    Ok(EXIT_OK)
}

fn tell(moved: &[String], target: &str) {
    let count = moved.len();
    println!("{count} {} moved from {POISON_QUEUE} to {target}", if count == 1 { "message" } else { "messages" });
}
