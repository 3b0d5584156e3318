//! This machine as the platform of a lab's app: the stand-in behind the interface that an app on Azure could have, too.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::bail;
use async_trait::async_trait;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use url::Url;

use super::{
    listener::HttpPort,
    session::{Opened, Session, SessionOptions, telemetry_here},
    starting::Starting,
};
use crate::{
    app::{
        ScriptRoot,
        blob_message::trigger_queue,
        pace::Pace,
        running::{AppStart, Needs, Platform, RunningApp},
        stage::HANDLER,
    },
    evidence::Environment,
    machine::{
        capacity::{self, RoomError},
        storage::Storage,
        storage_proxy::Withheld,
        workspace::Workspace,
    },
};
use incident_labs::{
    blob::MIB,
    worker::cgroup::{self, Usage},
};

/// How long a handler may take to start.
const READY_WITHIN: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(250);
/// What running invocations get to end when a lab is through with the app.
const DRAIN: Duration = Duration::from_secs(2);
/// What the stand-in, storage and the load generator need beside the worker.
const AROUND_THE_WORKER: u64 = 1024 * MIB;
/// Small blobs, results, tables. Copies inside the emulator share their source's file.
const BESIDE_THE_BLOBS: u64 = 1024 * MIB;

/// This machine: a staged app, served by the stand-in on a work folder.
#[derive(Debug)]
pub struct LocalPlatform {
    work: Workspace,
    script_root: ScriptRoot,
    /// Containers the app expects beside those of its triggers.
    containers: Vec<String>,
    pace: Pace,
    withheld: Option<Withheld>,
}

impl LocalPlatform {
    pub fn new(work: Workspace, script_root: ScriptRoot, containers: Vec<String>, pace: Pace) -> Self {
        Self { work, script_root, containers, pace, withheld: None }
    }

    /// The same, with a proxy before storage that can withhold the app's roles.
    #[must_use]
    pub fn withholding_roles(self) -> Self {
        Self { withheld: Some(Withheld::default()), ..self }
    }

    /// Refuses a run that this machine has no room for; its work folder need not exist yet.
    ///
    /// # Errors
    /// With the numbers.
    pub fn ensure_room(needs: Needs, work: &Path) -> Result<(), RoomError> {
        capacity::ensure_memory(needs.what, Self::memory_bytes(&needs))?;
        capacity::ensure_disk(needs.what, work, Self::disk_bytes(&needs))
    }

    /// What a run takes of this machine's memory, stand-in and storage included.
    pub fn memory_bytes(needs: &Needs) -> u64 {
        needs.worker_bytes + AROUND_THE_WORKER
    }

    /// What a run takes of the disk of its work folder.
    pub fn disk_bytes(needs: &Needs) -> u64 {
        needs.blob_bytes + BESIDE_THE_BLOBS
    }
}

#[async_trait(?Send)]
impl Platform for LocalPlatform {
    fn work(&self) -> &Workspace {
        &self.work
    }

    async fn clear(&self) -> anyhow::Result<()> {
        Ok(self.work.clear()?)
    }

    fn withheld(&self) -> Option<&Withheld> {
        self.withheld.as_ref()
    }

    async fn start(&self, start: AppStart) -> anyhow::Result<Box<dyn RunningApp>> {
        let AppStart { settings, tables } = start;
        // A worker ends a moment after its front: none of the last start's shares the machine with the next.
        self.work.end_leftovers().await?;
        let folder = self.work.clone().with_tables(tables);
        let options = SessionOptions {
            // A run is judged by its rows, wherever the app sends its own otherwise.
            script_root: self.script_root.clone().with_settings(settings).with_settings(telemetry_here()),
            containers: self.containers.clone(),
            folder,
            pace: self.pace,
            port: HttpPort::Free,
            echo: None,
            withheld: self.withheld.clone(),
        };
        let opened = Opened::open(options).await?;
        if self.withheld.is_some() { Ok(Box::new(Starting::new(opened)?)) } else { Ok(Box::new(opened.start().await?)) }
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn facts(&self) -> BTreeMap<String, Value> {
        let mut environment = Environment::default();
        environment.note_handler(&self.script_root.path().join(HANDLER));
        environment.note("pace", self.pace.name());
        environment.note("task_hub", "SQLite, WAL, synchronous=NORMAL");
        environment.0
    }
}

#[async_trait(?Send)]
impl RunningApp for Session {
    async fn ready(&self) -> anyhow::Result<()> {
        let asked = Instant::now();
        while self.host.pid().is_none() {
            if asked.elapsed() > READY_WITHIN {
                bail!("the handler did not start: see traces.jsonl");
            }
            sleep(READY_POLL).await;
        }
        Ok(())
    }

    fn url(&self) -> anyhow::Result<Url> {
        Ok(self.http.url().parse()?)
    }

    fn storage(&self) -> anyhow::Result<&Storage> {
        Ok(&self.blobs()?.storage)
    }

    async fn trigger_queue(&self) -> anyhow::Result<String> {
        Ok(trigger_queue())
    }

    fn handler_pid(&self) -> Option<u32> {
        self.host.pid()
    }

    fn worker_usage(&self) -> Option<Usage> {
        cgroup::usage(self.host.pid()?)
    }

    fn hold_blob_trigger(&self) -> bool {
        self.blobs.as_ref().map(|it| it.trigger.pause()).is_some()
    }

    fn release_blob_trigger(&self) {
        if let Some(blobs) = &self.blobs {
            blobs.trigger.resume();
        }
    }

    async fn ended(&self) -> String {
        Session::ended(self).await
    }

    async fn stop(self: Box<Self>) -> anyhow::Result<()> {
        Session::stop(*self, DRAIN).await;
        Ok(())
    }
}
