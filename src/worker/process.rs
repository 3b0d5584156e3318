//! The worker process: blobs in, result records out. It may be killed at any moment; nothing is kept here alone.

use std::{
    collections::HashMap,
    os::{fd::AsFd, unix::net::UnixStream as StdUnixStream},
    panic::AssertUnwindSafe,
    sync::{Arc, Barrier, Mutex, PoisonError},
    time::Duration,
};

use azure_storage_blob::BlobServiceClient;
use futures::{FutureExt, SinkExt, StreamExt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{net::UnixStream, sync::mpsc, task::AbortHandle, time::Instant};
use tokio_util::task::TaskTracker;

use super::{
    memory::data_bytes,
    protocol::{Answer, FromWorker, ToWorker, Work, typed},
};
use crate::blob::{
    BlobName, BlobReader, BlobSettings, CallObserver, Patience, ProcessError, Processed, Processor, Reservations,
    WorkerId, reservable_bytes,
};

/// Threads for the resolver; started before the limit is set, because a thread refused later ends the process.
const BLOCKING_THREADS: usize = 2;

/// Runs the worker until its front goes away.
///
/// # Errors
/// When fd 0 is not the front's socket, or storage cannot be set up.
pub fn run(settings: &BlobSettings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |it| it.get().clamp(2, 4)))
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(Duration::from_secs(u64::from(u32::MAX)))
        .enable_all()
        .build()?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: &BlobSettings) -> anyhow::Result<()> {
    let socket = StdUnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    if socket.local_addr().is_err() {
        anyhow::bail!("fd 0 is not a front: --worker is started by the handler itself");
    }
    socket.set_nonblocking(true)?;
    let (mut from_front, mut to_front) = typed::<ToWorker, FromWorker>(UnixStream::from_std(socket)?);
    let Some(ToWorker::Start { generation, memory_limit_bytes }) = from_front.next().await else {
        // The front was stopped before it could say anything.
        return Ok(());
    };
    let tasks = TaskTracker::new();
    start_threads(&tasks).await;
    let worker = Worker {
        service: Arc::new(settings.storage.blob_service()?),
        processor: Processor::new(
            settings,
            Reservations::new(limit_data(memory_limit_bytes)?, data_bytes),
            WorkerId { generation, pid: std::process::id() },
        ),
        running: Mutex::default(),
        tasks,
    };
    let worker = Arc::new(worker);
    let (answers, mut outbox) = mpsc::unbounded_channel();
    let _ = answers.send(FromWorker::Ready);
    worker.tasks.spawn(async move {
        while let Some(message) = outbox.recv().await {
            if to_front.send(message).await.is_err() {
                break;
            }
        }
    });
    while let Some(message) = from_front.next().await {
        worker.receive(message, &answers);
    }
    // The front is gone: whatever is under way will be asked for again.
    std::process::exit(0);
}

/// Makes the kernel and the allocator serve every thread now, while nothing can be refused.
async fn start_threads(tasks: &TaskTracker) {
    let barrier = Arc::new(Barrier::new(BLOCKING_THREADS));
    let threads = (0..BLOCKING_THREADS).map(|_| {
        let barrier = Arc::clone(&barrier);
        tasks.spawn_blocking(move || barrier.wait())
    });
    futures::future::join_all(threads).await;
}

/// Sets `RLIMIT_DATA` above the present data segment, so that a whole-blob buffer can be refused rather than granted and
/// then killed for.
fn limit_data(memory_limit_bytes: Option<u64>) -> anyhow::Result<Option<u64>> {
    let Some(limit) = memory_limit_bytes else { return Ok(None) };
    let data_limit = data_bytes() + reservable_bytes(limit);
    let Rlimit { maximum, .. } = getrlimit(Resource::Data);
    setrlimit(Resource::Data, Rlimit { current: Some(maximum.map_or(data_limit, |it| it.min(data_limit))), maximum })?;
    Ok(Some(data_limit))
}

struct Worker {
    service: Arc<BlobServiceClient>,
    processor: Processor,
    running: Mutex<HashMap<u64, AbortHandle>>,
    tasks: TaskTracker,
}

impl Worker {
    fn receive(self: &Arc<Self>, message: ToWorker, answers: &mpsc::UnboundedSender<FromWorker>) {
        match message {
            ToWorker::Invoke(work) => self.start(work, answers.clone()),
            ToWorker::Cancel { id } => {
                if let Some(task) = self.running().remove(&id) {
                    task.abort();
                }
            }
            ToWorker::Ping => drop(answers.send(FromWorker::Pong)),
            ToWorker::Start { .. } => {}
        }
    }

    fn start(self: &Arc<Self>, work: Work, answers: mpsc::UnboundedSender<FromWorker>) {
        let (worker, id) = (Arc::clone(self), work.id);
        // Held over the spawn, so that the task cannot look for its entry before it is there.
        let mut running = self.running();
        let task = self.tasks.spawn(async move {
            // Without an answer the invocation would wait for its deadline.
            let outcome = AssertUnwindSafe(worker.process(work, answers.clone())).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| Answer::Failed { detail: "the worker panicked".to_owned() });
            worker.running().remove(&id);
            let _ = answers.send(FromWorker::Done { id, outcome });
        });
        running.insert(id, task.abort_handle());
    }

    async fn process(&self, work: Work, answers: mpsc::UnboundedSender<FromWorker>) -> Answer {
        let id = work.id;
        let calls = CallObserver::new(move |event| drop(answers.send(FromWorker::Call { id, event })));
        let deadline = Instant::now() + work.time_left;
        let reader = BlobReader::new(Arc::clone(&self.service), Patience::default(), calls, deadline);
        let blob = BlobName { container: work.container, name: work.name };
        match self.processor.process(&reader, &blob).await {
            Ok(Processed::Recorded(_)) => Answer::Recorded,
            Ok(Processed::Gone) => Answer::Gone,
            Err(ProcessError::Memory(error)) => Answer::MemoryError { detail: error.to_string() },
            Err(ProcessError::Read(error)) => Answer::Failed { detail: error.to_string() },
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<u64, AbortHandle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
