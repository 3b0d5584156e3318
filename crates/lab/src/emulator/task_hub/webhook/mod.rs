//! The extension's HTTP API, `/runtime/webhooks/durabletask` (extension: `HttpApiHandler.cs`; codes as recorded).

mod status;

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, delete, get, post},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use self::status::{Filter, status_of};
use super::{Instance, Sent, Signal, StartError, StoreError, TaskHub};
use custom_handler::wire::WEBHOOK_PATH;
use durable::protocol::OrchestrationStatus;

/// Longest wait for an instance, and the pause between two looks, where a start asks for one.
const POLLING_INTERVAL: Duration = Duration::from_secs(1);
/// Instances of one page of a list.
const PAGE: usize = 100;
const CONTINUATION: &str = "x-ms-continuation-token";

type Parameters = Query<BTreeMap<String, String>>;

pub fn router(hub: TaskHub) -> Router {
    let routes = Router::new()
        .route("/orchestrators/{name}", post(start))
        .route("/orchestrators/{name}/{id}", post(start_as))
        .route("/instances", get(list).delete(purge_many))
        // The Python client asks for this one.
        .route("/instances/", get(list).delete(purge_many))
        .route("/instances/{id}", get(show).delete(purge))
        .route("/instances/{id}/raiseEvent/{event}", post(raise))
        .route("/instances/{id}/terminate", post(terminate))
        .route("/instances/{id}/suspend", post(suspend))
        .route("/instances/{id}/resume", post(resume))
        .route("/instances/{id}/rewind", any(not_here))
        .route("/instances/{id}/restart", any(not_here))
        .route("/entities", any(not_here))
        .route("/entities/{*rest}", any(not_here))
        .route("/", delete(not_here))
        .with_state(hub);
    Router::new().nest(WEBHOOK_PATH, routes)
}

/// What is wrong with a request.
enum Refused {
    /// The API's own way to tell an exception.
    Exception(StatusCode, &'static str, String),
    /// `{"Message": …}`.
    Message(StatusCode, String),
    Text(StatusCode, String),
    Empty(StatusCode),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Exception(StatusCode::INTERNAL_SERVER_ERROR, "StorageException", error.to_string())
    }
}

impl From<StartError> for Refused {
    fn from(error: StartError) -> Self {
        let (status, kind) = match error {
            StartError::UnknownFunction { .. } | StartError::InstanceId { .. } => {
                (StatusCode::BAD_REQUEST, "System.ArgumentException")
            }
            StartError::Exists { .. } => return Self::Message(StatusCode::CONFLICT, error.to_string()),
            StartError::Store(error) => return error.into(),
        };
        Self::Exception(status, kind, error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Empty(status) => status.into_response(),
            Self::Text(status, text) => (status, text).into_response(),
            Self::Message(status, text) => (status, Json(json!({ "Message": text }))).into_response(),
            Self::Exception(status, kind, message) => {
                let body = json!({
                    "Message": "Something went wrong while processing your request",
                    "ExceptionMessage": message,
                    "ExceptionType": kind,
                    "StackTrace": "",
                });
                (status, Json(body)).into_response()
            }
        }
    }
}

type Answer = Result<Response, Refused>;

async fn start(
    State(hub): State<TaskHub>,
    Path(name): Path<String>,
    query: Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    begin(&hub, &name, &Uuid::new_v4().simple().to_string(), &query, &headers, &body).await
}

async fn start_as(
    State(hub): State<TaskHub>,
    Path((name, id)): Path<(String, String)>,
    query: Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    begin(&hub, &name, &id, &query, &headers, &body).await
}

async fn begin(
    hub: &TaskHub,
    name: &str,
    id: &str,
    query: &BTreeMap<String, String>,
    headers: &HeaderMap,
    body: &[u8],
) -> Answer {
    hub.start_instance(name, id, json_text(body)?).await?;
    let seconds =
        |name: &str| query.get(name).and_then(|it| it.parse().ok()).and_then(|it| Duration::try_from_secs_f64(it).ok());
    let links = Links::new(hub, headers, id);
    if let Some(longest) = seconds("timeout") {
        let pause = seconds("pollingInterval").unwrap_or(POLLING_INTERVAL).max(Duration::from_millis(10));
        if let Some(ended) = wait_for(hub, id, longest, pause).await? {
            let code = if ended.status == OrchestrationStatus::Failed {
                StatusCode::INTERNAL_SERVER_ERROR
            } else {
                StatusCode::OK
            };
            return Ok((code, Json(status::value(ended.output.as_deref()))).into_response());
        }
    }
    let headers = [(header::LOCATION, links.status.clone()), (header::RETRY_AFTER, "10".to_owned())];
    Ok((StatusCode::ACCEPTED, headers, Json(links.all())).into_response())
}

async fn wait_for(hub: &TaskHub, id: &str, longest: Duration, pause: Duration) -> Result<Option<Instance>, StoreError> {
    let asked = Instant::now();
    loop {
        if let Some(instance) = hub.instance(id).await?.filter(Instance::has_ended) {
            return Ok(Some(instance));
        }
        let Some(left) = longest.checked_sub(asked.elapsed()).filter(|it| !it.is_zero()) else { return Ok(None) };
        sleep(pause.min(left)).await;
    }
}

async fn show(State(hub): State<TaskHub>, Path(id): Path<String>, query: Parameters, headers: HeaderMap) -> Answer {
    let instance = hub.instance(&id).await?.ok_or(Refused::Empty(StatusCode::NOT_FOUND))?;
    let history = if flag(&query, "showHistory", false) { Some(hub.history(&id).await?) } else { None };
    let show_output = flag(&query, "showHistoryOutput", false);
    let body = status_of(&instance, flag(&query, "showInput", true), history.as_deref().map(|it| (it, show_output)));
    if !instance.has_ended() {
        let location = Links::new(&hub, &headers, &id).status;
        let headers = [(header::LOCATION, location), (header::RETRY_AFTER, "5".to_owned())];
        return Ok((StatusCode::ACCEPTED, headers, Json(body)).into_response());
    }
    let failed =
        instance.status == OrchestrationStatus::Failed && flag(&query, "returnInternalServerErrorOnFailure", false);
    let code = if failed { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    Ok((code, Json(body)).into_response())
}

async fn list(State(hub): State<TaskHub>, query: Parameters, headers: HeaderMap) -> Answer {
    let filter = Filter::read(&query).map_err(|why| Refused::Text(StatusCode::BAD_REQUEST, why))?;
    let after =
        headers.get(CONTINUATION).and_then(|it| it.to_str().ok()).filter(|it| *it != "null").unwrap_or_default();
    let top = query.get("top").and_then(|it| it.parse().ok()).unwrap_or(PAGE).max(1);
    let all = hub.instances().await?;
    let mut found = all.iter().filter(|it| it.instance_id.as_str() > after && filter.has(it));
    let page: Vec<&Instance> = found.by_ref().take(top).collect();
    let show_input = flag(&query, "showInput", true);
    let body: Vec<Value> = page.iter().map(|it| status_of(it, show_input, None)).collect();
    let mut response = Json(body).into_response();
    let token = if found.next().is_some() { page.last().map(|it| it.instance_id.clone()) } else { None };
    if let Some(token) = token.and_then(|it| it.parse().ok()) {
        response.headers_mut().insert(CONTINUATION, token);
    }
    Ok(response)
}

async fn raise(
    State(hub): State<TaskHub>,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    if !media_type.to_ascii_lowercase().starts_with("application/json") {
        let text = "Only application/json request content is supported";
        return Err(Refused::Text(StatusCode::BAD_REQUEST, text.to_owned()));
    }
    send(&hub, &id, Signal::Raise { name, input: json_text(&body)? }).await
}

async fn terminate(State(hub): State<TaskHub>, Path(id): Path<String>, query: Parameters) -> Answer {
    send(&hub, &id, Signal::Terminate(query.get("reason").cloned())).await
}

async fn suspend(State(hub): State<TaskHub>, Path(id): Path<String>, query: Parameters) -> Answer {
    send(&hub, &id, Signal::Suspend(query.get("reason").cloned())).await
}

async fn resume(State(hub): State<TaskHub>, Path(id): Path<String>, query: Parameters) -> Answer {
    send(&hub, &id, Signal::Resume(query.get("reason").cloned())).await
}

async fn send(hub: &TaskHub, id: &str, signal: Signal) -> Answer {
    Ok(match hub.signal(id, signal).await? {
        Sent::Accepted => StatusCode::ACCEPTED,
        Sent::Unknown => StatusCode::NOT_FOUND,
        Sent::Ended => StatusCode::GONE,
    }
    .into_response())
}

async fn purge(State(hub): State<TaskHub>, Path(id): Path<String>) -> Answer {
    purged(hub.purge(vec![id]).await?)
}

async fn purge_many(State(hub): State<TaskHub>, query: Parameters) -> Answer {
    if !query.contains_key("createdTimeFrom") {
        let text = "Please provide value for 'createdTimeFrom' parameter.";
        return Err(Refused::Text(StatusCode::BAD_REQUEST, text.to_owned()));
    }
    let filter = Filter::read(&query).map_err(|why| Refused::Text(StatusCode::BAD_REQUEST, why))?;
    let all = hub.instances().await?;
    let ids = all.into_iter().filter(|it| filter.has(it)).map(|it| it.instance_id).collect();
    purged(hub.purge(ids).await?)
}

fn purged(count: usize) -> Answer {
    match count {
        0 => Err(Refused::Empty(StatusCode::NOT_FOUND)),
        _ => Ok(Json(json!({ "instancesDeleted": count })).into_response()),
    }
}

async fn not_here() -> Response {
    (StatusCode::NOT_IMPLEMENTED, "This stand-in has no rewind, no restart and no entities.").into_response()
}

/// A body as JSON text; an empty one is no input.
fn json_text(body: &[u8]) -> Result<Option<String>, Refused> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => Ok(Some(value.to_string())),
        Err(_) => Err(Refused::Message(StatusCode::BAD_REQUEST, "Invalid JSON content".to_owned())),
    }
}

fn flag(query: &BTreeMap<String, String>, name: &str, default: bool) -> bool {
    query.get(name).map_or(default, |it| it.eq_ignore_ascii_case("true"))
}

/// Where an instance can be managed.
struct Links {
    id: String,
    instance: String,
    query: String,
    status: String,
}

impl Links {
    fn new(hub: &TaskHub, headers: &HeaderMap, id: &str) -> Self {
        let host = headers.get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or("localhost");
        let encoded = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
        let instance = format!("http://{host}{WEBHOOK_PATH}/instances/{encoded}");
        let query = format!("taskHub={}&connection=Storage", hub.name());
        let status = format!("{instance}?{query}");
        Self { id: id.to_owned(), instance, query, status }
    }

    fn all(self) -> Value {
        let Self { id, instance, query, status } = self;
        let with_reason = |what: &str| format!("{instance}/{what}?reason={{text}}&{query}");
        json!({
            "id": id,
            "statusQueryGetUri": status,
            "sendEventPostUri": format!("{instance}/raiseEvent/{{eventName}}?{query}"),
            "terminatePostUri": with_reason("terminate"),
            "purgeHistoryDeleteUri": status,
            "restartPostUri": format!("{instance}/restart?{query}"),
            "suspendPostUri": with_reason("suspend"),
            "resumePostUri": with_reason("resume"),
        })
    }
}
