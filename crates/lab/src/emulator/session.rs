//! The stand-in in operation: storage, host with handler, and all that calls it, on one work folder.

use std::{io, path::Path, time::Duration};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep, timeout},
};
use url::Url;

use super::listener::{HttpHost, HttpParts, HttpPort};
use super::{
    blob_trigger::{BlobTrigger, TriggerParts, TriggerSettings},
    host::{Echo, Host, HostLog, HostOptions, Identity, Level, Lifecycle},
    http_trigger::HttpFunctions,
    hub_tables::HubTables,
    surroundings::{check, preview, provide},
    task_hub::TaskHub,
};
use crate::{
    app::{ScriptRoot, blob_trigger::BlobFunction, pace::Pace},
    evidence::{jsonl, table_writer::Tables},
    ingestion::{Collector, Sink},
    machine::{
        azurite::{Azurite, Ports},
        storage::Storage,
        storage_proxy::{StorageProxy, Withheld},
        workspace::Workspace,
    },
};
use incident_labs::{settings::CONNECTION_STRING, telemetry::GATHER, worker::cgroup};

/// How long a worker may take to follow its front.
const TIDY_TIME: Duration = Duration::from_secs(2);

/// Where the kernel's groups are: their names can tell a user's.
const CGROUPS: &str = "/sys/fs/cgroup";

const NO_BLOB_FUNCTION: &str = "the staged app has no blob function";

/// How often the handler may go on sending when it has nothing left to do.
const MOST_WAITS: usize = 10;

/// How to run a lab.
pub struct SessionOptions {
    pub folder: Workspace,
    /// The app with its settings.
    pub script_root: ScriptRoot,
    /// Containers the app expects beside those of its triggers.
    pub containers: Vec<String>,
    pub pace: Pace,
    /// Where its HTTP side listens.
    pub port: HttpPort,
    /// Called for each line of the host's log.
    pub echo: Echo,
    /// Roles to withhold: the app then reaches storage through a proxy.
    pub withheld: Option<Withheld>,
}

impl std::fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionOptions").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A lab whose storage is there already, and whose host is still to start.
pub(super) struct Opened {
    folder: Workspace,
    script_root: ScriptRoot,
    containers: Vec<String>,
    pace: Pace,
    echo: Echo,
    functions: Vec<BlobFunction>,
    listener: TcpListener,
    port: u16,
    azurite: Option<Azurite>,
    proxy: Option<StorageProxy>,
}

/// A lab in operation.
#[derive(Debug)]
pub struct Session {
    pub folder: Workspace,
    pub host: Host,
    pub http: HttpHost,
    /// Storage and blob trigger, if the app has a blob function.
    pub blobs: Option<Blobs>,
    /// Where the handler's telemetry goes, unless the app's own settings send it elsewhere.
    pub telemetry: Collector,
    pub sends_telemetry_elsewhere: bool,
    proxy: Option<StorageProxy>,
    lifecycle: Lifecycle,
}

/// Storage, and the trigger that watches it.
#[derive(Debug)]
pub struct Blobs {
    pub azurite: Azurite,
    /// Clients of that storage, with every right.
    pub storage: Storage,
    pub trigger: BlobTrigger,
    /// Containers blobs are looked for in.
    pub inputs: Vec<String>,
    /// The other containers the app expects.
    pub outputs: Vec<String>,
}

impl Session {
    /// Starts storage, then the host, then what calls it.
    ///
    /// # Errors
    /// What could not be started.
    pub async fn start(options: SessionOptions) -> anyhow::Result<Self> {
        Opened::open(options).await?.start().await
    }

    /// Storage and trigger.
    ///
    /// # Errors
    /// When the app has no blob function.
    pub fn blobs(&self) -> anyhow::Result<&Blobs> {
        self.blobs.as_ref().context(NO_BLOB_FUNCTION)
    }

    /// The task hub.
    ///
    /// # Errors
    /// When the app has no durable function.
    pub fn hub(&self) -> anyhow::Result<&TaskHub> {
        self.http.hub.as_ref().context("the staged app has no durable function")
    }

    /// Why it cannot go on, once it cannot: the host gave up, or storage ended.
    pub async fn ended(&self) -> String {
        let storage = async {
            match &self.blobs {
                Some(blobs) => format!("storage ended ({:?}): see logs/azurite.log", blobs.azurite.ended().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = self.host.stopped() => format!("the host stopped: {reason}"),
            reason = storage => reason,
        }
    }

    /// Stops what calls the host, gives running invocations `drain` to end, then stops the handler and storage.
    pub async fn stop(self, drain: Duration) {
        self.lifecycle.stopping();
        let trigger = async {
            if let Some(blobs) = &self.blobs {
                blobs.trigger.stop(drain).await;
            }
        };
        let ((), http) = tokio::join!(trigger, timeout(drain, self.http.stop()));
        if http.is_err() {
            // Calls fail with their handler.
            self.host.shutdown().await;
            let _ = timeout(Duration::from_secs(2), self.http.stop()).await;
        }
        self.lifecycle.stopped();
        // The host kills its handler without warning, and with it what the handler has not sent yet.
        all_sent(&self.telemetry).await;
        self.host.shutdown().await;
        self.telemetry.stop().await;
        if let Some(proxy) = self.proxy {
            let _ = timeout(drain, proxy.stop()).await;
        }
        if let Some(blobs) = self.blobs {
            blobs.azurite.stop().await;
        }
        // The host kills its handler, which then cannot tidy up; its worker ends a moment later.
        let stopped = Instant::now();
        while cgroup::remove_leftovers() > 0 && stopped.elapsed() < TIDY_TIME {
            sleep(TIDY_TIME / 20).await;
        }
    }
}

impl Opened {
    /// Takes the port, looks at the app, and starts storage, if the app has a blob function.
    ///
    /// # Errors
    /// What could not be started, or why the app cannot be served here.
    pub(super) async fn open(options: SessionOptions) -> anyhow::Result<Self> {
        let SessionOptions { folder, script_root, containers, pace, port, echo, withheld } = options;
        let listener = port.listen().await?;
        let port = listener.local_addr()?.port();
        let previewed = preview(&script_root, port)?;
        let functions = BlobFunction::all(&previewed)?;
        check(&previewed, &functions)?;
        HostOptions::new(&previewed)?.check_executable(&previewed)?;
        let azurite = if functions.is_empty() { None } else { Some(Azurite::start(&folder, Ports::Free).await?) };
        let proxy = match (&azurite, withheld) {
            (Some(azurite), Some(withheld)) => Some(StorageProxy::start(azurite.account(), withheld).await?),
            _ => None,
        };
        Ok(Self { folder, script_root, containers, pace, echo, functions, listener, port, azurite, proxy })
    }

    /// Where the HTTP functions will be.
    pub(super) fn url(&self) -> anyhow::Result<Url> {
        Ok(format!("http://{}", self.listener.local_addr()?).parse()?)
    }

    /// Clients of storage, with every right.
    ///
    /// # Errors
    /// When the app has no blob function.
    pub(super) fn storage(&self) -> anyhow::Result<Storage> {
        Ok(Storage::open(self.azurite.as_ref().context(NO_BLOB_FUNCTION)?.account())?)
    }

    /// Starts the host, then what calls it. Where the durable extension may not have its tables, the host is not there before it may.
    ///
    /// # Errors
    /// What could not be started.
    pub(super) async fn start(self) -> anyhow::Result<Session> {
        let Self { folder, script_root, containers, pace, echo, functions, listener, port, azurite, proxy } = self;
        // The app's way to storage, and the host's on its behalf.
        let account = proxy.as_ref().map(StorageProxy::account).or(azurite.as_ref().map(Azurite::account)).cloned();
        let tables = Tables::open(&folder.tables()).context("open the tables")?;
        let places = [(script_root.path(), "<app>"), (folder.path(), "<work>"), (Path::new(CGROUPS), "<cgroup>")];
        // Tables of the work folder are for the person at this machine; others are a run's evidence.
        let is_evidence = !folder.tables().starts_with(folder.path());
        let tables = if is_evidence { tables.naming(&places) } else { tables };
        let telemetry = Collector::start(0, Sink::tables(tables.clone())).await?;
        let destination = script_root.setting(CONNECTION_STRING).unwrap_or_default().trim();
        let sends_telemetry_elsewhere = !destination.is_empty();
        // As app settings send an app's telemetry on Azure.
        let here = (CONNECTION_STRING.to_owned(), telemetry.connection_string());
        let script_root = script_root.with_settings((!sends_telemetry_elsewhere).then_some(here));
        let root = provide(script_root, &folder, account.as_ref(), port).resolved()?;
        let mut host_options = HostOptions::new(&root)?;
        // The handler's rows and the host's are joined by the ids that the host sends only then.
        host_options.telemetry_configured = true;
        let log = HostLog::new(tables.clone(), Identity::new(&host_options.app_name), echo);
        for function in root.disabled() {
            log.write("Host.Startup", Level::Information, format!("Function 'Functions.{function}' is disabled"));
        }
        let lifecycle = Lifecycle::begin(&log, &root)?;
        let host =
            Host::start(host_options, log.clone()).await.context("find a free port on 127.0.0.1 for the handler")?;
        if let Some(proxy) = &proxy
            && let Some(hub) = HubTables::of(&root, proxy.account())?
        {
            hub.provide(&listener, &log).await?;
        }
        let parts = HttpParts {
            hub_file: folder.task_hub(),
            host: host.clone(),
            log: log.clone(),
            tables,
            waits: pace.waits(),
        };
        let http = HttpHost::start(listener, &root, parts)?;
        lifecycle.initialized(&HttpFunctions::new(&root).mapped());
        let blobs = match azurite.zip(account) {
            None => None,
            Some((azurite, account)) => {
                let settings = TriggerSettings::new(&root, pace)?;
                let parts = TriggerParts {
                    functions,
                    storage: Storage::open(&account)?,
                    host: host.clone(),
                    log,
                    journal: folder.journal(),
                };
                Some(Blobs::start(azurite, containers, parts, settings).await?)
            }
        };
        lifecycle.started();
        Ok(Session { folder, host, http, blobs, telemetry, sends_telemetry_elsewhere, proxy, lifecycle })
    }
}

impl Blobs {
    async fn start(
        azurite: Azurite,
        containers: Vec<String>,
        parts: TriggerParts,
        settings: TriggerSettings,
    ) -> anyhow::Result<Self> {
        // Containers are the template's, and what a lab does with storage is the operator's: neither takes the app's roles.
        let storage = Storage::open(azurite.account())?;
        let inputs: Vec<String> = parts.functions.iter().map(|it| it.path.container.clone()).collect();
        for container in inputs.iter().chain(&containers) {
            storage.ensure_container(container).await?;
        }
        let trigger = BlobTrigger::start(parts, settings).context("open the journal of processed blobs")?;
        Ok(Self { azurite, storage, trigger, inputs, outputs: containers })
    }
}

/// Waits until no line and no call has come for the time in which the handler sends what it has. Gauges come all the time.
async fn all_sent(collector: &Collector) {
    let told = || {
        let counts = collector.counts();
        counts.accepted - counts.kinds.get("MetricData").copied().unwrap_or_default()
    };
    for _ in 0..MOST_WAITS {
        let before = told();
        sleep(2 * GATHER).await;
        if told() == before {
            return;
        }
    }
}

/// Settings that keep an app's telemetry on this machine.
pub(super) fn telemetry_here() -> Vec<(String, String)> {
    vec![(CONNECTION_STRING.to_owned(), String::new())]
}

/// The last lines of a table's column, to show what went wrong.
///
/// # Errors
/// When the table cannot be read.
pub fn last_lines(file: &Path, column: &str, count: usize) -> io::Result<Vec<String>> {
    let rows: Vec<serde_json::Value> = jsonl::read(file)?;
    let lines: Vec<String> = rows.iter().filter_map(|row| Some(row[column].as_str()?.to_owned())).collect();
    Ok(lines[lines.len().saturating_sub(count)..].to_vec())
}
