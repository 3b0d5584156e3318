//! The router: the one place where the front's parts are wired.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::{
    functions::{
        ACTIVITY_FUNCTION, BLOB_FUNCTION, FUNCTIONS, ORCHESTRATOR_FUNCTION, START_FUNCTION, STATUS_FUNCTION,
        blob_buffer_processor::{BlobBufferProcessor, failed_after},
        replay_lab_activity,
        replay_status::ReplayStatus,
        replay_storm_orchestrator::replay_storm_orchestrator,
        start_replay_lab,
    },
    settings::{ReplaySettings, Settings},
    worker::Worker,
};
use custom_handler::{
    console,
    invocation::{Invocation, operation_id},
    orchestrator as episode,
    wire::{Envelope, InvocationResult},
};

/// Longest body that is read whole. A history of 100 000 iterations is some 25 MB, its activities' results included.
const LONGEST_BODY: usize = 256 << 20;

#[derive(Clone)]
struct App {
    blob_buffer_processor: Option<Arc<BlobBufferProcessor>>,
    replay_status: Arc<ReplayStatus>,
    replay: ReplaySettings,
    /// Invocations under way. They go on when their connection breaks: that is no cancellation to the host.
    invocations: TaskTracker,
}

/// Routes of the handler: `GET /` for the host's probe, `POST /<function>` for each function. Without a worker there is no blob
/// function.
pub fn router(settings: &Settings, worker: Option<Worker>) -> Router {
    let blob_buffer_processor = settings.blob.as_ref().zip(worker).map(|(blob, worker)| {
        Arc::new(BlobBufferProcessor {
            worker,
            variant: blob.variant,
            blob_endpoint: blob.storage.blob_endpoint.clone(),
            deadline: settings.invocation_deadline,
            payload_reported: Default::default(),
        })
    });
    let app = App {
        blob_buffer_processor,
        replay_status: Arc::new(ReplayStatus::new(settings.hostname.clone())),
        replay: settings.replay,
        invocations: TaskTracker::new(),
    };
    let path = |function: &str| format!("/{function}");
    Router::new()
        .route("/", get(async || "handler is listening\n"))
        .route(&path(BLOB_FUNCTION), post(blob))
        .route(&path(START_FUNCTION), post(start))
        .route(&path(STATUS_FUNCTION), post(status))
        .route(&path(ORCHESTRATOR_FUNCTION), post(orchestrate))
        .route(&path(ACTIVITY_FUNCTION), post(activity))
        .fallback(unknown)
        .with_state(app)
}

async fn blob(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    let received = Instant::now();
    let Some(function) = app.blob_buffer_processor else {
        return not_found(&format!("{BLOB_FUNCTION} is not in this app: the script root has no such folder"));
    };
    let invocation = match Invocation::read(&headers, body).await {
        Ok(invocation) => invocation,
        Err(rejected) => {
            console::err(&format!("{BLOB_FUNCTION}: {rejected}"));
            failed_after(received);
            return (StatusCode::BAD_REQUEST, rejected.to_string()).into_response();
        }
    };
    let call = app.invocations.spawn(function.call(invocation, received));
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

/// An episode is always answered with 200: the extension takes everything else for the end of the instance.
async fn orchestrate(headers: HeaderMap, body: Body) -> Json<InvocationResult> {
    let body = to_bytes(body, LONGEST_BODY).await.unwrap_or_default();
    let episode = episode::answer(&body, replay_storm_orchestrator);
    episode.tell(operation_id(&headers));
    if let Some(why) = episode.failure() {
        console::err(&format!("{ORCHESTRATOR_FUNCTION} failed: {why}"));
    }
    Json(episode.answer)
}

async fn activity(body: Body) -> Response {
    let result = whole(body).await.and_then(|envelope| replay_lab_activity::call(&envelope));
    match result {
        Ok(result) => Json(result).into_response(),
        Err(why) => {
            console::err(&format!("{ACTIVITY_FUNCTION} failed: {why}"));
            (StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}

async fn start(State(app): State<App>, body: Body) -> Response {
    match whole(body).await {
        Ok(envelope) => Json(start_replay_lab::call(&envelope, &app.replay)).into_response(),
        Err(why) => rejected(START_FUNCTION, why),
    }
}

async fn status(State(app): State<App>, body: Body) -> Response {
    match whole(body).await {
        Ok(envelope) => Json(app.replay_status.call(&envelope).await).into_response(),
        Err(why) => rejected(STATUS_FUNCTION, why),
    }
}

/// Reads an envelope that holds no payload.
async fn whole(body: Body) -> Result<Envelope, String> {
    let body = to_bytes(body, LONGEST_BODY).await.map_err(|error| format!("the request body broke off: {error}"))?;
    serde_json::from_slice(&body).map_err(|error| format!("the request body is not an invocation: {error}"))
}

fn rejected(function: &str, why: String) -> Response {
    console::err(&format!("{function}: {why}"));
    (StatusCode::BAD_REQUEST, why).into_response()
}

/// A function that is not here is an error of the deployment: the host is told, and so is the reader of its log.
async fn unknown(method: Method, uri: Uri) -> Response {
    not_found(&format!("no function at {method} {}: this handler serves {}", uri.path(), FUNCTIONS.join(", ")))
}

fn not_found(line: &str) -> Response {
    console::err(line);
    (StatusCode::NOT_FOUND, line.to_owned()).into_response()
}
