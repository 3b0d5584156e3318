//! The router: the one place where the front's parts are wired.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::{
    console,
    functions::{
        blob_buffer_processor::{BlobBufferProcessor, failed_after},
        invocation::Invocation,
    },
    host::BLOB_FUNCTION,
    settings::Settings,
    worker::Worker,
};

#[derive(Clone)]
struct App {
    blob_buffer_processor: Arc<BlobBufferProcessor>,
    /// Invocations under way. They go on when their connection breaks: that is no cancellation to the host.
    invocations: TaskTracker,
}

/// Routes of the handler: `GET /` for the host's probe, `POST /<function>` for each function.
pub fn router(settings: &Settings, worker: Worker) -> Router {
    let blob_buffer_processor = Arc::new(BlobBufferProcessor {
        worker,
        variant: settings.blob.variant,
        blob_endpoint: settings.storage.blob_endpoint.clone(),
        deadline: settings.invocation_deadline,
        payload_reported: Default::default(),
    });
    Router::new()
        .route("/", get(async || "handler is listening\n"))
        .route(&format!("/{BLOB_FUNCTION}"), post(blob))
        .fallback(unknown)
        .with_state(App { blob_buffer_processor, invocations: TaskTracker::new() })
}

async fn blob(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    let received = Instant::now();
    let invocation = match Invocation::read(&headers, body).await {
        Ok(invocation) => invocation,
        Err(rejected) => {
            console::err(&format!("{BLOB_FUNCTION}: {rejected}"));
            failed_after(received);
            return (StatusCode::BAD_REQUEST, rejected.to_string()).into_response();
        }
    };
    let call = app.invocations.spawn(app.blob_buffer_processor.call(invocation, received));
    match call.await {
        Ok(Ok(result)) => Json(result).into_response(),
        Ok(Err(failure)) => (StatusCode::INTERNAL_SERVER_ERROR, failure).into_response(),
        Err(panic) => {
            console::err(&format!("{BLOB_FUNCTION} panicked: {panic}"));
            failed_after(received);
            (StatusCode::INTERNAL_SERVER_ERROR, "the function panicked").into_response()
        }
    }
}

/// A function that is not here is an error of the deployment: the host is told, and so is the reader of its log.
async fn unknown(method: Method, uri: Uri) -> Response {
    let line = format!("no function at {method} {}: this handler serves {BLOB_FUNCTION}", uri.path());
    console::err(&line);
    (StatusCode::NOT_FOUND, line).into_response()
}
