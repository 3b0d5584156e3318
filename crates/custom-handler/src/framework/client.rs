//! The durable extension's webhook, as a client of it: what a `durableClient` input binding hands over, put to use.

use std::{fmt, sync::LazyLock, time::Duration};

use axum::body::Bytes;
use durable::error_chain;
use futures_util::{StreamExt, stream};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use super::{
    start::{NotStarted, Start},
    wire::{self, WEBHOOK_PATH},
};

const TIMEOUT: Duration = Duration::from_secs(30);
/// An instance's input and output together are at most a few MiB; a longer answer is none of the webhook's.
const LONGEST_ANSWER_BYTES: usize = 64 << 20;
/// What is quoted of an answer that refuses.
const QUOTED_CHARS: usize = 200;
/// Starts under way at once, unless told otherwise: as many as were measured together on Microsoft's host.
const STARTS_AT_ONCE: usize = 20;

type Connector = HttpsConnector<HttpConnector>;

/// One for all clients: reading the machine's certificates takes longer than a start.
static CONNECTOR: LazyLock<Connector> = LazyLock::new(|| {
    let provider = rustls::crypto::ring::default_provider();
    match HttpsConnectorBuilder::new().with_provider_and_platform_verifier(provider) {
        Ok(builder) => builder.https_or_http().enable_http1().build(),
        // Plain HTTP needs no certificates.
        Err(_) => without_roots(),
    }
});

/// Manages instances: starts them, asks for their status, sends them events, ends them.
#[derive(Clone)]
pub struct DurableClient {
    http: Client<Connector, Full<Bytes>>,
    base: String,
    /// Query parameters of every request; the key is among them.
    query: String,
    at_once: usize,
}

/// Without the query: the key is in it.
impl fmt::Debug for DurableClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("DurableClient");
        shown.field("base", &self.base).field("at_once", &self.at_once).finish_non_exhaustive()
    }
}

/// Why the webhook could not be used. No text holds its address: the key is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    #[error("the durableClient binding has no value: is the durable extension loaded?")]
    NoBinding,
    #[error("neither the durableClient binding nor WEBSITE_HOSTNAME tells where the webhook is")]
    NoAddress,
    #[error("the durable webhook does not answer: {0}")]
    Away(String),
    /// A start under an id whose instance has not ended: 409, from extension 2 a 500 that says so.
    #[error("an instance of this id is live")]
    Live,
    #[error("the durable webhook answered {status}{}", if body.is_empty() { String::new() } else { format!(": {body}") })]
    Refused {
        status: StatusCode,
        /// The start of its body, without the key.
        body: String,
    },
    #[error("the durable webhook's answer is not JSON")]
    NotJson,
    #[error("the value cannot be written as JSON: {0}")]
    Encode(#[from] serde_json::Error),
}

/// An instance, as the webhook tells it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Status {
    #[serde(default)]
    pub name: String,
    pub instance_id: String,
    /// `Pending`, `Running`, `Completed`, `Failed`, `Terminated`, `Suspended`, `ContinuedAsNew`.
    pub runtime_status: String,
    #[serde(default)]
    pub input: Value,
    #[serde(default)]
    pub custom_status: Value,
    #[serde(default)]
    pub output: Value,
    #[serde(default)]
    pub created_time: String,
    #[serde(default)]
    pub last_updated_time: String,
}

impl DurableClient {
    /// Reads a binding's value: a JSON text, encoded twice. Its task hub and connection, which may be others than `host.json`'s, go with
    /// every request. An extension too old to tell its address is found at `hostname` (`WEBSITE_HOSTNAME`).
    ///
    /// # Errors
    /// When the binding has no value, or no address can be found.
    pub fn from_binding(value: Option<&Value>, hostname: Option<&str>) -> Result<Self, ClientError> {
        let text = value.and_then(wire::text).ok_or(ClientError::NoBinding)?;
        let client: Value = serde_json::from_str(&text).ok().filter(Value::is_object).ok_or(ClientError::NoBinding)?;
        let told = client["httpBaseUrl"].as_str().map(str::to_owned);
        let base = told.or_else(|| hostname.map(webhook_of)).ok_or(ClientError::NoAddress)?;
        let member = |name: &str| client[name].as_str().filter(|it| !it.is_empty());
        let hub = member("taskHubName").map(|it| format!("taskHub={}", escaped(it)));
        let connection = member("connectionName").map(|it| format!("connection={}", escaped(it)));
        let key = member("requiredQueryStringParameters").map(str::to_owned);
        let query: Vec<String> = [hub, connection, key].into_iter().flatten().collect();
        Ok(Self::new(&base, &query.join("&")))
    }

    /// A client of the webhook at `base`, such as `http://localhost:7071/runtime/webhooks/durabletask`; `query` holds the key
    /// (`code=…`) where one is asked for.
    pub fn new(base: &str, query: &str) -> Self {
        let http = Client::builder(TokioExecutor::new()).build(CONNECTOR.clone());
        let base = base.trim_end_matches('/').to_owned();
        Self { http, base, query: query.to_owned(), at_once: STARTS_AT_ONCE }
    }

    /// Sets how many instances [`DurableClient::start_all`] starts at a time: 20 unless told otherwise, at least 1.
    #[must_use]
    pub fn at_once(mut self, starts: usize) -> Self {
        self.at_once = starts.max(1);
        self
    }

    /// Starts an instance and gives its id; without one the extension makes it up.
    ///
    /// # Errors
    /// [`ClientError::Live`] for the id of an instance that has not ended; else when the webhook does not answer as it should.
    pub async fn start(
        &self,
        orchestrator: &str,
        id: Option<&str>,
        input: &impl Serialize,
    ) -> Result<String, ClientError> {
        let id = id.map(|it| format!("/{}", escaped(it))).unwrap_or_default();
        let path = format!("orchestrators/{}{id}", escaped(orchestrator));
        let body = serde_json::to_string(input)?;
        let answer = self.ask(Method::POST, &path, "", body).await;
        let answer = answer.map_err(|error| if error.is_live() { ClientError::Live } else { error })?;
        let started: Value = serde_json::from_str(&answer).map_err(|_| ClientError::NotJson)?;
        started["id"].as_str().map(str::to_owned).ok_or(ClientError::NotJson)
    }

    /// Starts instances side by side, as many at a time as [`DurableClient::at_once`] says, and gives what became of each, in their
    /// order: its id, or why it was not started. One that fails keeps none from starting. Each has 30 s for its answer.
    ///
    /// ```no_run
    /// # use custom_handler::{ClientError, DurableClient, Start, console, error_chain};
    /// # async fn start(client: DurableClient) {
    /// let starts = (0..100).map(|n| Start::new("Fulfil", &n).id(&format!("order-{n}")));
    /// for failure in client.start_all(starts).await.into_iter().filter_map(Result::err) {
    ///     if !matches!(failure.error, ClientError::Live) {
    ///         console::err(&error_chain(&failure));
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn start_all(&self, starts: impl IntoIterator<Item = Start>) -> Vec<Result<String, NotStarted>> {
        let starts = starts.into_iter().enumerate().map(async |(place, start)| {
            let Start { orchestrator, id, input } = start;
            let started = self.start(&orchestrator, id.as_deref(), &input).await;
            (place, started.map_err(|error| NotStarted { id, error }))
        });
        // In the order of their answers, so that a slow one holds up no other.
        let mut outcomes: Vec<_> = stream::iter(starts).buffer_unordered(self.at_once).collect().await;
        outcomes.sort_by_key(|(place, _)| *place);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// The status of an instance; `None` where there is none of this id.
    ///
    /// # Errors
    /// When the webhook does not answer as it should.
    pub async fn status(&self, id: &str) -> Result<Option<Status>, ClientError> {
        match self.ask(Method::GET, &instance(id, ""), "", String::new()).await {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|_| ClientError::NotJson),
            Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends an event to an instance.
    ///
    /// # Errors
    /// When the webhook refuses: 404 for an unknown instance, 410 for one that has ended.
    pub async fn raise_event(&self, id: &str, name: &str, data: &impl Serialize) -> Result<(), ClientError> {
        let path = instance(id, &format!("/raiseEvent/{}", escaped(name)));
        self.ask(Method::POST, &path, "", serde_json::to_string(data)?).await.map(drop)
    }

    /// Ends an instance; its children and activities go on.
    ///
    /// # Errors
    /// As [`DurableClient::raise_event`].
    pub async fn terminate(&self, id: &str, reason: &str) -> Result<(), ClientError> {
        self.control(id, "terminate", reason).await
    }

    /// Holds back what arrives for an instance until it is resumed.
    ///
    /// # Errors
    /// As [`DurableClient::raise_event`].
    pub async fn suspend(&self, id: &str, reason: &str) -> Result<(), ClientError> {
        self.control(id, "suspend", reason).await
    }

    /// Ends a suspension.
    ///
    /// # Errors
    /// As [`DurableClient::raise_event`].
    pub async fn resume(&self, id: &str, reason: &str) -> Result<(), ClientError> {
        self.control(id, "resume", reason).await
    }

    /// Removes an instance that has ended, with its history. False where there is none of this id.
    ///
    /// # Errors
    /// When the webhook does not answer as it should.
    pub async fn purge(&self, id: &str) -> Result<bool, ClientError> {
        match self.ask(Method::DELETE, &instance(id, ""), "", String::new()).await {
            Ok(_) => Ok(true),
            Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn control(&self, id: &str, what: &str, reason: &str) -> Result<(), ClientError> {
        let reason = format!("reason={}", escaped(reason));
        self.ask(Method::POST, &instance(id, &format!("/{what}")), &reason, String::new()).await.map(drop)
    }

    /// The body of a good answer. An instance that failed is told with 500 only where that was asked for, and never here.
    async fn ask(&self, method: Method, path: &str, query: &str, body: String) -> Result<String, ClientError> {
        let query: Vec<&str> = [query, &self.query].into_iter().filter(|it| !it.is_empty()).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let uri: Uri = format!("{}/{path}{mark}{}", self.base, query.join("&"))
            .parse()
            .map_err(|_| ClientError::Away("its address is no URL".to_owned()))?;
        let request = Request::builder().method(method).uri(uri).header("Content-Type", "application/json");
        let request = request.body(Full::from(body)).map_err(|error| ClientError::Away(error.to_string()))?;
        let exchange = async {
            let response = self.http.request(request).await.map_err(|error| ClientError::Away(error_chain(&error)))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LONGEST_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| ClientError::Away(error.to_string()))?.to_bytes();
            Ok::<_, ClientError>((status, String::from_utf8_lossy(&body).into_owned()))
        };
        let over = |_| ClientError::Away(format!("no answer within {} s", TIMEOUT.as_secs()));
        let (status, body) = timeout(TIMEOUT, exchange).await.map_err(over)??;
        if status.is_success() {
            return Ok(body);
        }
        Err(ClientError::Refused { status, body: self.without_key(body).chars().take(QUOTED_CHARS).collect() })
    }

    /// What stands between the app and the webhook may quote the address that it was asked for.
    fn without_key(&self, text: String) -> String {
        let keys = self.query.split('&').filter_map(|it| it.strip_prefix("code=")).filter(|it| !it.is_empty());
        keys.fold(text, |text, key| {
            let decoded = percent_decode_str(key).decode_utf8_lossy();
            text.replace(key, "<key>").replace(&*decoded, "<key>")
        })
    }
}

impl ClientError {
    fn is_live(&self) -> bool {
        let Self::Refused { status, body } = self else { return false };
        *status == StatusCode::CONFLICT || body.contains("An Orchestration instance with the status ")
    }
}

/// Verifies no certificate, and so reaches no HTTPS address.
fn without_roots() -> Connector {
    let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map(|it| it.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    let mut plain = HttpConnector::new();
    plain.enforce_http(false);
    match config {
        Ok(config) => HttpsConnector::from((plain, config)),
        Err(_) => unreachable!("ring has the default protocol versions"),
    }
}

fn webhook_of(hostname: &str) -> String {
    let scheme = if hostname.starts_with("localhost") { "http" } else { "https" };
    format!("{scheme}://{hostname}{WEBHOOK_PATH}")
}

fn instance(id: &str, what: &str) -> String {
    format!("instances/{}{what}", escaped(id))
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
