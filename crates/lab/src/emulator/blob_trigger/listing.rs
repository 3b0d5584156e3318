//! Discovery: lists containers over and over and puts a message into the trigger queue for each new version of a blob.

use std::collections::HashSet;

use tokio::time::sleep;

use super::{Shared, lock::Lock};
use crate::app::{
    blob_message::{BlobMessage, HOSTS_CONTAINER, is_seen, receipt_prefix, trigger_queue},
    blob_trigger::BlobFunction,
};
use crate::{
    emulator::host::Level,
    machine::{queue::Queue, storage::StorageError},
};
use custom_handler::error_chain;
use incident_labs::blob::shown;

/// Metadata key of a receipt whose message has not been queued yet.
const INCOMPLETE: &str = "Incomplete";

/// What discovery remembers from round to round.
#[derive(Debug, Default)]
struct Known {
    /// Receipts that are complete: of earlier starts, once they could be read, and of this one.
    receipts: Option<HashSet<String>>,
    /// Blobs that the host never sees and that were told of.
    unseen: HashSet<String>,
}

/// Lists until the trigger stops, while this host has the listener's lock.
pub(super) async fn run(shared: &Shared) {
    let mut known = Known::default();
    while let Some(lock) = Lock::take(shared).await {
        tokio::select! {
            () = lock.lost(shared) => {}
            () = list(shared, &mut known) => return lock.release(shared).await,
        }
        // Another host may have been at work in between.
        known.receipts = None;
    }
}

/// Lists until the trigger stops. A storage outage is logged once and waited out.
async fn list(shared: &Shared, known: &mut Known) {
    let mut failing = false;
    loop {
        match round(shared, known).await {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                shared
                    .tell(Level::Warning, format!("blob listing fails and will be repeated: {}", error_chain(&error)));
            }
            Err(_) => {}
        }
        tokio::select! {
            () = sleep(shared.settings.waits.listing) => {}
            () = shared.closing.cancelled() => return,
        }
    }
}

/// One blob after the other, as the real listener does it.
async fn round(shared: &Shared, known: &mut Known) -> Result<(), StorageError> {
    let receipts = match &mut known.receipts {
        Some(receipts) => receipts,
        unread => unread.insert(receipts(shared).await?),
    };
    let queue = shared.storage.queue(&trigger_queue()).await?;
    for function in &shared.functions {
        for message in new_blobs(shared, function, receipts).await? {
            if shared.closing.is_cancelled() {
                return Ok(());
            }
            if !is_seen(&message.blob_name) {
                warn(shared, &message, &mut known.unseen);
                continue;
            }
            notify(shared, &queue, &message).await?;
            receipts.insert(message.receipt());
            shared.queued.notify_one();
        }
    }
    Ok(())
}

/// The real listener says nothing at all of such a blob.
fn warn(shared: &Shared, message: &BlobMessage, unseen: &mut HashSet<String>) {
    let blob = format!("{}/{}", message.container_name, shown(&message.blob_name));
    if !unseen.contains(&blob) {
        let why = "the host loses a slash at the beginning or end of a name";
        shared.tell(Level::Warning, format!("{blob} is never processed: {why}; rename it"));
        unseen.insert(blob);
    }
}

async fn receipts(shared: &Shared) -> Result<HashSet<String>, StorageError> {
    shared.storage.ensure_container(HOSTS_CONTAINER).await?;
    let mut known = HashSet::new();
    for function in &shared.functions {
        let found = shared.storage.list(HOSTS_CONTAINER, &receipt_prefix(&function.id()), true).await?;
        let complete = |metadata: &[(String, String)]| metadata.iter().all(|it| !it.0.eq_ignore_ascii_case(INCOMPLETE));
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
        .map(|blob| BlobMessage::new(&function.id(), container, &blob.name, &blob.etag).about(blob.blob_type))
        .filter(|message| !known.contains(&message.receipt()))
        .collect())
}

/// Incomplete receipt, message, complete receipt: killed anywhere in between, the next start sends the message again, and
/// the listener drops the second one.
async fn notify(shared: &Shared, queue: &Queue, message: &BlobMessage) -> Result<(), StorageError> {
    let (storage, receipt) = (&shared.storage, message.receipt());
    let incomplete = [(INCOMPLETE.to_owned(), "true".to_owned())].into();
    storage.put(HOSTS_CONTAINER, &receipt, "", Some(incomplete)).await?;
    queue.send(&message.encode()).await?;
    storage.put(HOSTS_CONTAINER, &receipt, "", None).await
}
