//! A blob trigger's call: metadata in, logs or a failure out, with the time it took.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
};

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use durable::error_chain;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{
    app::{Call, panic_text},
    clock::hms,
    console,
    invocation::Invocation,
    wire::{self, InvocationResult},
};

/// What the host says about a blob.
#[derive(Clone, Debug)]
pub struct BlobTrigger {
    pub invocation: Invocation,
    /// When the call arrived.
    pub received: Instant,
}

impl BlobTrigger {
    /// The blob's address, percent-encoded. There is none in what a foreign caller may send.
    pub fn uri(&self) -> Option<String> {
        self.parameter("Uri")
    }

    /// What the trigger's path calls a part of the name: `name` of `input/{name}`.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.invocation.envelope.metadata.get(name).and_then(wire::text)
    }

    /// The blob's size in bytes, as the trigger saw it.
    pub fn content_length(&self) -> Option<u64> {
        self.invocation.envelope.metadata.get("Properties")?["ContentLength"].as_u64()
    }

    /// A blob without the host's metadata is payload that was sent along.
    fn has_payload(&self) -> bool {
        self.invocation.shortened || self.invocation.envelope.data.values().any(Value::is_string)
    }
}

/// Why a blob function failed. Any error becomes one by `?`.
#[derive(Clone, Debug)]
pub struct Failure {
    message: String,
    line: Option<String>,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), line: None }
    }

    /// Replaces the line for the log, which is `<function> failed: <message>`.
    #[must_use]
    pub fn with_line(mut self, line: impl Into<String>) -> Self {
        self.line = Some(line.into());
        self
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error_chain(&error))
    }
}

/// Whether a host that sends payload has been named once.
#[derive(Debug, Default)]
pub(super) struct PayloadReported(AtomicBool);

impl PayloadReported {
    /// Payload costs the host three times the blob's size: memory figures are then about the host.
    fn look_at(&self, trigger: &BlobTrigger) {
        if trigger.has_payload() && !self.0.swap(true, Ordering::Relaxed) {
            console::err(
                "this host sends the blob's bytes with the invocation, so supportsDeferredBinding is not honoured \
                 (extension bundle too old, or another binding with an {expression}); the bytes are skipped",
            );
        }
    }
}

pub(super) async fn respond<F, Fut>(
    name: &str,
    call: Call,
    calls: &TaskTracker,
    reported: &PayloadReported,
    invoke: F,
) -> Response
where
    F: FnOnce(BlobTrigger) -> Fut + Send + 'static,
    Fut: Future<Output = Result<InvocationResult, Failure>> + Send + 'static,
{
    let received = call.received;
    let failed = |status: StatusCode, line: &str, body: String| {
        console::err(line);
        console::err(&format!("Invocation failed after {}", hms(received.elapsed())));
        (status, body).into_response()
    };
    let invocation = match Invocation::read(&call.headers, call.body).await {
        Ok(invocation) => invocation,
        Err(rejected) => return failed(StatusCode::BAD_REQUEST, &format!("{name}: {rejected}"), rejected.to_string()),
    };
    let trigger = BlobTrigger { invocation, received };
    reported.look_at(&trigger);
    match calls.spawn(async move { invoke(trigger).await }).await {
        Ok(Ok(mut result)) => {
            result.logs.push(format!("Invocation completed in {}", hms(received.elapsed())));
            Json(result).into_response()
        }
        Ok(Err(Failure { message, line })) => {
            let line = line.unwrap_or_else(|| format!("{name} failed: {message}"));
            failed(StatusCode::INTERNAL_SERVER_ERROR, &line, message)
        }
        Err(error) => {
            let line = format!("{name} panicked: {}", panic_text(error));
            failed(StatusCode::INTERNAL_SERVER_ERROR, &line, "the function panicked".to_owned())
        }
    }
}
