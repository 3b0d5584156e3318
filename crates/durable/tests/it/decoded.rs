//! Messages of recordings that were kept as JSON alone, as a protobuf library of JavaScript prints them.

use durable::protocol::*;
use serde_json::Value;

pub(crate) fn request(json: &Value) -> OrchestratorRequest {
    OrchestratorRequest::with(|set| {
        set.instance_id = text(&json["instanceId"]);
        set.past_events = events(&json["pastEvents"]);
        set.new_events = events(&json["newEvents"]);
        set.properties = properties(&json["properties"]);
    })
}

pub(crate) fn response(json: &Value) -> OrchestratorResponse {
    OrchestratorResponse::with(|set| {
        set.instance_id = text(&json["instanceId"]);
        set.actions = json["actions"].as_array().into_iter().flatten().map(action).collect();
        set.custom_status = wrapped(&json["customStatus"]);
    })
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
    let reason = Reason::new(wrapped(&body["input"]));
    let completed = TaskCompleted::new(id(&body["taskScheduledId"]), wrapped(&body["result"]));
    let failed = TaskFailed::new(id(&body["taskScheduledId"]), details(&body["failureDetails"]));
    let name = text(&body["name"]);
    let event_type = match kind {
        "orchestratorStarted" => E::OrchestratorStarted(Nothing::default()),
        "orchestratorCompleted" => E::OrchestratorCompleted(Nothing::default()),
        "executionStarted" => E::ExecutionStarted(Box::new(ExecutionStarted::with(|set| {
            set.name = name;
            set.version = wrapped(&body["version"]);
            set.input = wrapped(&body["input"]);
            set.orchestration_instance = Some(OrchestrationInstance::new(
                text(&body["orchestrationInstance"]["instanceId"]),
                wrapped(&body["orchestrationInstance"]["executionId"]),
            ));
            set.parent_instance = parent(&body["parentInstance"]);
            set.tags = tags(&body["tags"]);
        }))),
        "executionTerminated" => E::ExecutionTerminated(reason),
        "executionSuspended" => E::ExecutionSuspended(reason),
        "executionResumed" => E::ExecutionResumed(reason),
        "taskScheduled" => E::TaskScheduled(TaskScheduled::with(|set| {
            (set.name, set.input) = (name, wrapped(&body["input"]));
            (set.version, set.tags) = (wrapped(&body["version"]), tags(&body["tags"]));
        })),
        "taskCompleted" => E::TaskCompleted(completed),
        "taskFailed" => E::TaskFailed(failed),
        "subOrchestrationInstanceCompleted" => E::SubOrchestrationInstanceCompleted(completed),
        "subOrchestrationInstanceFailed" => E::SubOrchestrationInstanceFailed(failed),
        "subOrchestrationInstanceCreated" => E::SubOrchestrationInstanceCreated(Box::new(child(name, body))),
        "timerCreated" => E::TimerCreated(TimerCreated::new(time(&body["fireAt"]))),
        "timerFired" => E::TimerFired(TimerFired::new(time(&body["fireAt"]), id(&body["timerId"]))),
        "eventRaised" => E::EventRaised(EventRaised::new(name, wrapped(&body["input"]))),
        "eventSent" => {
            let instance_id = text(&body["instanceId"]);
            E::EventSent(EventSent::new(instance_id, name, wrapped(&body["input"])))
        }
        "executionCompleted" => E::ExecutionCompleted(ExecutionCompleted::with(|set| {
            set.orchestration_status = id(&body["orchestrationStatus"]);
            set.result = wrapped(&body["result"]);
            set.failure_details = details(&body["failureDetails"]);
        })),
        "genericEvent" => E::GenericEvent(Reason::new(wrapped(&body["data"]))),
        other => panic!("{other} is not in any recording"),
    };
    HistoryEvent::new(id(&json["eventId"]), time(&json["timestamp"]), Some(event_type))
}

fn action(json: &Value) -> OrchestratorAction {
    use ActionType as A;
    let Some((kind, body)) = json.as_object().unwrap().iter().find(|(name, _)| *name != "id") else {
        return OrchestratorAction::new(id(&json["id"]), None);
    };
    let name = text(&body["name"]);
    let action_type = match kind.as_str() {
        "scheduleTask" => A::ScheduleTask(ScheduleTask::with(|set| {
            (set.name, set.input) = (name, wrapped(&body["input"]));
            (set.version, set.tags) = (wrapped(&body["version"]), tags(&body["tags"]));
        })),
        "createTimer" => A::CreateTimer(TimerCreated::new(time(&body["fireAt"]))),
        "createSubOrchestration" => A::CreateSubOrchestration(child(name, body)),
        "sendEvent" => A::SendEvent(SendEvent::new(
            Some(OrchestrationInstance::new(text(&body["instance"]["instanceId"]), None)),
            name,
            wrapped(&body["data"]),
        )),
        "completeOrchestration" => A::CompleteOrchestration(CompleteOrchestration::with(|set| {
            set.orchestration_status = id(&body["orchestrationStatus"]);
            set.result = wrapped(&body["result"]);
            set.carryover_events = events(&body["carryoverEvents"]);
            set.failure_details = details(&body["failureDetails"]);
            set.new_version = wrapped(&body["newVersion"]);
            set.tags = tags(&body["tags"]);
        })),
        "terminateOrchestration" => A::TerminateOrchestration(Nothing::default()),
        "rewindOrchestration" => A::RewindOrchestration(Nothing::default()),
        other => panic!("{other} is not in any recording"),
    };
    OrchestratorAction::new(id(&json["id"]), Some(action_type))
}

fn details(json: &Value) -> Option<Box<FailureDetails>> {
    json.as_object()?;
    Some(Box::new(FailureDetails::with(|set| {
        set.error_type = text(&json["errorType"]);
        set.error_message = text(&json["errorMessage"]);
        set.stack_trace = wrapped(&json["stackTrace"]);
        set.inner_failure = details(&json["innerFailure"]);
        set.is_non_retriable = json["isNonRetriable"] == true;
        set.properties = properties(&json["properties"]);
    })))
}

fn child(name: String, body: &Value) -> SubOrchestration {
    SubOrchestration::with(|set| {
        (set.instance_id, set.name, set.input) = (text(&body["instanceId"]), name, wrapped(&body["input"]));
        (set.version, set.tags) = (wrapped(&body["version"]), tags(&body["tags"]));
    })
}

fn parent(json: &Value) -> Option<ParentInstance> {
    json.as_object()?;
    let instance = &json["orchestrationInstance"];
    Some(ParentInstance::with(|set| {
        set.task_scheduled_id = id(&json["taskScheduledId"]);
        (set.name, set.version) = (wrapped(&json["name"]), wrapped(&json["version"]));
        let execution_id = wrapped(&instance["executionId"]);
        set.orchestration_instance = Some(OrchestrationInstance::new(text(&instance["instanceId"]), execution_id));
    }))
}

fn tags(json: &Value) -> Tags {
    json.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
}

fn properties(json: &Value) -> Properties {
    let value = |json: &Value| {
        if let Some(text) = json["stringValue"].as_str() {
            return ValueKind::String(text.to_owned());
        }
        json["boolValue"]
            .as_bool()
            .map_or_else(|| ValueKind::Number(json["numberValue"].as_f64().unwrap()), ValueKind::Bool)
    };
    json.as_object().into_iter().flatten().map(|(name, it)| (name.clone(), value(it).into())).collect()
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
    Some(Timestamp::new(seconds, id(&json["nanos"])))
}
