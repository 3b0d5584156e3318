//! The queue side: takes messages, runs the function for each, and settles them.

use std::{
    collections::HashSet,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::task::TaskTracker;

use super::{Shared, backoff::Backoff, facts};
use crate::app::blob_message::{BlobMessage, POISON_QUEUE, trigger_queue};
use crate::{
    emulator::host::{Begun, BlobLookup, Call, Level, binding_data},
    machine::{
        queue::{Queue, Received},
        storage::StorageError,
    },
};
use custom_handler::error_chain;
use incident_labs::blob::{check_name, shown};

/// The real extension's category for what becomes of a message.
const QUEUE_PROCESSOR: &str = "Microsoft.Azure.WebJobs.Host.Queues.QueueProcessor";

/// Takes messages until the trigger stops. What is running then goes on; `tasks` knows about it.
pub(super) async fn run(shared: Arc<Shared>, tasks: TaskTracker) {
    let parallelism = shared.settings.parallelism;
    // The host's rule: batches of at most 32, and a new one only when no more than `parallelism - batch` are running.
    let batch = 32.min(parallelism / 2 + 1).min(parallelism);
    let slots = Arc::new(Semaphore::new(parallelism));
    let mut backoff = Backoff::new(shared.settings.waits.poll_max);
    let mut paused = shared.paused.subscribe();
    let mut failing = false;
    loop {
        let next = async {
            // The sender lives in `shared`, so neither wait can fail.
            let _ = paused.wait_for(|it| !it).await;
            slots.clone().acquire_many_owned(batch as u32).await.ok()
        };
        let permits = tokio::select! {
            Some(permits) = next => permits,
            () = shared.closing.cancelled() => return,
        };
        let found = match take(&shared, batch).await {
            Ok((queue, messages)) => {
                failing = false;
                let found = !messages.is_empty();
                dispatch(&shared, &tasks, permits, &queue, messages);
                found
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    shared.tell(
                        Level::Warning,
                        format!("trigger queue fails and will be asked again: {}", error_chain(&error)),
                    );
                }
                false
            }
        };
        tokio::select! {
            () = sleep(backoff.after(found)) => {}
            // A new blob. A message that was released is found when its time comes.
            () = shared.queued.notified() => {}
            () = shared.closing.cancelled() => return,
        }
    }
}

async fn take(shared: &Shared, batch: usize) -> Result<(Queue, Vec<Received>), StorageError> {
    let queue = shared.storage.queue(&trigger_queue()).await?;
    let messages = queue.receive(batch, shared.settings.waits.message_lease).await?;
    Ok((queue, messages))
}

fn dispatch(
    shared: &Arc<Shared>,
    tasks: &TaskTracker,
    mut permits: OwnedSemaphorePermit,
    queue: &Queue,
    messages: Vec<Received>,
) {
    for message in messages {
        let (shared, queue, permit) = (shared.clone(), queue.clone(), permits.split(1));
        tasks.spawn(async move {
            let (id, mut given_back) = (message.id.clone(), message.clone());
            let settled = match AssertUnwindSafe(settle(&shared, &queue, message)).catch_unwind().await {
                Ok(settled) => settled,
                Err(_) => {
                    tracing::error!("the work item of message {id} panicked; the message is given back");
                    queue.renew(&mut given_back, Duration::ZERO).await
                }
            };
            // An unsettled message comes back when its lease ends: storage being away costs time, never a blob.
            if let Err(error) = settled {
                shared.tell(Level::Warning, format!("message {id} could not be settled: {}", error_chain(&error)));
            }
            drop(permit);
        });
    }
}

/// What becomes of a message.
enum Fate {
    Done,
    Failed,
    /// The trigger stopped before the function ended.
    Abandoned,
}

async fn settle(shared: &Shared, queue: &Queue, mut received: Received) -> Result<(), StorageError> {
    let Some(message) = BlobMessage::decode(&received.text) else {
        return poison(shared, queue, &received).await;
    };
    let receipt = message.receipt();
    if shared.journal.contains(&receipt) {
        return queue.delete(&received).await;
    }
    let Some(_running) = Running::enter(&shared.running, &receipt) else {
        // A lease that ran out, or a message sent twice: the other one decides.
        return Ok(());
    };
    if received.dequeue_count > shared.settings.poison_threshold {
        return poison(shared, queue, &received).await;
    }
    match run_function(shared, queue, &mut received, &message).await? {
        Fate::Done => queue.delete(&received).await,
        Fate::Failed if received.dequeue_count >= shared.settings.poison_threshold => {
            poison(shared, queue, &received).await
        }
        Fate::Failed => queue.renew(&mut received, Duration::ZERO).await,
        Fate::Abandoned => match shared.settings.waits.released_at_stop {
            Some(after) => queue.renew(&mut received, after).await,
            None => Ok(()),
        },
    }
}

async fn run_function(
    shared: &Shared,
    queue: &Queue,
    received: &mut Received,
    message: &BlobMessage,
) -> Result<Fate, StorageError> {
    let Some(function) = shared.functions.iter().find(|it| it.id() == message.function_id) else {
        return Ok(Fate::Done);
    };
    let (container, name) = (&message.container_name, &message.blob_name);
    let begun = Begun::now();
    let facts = match facts::of(&shared.storage, container, name).await? {
        Some((etag, facts)) if etag == message.etag => facts,
        // Another version by now: the listing sends a message of its own for that one.
        Some(_) | None => return Ok(Fate::Done),
    };
    let duration = begun.elapsed();
    // Of other names the listing was asked.
    let lookup = check_name(name).is_ok().then(|| BlobLookup {
        url: shared.storage.blob(container, name).url().clone(),
        started: begun.at,
        duration,
    });
    let parameters = function.path.parameters(name).unwrap_or_default();
    let uri = message.uri(&shared.storage.account().blob_endpoint);
    let (mut data, metadata) =
        binding_data::blob_trigger(&function.binding, &function.connection, container, name, &uri, &parameters, &facts);
    if !function.is_deferred {
        if let Err(cause) = check_name(name) {
            let line = format!("{} cannot be given {container}/{}: {cause}; rename it", function.name, shown(name));
            shared.tell(Level::Error, line);
            return Ok(Fate::Failed);
        }
        let Some(content) = shared.storage.read(container, name).await? else { return Ok(Fate::Done) };
        data.insert(function.binding.clone(), binding_data::whole_blob(&content));
    }
    let call = Call {
        function: function.name.clone(),
        reason: format!("New blob detected(LogsAndContainerScan): {container}/{name}"),
        blob: format!("{container}/{name}"),
        trigger_details: Some(facts::trigger_details(received, &facts)),
        data,
        metadata,
        begun: Some(begun),
        lookup,
        ..Call::default()
    };
    let outcome = {
        let mut invocation = std::pin::pin!(shared.host.invoke(call));
        loop {
            tokio::select! {
                biased;
                // First: what ends with the host is no failure of the blob.
                () = shared.abandoned.cancelled() => return Ok(Fate::Abandoned),
                outcome = &mut invocation => break outcome,
                () = sleep(shared.settings.waits.message_lease / 2) => renew(shared, queue, received).await,
            }
        }
    };
    if !outcome.succeeded {
        return Ok(Fate::Failed);
    }
    if let Err(error) = shared.journal.add(&message.receipt()) {
        shared.tell(Level::Warning, format!("a kill of the lab may now run a blob again: write the journal: {error}"));
    }
    Ok(Fate::Done)
}

async fn renew(shared: &Shared, queue: &Queue, received: &mut Received) {
    if let Err(error) = queue.renew(received, shared.settings.waits.message_lease).await {
        shared.tell(Level::Warning, format!("message {} keeps its old lease: {}", received.id, error_chain(&error)));
    }
}

/// Copies first, deletes then: in between the message is there twice, never not at all.
async fn poison(shared: &Shared, queue: &Queue, received: &Received) -> Result<(), StorageError> {
    let text = format!(
        "Message has reached MaxDequeueCount of {}. Moving message to queue '{POISON_QUEUE}'.",
        shared.settings.poison_threshold
    );
    shared.log.write(QUEUE_PROCESSOR, Level::Warning, text);
    shared.storage.queue(POISON_QUEUE).await?.send(&received.text).await?;
    queue.delete(received).await
}

/// Entry of a version of a blob into the set of those being processed, left on drop.
struct Running<'a> {
    set: &'a Mutex<HashSet<String>>,
    receipt: String,
}

impl<'a> Running<'a> {
    fn enter(set: &'a Mutex<HashSet<String>>, receipt: &str) -> Option<Self> {
        let is_new = set.lock().unwrap_or_else(PoisonError::into_inner).insert(receipt.to_owned());
        is_new.then(|| Self { set, receipt: receipt.to_owned() })
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.set.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.receipt);
    }
}
