//! A lab in operation: storage, host with handler, and blob trigger on one run folder.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use tokio::time::{Instant, sleep};

use crate::{
    cgroup,
    host::RESULTS_CONTAINER,
    lab::{
        azurite::{Azurite, Ports},
        blob_trigger::{BlobFunction, BlobTrigger, TriggerParts, TriggerSettings},
        folder::Folder,
        host::{Echo, Host, HostLog, HostOptions, Identity},
        storage::Storage,
        tables::Tables,
    },
};

/// How long a worker may take to follow its front.
const TIDY_TIME: Duration = Duration::from_secs(2);

/// How to run a lab.
pub struct SessionOptions {
    /// Its run folder.
    pub folder: Folder,
    /// The staged app.
    pub script_root: PathBuf,
    /// App settings, later ones winning.
    pub settings: Vec<(String, String)>,
    /// Longest time a new blob or message goes unnoticed; the host's own pace if not set.
    pub pace: Option<Duration>,
    /// Called for each line of the host's log.
    pub echo: Echo,
}

impl std::fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionOptions").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A lab in operation.
#[derive(Debug)]
pub struct Session {
    /// Its run folder.
    pub folder: Folder,
    /// Storage.
    pub azurite: Azurite,
    /// Clients of that storage.
    pub storage: Storage,
    /// The host.
    pub host: Host,
    /// The trigger.
    pub trigger: BlobTrigger,
    /// Containers blobs are looked for in.
    pub inputs: Vec<String>,
}

impl Session {
    /// Starts storage, then the host, then the trigger.
    ///
    /// # Errors
    /// What could not be started.
    pub async fn start(options: SessionOptions) -> anyhow::Result<Self> {
        let functions = BlobFunction::staged(&options.script_root)?;
        let mut trigger = TriggerSettings::from_script_root(&options.script_root, &options.settings)?;
        if let Some(pace) = options.pace {
            (trigger.listing_interval, trigger.poll_max) = (pace, pace);
        }
        let folder = options.folder;
        let azurite = Azurite::start(&folder, Ports::Free).await?;
        let storage = Storage::open(azurite.account())?;
        let inputs: Vec<String> = functions.iter().map(|it| it.path.container.clone()).collect();
        for container in inputs.iter().map(String::as_str).chain([RESULTS_CONTAINER]) {
            storage.ensure_container(container).await?;
        }
        let tables = Tables::open(&folder.tables()).context("open the tables")?;
        let settings = app_settings(&folder, &azurite, options.settings);
        let host_options = HostOptions::from_script_root(&options.script_root, settings)?;
        let log = HostLog::new(tables, Identity::new(&host_options.app_name), options.echo);
        let host = Host::start(host_options, log.clone()).await?;
        let parts =
            TriggerParts { functions, storage: storage.clone(), host: host.clone(), log, journal: folder.journal() };
        let trigger = BlobTrigger::start(parts, trigger).context("open the journal of processed blobs")?;
        Ok(Self { folder, azurite, storage, host, trigger, inputs })
    }

    /// Stops the trigger, gives running invocations `drain` to end, then stops the handler and storage.
    pub async fn stop(self, drain: Duration) {
        if !self.trigger.stop(drain).await {
            self.host.shutdown().await;
            // Invocations fail with their handler; this lets them give their messages back.
            self.trigger.stop(Duration::from_secs(2)).await;
        }
        self.host.shutdown().await;
        self.azurite.stop().await;
        // The host kills its handler, which then cannot tidy up; its worker ends a moment later.
        let stopped = Instant::now();
        while cgroup::remove_leftovers() > 0 && stopped.elapsed() < TIDY_TIME {
            sleep(TIDY_TIME / 20).await;
        }
    }
}

fn app_settings(folder: &Folder, azurite: &Azurite, settings: Vec<(String, String)>) -> Vec<(String, String)> {
    let own = [
        ("FUNCTIONS_WORKER_RUNTIME".to_owned(), "custom".to_owned()),
        ("AzureWebJobsStorage".to_owned(), azurite.account().connection_string().unwrap_or_default()),
        ("TELEMETRY_FOLDER".to_owned(), folder.tables().display().to_string()),
    ];
    own.into_iter().chain(settings).chain([folder.mark()]).collect()
}

/// The last lines of a table's column, to show what went wrong.
pub fn last_lines(file: &Path, column: &str, count: usize) -> io::Result<Vec<String>> {
    let text = std::fs::read_to_string(file)?;
    let rows = text.lines().filter_map(|it| serde_json::from_str::<serde_json::Value>(it).ok());
    let lines: Vec<String> = rows.filter_map(|row| Some(row[column].as_str()?.to_owned())).collect();
    Ok(lines[lines.len().saturating_sub(count)..].to_vec())
}
