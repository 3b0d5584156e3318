//! `lab redrive`: gives blobs that failed too often another five tries.

use std::{path::Path, time::Duration};

use anyhow::Context;

use super::EXIT_OK;
use crate::{
    blob::StorageAccount,
    lab::{
        azurite::{Azurite, Ports},
        blob_trigger::{BlobMessage, POISON_QUEUE, trigger_queue},
        folder::{Folder, FolderError},
        storage::{Storage, StorageError},
    },
};

/// Long enough for one batch, short enough that an interrupted redrive can soon be repeated.
const LEASE: Duration = Duration::from_secs(30);

/// Moves the poison queue of a run folder back, whether or not a lab is running on it.
///
/// # Errors
/// When the folder has no storage, or storage does not answer.
pub async fn run(folder: &Path) -> anyhow::Result<u8> {
    let moved = match Folder::open(folder).await {
        Ok(folder) => {
            let azurite = Azurite::start(&folder, Ports::Free).await?;
            let moved = redrive(&Storage::open(azurite.account())?).await;
            azurite.stop().await;
            moved?
        }
        Err(FolderError::InUse { path }) => {
            let [blob, queue, _] =
                Folder::ports_of(&path).with_context(|| format!("{} names no ports in lab.json", path.display()))?;
            redrive(&Storage::open(&StorageAccount::emulator(blob, queue)?)?).await?
        }
        Err(error) => return Err(error.into()),
    };
    let count = moved.len();
    println!(
        "{count} {} moved from {POISON_QUEUE} to {}",
        if count == 1 { "message" } else { "messages" },
        trigger_queue()
    );
    Ok(EXIT_OK)
}

/// Moves all messages and names their blobs. Sends first, deletes then: interrupted in between, a message is there twice, and
/// the trigger runs it once.
///
/// # Errors
/// When storage does not answer.
pub async fn redrive(storage: &Storage) -> Result<Vec<String>, StorageError> {
    let (source, target) = (storage.queue(POISON_QUEUE).await?, storage.queue(&trigger_queue()).await?);
    let mut moved = Vec::new();
    loop {
        let messages = source.receive(32, LEASE).await?;
        if messages.is_empty() {
            return Ok(moved);
        }
        for message in messages {
            target.send(&message.text).await?;
            source.delete(&message).await?;
            moved.push(BlobMessage::decode(&message.text).map(|it| it.blob_name).unwrap_or_default());
        }
    }
}
