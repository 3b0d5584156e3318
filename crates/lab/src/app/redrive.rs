//! Another five tries for blobs that failed too often: their messages go from the poison queue back to the trigger's.

use std::time::Duration;

use anyhow::bail;

use super::blob_message::{BlobMessage, POISON_QUEUE, TRIGGER_QUEUES};
use crate::machine::storage::{Storage, StorageError};

/// Long enough for one batch, short enough that an interrupted redrive can soon be repeated.
const LEASE: Duration = Duration::from_secs(30);

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

/// Moves all messages to the queue `target` and names their blobs. Sends before deleting, so an interruption duplicates a
/// message, which the trigger runs once, rather than losing it.
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
