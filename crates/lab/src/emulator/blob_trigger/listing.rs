//! Discovery: lists containers over and over and puts a message into the trigger queue for each new version of a blob.

use std::{collections::HashSet, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::{MissedTickBehavior, interval};

use super::Shared;
use crate::app::{
    blob_message::{BlobMessage, HOSTS_CONTAINER, receipt_prefix, trigger_queue},
    blob_trigger::BlobFunction,
};
use crate::{emulator::host::Level, machine::storage::StorageError};
use custom_handler::error_chain;

/// Metadata key of a receipt whose message has not been queued yet.
const INCOMPLETE: &str = "Incomplete";
const PARALLEL_RECEIPTS: usize = 8;

/// Lists until the trigger stops. A storage outage is logged once and waited out.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut ticks = interval(shared.settings.listing_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Receipts that are complete: of earlier starts, once they could be read, and of this one.
    let mut known: Option<HashSet<String>> = None;
    let mut failing = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.closing.cancelled() => return,
        }
        match round(&shared, &mut known).await {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                shared
                    .tell(Level::Warning, format!("blob listing fails and will be repeated: {}", error_chain(&error)));
            }
            Err(_) => {}
        }
    }
}

async fn round(shared: &Shared, known: &mut Option<HashSet<String>>) -> Result<(), StorageError> {
    if known.is_none() {
        *known = Some(receipts(shared).await?);
    }
    let Some(known) = known else { return Ok(()) };
    let queue = shared.storage.queue(&trigger_queue()).await?;
    for function in &shared.functions {
        let new = new_blobs(shared, function, known).await?;
        let mut done = stream::iter(new)
            .map(|message| {
                let queue = &queue;
                async move { notify(shared, queue, &message).await.map(|()| message.receipt()) }
            })
            .buffer_unordered(PARALLEL_RECEIPTS);
        while let Some(receipt) = done.try_next().await? {
            known.insert(receipt);
            shared.queued.notify_one();
        }
    }
    Ok(())
}

async fn receipts(shared: &Shared) -> Result<HashSet<String>, StorageError> {
    shared.storage.ensure_container(HOSTS_CONTAINER).await?;
    let mut known = HashSet::new();
    for function in &shared.functions {
        let found = shared.storage.list(HOSTS_CONTAINER, &receipt_prefix(&function.id()), true).await?;
        let complete = |keys: &std::collections::HashMap<String, String>| {
            !keys.keys().any(|key| key.eq_ignore_ascii_case(INCOMPLETE))
        };
        known.extend(found.into_iter().filter(|it| complete(&it.metadata)).map(|it| it.name));
    }
    Ok(known)
}

async fn new_blobs(
    shared: &Shared,
    function: &BlobFunction,
    known: &HashSet<String>,
) -> Result<Vec<BlobMessage>, StorageError> {
    let container = &function.path.container;
    let listed = shared.storage.list(container, "", false).await?;
    Ok(listed
        .into_iter()
        .filter(|blob| function.path.parameters(&blob.name).is_some())
        .map(|blob| BlobMessage::new(&function.id(), container, &blob.name, &blob.etag))
        .filter(|message| !known.contains(&message.receipt()))
        .collect())
}

/// Incomplete receipt, message, complete receipt: killed anywhere in between, the next start sends the message again, and
/// the listener drops the second one.
async fn notify(
    shared: &Shared,
    queue: &crate::machine::storage::Queue,
    message: &BlobMessage,
) -> Result<(), StorageError> {
    let (storage, receipt) = (&shared.storage, message.receipt());
    let incomplete = [(INCOMPLETE.to_owned(), "true".to_owned())].into();
    storage.put(HOSTS_CONTAINER, &receipt, "", Some(incomplete)).await?;
    queue.send(&message.encode()).await?;
    storage.put(HOSTS_CONTAINER, &receipt, "", None).await
}
