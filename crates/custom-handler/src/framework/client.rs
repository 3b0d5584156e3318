//! The durable extension's webhook, as a client of it: what a `durableClient` input binding hands over, put to use.

use std::time::Duration;

use axum::body::Bytes;
use durable::error_chain;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use super::wire::{self, WEBHOOK_PATH};

const TIMEOUT: Duration = Duration::from_secs(30);
/// An instance's input and output together are at most a few MiB; a longer answer is none of the webhook's.
const LONGEST_ANSWER_BYTES: usize = 64 << 20;

/// Manages instances: starts them, asks for their status, sends them events, ends them.
#[derive(Clone, Debug)]
pub struct DurableClient {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    /// Query parameters of every request; the key is among them.
    query: String,
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
    #[error("the durable webhook answered {status}{}", if body.is_empty() { String::new() } else { format!(": {body}") })]
    Refused {
        status: StatusCode,
        /// The start of its body.
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
    /// Reads a binding's value: a JSON text, encoded twice. An extension too old to tell its address is found at `hostname`
    /// (`WEBSITE_HOSTNAME`).
    ///
    /// # Errors
    /// When the binding has no value, or no address can be found.
    pub fn from_binding(value: Option<&Value>, hostname: Option<&str>) -> Result<Self, ClientError> {
        let text = value.and_then(wire::text).ok_or(ClientError::NoBinding)?;
        let client: Value = serde_json::from_str(&text).ok().filter(Value::is_object).ok_or(ClientError::NoBinding)?;
        let told = client["httpBaseUrl"].as_str().map(str::to_owned);
        let base = told.or_else(|| hostname.map(webhook_of)).ok_or(ClientError::NoAddress)?;
        let query = client["requiredQueryStringParameters"].as_str().unwrap_or_default();
        Ok(Self::new(&base, query))
    }

    /// A client of the webhook at `base`, such as `http://localhost:7071/runtime/webhooks/durabletask`; `query` holds the key
    /// (`code=…`) where one is asked for.
    pub fn new(base: &str, query: &str) -> Self {
        let provider = rustls::crypto::ring::default_provider();
        let roots = HttpsConnectorBuilder::new().with_provider_and_platform_verifier(provider);
        let connector = match roots {
            Ok(builder) => builder.https_or_http().enable_http1().build(),
            // Plain HTTP needs no certificates.
            Err(_) => without_roots(),
        };
        let http = Client::builder(TokioExecutor::new()).build(connector);
        Self { http, base: base.trim_end_matches('/').to_owned(), query: query.to_owned() }
    }

    /// Starts an instance and gives its id; without one the extension makes it up.
    ///
    /// # Errors
    /// When the webhook refuses: 409 for an id that is running.
    pub async fn start(
        &self,
        orchestrator: &str,
        id: Option<&str>,
        input: &impl Serialize,
    ) -> Result<String, ClientError> {
        let id = id.map(|it| format!("/{}", escaped(it))).unwrap_or_default();
        let path = format!("orchestrators/{}{id}", escaped(orchestrator));
        let body = serde_json::to_string(input)?;
        let answer = self.ask(Method::POST, &path, "", body).await?;
        let started: Value = serde_json::from_str(&answer).map_err(|_| ClientError::NotJson)?;
        started["id"].as_str().map(str::to_owned).ok_or(ClientError::NotJson)
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
        Err(ClientError::Refused { status, body: body.chars().take(200).collect() })
    }
}

/// Verifies no certificate, and so reaches no HTTPS address.
fn without_roots() -> HttpsConnector<HttpConnector> {
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
