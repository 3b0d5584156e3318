//! The handler alone, as a process without a host around it.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use serde_json::json;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::served::Served;
use crate::machine::proc;
use custom_handler::wire::env;
use incident_labs::{
    blob::{INPUT_CONTAINER, StorageAccount},
    functions::{BLOB_FUNCTION, ORCHESTRATOR_FUNCTION},
    settings::CONNECTION_STRING,
};

/// A running handler; killed when dropped.
#[derive(Debug)]
pub(super) struct Handler {
    served: Served,
    account: StorageAccount,
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
        let storage = account.connection_string().context("an account with a key")?;
        let command = |port: u16| {
            let mut command = Command::new(executable);
            command
                .env(env::PORT, port.to_string())
                .env("AzureWebJobsStorage", storage)
                .env("BLOB_VARIANT", "streaming")
                .env_remove(CONNECTION_STRING)
                .envs(settings.iter().copied());
            command
        };
        let (served, first_answer) = Served::start(command).await?;
        Ok((Self { served, account: account.clone() }, first_answer))
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
        let started = Instant::now();
        self.served.post(function, body).await?;
        Ok(started.elapsed())
    }

    /// Resident bytes of front and worker.
    pub(super) async fn rss_bytes(&self) -> anyhow::Result<(u64, u64)> {
        let front = self.served.pid()?;
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
