//! `replay_lab_activity`: the same small computation every time, so that its duration is the control signal.

use std::hint::black_box;

use custom_handler::{Activity, ActivityError, App, Logged};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Parts;

pub const ACTIVITY: Activity<ActivityInput, ActivityResult> = Activity::new("replay_lab_activity");

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

pub(super) fn register(app: App, _: &Parts<'_>) -> App {
    app.activity(ACTIVITY, async |input| Ok::<_, ActivityError>(run(input)))
}

fn run(input: ActivityInput) -> Logged<ActivityResult> {
    let began = Instant::now();
    black_box((0..black_box(SQUARES)).map(|j| j * j).sum::<u64>());
    let elapsed_ms = (began.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
    let ActivityInput { index, instance_index } = input;
    let result = Logged::new(ActivityResult { index, instance_index, elapsed_ms });
    if (index + 1) % PROGRESS_EVERY != 0 {
        return result;
    }
    result.line(format!("Activity completed: instance={instance_index} index={index} elapsed={elapsed_ms:.1}ms"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    async fn called(value: Value) -> Value {
        let app = App::new().activity(ACTIVITY, async |input| Ok::<_, ActivityError>(run(input)));
        let (status, body) = app.invoke(ACTIVITY.name(), json!({ "Data": { "input": value } }).to_string()).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    #[tokio::test]
    async fn it_gives_back_what_it_was_handed_and_logs_each_hundredth() {
        for value in
            [json!("\"{\\\"index\\\":99,\\\"instanceIndex\\\":2}\""), json!("{\"index\":99,\"instanceIndex\":2}")]
        {
            let answer = called(value).await;
            let result = &answer["ReturnValue"];
            assert_eq!((&result["index"], &result["instanceIndex"]), (&json!(99), &json!(2)));
            assert!(result["elapsedMs"].as_f64().unwrap() < 1000.0);
            let line = answer["Logs"][0].as_str().unwrap();
            assert!(line.starts_with("Activity completed: instance=2 index=99 elapsed="), "{line}");
        }
        assert_eq!(called(json!("{\"index\":100,\"instanceIndex\":0}")).await["Logs"], json!([]));
    }

    #[tokio::test]
    async fn a_wrong_input_is_a_failure_that_no_retry_mends() {
        for value in [json!(null), json!("7"), json!("{\"index\":-1}"), json!("{")] {
            let failure = &called(value).await["activityFailure"];
            assert!(failure["errorMessage"].as_str().unwrap().contains("input"), "{failure}");
            assert_eq!((&failure["errorType"], &failure["isNonRetriable"]), (&json!("DecodeError"), &json!(true)));
        }
    }
}
