//! `start_replay_lab`: starts storms. The instances go out through the `durableClient` output binding, so that no key and no
//! URL is needed.

use std::{future::ready, ops::RangeInclusive};

use custom_handler::{App, HttpRequest, HttpResponse, Start};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    Parts,
    replay_storm_orchestrator::{self, StormInput},
};
use crate::settings::{
    ReplaySettings,
    storm::{CONTINUE_AS_NEW_EVERY, INSTANCES, ITERATIONS, check_total},
};

pub const NAME: &str = "start_replay_lab";
/// Name of the output binding.
const STARTS: &str = "starts";
const FIELDS: [&str; 3] = ["iterations", "continueAsNewEvery", "instances"];

pub(super) fn register(app: App, parts: &Parts<'_>) -> App {
    let defaults = parts.settings.replay;
    app.http(NAME, move |request: HttpRequest| ready(call(&request, &defaults)))
}

/// 202 with the ids, or 400 with what is wrong and nothing started.
fn call(request: &HttpRequest, defaults: &ReplaySettings) -> HttpResponse {
    match wanted(request.body(), defaults) {
        Ok((input, instances)) => start(input, instances),
        Err(why) => HttpResponse::refusal(400, &why),
    }
}

fn start(input: StormInput, instances: u64) -> HttpResponse {
    // 32 lower-case hex digits: also a legal W3C trace id, under which everything told about the instance is filed.
    let ids: Vec<String> = (0..instances).map(|_| Uuid::new_v4().simple().to_string()).collect();
    let starts = ids.iter().zip(0..).map(|(id, instance_index)| {
        Start::new(replay_storm_orchestrator::NAME, &StormInput { instance_index, ..input }).id(id)
    });
    HttpResponse::json(202, &json!({ "started": instances, "instanceIds": ids })).start(STARTS, starts)
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
    use custom_handler::wire::{Envelope, InvocationResult};

    use super::*;

    const DEFAULTS: ReplaySettings = ReplaySettings { iterations: 100, continue_as_new_every: 7 };

    fn called(body: Option<&str>) -> (Value, Value, Option<Value>) {
        let req = body.map_or(json!({}), |it| json!({ "Body": it }));
        let data = json!({ "req": req }).as_object().unwrap().clone();
        let request = HttpRequest::new(Envelope { data, ..Default::default() }, "", "");
        let result = InvocationResult::from(call(&request, &DEFAULTS));
        let res = &result.outputs["res"];
        let body = serde_json::from_str(res["body"].as_str().unwrap()).unwrap();
        (res["statusCode"].clone(), body, result.outputs.get(STARTS).cloned())
    }

    #[test]
    fn without_a_body_the_settings_apply() {
        for body in [None, Some(""), Some("  "), Some("{}")] {
            let (status, body, starts) = called(body);
            assert_eq!((status, &body["started"]), (json!(202), &json!(1)));
            let start = &starts.unwrap()[0];
            let wanted = json!({"iterations": 100, "continueAsNewEvery": 7, "batchIndex": 0, "instanceIndex": 0});
            assert_eq!(start["Input"], wanted);
            let id = start["InstanceId"].as_str().unwrap();
            assert!(id.len() == 32 && id.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f')), "{id}");
            assert_eq!(body["instanceIds"], json!([id]));
        }
    }

    #[test]
    fn each_instance_knows_its_place() {
        let (_, body, starts) = called(Some(r#"{"iterations":2000,"continueAsNewEvery":250,"instances":3}"#));
        let indices: Vec<_> =
            starts.unwrap().as_array().unwrap().iter().map(|it| it["Input"]["instanceIndex"].clone()).collect();
        assert_eq!((indices, &body["started"]), (vec![json!(0), json!(1), json!(2)], &json!(3)));
    }

    #[test]
    fn what_is_wrong_is_named_and_nothing_is_started() {
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
            let (status, answer, starts) = called(Some(body));
            let error = answer["error"].as_str().unwrap().to_owned();
            assert!(status == json!(400) && error.contains(name) && starts.is_none(), "{name}: {error}");
        }
    }
}
