//! The two-process split: the front starts, limits, watches and restarts the one process that holds payload.
//!
//! - Whatever happens to the worker, the front lives, and every invocation is answered.
//! - The worker never outlives its front: end of file on its fd 0 ends it.
//! - The front keeps nothing of a blob but its name.

pub mod cgroup;
mod connection;
mod environment;
pub mod group;
mod limit;
mod memory;
pub mod process;
pub mod proof;
mod protocol;
mod supervisor;

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{connection::Connection, protocol::Answer, supervisor::Supervisor};
use crate::blob::{BlobName, BlobSettings, HEAD_ROOM_BYTES, MIB, Variant};

/// What an invocation is about, for the worker and for telemetry.
#[derive(Clone, Debug)]
pub struct Context {
    /// The blob to process.
    pub blob: BlobName,
    /// Invocation id of the host.
    pub invocation_id: String,
    /// Trace id of the host's request; empty when it sent none.
    pub operation_id: String,
}

/// How an invocation succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    /// The blob has its result record.
    Recorded,
    /// The blob was deleted before it was read.
    Gone,
}

/// How an invocation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The worker could not have the memory.
    #[error("{detail}")]
    MemoryError {
        /// How much was asked for, and how much there was.
        detail: String,
    },
    /// The worker answered that it could not.
    #[error("{detail}")]
    Failed { detail: String },
    /// The worker ended while it had the invocation.
    #[error("{why}")]
    WorkerGone {
        /// `worker exited 137`, `worker unresponsive`.
        why: String,
    },
    /// The invocation's time is over.
    #[error("no answer from the worker in time")]
    Deadline,
}

/// The worker as the front's functions see it: always there, if sometimes slow to answer.
#[derive(Clone, Debug)]
pub struct Worker {
    current: watch::Receiver<Option<Arc<Connection>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Why a worker would be killed again and again: its buffers alone are more than it may have.
#[derive(Debug, thiserror::Error)]
#[error(
    "BLOB_BATCH_SIZE x BLOB_BLOCK_MIB is {blocks} x {block_mib} MiB = {} MiB of buffers, and with the {} MiB a worker needs beside \
     them that is more than its memory limit of {limit_mib} MiB ({by}): make one of the two smaller, or raise the limit",
    .blocks * .block_mib,
    HEAD_ROOM_BYTES / MIB
)]
pub struct NoRoom {
    pub blocks: u64,
    pub block_mib: u64,
    pub limit_mib: u64,
    /// What the limit comes from.
    pub by: String,
}

/// Refuses buffers for streaming that do not fit into the worker's memory, below the root folder of a machine.
///
/// # Errors
/// Both settings, and the limit.
pub fn ensure_room(settings: &BlobSettings, root: &Path) -> Result<(), NoRoom> {
    if settings.variant != Variant::Streaming {
        return Ok(());
    }
    let allowed = group::available(root);
    let (limit, by) = match settings.worker_memory_limit_bytes {
        Some(setting) if setting <= allowed.bytes => (setting, "WORKER_MEMORY_LIMIT_MIB".to_owned()),
        _ => (allowed.bytes, allowed.by.to_string()),
    };
    let (blocks, block) = (settings.batch_size as u64, settings.block_bytes as u64);
    if blocks.saturating_mul(block).saturating_add(HEAD_ROOM_BYTES) <= limit {
        return Ok(());
    }
    Err(NoRoom { blocks, block_mib: block / MIB, limit_mib: limit / MIB, by })
}

/// How long a worker may take to leave after its front said goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

impl Worker {
    /// Starts a worker and keeps one running until [`Worker::stop`]. `package_variant` is the front's `--variant`, handed on.
    pub fn start(settings: &BlobSettings, package_variant: Option<Variant>) -> Self {
        let BlobSettings { variant, decided_by, max_concurrent_invocations, batch_size, .. } = settings;
        tracing::info!(
            "{variant} variant ({decided_by}): {max_concurrent_invocations} invocations at once, {batch_size} pieces in memory"
        );
        let arguments =
            package_variant.map(|it| ["--variant", it.name()].map(str::to_owned).to_vec()).unwrap_or_default();
        let (current, watched) = watch::channel(None);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let supervisor = Supervisor {
            limit_setting: settings.worker_memory_limit_bytes,
            arguments,
            current,
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(supervisor.run());
        Self { current: watched, stop, tasks }
    }

    /// Has the worker process a blob; waits for a restart if one is under way.
    ///
    /// # Errors
    /// [`Failure`], always before or at `deadline`.
    pub async fn invoke(&self, context: Context, deadline: Instant) -> Result<Success, Failure> {
        let mut current = self.current.clone();
        loop {
            let connection = match timeout_at(deadline, current.wait_for(Option::is_some)).await {
                Ok(Ok(connection)) => connection.clone(),
                // The supervisor is gone: the front is shutting down.
                Ok(Err(_)) => return Err(Failure::WorkerGone { why: "handler shutting down".to_owned() }),
                Err(_) => return Err(Failure::Deadline),
            };
            let Some(connection) = connection else { continue };
            let Some((id, ended)) = connection.begin(context.clone(), deadline) else {
                // This worker died a moment ago and its successor is not announced yet.
                if timeout_at(deadline, current.changed()).await.is_err() {
                    return Err(Failure::Deadline);
                }
                continue;
            };
            let Ok(ended) = timeout_at(deadline, ended).await else {
                connection.cancel(id);
                return Err(Failure::Deadline);
            };
            return match ended.unwrap_or_else(|_| Err(Failure::WorkerGone { why: "worker lost".to_owned() }))? {
                Answer::Recorded => Ok(Success::Recorded),
                Answer::Gone => Ok(Success::Gone),
                Answer::MemoryError { detail } => Err(Failure::MemoryError { detail }),
                Answer::Failed { detail } => Err(Failure::Failed { detail }),
            };
        }
    }

    /// Ends the worker and waits until it is gone.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = timeout(FAREWELL * 2, self.tasks.wait()).await;
    }
}
