//! `start_replay_lab`: starts storms, all at once, by the webhook whose address and key the `durableClient` input binding hands over.
//! By the output binding the host would start one after the other.

use std::{ops::RangeInclusive, sync::Arc};

use custom_handler::{App, DurableClient, HttpRequest, HttpResponse, NotStarted, Start, console, error_chain};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    CLIENT, Parts,
    replay_storm_orchestrator::{self, StormInput},
};
use crate::settings::{
    ReplaySettings,
    storm::{CONTINUE_AS_NEW_EVERY, INSTANCES, ITERATIONS, check_total},
};

pub const NAME: &str = "start_replay_lab";
const FIELDS: [&str; 3] = ["iterations", "continueAsNewEvery", "instances"];

pub(super) fn register(app: App, parts: &Parts<'_>) -> App {
    let defaults = parts.settings.replay;
    let hostname: Option<Arc<str>> = parts.settings.hostname.as_deref().map(Arc::from);
    app.http(NAME, move |request: HttpRequest| {
        let hostname = hostname.clone();
        async move { call(&request, &defaults, hostname.as_deref()).await }
    })
}

/// 202 with the ids; 400 with what is wrong and nothing started; 502 when the webhook did not start each of them, with those that
/// it did start and those that it did not. `hostname` is where an extension that is too old to tell its address can be found.
async fn call(request: &HttpRequest, defaults: &ReplaySettings, hostname: Option<&str>) -> HttpResponse {
    let (input, instances) = match wanted(request.body(), defaults) {
        Ok(wanted) => wanted,
        Err(why) => return HttpResponse::refusal(400, &why),
    };
    match DurableClient::from_binding(request.binding(CLIENT), hostname) {
        Ok(client) => answer(client.start_all(starts(input, instances)).await),
        Err(error) => {
            console::err(&format!("{NAME}: {error}"));
            error.into()
        }
    }
}

fn starts(input: StormInput, instances: u64) -> impl Iterator<Item = Start> {
    (0..instances).map(move |instance_index| {
        // 32 lower-case hex digits: also a legal W3C trace id, under which everything told about the instance is filed.
        let id = Uuid::new_v4().simple().to_string();
        Start::new(replay_storm_orchestrator::NAME, &StormInput { instance_index, ..input }).id(&id)
    })
}

/// `{"started": n, "instanceIds": […]}`; where some were not started, an error and `"failed": [{"instanceId", "error"}]` besides.
fn answer(outcomes: Vec<Result<String, NotStarted>>) -> HttpResponse {
    let (asked, mut ids, mut failed) = (outcomes.len(), Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(id) => ids.push(id),
            Err(failure) => failed.push(failure),
        }
    }
    let Some(first) = failed.first() else {
        return HttpResponse::json(202, &json!({ "started": ids.len(), "instanceIds": ids }));
    };
    let error = format!("{} of {asked} instances were not started", failed.len());
    console::err(&format!("{NAME}: {error}; {}", error_chain(first)));
    let failed: Vec<Value> =
        failed.iter().map(|it| json!({ "instanceId": it.id, "error": it.error.to_string() })).collect();
    HttpResponse::json(502, &json!({ "error": error, "failed": failed, "started": ids.len(), "instanceIds": ids }))
}

/// What the request's body asks for, and how many of it.
///
/// # Errors
/// What is wrong, naming the field.
fn wanted(body: &str, defaults: &ReplaySettings) -> Result<(StormInput, u64), String> {
    let fields: Map<String, Value> = if body.trim().is_empty() {
        Map::new()
    } else {
        match serde_json::from_str(body).map_err(|error| format!("the body is not JSON: {error}"))? {
            Value::Object(fields) => fields,
            _ => return Err(format!("the body is not a JSON object with {}", FIELDS.join(", "))),
        }
    };
    if let Some(unknown) = fields.keys().find(|it| !FIELDS.contains(&it.as_str())) {
        return Err(format!("there is no field {unknown:?}: there are {}", FIELDS.join(", ")));
    }
    let [iterations, every, instances] = FIELDS;
    let input = StormInput {
        iterations: number(&fields, iterations, ITERATIONS, defaults.iterations)?,
        continue_as_new_every: number(&fields, every, CONTINUE_AS_NEW_EVERY, defaults.continue_as_new_every)?,
        batch_index: 0,
        instance_index: 0,
    };
    let instances = number(&fields, instances, INSTANCES, 1)?;
    check_total(input.iterations, input.continue_as_new_every, instances)?;
    Ok((input, instances))
}

fn number(fields: &Map<String, Value>, name: &str, range: RangeInclusive<u64>, default: u64) -> Result<u64, String> {
    let Some(value) = fields.get(name) else { return Ok(default) };
    let (low, high) = (range.start(), range.end());
    value
        .as_u64()
        .filter(|it| range.contains(it))
        .ok_or_else(|| format!("{name} is not a whole number from {low} to {high}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: ReplaySettings = ReplaySettings { iterations: 100, continue_as_new_every: 7 };

    #[test]
    fn without_a_body_the_settings_apply() {
        for body in ["", "  ", "{}"] {
            let (input, instances) = wanted(body, &DEFAULTS).unwrap();
            let settings = StormInput { iterations: 100, continue_as_new_every: 7, batch_index: 0, instance_index: 0 };
            assert_eq!((input, instances), (settings, 1));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let deep = "[".repeat(100_000);
        let cases = [
            (r#"{"iterations":0}"#, "iterations"),
            (r#"{"iterations":100001}"#, "iterations"),
            (r#"{"iterations":-1}"#, "iterations"),
            (r#"{"iterations":1.5}"#, "iterations"),
            (r#"{"iterations":1e400}"#, "not JSON"),
            (r#"{"iterations":99999999999999999999999}"#, "iterations"),
            (r#"{"iterations":"50"}"#, "iterations"),
            (r#"{"iterations":null}"#, "iterations"),
            (r#"{"iterations":[1]}"#, "iterations"),
            (r#"{"continueAsNewEvery":-1}"#, "continueAsNewEvery"),
            (r#"{"continueAsNewEvery":100001}"#, "continueAsNewEvery"),
            (r#"{"continueAsNewEvery":true}"#, "continueAsNewEvery"),
            (r#"{"instances":0}"#, "instances"),
            (r#"{"instances":101}"#, "instances"),
            (r#"{"instances":{}}"#, "instances"),
            (r#"{"iterations":2000,"instances":51}"#, "instances x iterations"),
            (r#"{"iterations":100000,"continueAsNewEvery":0}"#, "continueAsNewEvery"),
            (r#"{"iteration":5}"#, "iteration"),
            ("[]", "object"),
            ("5", "object"),
            ("null", "object"),
            ("{", "not JSON"),
            ("iterations=5", "not JSON"),
            (deep.as_str(), "not JSON"),
        ];
        for (body, name) in cases {
            let error = wanted(body, &DEFAULTS).unwrap_err();
            assert!(error.contains(name), "{name}: {error}");
        }
    }
}
