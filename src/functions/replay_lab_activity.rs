//! `replay_lab_activity`: the same small computation every time, so that its duration is the control signal.

use std::hint::black_box;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use custom_handler::{
    wire as host,
    wire::{Envelope, InvocationResult},
};

/// Calls between two progress lines.
const PROGRESS_EVERY: u64 = 100;
/// Squares that are summed up.
const SQUARES: u64 = 1000;

/// What the orchestrator hands over.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActivityInput {
    pub index: u64,
    pub instance_index: u64,
}

/// What it gets back.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActivityResult {
    pub index: u64,
    pub instance_index: u64,
    /// How long it took, to a tenth.
    pub elapsed_ms: f64,
}

/// Answers an invocation.
///
/// # Errors
/// What is wrong with the input; the host makes a `TaskFailed` of it.
pub fn call(envelope: &Envelope) -> Result<InvocationResult, String> {
    let value = envelope.data.values().next().and_then(host::text).ok_or("the invocation has no input")?;
    let input: ActivityInput =
        serde_json::from_str(&value).map_err(|error| format!("the input is not {{index, instanceIndex}}: {error}"))?;
    let began = Instant::now();
    black_box((0..black_box(SQUARES)).map(|j| j * j).sum::<u64>());
    let elapsed_ms = (began.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
    let ActivityInput { index, instance_index } = input;
    let logs = if (index + 1) % PROGRESS_EVERY == 0 {
        vec![format!("Activity completed: instance={instance_index} index={index} elapsed={elapsed_ms:.1}ms")]
    } else {
        Vec::new()
    };
    let result = ActivityResult { index, instance_index, elapsed_ms };
    let return_value = serde_json::to_value(result).map_err(|error| error.to_string())?;
    Ok(InvocationResult { logs, return_value, ..Default::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn called(value: Value) -> Result<InvocationResult, String> {
        let data = json!({ "input": value });
        call(&Envelope { data: data.as_object().unwrap().clone(), ..Default::default() })
    }

    #[test]
    fn it_gives_back_what_it_was_handed_and_logs_each_hundredth() {
        for value in
            [json!("\"{\\\"index\\\":99,\\\"instanceIndex\\\":2}\""), json!("{\"index\":99,\"instanceIndex\":2}")]
        {
            let result = called(value).unwrap();
            assert_eq!((&result.return_value["index"], &result.return_value["instanceIndex"]), (&json!(99), &json!(2)));
            assert!(result.return_value["elapsedMs"].as_f64().unwrap() < 1000.0);
            assert!(
                result.logs[0].starts_with("Activity completed: instance=2 index=99 elapsed="),
                "{:?}",
                result.logs
            );
        }
        assert!(called(json!("{\"index\":100,\"instanceIndex\":0}")).unwrap().logs.is_empty());
    }

    #[test]
    fn a_wrong_input_is_explained() {
        for value in [json!(null), json!("7"), json!("{\"index\":-1}"), json!("{")] {
            let why = called(value).unwrap_err();
            assert!(why.contains("input"), "{why}");
        }
    }
}
