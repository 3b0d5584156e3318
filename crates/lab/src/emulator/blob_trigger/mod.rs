//! The blob trigger, as the storage extension of the Functions host does it on development storage: container listing,
//! receipt per version, real queue, invocation, poison queue.

mod backoff;
mod facts;
mod journal;
mod listener;
mod listing;
mod lock;

use std::{
    collections::HashSet,
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::host::{Host, HostLog, Level};
use crate::{
    app::{
        AppError, HostSettings, ScriptRoot,
        blob_trigger::BlobFunction,
        pace::{Pace, Waits},
    },
    machine::storage::Storage,
};

/// How long a stop takes to give messages back.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// How the trigger looks for blobs and runs functions.
#[derive(Clone, Debug)]
pub struct TriggerSettings {
    pub waits: Waits,
    /// Invocations at once, over all blob functions.
    pub parallelism: usize,
    /// Tries before a message goes to the poison queue.
    pub poison_threshold: i64,
}

impl TriggerSettings {
    /// What an app's `host.json` says about blobs, with the host's defaults.
    ///
    /// # Errors
    /// What in it cannot be read.
    pub fn new(root: &ScriptRoot, pace: Pace) -> Result<Self, AppError> {
        let HostSettings { parallelism, poison_threshold, .. } = root.host_settings()?;
        Ok(Self { waits: pace.waits(), parallelism, poison_threshold })
    }
}

/// What the trigger works with.
#[derive(Debug)]
pub struct TriggerParts {
    pub functions: Vec<BlobFunction>,
    /// Where blobs, receipts and queues are.
    pub storage: Storage,
    /// Who runs the functions.
    pub host: Host,
    pub log: HostLog,
    /// File that remembers what was processed.
    pub journal: PathBuf,
}

#[derive(Debug)]
pub struct BlobTrigger {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    functions: Vec<BlobFunction>,
    storage: Storage,
    host: Host,
    log: HostLog,
    journal: journal::Journal,
    settings: TriggerSettings,
    /// Receipts of what is being processed.
    running: Mutex<HashSet<String>>,
    /// Something was put into the queue.
    queued: Notify,
    paused: watch::Sender<bool>,
    /// No more work is taken.
    closing: CancellationToken,
    /// Nor is what is running waited for.
    abandoned: CancellationToken,
}

impl Shared {
    fn tell(&self, level: Level, message: String) {
        self.log.write("Host.Triggers.Blobs", level, message);
    }
}

impl BlobTrigger {
    /// Starts listing and listening.
    ///
    /// # Errors
    /// When the journal cannot be opened.
    pub fn start(parts: TriggerParts, settings: TriggerSettings) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            journal: journal::Journal::open(&parts.journal)?,
            functions: parts.functions,
            storage: parts.storage,
            host: parts.host,
            log: parts.log,
            settings,
            running: Mutex::default(),
            queued: Notify::new(),
            paused: watch::Sender::new(false),
            closing: CancellationToken::new(),
            abandoned: CancellationToken::new(),
        });
        let tasks = TaskTracker::new();
        let discovery = shared.clone();
        tasks.spawn(async move { listing::run(&discovery).await });
        tasks.spawn(listener::run(shared.clone(), tasks.clone()));
        Ok(Self { shared, tasks })
    }

    /// Takes no more messages until [`BlobTrigger::resume`]; what is running goes on.
    pub fn pause(&self) {
        self.shared.paused.send_replace(true);
    }

    pub fn resume(&self) {
        self.shared.paused.send_replace(false);
        self.shared.queued.notify_one();
    }

    /// Takes no more work and leaves what is running up to `drain` to end. What is not done by then is abandoned, as a host that
    /// ends does it: it never ended, and its message comes back by itself or, at the quick pace, at once.
    pub async fn stop(&self, drain: Duration) {
        self.shared.closing.cancel();
        self.tasks.close();
        if timeout(drain, self.tasks.wait()).await.is_err() {
            self.shared.abandoned.cancel();
            let _ = timeout(GIVE_BACK, self.tasks.wait()).await;
        }
    }
}

impl Drop for BlobTrigger {
    /// Its invocations end with the handler, which is no failure of a blob.
    fn drop(&mut self) {
        self.shared.abandoned.cancel();
    }
}
