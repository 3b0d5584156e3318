//! The extension's HTTP API, `/runtime/webhooks/durabletask` (extension: `HttpApiHandler.cs`; answers as recorded).

mod answer;
mod asked;
mod dates;
mod history;
mod json;
mod parameters;
mod route;
mod start;
mod status;

use axum::{
    Router,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::json as value;

use self::{
    answer::{Answer, Refused, json},
    asked::{Asked, not_found},
    json::{JsonError, Written, rewritten},
    route::{Operation, Path, Route},
};
use super::{Instance, Rewound, Sent, Signal, TaskHub};
use custom_handler::wire::WEBHOOK_PATH;
use durable::protocol::OrchestrationStatus;

pub fn router(hub: TaskHub) -> Router {
    let below = format!("{WEBHOOK_PATH}/{{*path}}");
    let slash = format!("{WEBHOOK_PATH}/");
    Router::new().route(WEBHOOK_PATH, any(serve)).route(&slash, any(serve)).route(&below, any(serve)).with_state(hub)
}

/// Answers a request; 404 without a body for one that is about nothing here.
pub(crate) async fn serve(
    State(hub): State<TaskHub>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Some(path) = Path::new(uri.path()) else { return StatusCode::BAD_REQUEST.into_response() };
    let body = match body {
        Ok(body) => body,
        Err(refused) => return refused.status().into_response(),
    };
    let route = path.route(&method);
    let answer = match Asked::new(&hub, (&uri, &path), &headers, &body) {
        _ if route == Route::Nothing => Err(not_found()),
        Ok(asked) => answer(&asked, route).await,
        Err(refused) => Err(refused),
    };
    answer.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(asked: &Asked<'_>, route: Route) -> Answer {
    match route {
        Route::Start { function, id } => start::start(asked, function, id).await,
        Route::List => status::list(asked).await,
        Route::Show { id } => status::show(asked, &id).await,
        Route::Purge { id } => purge(asked, &id).await,
        Route::PurgeMany => purge_many(asked).await,
        Route::Operate { id, operation } => operate(asked, &id, operation).await,
        Route::ListEntities => Ok(json(StatusCode::OK, &value!([]))),
        Route::SignalEntity { name } => Err(entity_signalled(asked, &name)),
        Route::MakePrimary => Ok(StatusCode::OK.into_response()),
        Route::ShowEntity | Route::Nothing => Err(not_found()),
    }
}

async fn operate(asked: &Asked<'_>, id: &str, operation: Operation) -> Answer {
    let reason = asked.query.text("reason");
    match operation {
        Operation::Restart => return start::restart(asked, id).await,
        Operation::Rewind => return rewind(asked, id, reason).await,
        _ => {}
    }
    let instance = live(asked, id).await?;
    let signal = match operation {
        Operation::Raise(name) => Signal::Raise { name, input: Some(event_data(asked)?) },
        Operation::Suspend => {
            if instance.status == OrchestrationStatus::Suspended {
                return Err(not_in_state("suspend", &instance));
            }
            Signal::Suspend(reason)
        }
        Operation::Resume => {
            if instance.status != OrchestrationStatus::Suspended {
                return Err(not_in_state("resume", &instance));
            }
            asked.hub.show_resumed(id).await?;
            Signal::Resume(reason)
        }
        _ => Signal::Terminate(reason),
    };
    Ok(match asked.hub.signal(id, signal).await? {
        Sent::Accepted => StatusCode::ACCEPTED,
        Sent::Unknown => StatusCode::NOT_FOUND,
        Sent::Ended => StatusCode::GONE,
    }
    .into_response())
}

/// An instance that can be told something.
async fn live(asked: &Asked<'_>, id: &str) -> Result<Instance, Refused> {
    let instance = if asked.is_own_hub() { asked.hub.instance(id).await? } else { None };
    let instance = instance.ok_or_else(not_found)?;
    if instance.has_ended() { Err(Refused::Empty(StatusCode::GONE)) } else { Ok(instance) }
}

fn not_in_state(what: &str, instance: &Instance) -> Refused {
    let Instance { instance_id, status, .. } = instance;
    let what =
        format!("Cannot {what} the orchestration instance {instance_id} because instance is in the {status:?} state.");
    Refused::unexpected("System.InvalidOperationException", what)
}

/// The data of an event, written again as the extension does.
fn event_data(asked: &Asked<'_>) -> Result<String, Refused> {
    if !asked.is_json() {
        let what = "Only application/json request content is supported";
        return Err(Refused::Message(StatusCode::BAD_REQUEST, what.to_owned()));
    }
    written(&asked.text()).map_err(Refused::invalid_json)
}

fn written(text: &str) -> Result<String, JsonError> {
    match rewritten(text)? {
        Written::Json(text) | Written::Comment(text) => Ok(text),
    }
}

async fn rewind(asked: &Asked<'_>, id: &str, reason: Option<String>) -> Answer {
    let rewound = if asked.is_own_hub() { asked.hub.rewind(id, reason).await? } else { Rewound::Unknown };
    match rewound {
        Rewound::Accepted => Ok(StatusCode::ACCEPTED.into_response()),
        Rewound::Unknown => {
            Err(Refused::Text(StatusCode::NOT_FOUND, format!("No orchestration with instance ID \"${id}\" found.")))
        }
        Rewound::NotFailed(status) => Err(Refused::Text(
            StatusCode::PRECONDITION_FAILED,
            format!(
                "This orchestration has status {status:?}, but only orchestrations in the \"Failed\" state can be rewound."
            ),
        )),
    }
}

async fn purge(asked: &Asked<'_>, id: &str) -> Answer {
    let instance = if asked.is_own_hub() { asked.hub.instance(id).await? } else { None };
    let instance = instance.ok_or_else(not_found)?;
    if !instance.has_ended() {
        let what = "Only orchestrations in a terminal state can be purged, but the orchestration with instance ID";
        let what = format!("{what} {id} has status {:?}", instance.status);
        return Err(Refused::Text(StatusCode::PRECONDITION_FAILED, what));
    }
    purged(usize::from(asked.hub.purge(id).await?))
}

async fn purge_many(asked: &Asked<'_>) -> Answer {
    let mut filter = status::filter(asked);
    if filter.from.is_none() {
        let what = "Please provide value for 'createdTimeFrom' parameter.";
        return Err(Refused::Text(StatusCode::BAD_REQUEST, what.to_owned()));
    }
    filter.prefix.clear();
    filter.to.get_or_insert_with(custom_handler::clock::utc_now);
    purged(if asked.is_own_hub() { asked.hub.purge_all(filter).await? } else { 0 })
}

fn purged(count: usize) -> Answer {
    match count {
        0 => Err(not_found()),
        _ => Ok(json(StatusCode::OK, &value!({ "instancesDeleted": count }))),
    }
}

/// As on a host whose app has no entity functions.
fn entity_signalled(asked: &Asked<'_>, name: &str) -> Refused {
    let what = if name.is_empty() {
        "Invalid entity id: entity name must not be a null or empty string. (Parameter 'entityName')".to_owned()
    } else if let Some(error) = unreadable(asked) {
        format!("Could not parse JSON content: {}", error.message)
    } else {
        let what = "doesn't exist, is disabled, or is not an entity function. Additional info: No entity functions are";
        format!("The function '{name}' {what} currently registered!")
    };
    Refused::Message(StatusCode::BAD_REQUEST, what)
}

fn unreadable(asked: &Asked<'_>) -> Option<JsonError> {
    if asked.body.is_empty() || !asked.is_json() {
        return None;
    }
    rewritten(&asked.text()).err()
}
