//! Another five tries for blobs that failed too often: their messages go from the poison queue back to the trigger's.

use std::time::Duration;

use anyhow::bail;
use time::OffsetDateTime;

use super::blob_message::{BlobMessage, POISON_QUEUE, TRIGGER_QUEUES};
use crate::machine::{
    queue::Queue,
    storage::{Storage, StorageError},
};

/// Long enough for one batch, short enough that an interrupted redrive can soon be repeated.
const LEASE: Duration = Duration::from_secs(30);

/// The trigger queue of the account, whose name ends in the id of the host: that of the app, or of its slot.
///
/// # Errors
/// When there is none, or more than one.
pub async fn only_trigger_queue(storage: &Storage) -> anyhow::Result<String> {
    chosen_trigger_queue(storage, None).await
}

/// The same, of several the one that was chosen. It has to be there: nobody takes messages from a queue of another name.
///
/// # Errors
/// When there is none, when none was chosen of several, or another was.
pub async fn chosen_trigger_queue(storage: &Storage, choice: Option<&str>) -> anyhow::Result<String> {
    let queues = storage.queues_with(TRIGGER_QUEUES).await?;
    match (choice, queues.as_slice()) {
        (_, []) => bail!("the account has no trigger queue: the app makes it when it starts with a blob trigger"),
        (None, [queue]) => Ok(queue.clone()),
        (None, several) => {
            bail!("the account has several trigger queues, choose one with --queue: {}", several.join(", "))
        }
        (Some(choice), there) if there.iter().any(|it| it == choice) => Ok(choice.to_owned()),
        (Some(choice), there) => {
            bail!("the account has no trigger queue {choice:?}, choose one of: {}", there.join(", "))
        }
    }
}

/// What was moved.
#[derive(Clone, Debug, Default)]
pub struct Redriven {
    /// Names of the blobs; empty for a message that is about none.
    pub names: Vec<String>,
    /// When the first of the messages will be gone, run or not.
    pub earliest_expiry: Option<OffsetDateTime>,
    /// When that would have been in the poison queue.
    pub poison_expiry: Option<OffsetDateTime>,
}

/// A redrive that did not come to its end.
#[derive(Debug, thiserror::Error)]
#[error(
    "{moved} of {messages} messages moved, the others are still in {POISON_QUEUE} and can be moved in {} s",
    LEASE.as_secs()
)]
pub struct Interrupted {
    moved: usize,
    messages: usize,
    source: StorageError,
}

/// Moves the messages that there are to the queue `target`. Sends before deleting, so an interruption duplicates a message, which the
/// trigger runs once, rather than losing it.
///
/// # Errors
/// When storage does not answer: nothing is lost then.
pub async fn redrive(storage: &Storage, target: &str) -> anyhow::Result<Redriven> {
    let Some(source) = storage.existing_queue(POISON_QUEUE).await? else { return Ok(Redriven::default()) };
    let target = storage.queue(target).await?;
    // What fails again while this runs comes back, and would go round for ever.
    let messages = source.messages().await?.and_then(|it| usize::try_from(it).ok()).unwrap_or_default();
    let mut redriven = Redriven::default();
    match move_up_to(messages, &source, &target, &mut redriven).await {
        Ok(()) => Ok(redriven),
        Err(source) => Err(Interrupted { moved: redriven.names.len(), messages, source }.into()),
    }
}

async fn move_up_to(most: usize, source: &Queue, target: &Queue, redriven: &mut Redriven) -> Result<(), StorageError> {
    while redriven.names.len() < most {
        let messages = source.receive(most - redriven.names.len(), LEASE).await?;
        if messages.is_empty() {
            return Ok(());
        }
        for message in messages {
            let expires = target.send_expiring(&message.text).await?;
            redriven.earliest_expiry = earlier(redriven.earliest_expiry, expires);
            redriven.poison_expiry = earlier(redriven.poison_expiry, message.expires);
            source.delete(&message).await?;
            redriven.names.push(BlobMessage::decode(&message.text).map(|it| it.blob_name).unwrap_or_default());
        }
    }
    Ok(())
}

fn earlier(one: Option<OffsetDateTime>, other: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
    one.into_iter().chain(other).min()
}
