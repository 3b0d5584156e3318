//! `lab redrive`: gives blobs that failed too often another five tries.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use url::Url;

use super::{EXIT_OK, developer_account};
use crate::{
    app::blob_message::{BlobMessage, POISON_QUEUE, TRIGGER_QUEUES, trigger_queue},
    machine::{
        azurite::{Azurite, Ports},
        storage::{Storage, StorageError},
        workspace::{Folder, FolderError},
    },
};
use incident_labs::blob::StorageAccount;

/// Long enough for one batch, short enough that an interrupted redrive can soon be repeated.
const LEASE: Duration = Duration::from_secs(30);

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

/// The trigger queue of the account, whose name ends in the id of the host: that of the app, or of its slot.
///
/// # Errors
/// When there is none, or more than one.
pub async fn only_trigger_queue(storage: &Storage) -> anyhow::Result<String> {
    match storage.queues_with(TRIGGER_QUEUES).await?.as_slice() {
        [queue] => Ok(queue.clone()),
        [] => bail!("the account has no trigger queue: the app makes it when it starts with a blob trigger"),
        several => bail!("the account has several trigger queues, choose one with --queue: {}", several.join(", ")),
    }
}

fn tell(moved: &[String], target: &str) {
    let count = moved.len();
    println!("{count} {} moved from {POISON_QUEUE} to {target}", if count == 1 { "message" } else { "messages" });
}

/// Moves all messages to the queue `target` and names their blobs. Sends first, deletes then: interrupted in between, a message is
/// there twice, and the trigger runs it once.
///
/// # Errors
/// When storage does not answer.
pub async fn redrive(storage: &Storage, target: &str) -> Result<Vec<String>, StorageError> {
    let (source, target) = (storage.queue(POISON_QUEUE).await?, storage.queue(target).await?);
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
