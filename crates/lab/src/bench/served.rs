//! A program that serves HTTP, as a process of its own: what it answers, and what that costs the whole process.

use std::{net::TcpListener, process::Stdio, time::Duration};

use anyhow::{Context, bail, ensure};
use http::HeaderMap;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::machine::proc;
use incident_labs::blob::tls;

/// What a host with telemetry sends along.
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// A cold .NET took 10 s on a busy machine.
const FIRST_ANSWER: Duration = Duration::from_secs(60);

/// A running program; killed when dropped.
#[derive(Debug)]
pub(super) struct Served {
    program: String,
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Served {
    /// Starts what `command` makes of a free port, and gives the time from exec to the first answer on `/`.
    ///
    /// # Errors
    /// When it does not start, ends, or does not answer within a minute; its name is in the text.
    pub(super) async fn start(command: impl FnOnce(u16) -> Command) -> anyhow::Result<(Self, Duration)> {
        Self::start_within(FIRST_ANSWER, command).await
    }

    async fn start_within(
        patience: Duration,
        command: impl FnOnce(u16) -> Command,
    ) -> anyhow::Result<(Self, Duration)> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = command(port);
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let http = tls::http_client().no_proxy().build()?;
        let started = Instant::now();
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("start {program}"))?;
        let mut served = Self { program, child, url: format!("http://127.0.0.1:{port}"), http };
        while served.http.get(&served.url).timeout(patience).send().await.is_err() {
            if let Some(status) = served.child.try_wait()? {
                bail!("{} ended with {status} before it answered", served.program);
            }
            ensure!(started.elapsed() < patience, "{} does not answer", served.program);
            sleep(Duration::from_millis(1)).await;
        }
        Ok((served, started.elapsed()))
    }

    /// Posts `body` to `/<name>`, and gives the body of the answer.
    ///
    /// # Errors
    /// When there is none, or it is no success.
    pub(super) async fn post(&self, name: &str, body: impl Into<reqwest::Body>) -> anyhow::Result<bytes::Bytes> {
        let request = self.http.post(self.url(&format!("/{name}"))).header("traceparent", TRACEPARENT).body(body);
        Ok(self.send(request).await.context(name.to_owned())?.1)
    }

    /// Asks for something, and gives head and body of the answer.
    ///
    /// # Errors
    /// When there is none, or it is no success.
    pub(super) async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<(HeaderMap, bytes::Bytes)> {
        let answer = request.send().await.with_context(|| format!("ask {}", self.program))?;
        let (status, headers, body) = (answer.status(), answer.headers().clone(), answer.bytes().await?);
        let text = String::from_utf8_lossy(&body);
        ensure!(status.is_success(), "{} answered {status}: {text}", self.program);
        Ok((headers, body))
    }

    /// To make requests with.
    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The address of a path.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// CPU time of the whole process so far, in steps of 10 ms.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        proc::cpu_time(self.pid()?)?.context("the kernel does not tell utime and stime")
    }

    /// The most bytes that were resident.
    pub(super) fn peak_rss_bytes(&self) -> anyhow::Result<u64> {
        proc::status_bytes(self.pid()?, "VmHWM")?.context("the kernel does not tell VmHWM")
    }

    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.program))
    }

    /// The program as it was named at its start.
    pub(super) fn program(&self) -> &str {
        &self.program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a program with a port as its one argument.
    async fn failure_of(program: &str, patience: Duration) -> String {
        let command = |port: u16| {
            let mut command = Command::new(program);
            command.arg(port.to_string());
            command
        };
        format!("{:#}", Served::start_within(patience, command).await.unwrap_err())
    }

    #[tokio::test]
    async fn a_program_that_does_not_start_or_ends_is_named() {
        let text = failure_of("/no/such/peer", FIRST_ANSWER).await;
        assert!(text.starts_with("start /no/such/peer: "), "{text}");
        let text = failure_of("/bin/false", FIRST_ANSWER).await;
        assert!(text.starts_with("/bin/false ended with exit status: 1"), "{text}");
    }

    #[tokio::test]
    async fn a_program_that_runs_and_does_not_answer_is_named() {
        let text = failure_of("/usr/bin/yes", Duration::from_millis(50)).await;
        assert_eq!(text, "/usr/bin/yes does not answer");
    }
}
