//! An activity's call: its input out of the envelope, its result or failure into the answer.

use std::future::Future;

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use durable::{ActivityError, types};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};
use tokio_util::task::TaskTracker;

use super::{
    app::{Call, panic_text},
    body::Bodies,
    console,
    wire::{self, Envelope},
};

/// A result with lines for the log, which the host writes at Information.
#[derive(Clone, Debug)]
pub struct Logged<O> {
    result: O,
    lines: Vec<String>,
}

impl<O> Logged<O> {
    pub fn new(result: O) -> Self {
        Self { result, lines: Vec::new() }
    }

    /// Adds a line.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }
}

impl<O> From<O> for Logged<O> {
    fn from(result: O) -> Self {
        Self::new(result)
    }
}

pub(super) async fn respond<I, O, F, Fut>(
    name: &str,
    call: Call,
    (bodies, calls): (&Bodies, &TaskTracker),
    invoke: F,
) -> Response
where
    I: DeserializeOwned + Send + 'static,
    O: Serialize + Send + 'static,
    F: FnOnce(I) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Logged<O>, ActivityError>> + Send + 'static,
{
    let read = bodies.envelope(call.body).await.map_err(|why| why.to_string());
    let answer = match read.and_then(|(envelope, share)| Ok((input(&envelope)?, share))) {
        Err(why) => Err(ActivityError::new(types::DECODE, why).non_retriable()),
        Ok((input, _share)) => match calls.spawn(async move { invoke(input).await.and_then(encoded) }).await {
            Ok(answer) => answer,
            Err(error) => {
                Err(ActivityError::new(types::PANIC, format!("the activity panicked: {}", panic_text(error))))
            }
        },
    };
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(failure) => {
            console::err(&format!("{name} failed: {failure}"));
            let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            (StatusCode::OK, text, failure.to_answer()).into_response()
        }
    }
}

/// The trigger's value: the first of the envelope's data.
fn input<I: DeserializeOwned>(envelope: &Envelope) -> Result<I, String> {
    let value = envelope.data.values().next().and_then(wire::text).ok_or("the invocation has no input")?;
    // A text input may be encoded as often as the host and the client please.
    serde_json::from_str(&value)
        .or_else(|error| serde_json::from_value(value.clone().into()).map_err(|_| error))
        .map_err(|error| format!("the input is not what the activity expects: {error}"))
}

/// An [`InvocationResult`](wire::InvocationResult) whose value is text already: a number keeps all its digits.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    outputs: serde_json::Map<String, serde_json::Value>,
    logs: Vec<String>,
    return_value: Box<RawValue>,
}

fn encoded<O: Serialize>(Logged { result, lines }: Logged<O>) -> Result<Answer, ActivityError> {
    let return_value = to_raw_value(&result).map_err(|error| ActivityError::new(types::ENCODE, error.to_string()))?;
    Ok(Answer { outputs: serde_json::Map::new(), logs: lines, return_value })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read<I: DeserializeOwned>(value: Value) -> Result<I, String> {
        let data = json!({ "input": value }).as_object().cloned().unwrap_or_default();
        input(&Envelope { data, ..Default::default() })
    }

    #[test]
    fn an_input_may_be_encoded_once_or_twice() {
        for value in [json!("\"{\\\"a\\\":1}\""), json!("{\"a\":1}")] {
            assert_eq!(read::<Value>(value).unwrap(), json!({ "a": 1 }));
        }
        assert_eq!(read::<String>(json!("\"book\"")).unwrap(), "book");
        assert_eq!(read::<String>(json!("\"\\\"book\\\"\"")).unwrap(), "book");
        assert_eq!(read::<u32>(json!("7")).unwrap(), 7);
        read::<()>(json!("null")).unwrap();
        assert!(read::<u32>(json!("x")).unwrap_err().contains("the input is not what"), "names what is wrong");
        assert!(read::<u32>(json!(7)).unwrap_err().contains("no input"));
    }
}
