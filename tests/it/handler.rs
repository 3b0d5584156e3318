//! The real handler as a process of its own, and calls of it as a host makes them.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use incident_labs::blob::{EMULATOR_KEY, StorageAccount, record_name, tls};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    net::TcpListener,
    process::{Child, Command},
};
use tokio_util::task::TaskTracker;

use crate::{
    harness::{HANDLER, StorageFixture, eventually},
    scripted_ingestion::{Does, Ingestion},
};

/// Time in which anything on this machine should have happened.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A running handler. It is killed when dropped; its lines are shown when the test fails.
pub(crate) struct Handler {
    pub(crate) child: Child,
    pub(crate) port: u16,
    account: StorageAccount,
    lines: Arc<Mutex<Vec<String>>>,
    output: TaskTracker,
    pub(crate) http: reqwest::Client,
    /// Where its telemetry goes.
    sink: Option<Ingestion>,
}

/// An answer of the handler.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Reply {
    /// The `Logs` of a success.
    pub(crate) fn logs(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{self:?}");
        let body: Value = serde_json::from_str(&self.body).unwrap();
        body["Logs"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
    }
}

impl Handler {
    /// Starts the handler with `settings` on top of the host's, and waits until it listens.
    pub(crate) async fn start(account: &StorageAccount, settings: &[(&str, &str)]) -> Self {
        Self::start_by(Command::new(HANDLER), account, settings).await
    }

    /// The same, with an endpoint for its telemetry: it has rows then, and the lines that are nowhere else.
    pub(crate) async fn observed(account: &StorageAccount, settings: &[(&str, &str)]) -> Self {
        let sink = Ingestion::start(Does::Take).await;
        let connection_string = sink.connection_string();
        let own = [("APPLICATIONINSIGHTS_CONNECTION_STRING", connection_string.as_str())];
        let mut handler = Self::start(account, &[&own, settings].concat()).await;
        handler.sink = Some(sink);
        handler
    }

    /// The same as [`Self::start`], by a command that ends up as the handler.
    pub(crate) async fn start_by(mut command: Command, account: &StorageAccount, settings: &[(&str, &str)]) -> Self {
        let port = free_port().await;
        let mut child = command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .env("AzureWebJobsStorage", account.connection_string().unwrap_or_default())
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (lines, output) = (Arc::<Mutex<Vec<String>>>::default(), TaskTracker::new());
        output.spawn(collect("out", child.stdout.take().unwrap(), Arc::clone(&lines)));
        output.spawn(collect("err", child.stderr.take().unwrap(), Arc::clone(&lines)));
        output.close();
        let http = http_client();
        let handler = Self { child, port, account: account.clone(), lines, output, http, sink: None };
        eventually(SOON, || async { handler.http.get(handler.url("")).send().await.ok() }).await;
        handler
    }

    pub(crate) fn url(&self, function: &str) -> String {
        format!("http://127.0.0.1:{}/{function}", self.port)
    }

    /// Calls the blob function for `input/<name>`, as the host would.
    pub(crate) async fn invoke(&self, name: &str) -> Reply {
        let mut uri = self.account.blob_endpoint.clone();
        uri.path_segments_mut().unwrap().push("input").extend(name.split('/'));
        self.invoke_at(uri.as_str(), name).await
    }

    /// The same for any URI.
    pub(crate) async fn invoke_at(&self, uri: &str, name: &str) -> Reply {
        self.try_invoke_at(uri, name).await.unwrap()
    }

    /// The same where there may be no answer.
    pub(crate) async fn try_invoke_at(&self, uri: &str, name: &str) -> reqwest::Result<Reply> {
        let envelope = json!({
            "Data": { "blob": { "Version": "1.0", "Source": "AzureStorageBlobs" } },
            "Metadata": { "Uri": json!(uri).to_string(), "name": json!(name).to_string(), "sys": {} },
        });
        self.try_post("BlobBufferProcessor", envelope.to_string().into()).await
    }

    pub(crate) async fn post(&self, function: &str, body: reqwest::Body) -> Reply {
        self.try_post(function, body).await.unwrap()
    }

    async fn try_post(&self, function: &str, body: reqwest::Body) -> reqwest::Result<Reply> {
        let answer = self
            .http
            .post(self.url(function))
            .header("X-Azure-Functions-InvocationId", "1f0d0000-0000-0000-0000-000000000001")
            .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
            .header("Content-Type", "application/json; charset=utf-8")
            .body(body)
            .send()
            .await?;
        Ok(Reply { status: answer.status().as_u16(), body: answer.text().await? })
    }

    /// Lines of `out` or `err` so far.
    pub(crate) fn lines(&self, stream: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        let console = lines.iter().filter_map(|it| it.strip_prefix(stream)?.strip_prefix(": ").map(str::to_owned));
        let sent = self.sink.iter().flat_map(|it| it.of("MessageData"));
        console.chain(sent.filter_map(|it| line_of(&it, stream))).collect()
    }

    /// Waits for a line of that stream that contains `text`; gives the whole line.
    pub(crate) async fn line(&self, stream: &str, text: &str) -> String {
        eventually(SOON, || async { self.lines(stream).into_iter().find(|line| line.contains(text)) }).await
    }

    /// The pid of worker number `generation`, once it is up.
    pub(crate) async fn worker_pid(&self, generation: u32) -> i32 {
        let line = self.line("out", &format!("worker.generation={generation} worker.pid=")).await;
        line.split("worker.pid=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        send_signal(i32::try_from(self.child.id().unwrap()).unwrap(), signal);
    }

    /// Waits for the handler's end; gives its exit code and all its lines are there.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let status = tokio::time::timeout(SOON, self.child.wait()).await.expect("it should have ended").unwrap();
        self.output.wait().await;
        status.code()
    }

    /// The data of all storage calls that have ended so far, as they were sent.
    pub(crate) async fn calls(&self) -> Vec<Value> {
        self.settled().await;
        self.sink.iter().flat_map(|it| it.of("RemoteDependencyData")).map(|it| it["data"]["baseData"].clone()).collect()
    }

    /// Highest Private Bytes of the worker so far, the present second included.
    pub(crate) async fn peak_private_bytes(&self) -> u64 {
        self.settled().await;
        let values = self.sink.iter().flat_map(|it| it.gauge(r"\Process(??APP_WIN32_PROC??)\Private Bytes"));
        values.map(|it| it as u64).max().unwrap_or(0)
    }

    /// Waits for two gauges that are told from now on. Rows are sent in the order they were queued, so what was told before is there.
    async fn settled(&self) {
        let sink = self.sink.as_ref().expect("a handler that is observed");
        let seconds = || sink.gauge("handler.front_rss").len();
        let before = seconds();
        // The first may have been on its way.
        eventually(SOON, async || (seconds() >= before + 2).then_some(())).await;
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the handler's lines:\n{}", self.lines.lock().unwrap().join("\n"));
        }
    }
}

/// A row as the line it would have been on that stream.
fn line_of(envelope: &Value, stream: &str) -> Option<String> {
    let data = &envelope["data"]["baseData"];
    let is_trouble = data["severityLevel"].as_u64()? > 1;
    let fields = data["properties"].as_object().into_iter().flatten();
    let fields: String =
        fields.map(|(name, value)| format!(" {name}={}", value.as_str().unwrap_or_default())).collect();
    (is_trouble == (stream == "err")).then(|| format!("{}{fields}", data["message"].as_str().unwrap_or_default()))
}

pub(crate) fn send_signal(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

pub(crate) fn is_alive(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Third field: a zombie is dead to everyone but its parent.
    status.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// A plain HTTP client.
pub(crate) fn http_client() -> reqwest::Client {
    tls::http_client().no_proxy().build().unwrap()
}

/// Rows of a JSONL table; none when it does not exist.
pub(crate) fn rows(table: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(table).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) async fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port()
}

async fn collect(stream: &'static str, from: impl AsyncRead + Unpin, lines: Arc<Mutex<Vec<String>>>) {
    let mut from = BufReader::new(from).lines();
    while let Ok(Some(line)) = from.next_line().await {
        lines.lock().unwrap().push(format!("{stream}: {line}"));
    }
}

/// Puts a blob into the input container.
pub(crate) async fn give(fixture: &StorageFixture, name: &str, bytes: &[u8]) {
    fixture.storage.ensure_container("input").await.unwrap();
    fixture.storage.put("input", name, bytes.to_vec(), None).await.unwrap();
}

/// The result record of an input blob, if there is one.
pub(crate) async fn record(fixture: &StorageFixture, name: &str) -> Option<Value> {
    let bytes = fixture.storage.read("results", &record_name(name)).await.unwrap()?;
    Some(serde_json::from_slice(&bytes).unwrap())
}

/// No file below `folder` may hold a key, a signature or a token.
pub(crate) fn assert_no_secret(folder: &std::path::Path) {
    let mut searched = 0;
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            searched += 1;
            assert_no_secret_in(&entry.path().display().to_string(), &std::fs::read(entry.path()).unwrap());
        }
    }
    assert!(searched > 0, "there is nothing to search in {}", folder.display());
}

/// The same for one text.
pub(crate) fn assert_no_secret_in(place: &str, bytes: &[u8]) {
    for secret in [EMULATOR_KEY, "sig=", "SharedKey", "AccountKey", "eyJ"] {
        let found = bytes.windows(secret.len()).any(|it| it == secret.as_bytes());
        assert!(!found, "{secret} was found in {place}");
    }
}
