//! `replay_status`: the state of an instance, asked from the webhook whose address and key the `durableClient` input binding
//! hands over.

use std::time::Duration;

use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::STATUS_FUNCTION;
use custom_handler::http::{answer, parameter, refusal};
use custom_handler::{
    console, wire as host,
    wire::{Envelope, InvocationResult, WEBHOOK_PATH},
};

/// Name of the input binding.
const CLIENT: &str = "client";
const TIMEOUT: Duration = Duration::from_secs(30);
/// What the webhook says of an instance and we pass on.
const FIELDS: [&str; 5] = ["instanceId", "runtimeStatus", "createdTime", "lastUpdatedTime", "output"];

/// The function with what it needs.
#[derive(Debug)]
pub struct ReplayStatus {
    http: reqwest::Client,
    /// `WEBSITE_HOSTNAME`, where an extension that is too old to tell its address can be found.
    hostname: Option<String>,
}

impl ReplayStatus {
    /// A client for the webhook.
    pub fn new(hostname: Option<String>) -> Self {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().unwrap_or_default();
        Self { http, hostname }
    }

    /// Answers an invocation: 200 with the state, 404 for an unknown instance, 400 for an id no instance can have, 502 when the
    /// webhook does not answer as it should.
    pub async fn call(&self, envelope: &Envelope) -> InvocationResult {
        let id = parameter(envelope, "instanceId").unwrap_or_default();
        if let Some(why) = host::instance_id_problem(id) {
            return refusal(StatusCode::BAD_REQUEST, &format!("instanceId {why}"));
        }
        match self.ask(envelope, id).await {
            Ok(Some(status)) => {
                let fields = FIELDS.map(|name| (name.to_owned(), status[name].clone()));
                answer(StatusCode::OK, &Value::Object(fields.into_iter().collect()))
            }
            Ok(None) => answer(StatusCode::NOT_FOUND, &json!({ "error": "Instance not found" })),
            Err(why) => {
                console::err(&format!("{STATUS_FUNCTION}: {why}"));
                refusal(StatusCode::BAD_GATEWAY, &why)
            }
        }
    }

    /// The webhook's answer; `None` where it knows no such instance. Errors never hold the address: the key is in it.
    async fn ask(&self, envelope: &Envelope, id: &str) -> Result<Option<Value>, String> {
        let client: Value = envelope
            .data
            .get(CLIENT)
            .and_then(host::text)
            .and_then(|it| serde_json::from_str(&it).ok())
            .ok_or("the durableClient binding has no value: is the durable extension loaded?")?;
        let base = client["httpBaseUrl"].as_str().map(str::to_owned).or_else(|| self.base_url());
        let base = base.ok_or("neither the durableClient binding nor WEBSITE_HOSTNAME tells where the webhook is")?;
        let query = client["requiredQueryStringParameters"].as_str().unwrap_or_default();
        let id = utf8_percent_encode(id, NON_ALPHANUMERIC);
        let url = format!("{}/instances/{id}?showInput=false&{query}", base.trim_end_matches('/'));
        let failed = |error: reqwest::Error| format!("the durable webhook does not answer: {}", error.without_url());
        let response = self.http.get(url).send().await.map_err(failed)?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let text = response.text().await.map_err(failed)?;
                serde_json::from_str(&text).map(Some).map_err(|_| "the durable webhook's answer is not JSON".to_owned())
            }
            status => Err(format!("the durable webhook answered {status}")),
        }
    }

    fn base_url(&self) -> Option<String> {
        let hostname = self.hostname.as_deref()?;
        let scheme = if hostname.starts_with("localhost") { "http" } else { "https" };
        Some(format!("{scheme}://{hostname}{WEBHOOK_PATH}"))
    }
}
