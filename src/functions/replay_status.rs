//! `replay_status`: the state of an instance, asked from the webhook whose address and key the `durableClient` input binding
//! hands over.

use std::sync::Arc;

use custom_handler::{App, ClientError, DurableClient, HttpRequest, HttpResponse, console, wire};
use serde_json::json;

use super::{CLIENT, Parts};

pub const NAME: &str = "replay_status";

pub(super) fn register(app: App, parts: &Parts<'_>) -> App {
    let hostname: Option<Arc<str>> = parts.settings.hostname.as_deref().map(Arc::from);
    app.http(NAME, move |request| {
        let hostname = hostname.clone();
        async move { call(&request, hostname.as_deref()).await }
    })
}

/// 200 with the state, 404 for an unknown instance, 400 for an id no instance can have, 502 when the webhook does not answer as it
/// should. `hostname` is where an extension that is too old to tell its address can be found.
async fn call(request: &HttpRequest, hostname: Option<&str>) -> HttpResponse {
    let id = request.parameter("instanceId").unwrap_or_default();
    if let Some(why) = wire::instance_id_problem(id) {
        return HttpResponse::refusal(400, &format!("instanceId {why}"));
    }
    match ask(request, hostname, id).await {
        Ok(Some(status)) => HttpResponse::json(
            200,
            &json!({
                "instanceId": status.instance_id,
                "runtimeStatus": status.runtime_status,
                "createdTime": status.created_time,
                "lastUpdatedTime": status.last_updated_time,
                "output": status.output,
            }),
        ),
        Ok(None) => HttpResponse::refusal(404, "Instance not found"),
        Err(error) => {
            console::err(&format!("{NAME}: {error}"));
            error.into()
        }
    }
}

async fn ask(
    request: &HttpRequest,
    hostname: Option<&str>,
    id: &str,
) -> Result<Option<custom_handler::Status>, ClientError> {
    DurableClient::from_binding(request.binding(CLIENT), hostname)?.status(id).await
}
