//! The handler alone, as a process without a host around it.

use std::{net::TcpListener, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, bail, ensure};
use serde_json::json;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::machine::proc;
use custom_handler::wire::env;
use incident_labs::{
    blob::{INPUT_CONTAINER, StorageAccount},
    functions::{BLOB_FUNCTION, ORCHESTRATOR_FUNCTION},
    settings::CONNECTION_STRING,
};

/// What a host with telemetry sends along.
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A running handler; killed when dropped.
#[derive(Debug)]
pub(super) struct Handler {
    child: Child,
    url: String,
    account: StorageAccount,
    http: reqwest::Client,
}

impl Handler {
    /// Starts it and gives the time from exec to the first answer on `/`.
    pub(super) async fn start(executable: &Path, account: &StorageAccount) -> anyhow::Result<(Self, Duration)> {
        Self::start_with(executable, account, &[]).await
    }

    /// The same, with settings on top.
    pub(super) async fn start_with(
        executable: &Path,
        account: &StorageAccount,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<(Self, Duration)> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let http = reqwest::Client::builder().no_proxy().build()?;
        let started = Instant::now();
        let child = Command::new(executable)
            .env(env::PORT, port.to_string())
            .env("AzureWebJobsStorage", account.connection_string().context("an account with a key")?)
            .env("BLOB_VARIANT", "streaming")
            .env_remove(CONNECTION_STRING)
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", executable.display()))?;
        let handler = Self { child, url: format!("http://127.0.0.1:{port}/"), account: account.clone(), http };
        while handler.http.get(&handler.url).send().await.is_err() {
            ensure!(started.elapsed() < Duration::from_secs(10), "the handler does not answer");
            sleep(Duration::from_millis(1)).await;
        }
        Ok((handler, started.elapsed()))
    }

    /// One invocation for a blob of the input container, from its first byte to its answer.
    pub(super) async fn invoke(&self, name: &str) -> anyhow::Result<Duration> {
        let uri = format!("{}/{INPUT_CONTAINER}/{name}", self.account.blob_endpoint);
        let envelope = json!({ "Data": { "blob": {} }, "Metadata": { "Uri": json!(uri).to_string() } });
        self.call(BLOB_FUNCTION, envelope.to_string()).await.with_context(|| format!("blob {name}"))
    }

    /// One episode, from the first byte of its body to its answer.
    pub(super) async fn episode(&self, body: &[u8]) -> anyhow::Result<Duration> {
        self.call(ORCHESTRATOR_FUNCTION, body.to_vec()).await
    }

    async fn call(&self, function: &str, body: impl Into<reqwest::Body>) -> anyhow::Result<Duration> {
        let request = self.http.post(format!("{}{function}", self.url)).header("traceparent", TRACEPARENT).body(body);
        let started = Instant::now();
        let answer = request.send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{function}: the handler answered {status}: {body}");
        Ok(started.elapsed())
    }

    /// Resident bytes of front and worker.
    pub(super) async fn rss_bytes(&self) -> anyhow::Result<(u64, u64)> {
        let front = self.child.id().context("the handler has ended")?;
        let started = Instant::now();
        loop {
            if let Some(worker) = proc::children(front)?.first() {
                // A moment for it to be idle: it has just been started.
                sleep(Duration::from_millis(500)).await;
                return Ok((resident(front)?, resident(*worker)?));
            }
            if started.elapsed() > Duration::from_secs(10) {
                bail!("the handler has no worker");
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn resident(pid: u32) -> anyhow::Result<u64> {
    proc::status_bytes(pid, "VmRSS")?.context("the kernel does not tell VmRSS")
}
