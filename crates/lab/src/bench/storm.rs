//! The body a host sends for the last episode of a storm.

use prost::Message;
use serde_json::json;

use base64::{Engine, engine::general_purpose::STANDARD};

use durable::protocol::{
    EventType, ExecutionStarted, HistoryEvent, Nothing, OrchestrationInstance, OrchestratorRequest, TaskCompleted,
    TaskScheduled, Timestamp,
};
use incident_labs::functions::{ACTIVITY_FUNCTION, ORCHESTRATOR_FUNCTION};

/// Iterations that are measured.
pub const ITERATIONS: [u64; 4] = [50, 250, 1000, 2000];
const BEGAN: i64 = 1_775_564_962;
const INSTANCE: &str = "7a21e8d1258a488bad8392f1bdfa36bf";

/// Events in a history of so many iterations.
pub fn events(iterations: u64) -> u64 {
    4 * iterations + 2
}

/// An invocation of the orchestrator, all of whose activities but the next are done.
pub fn body(iterations: u64) -> Vec<u8> {
    let text = format!("\"{}\"", STANDARD.encode(request(iterations).encode_to_vec()));
    let sys = json!({
        "MethodName": ORCHESTRATOR_FUNCTION,
        "UtcNow": "2026-04-07T12:55:28Z",
        "RandGuid": "24ad4c06-24ad-4e5b-8294-3da9714877e9",
    });
    json!({ "Data": { "context": text }, "Metadata": { "sys": sys } }).to_string().into_bytes()
}

fn request(iterations: u64) -> OrchestratorRequest {
    let input = json!({ "iterations": iterations + 1, "continueAsNewEvery": 0, "batchIndex": 0, "instanceIndex": 0 });
    let instance = OrchestrationInstance::new(INSTANCE.to_owned(), Some("e".repeat(32)));
    let started = ExecutionStarted::with(|set| {
        set.name = ORCHESTRATOR_FUNCTION.to_owned();
        set.version = Some(String::new());
        set.input = Some(input.to_string());
        set.orchestration_instance = Some(instance);
        set.parent_instance = None;
    });
    let mut past_events = vec![
        event(-1, 0, EventType::OrchestratorStarted(Nothing::default())),
        event(-1, 0, EventType::ExecutionStarted(Box::new(started))),
    ];
    let mut new_events = Vec::new();
    for (index, id) in (0..iterations).zip(0..) {
        let scheduled = TaskScheduled::new(ACTIVITY_FUNCTION.to_owned(), None);
        past_events.push(event(id, index, EventType::TaskScheduled(scheduled)));
        past_events.push(event(-1, index, EventType::OrchestratorCompleted(Nothing::default())));
        let result = json!({ "index": index, "instanceIndex": 0, "elapsedMs": 0.1 }).to_string();
        let completed = TaskCompleted::new(id, Some(result));
        let episode = [
            event(-1, index, EventType::OrchestratorStarted(Nothing::default())),
            event(-1, index, EventType::TaskCompleted(completed)),
        ];
        if index + 1 == iterations { &mut new_events } else { &mut past_events }.extend(episode);
    }
    OrchestratorRequest::with(|set| {
        set.instance_id = INSTANCE.to_owned();
        set.past_events = past_events;
        set.new_events = new_events;
    })
}

fn event(event_id: i32, second: u64, event_type: EventType) -> HistoryEvent {
    let seconds = BEGAN.saturating_add_unsigned(second);
    HistoryEvent::new(event_id, Some(Timestamp::new(seconds, 915_700)), Some(event_type))
}
