//! An app in operation, as a lab sees it, wherever it runs.
//!
//! The stand-in on this machine implements these traits, and so does an app on Azure: settings go in through Resource Manager, load
//! through storage and HTTP, evidence comes out of Log Analytics. So nothing here is a process or a path that only one of the
//! two has; what only one can do is optional.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::LocalBoxFuture;
use serde_json::Value;
use url::Url;

use super::{pace::Pace, redrive::only_trigger_queue};
use crate::machine::{storage::Storage, storage_proxy::Withheld, workspace::Workspace};
use incident_labs::worker::cgroup::Usage;

/// What a lab asks for before it writes anything.
#[derive(Debug)]
pub struct AppRequest {
    /// Name of the lab.
    pub lab: &'static str,
    /// Functions the app must have.
    pub functions: Vec<&'static str>,
    /// The app's folder, where it is not the one found from the current folder and not deployed already.
    pub script_root: Option<PathBuf>,
    /// A handler to use instead of building one, likewise.
    pub handler: Option<PathBuf>,
    /// Folder of the lab's own locks and logs, and of the stand-in's storage.
    pub work: PathBuf,
    /// What the app itself will take, where that is worth checking.
    pub needs: Option<Needs>,
    /// Whether roles of the app will be withheld: see [`Platform::withheld`].
    pub withholds_roles: bool,
    /// How fast a stand-in goes. A real host has its own pace.
    pub pace: Pace,
    /// The app on Azure, where it is one.
    pub deployed: Option<Deployed>,
    /// How long the load takes as planned.
    pub takes: Duration,
}

/// An app that was deployed, by name.
#[derive(Clone, Debug)]
pub struct Deployed {
    pub app: String,
    pub resource_group: String,
    /// Id of its workspace, the `customerId`.
    pub workspace: String,
    /// Id of the subscription, if not the one that is chosen.
    pub subscription: Option<String>,
    /// Whether requests are written down instead of sent.
    pub is_plan: bool,
}

/// Requests that a lab's load sends, for a plan.
#[derive(Clone, Debug)]
pub struct Traffic {
    pub method: &'static str,
    /// Path below the app, or below its storage account's blob endpoint. Texts in braces stand for what is known later.
    pub path: String,
    pub body: Option<Value>,
    pub why: String,
    /// About how many.
    pub count: u64,
    pub is_storage: bool,
    /// Whether their number is known only afterwards.
    pub repeats: bool,
}

/// What a run takes of the machine the app runs on.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// The run, for messages.
    pub what: &'static str,
    /// Memory of the worker.
    pub worker_bytes: u64,
    /// Blobs that are uploaded.
    pub blob_bytes: u64,
}

/// Finds or makes the place where the app can be started. Refuses before anything is written what will not fit.
pub type OpenPlatform = fn(AppRequest) -> LocalBoxFuture<'static, anyhow::Result<Box<dyn Platform>>>;

/// How the app is to be started.
#[derive(Clone, Debug)]
pub struct AppStart {
    /// App settings, later ones winning.
    pub settings: Vec<(String, String)>,
    /// Folder for the app's tables, complete when the app has been stopped: written as rows come, or fetched at the end.
    pub tables: PathBuf,
}

/// Where an app can be started, again and again, under different settings.
#[async_trait(?Send)]
pub trait Platform: fmt::Debug {
    /// The lab's own folder: logs of its processes, and the mark by which the next lab finds and ends them.
    fn work(&self) -> &Workspace;

    /// Removes what earlier runs left in storage and task hub.
    async fn clear(&self) -> anyhow::Result<()>;

    /// The roles that the app's identity does not have at its storage, where the platform can take them away and give them back, before a
    /// start and during one.
    fn withheld(&self) -> Option<&Withheld> {
        None
    }

    /// Starts the app. One whose host cannot start yet for want of a role is returned all the same: [`RunningApp::ready`] waits for it.
    ///
    /// # Errors
    /// When it cannot be started.
    async fn start(&self, start: AppStart) -> anyhow::Result<Box<dyn RunningApp>>;

    /// How fast the host is.
    fn pace(&self) -> Pace {
        Pace::Real
    }

    /// What is known about app and platform, by name, for a run's environment.
    fn facts(&self) -> BTreeMap<String, Value>;

    /// Whether the lab gives the worker its memory limit. Elsewhere it is the instance's.
    fn limits_memory(&self) -> bool {
        true
    }

    /// Whether the app runs on Azure: then what only the stand-in records is not there.
    fn is_on_azure(&self) -> bool {
        false
    }

    /// Resolves when the person interrupts, where the platform has something to put back then. What the stand-in runs ends with the
    /// lab.
    async fn interrupted(&self) {
        std::future::pending().await
    }

    /// Leaves the place as it was before the first start, whatever has happened since.
    ///
    /// # Errors
    /// When something could not be put back: which, and the command that does it.
    async fn leave(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Completes the tables of a run whose load is over, in its folder. `expected` is the least number of rows by table.
    ///
    /// # Errors
    /// When they cannot be had or written. Rows that do not come are a doubt in the folder, no error.
    async fn gather(&self, _run: &Path, _expected: &BTreeMap<&str, u64>) -> anyhow::Result<()> {
        Ok(())
    }

    /// Has the platform's own engine answer the queries of a bundle that is about to be judged, where it has one.
    ///
    /// # Errors
    /// As [`Platform::gather`].
    async fn ask_again(&self, _bundle: &Path) -> anyhow::Result<()> {
        Ok(())
    }

    /// What would have been done, where this is a plan.
    fn rehearsed(&self, _json: bool) -> Option<String> {
        None
    }
}

/// An app that was started.
#[async_trait(?Send)]
pub trait RunningApp {
    /// Waits until the app can take work.
    ///
    /// # Errors
    /// When it does not become ready in time.
    async fn ready(&self) -> anyhow::Result<()>;

    /// Base URL of its HTTP functions.
    ///
    /// # Errors
    /// When it has none.
    fn url(&self) -> anyhow::Result<Url>;

    /// The storage account its blob functions use.
    ///
    /// # Errors
    /// When the app has no blob function.
    fn storage(&self) -> anyhow::Result<&Storage>;

    /// The queue its blob trigger takes messages from.
    ///
    /// # Errors
    /// When that is not known.
    async fn trigger_queue(&self) -> anyhow::Result<String> {
        only_trigger_queue(self.storage()?).await
    }

    /// Process id of its handler, where that can be known.
    fn handler_pid(&self) -> Option<u32> {
        None
    }

    /// What the kernel counts of its worker's memory, where it runs here and has a cgroup of its own.
    fn worker_usage(&self) -> Option<Usage> {
        None
    }

    /// Has the blob trigger take no more messages until [`RunningApp::release_blob_trigger`], and says whether it does so: a
    /// host that cannot be held dispatches blobs as they come.
    fn hold_blob_trigger(&self) -> bool {
        false
    }

    fn release_blob_trigger(&self) {}

    /// Writes down what is about to be sent, where this is a plan, and says whether it is one: then nothing is sent.
    fn rehearses(&self, _traffic: &[Traffic]) -> bool {
        false
    }

    /// Resolves with the reason once the app cannot go on.
    async fn ended(&self) -> String;

    /// Stops the app and completes its tables.
    ///
    /// # Errors
    /// When tables could not be completed.
    async fn stop(self: Box<Self>) -> anyhow::Result<()>;
}
