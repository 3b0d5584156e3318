//! The blob trigger, as the storage extension of the Functions host does it on development storage: container listing,
//! receipt per version, real queue, invocation, poison queue.

mod facts;
mod journal;
mod listener;
mod listing;

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
    app::{AppError, ScriptRoot, blob_trigger::BlobFunction},
    machine::storage::Storage,
};

/// How the trigger looks for blobs and runs functions.
#[derive(Clone, Debug)]
pub struct TriggerSettings {
    /// From one listing to the next. The host's is 2 s on development storage.
    pub listing_interval: Duration,
    /// Longest wait between two looks at an empty queue; likewise 2 s.
    pub poll_max: Duration,
    /// How long a message stays hidden without renewal. The host's is 10 min; here a killed lab's messages should come
    /// back while the user is still looking.
    pub message_lease: Duration,
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
    pub fn new(root: &ScriptRoot) -> Result<Self, AppError> {
        let settings = root.host_settings()?;
        Ok(Self {
            listing_interval: Duration::from_secs(2),
            poll_max: Duration::from_secs(2),
            message_lease: Duration::from_secs(30),
            parallelism: settings.parallelism,
            poison_threshold: settings.poison_threshold,
        })
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
    closing: CancellationToken,
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
        });
        let tasks = TaskTracker::new();
        tasks.spawn(listing::run(shared.clone()));
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

    /// Takes no more work and leaves what is running up to `drain` to end. What is not done by then fails with the
    /// handler, and its message is released at once.
    pub async fn stop(&self, drain: Duration) -> bool {
        self.shared.closing.cancel();
        self.tasks.close();
        timeout(drain, self.tasks.wait()).await.is_ok()
    }
}
