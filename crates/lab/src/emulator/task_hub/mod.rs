//! The durable extension's part of the host: instances, histories, queues and timers on one SQLite file, and the dispatchers that
//! turn them into invocations.
//!
//! Invariants:
//! - The file is the truth. Whatever is in memory can be read from it again, so a lab that was killed goes on where it was.
//! - An episode's history, messages and state are one transaction, and so are an activity's outcome and its removal: activities
//!   run at least once, their outcomes are recorded exactly once.
//! - What is decided on was read as it was at one moment, and what comes of it is written only while that still holds.
//! - The whole history is read and encoded anew for every episode, as the Azure Storage provider does. That is the storm.

mod activities;
mod again;
mod declared;
mod dispatch;
mod episode;
mod listing;
mod outcome;
mod recorded;
mod refused;
mod rows;
mod store;
mod under_way;
mod versions;
pub mod webhook;
mod working;

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicI64},
};

use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

pub use again::{Restarted, Rewound};
pub use declared::{DurableFunctions, HubOptions};
pub use listing::{Filter, Page};
pub use recorded::{Progress, progress, recorded};
pub use rows::Instance;
pub use store::{Durability, StoreError};

use self::{
    dispatch::Left,
    rows::{NewInstance, event},
    store::Store,
    under_way::UnderWay,
};
use super::host::Host;
use crate::evidence::table_writer::Tables;
use durable::protocol::{EventRaised, EventType, HistoryEvent, OrchestrationStatus, Reason, Tags};

/// A running task hub.
#[derive(Clone)]
pub struct TaskHub {
    inner: Arc<Inner>,
}

struct Inner {
    options: HubOptions,
    functions: DurableFunctions,
    host: Host,
    store: Store,
    /// Where each episode's cost is told.
    tables: Tables,
    /// Episodes, by instance.
    episodes: UnderWay<String>,
    /// Activities, by the id of their row.
    activities: UnderWay<i64>,
    /// An episode has ended or rested: there may be a place. What is posted the store publishes by itself.
    episode_ended: Notify,
    /// The same of activities.
    activity_ended: Notify,
    /// The latest moment at which messages were looked for, as [`rows::nanos`]: the clock may be set back meanwhile.
    latest: AtomicI64,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl std::fmt::Debug for TaskHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskHub").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

/// An instance that a client asks for.
#[derive(Clone, Debug)]
pub struct Start {
    /// The orchestrator, in any case.
    pub name: String,
    pub instance_id: String,
    /// JSON text.
    pub input: Option<String>,
    /// The app's own, if not set; an empty one is a version too.
    pub version: Option<String>,
    pub client: Client,
}

/// Who asks for an instance: each makes execution ids of its own form [recorded].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Client {
    /// A GUID with hyphens.
    Webhook,
    /// 32 hex digits.
    OutputBinding,
}

/// Why an instance was not started.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such function (extension: `DurableClient.cs`).
    #[error(
        "The function '{name}' doesn't exist, is disabled, or is not an orchestrator function. Additional info: {known}"
    )]
    UnknownFunction {
        /// What was asked for.
        name: String,
        known: String,
    },
    /// An id no instance can have.
    #[error("The instance id {problem}.")]
    InstanceId { problem: &'static str },
    /// An instance of this id stands in the way.
    #[error("An Orchestration instance with the status {status:?} already exists.")]
    Exists { status: OrchestrationStatus },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What may be told to an instance.
#[derive(Clone, Debug)]
pub enum Signal {
    /// An event, with its JSON text.
    Raise {
        /// Compared without regard to case.
        name: String,
        input: Option<String>,
    },
    Terminate(Option<String>),
    Suspend(Option<String>),
    Resume(Option<String>),
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sent {
    /// It is in the instance's queue.
    Accepted,
    /// There is no such instance.
    Unknown,
    /// The instance has ended.
    Ended,
}

impl TaskHub {
    /// Opens the file and goes on with what is in it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn start(
        file: &Path,
        functions: DurableFunctions,
        options: HubOptions,
        host: Host,
        tables: Tables,
    ) -> Result<Self, StoreError> {
        let inner = Inner {
            store: Store::open(file, options.durability)?,
            options,
            functions,
            host,
            tables,
            episodes: UnderWay::default(),
            activities: UnderWay::default(),
            episode_ended: Notify::new(),
            activity_ended: Notify::new(),
            latest: AtomicI64::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let hub = Self { inner: Arc::new(inner) };
        // Before anything new comes.
        let (posted, again) = (hub.inner.store.posted(), hub.inner.options.again);
        let messages = Left::new(*posted.messages.borrow(), again.0);
        let activities = Left::new(*posted.activities.borrow(), again.1);
        hub.inner.tasks.spawn(hub.clone().dispatch_orchestrations(messages));
        hub.inner.tasks.spawn(hub.clone().dispatch_activities(activities));
        Ok(hub)
    }

    /// Stops dispatching and waits for episodes and activities under way. What they come to after this is not recorded.
    pub async fn stop(&self) {
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// The hub's name, from host.json.
    pub fn name(&self) -> &str {
        &self.inner.options.name
    }

    /// Whether there is such an orchestrator. The output binding asks, the webhook does not [recorded].
    ///
    /// # Errors
    /// The extension's sentence about those there are.
    pub fn check_orchestrator(&self, name: &str) -> Result<(), StartError> {
        let functions = &self.inner.functions;
        let unknown = || StartError::UnknownFunction { name: name.to_owned(), known: functions.known() };
        functions.orchestrator(name).map(drop).ok_or_else(unknown)
    }

    /// Starts an instance as the webhook does, without a version. `input` is JSON text.
    ///
    /// # Errors
    /// As [`TaskHub::create_instance`].
    pub async fn start_instance(&self, name: &str, instance_id: &str, input: Option<String>) -> Result<(), StartError> {
        let (name, instance_id) = (name.to_owned(), instance_id.to_owned());
        self.create_instance(Start { name, instance_id, input, version: None, client: Client::Webhook }).await
    }

    /// Starts an instance, also in place of one that has ended. Without such an orchestrator it fails at once.
    ///
    /// # Errors
    /// When the id is none, or an instance of that id is live.
    pub async fn create_instance(&self, start: Start) -> Result<(), StartError> {
        let inner = &self.inner;
        let Start { name, instance_id, input, version, client } = start;
        // The webhook takes any [recorded].
        let problem = custom_handler::wire::instance_id_problem(&instance_id);
        if let Some(problem) = problem.filter(|_| client == Client::OutputBinding) {
            return Err(StartError::InstanceId { problem });
        }
        if let Err(unknown) = self.check_orchestrator(&name) {
            tracing::warn!("instance {instance_id:?} is started and will fail: {unknown}");
        }
        let execution_id = match client {
            Client::Webhook => Uuid::new_v4().to_string(),
            Client::OutputBinding => rows::hex_id(),
        };
        let version = version.or_else(|| inner.options.versions.of_app.clone());
        let (parent, tags) = (None, Tags::new());
        let new = NewInstance { instance_id, execution_id, name, input, version, parent, tags };
        let created = inner.store.write(move |connection| rows::create(connection, new)).await?;
        created.map_err(|status| StartError::Exists { status })?;
        Ok(())
    }

    /// Tells an instance something.
    ///
    /// # Errors
    /// What the file refused.
    pub async fn signal(&self, instance_id: &str, signal: Signal) -> Result<Sent, StoreError> {
        let id = instance_id.to_owned();
        let event = event(-1, signal.into());
        let sent = self.inner.store.write(move |connection| {
            Ok(match rows::find(connection, &id)? {
                None => Sent::Unknown,
                Some(instance) if instance.has_ended() => Sent::Ended,
                Some(_) => {
                    rows::post(connection, &id, None, None, &event)?;
                    Sent::Accepted
                }
            })
        });
        sent.await
    }

    /// An instance's state.
    ///
    /// # Errors
    /// What the file refused.
    pub async fn instance(&self, instance_id: &str) -> Result<Option<Instance>, StoreError> {
        let id = instance_id.to_owned();
        self.inner.store.read(move |connection| rows::find(connection, &id)).await
    }

    /// The state of all instances, by id.
    ///
    /// # Errors
    /// What the file refused.
    pub async fn instances(&self) -> Result<Vec<Instance>, StoreError> {
        self.inner.store.read(rows::all).await
    }

    /// The history of an instance's present execution.
    ///
    /// # Errors
    /// What the file refused.
    pub async fn history(&self, instance_id: &str) -> Result<Vec<HistoryEvent>, StoreError> {
        let id = instance_id.to_owned();
        self.inner.store.read(move |connection| rows::history(connection, &id)).await
    }
}

impl Instance {
    /// Whether it is shown as ended.
    pub fn has_ended(&self) -> bool {
        use OrchestrationStatus::{Canceled, Completed, Failed, Terminated};
        self.finished || matches!(self.status, Completed | Failed | Canceled | Terminated)
    }
}

impl From<Signal> for EventType {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Raise { name, input } => Self::EventRaised(EventRaised::new(name, input)),
            Signal::Terminate(reason) => Self::ExecutionTerminated(Reason::new(reason)),
            Signal::Suspend(reason) => Self::ExecutionSuspended(Reason::new(reason)),
            Signal::Resume(reason) => Self::ExecutionResumed(Reason::new(reason)),
        }
    }
}
