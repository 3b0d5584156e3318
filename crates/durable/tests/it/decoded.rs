//! Messages of recordings that were kept as JSON alone, as a protobuf library of JavaScript prints them.

use durable::protocol::*;
use serde_json::Value;

pub(crate) fn request(json: &Value) -> OrchestratorRequest {
    OrchestratorRequest {
        instance_id: text(&json["instanceId"]),
        past_events: events(&json["pastEvents"]),
        new_events: events(&json["newEvents"]),
        ..OrchestratorRequest::default()
    }
}

pub(crate) fn response(json: &Value) -> OrchestratorResponse {
    OrchestratorResponse {
        instance_id: text(&json["instanceId"]),
        actions: json["actions"].as_array().into_iter().flatten().map(action).collect(),
        custom_status: wrapped(&json["customStatus"]),
    }
}

fn events(json: &Value) -> Vec<HistoryEvent> {
    json.as_array().into_iter().flatten().map(event).collect()
}

fn event(json: &Value) -> HistoryEvent {
    use EventType as E;
    let (kind, body) = json
        .as_object()
        .unwrap()
        .iter()
        .find(|(name, _)| !["eventId", "timestamp"].contains(&name.as_str()))
        .map(|(name, body)| (name.as_str(), body))
        .unwrap();
    let reason = Reason { input: wrapped(&body["input"]) };
    let completed = TaskCompleted { task_scheduled_id: id(&body["taskScheduledId"]), result: wrapped(&body["result"]) };
    let failed = TaskFailed {
        task_scheduled_id: id(&body["taskScheduledId"]),
        failure_details: details(&body["failureDetails"]),
    };
    let name = text(&body["name"]);
    let event_type = match kind {
        "orchestratorStarted" => E::OrchestratorStarted(Nothing {}),
        "orchestratorCompleted" => E::OrchestratorCompleted(Nothing {}),
        "executionStarted" => E::ExecutionStarted(Box::new(ExecutionStarted {
            name,
            version: wrapped(&body["version"]),
            input: wrapped(&body["input"]),
            orchestration_instance: Some(OrchestrationInstance {
                instance_id: text(&body["orchestrationInstance"]["instanceId"]),
                execution_id: wrapped(&body["orchestrationInstance"]["executionId"]),
            }),
            parent_instance: None,
        })),
        "executionTerminated" => E::ExecutionTerminated(reason),
        "executionSuspended" => E::ExecutionSuspended(reason),
        "executionResumed" => E::ExecutionResumed(reason),
        "taskScheduled" => E::TaskScheduled(TaskScheduled { name, ..TaskScheduled::default() }),
        "taskCompleted" => E::TaskCompleted(completed),
        "taskFailed" => E::TaskFailed(failed),
        "subOrchestrationInstanceCompleted" => E::SubOrchestrationInstanceCompleted(completed),
        "subOrchestrationInstanceFailed" => E::SubOrchestrationInstanceFailed(failed),
        "subOrchestrationInstanceCreated" => E::SubOrchestrationInstanceCreated(Box::new(SubOrchestration {
            instance_id: text(&body["instanceId"]),
            name,
            ..SubOrchestration::default()
        })),
        "timerCreated" => E::TimerCreated(TimerCreated { fire_at: time(&body["fireAt"]) }),
        "timerFired" => E::TimerFired(TimerFired { fire_at: time(&body["fireAt"]), timer_id: id(&body["timerId"]) }),
        "eventRaised" => E::EventRaised(EventRaised { name, input: wrapped(&body["input"]) }),
        "eventSent" => {
            let instance_id = text(&body["instanceId"]);
            E::EventSent(EventSent { instance_id, name, input: wrapped(&body["input"]) })
        }
        other => panic!("{other} is not in any recording"),
    };
    HistoryEvent { event_id: id(&json["eventId"]), timestamp: time(&json["timestamp"]), event_type: Some(event_type) }
}

fn action(json: &Value) -> OrchestratorAction {
    use ActionType as A;
    let (kind, body) = json
        .as_object()
        .unwrap()
        .iter()
        .find(|(name, _)| *name != "id")
        .map(|(name, body)| (name.as_str(), body))
        .unwrap();
    let name = text(&body["name"]);
    let action_type = match kind {
        "scheduleTask" => A::ScheduleTask(TaskScheduled { name, version: None, input: wrapped(&body["input"]) }),
        "createTimer" => A::CreateTimer(TimerCreated { fire_at: time(&body["fireAt"]) }),
        "createSubOrchestration" => A::CreateSubOrchestration(SubOrchestration {
            instance_id: text(&body["instanceId"]),
            name,
            version: None,
            input: wrapped(&body["input"]),
        }),
        "sendEvent" => A::SendEvent(SendEvent {
            instance: Some(OrchestrationInstance {
                instance_id: text(&body["instance"]["instanceId"]),
                execution_id: None,
            }),
            name,
            data: wrapped(&body["data"]),
        }),
        "completeOrchestration" => A::CompleteOrchestration(CompleteOrchestration {
            orchestration_status: id(&body["orchestrationStatus"]),
            result: wrapped(&body["result"]),
            carryover_events: events(&body["carryoverEvents"]),
            failure_details: details(&body["failureDetails"]),
            ..CompleteOrchestration::default()
        }),
        other => panic!("{other} is not in any recording"),
    };
    OrchestratorAction { id: id(&json["id"]), action_type: Some(action_type) }
}

fn details(json: &Value) -> Option<Box<FailureDetails>> {
    json.as_object()?;
    Some(Box::new(FailureDetails {
        error_type: text(&json["errorType"]),
        error_message: text(&json["errorMessage"]),
        stack_trace: wrapped(&json["stackTrace"]),
        inner_failure: details(&json["innerFailure"]),
        is_non_retriable: false,
    }))
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

/// A text in a message of its own, which is empty where the text is.
fn wrapped(json: &Value) -> Option<String> {
    json.as_object().map(|it| it.get("value").and_then(Value::as_str).unwrap_or_default().to_owned())
}

fn id(json: &Value) -> i32 {
    i32::try_from(json.as_i64().unwrap_or_default()).unwrap()
}

fn time(json: &Value) -> Option<Timestamp> {
    let seconds = json.get("seconds").map(|it| it.as_i64().or_else(|| it.as_str()?.parse().ok()).unwrap())?;
    Some(Timestamp { seconds, nanos: id(&json["nanos"]) })
}
