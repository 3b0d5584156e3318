//! The HTTP request of an invocation, and the answer to it: `Data.req` and `Outputs.res`.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::wire::{Envelope, InvocationResult};

/// Name of the HTTP trigger's binding in our functions.
const REQUEST: &str = "req";
/// Name of their output.
const RESPONSE: &str = "res";

/// The body's text; empty when there was none.
pub fn body(envelope: &Envelope) -> &str {
    envelope.data.get(REQUEST).and_then(|it| it["Body"].as_str()).unwrap_or_default()
}

/// A parameter of the route.
pub fn parameter<'a>(envelope: &'a Envelope, name: &str) -> Option<&'a str> {
    envelope.data.get(REQUEST)?["Params"][name].as_str()
}

/// An answer with a JSON body. The body is handed over as text: the host would spread an object over many lines.
pub fn answer(status: StatusCode, body: &Value) -> InvocationResult {
    let response = json!({
        "statusCode": status.as_u16(),
        "headers": { "Content-Type": "application/json" },
        "body": body.to_string(),
    });
    InvocationResult { outputs: Map::from_iter([(RESPONSE.to_owned(), response)]), ..Default::default() }
}

/// An answer that says what is wrong.
pub fn refusal(status: StatusCode, why: &str) -> InvocationResult {
    answer(status, &json!({ "error": why }))
}
