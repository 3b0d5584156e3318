//! Answers as lines of text, without what differs on purpose.

use durable::protocol::{
    ActionType, CompleteOrchestration, EventType, HistoryEvent, OrchestrationStatus, OrchestratorAction,
    OrchestratorResponse,
};
use serde_json::Value;

use super::super::program::Program;

/// Whose answers ours are compared with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum With {
    DotNet,
    Python,
}

/// A line for each action, and one for the status. Ours and theirs are read alike.
pub(super) fn lines(with: With, response: &OrchestratorResponse, program: &Program) -> Vec<String> {
    let abandoned = program.abandoned_events();
    let mut lines: Vec<String> = response.actions.iter().map(|it| action(with, it, &abandoned)).collect();
    let status = response.custom_status.as_deref().filter(|it| !it.is_empty());
    lines.extend(status.map(|it| format!("status {}", json(with, it))));
    lines
}

/// Whether it ends the execution.
pub(super) fn is_end(action: &OrchestratorAction) -> bool {
    matches!(action.action_type, Some(ActionType::CompleteOrchestration(_)))
}

fn action(with: With, action: &OrchestratorAction, abandoned: &[String]) -> String {
    let id = action.id;
    match action.action_type.as_ref().unwrap() {
        ActionType::ScheduleTask(it) => format!("{id} activity {} {}", it.name, input(with, it.input.as_deref())),
        ActionType::CreateSubOrchestration(it) => {
            let version = it.version.as_deref().filter(|it| !it.is_empty()).unwrap_or("none");
            format!("{id} child {} {} {} version {version}", it.name, it.instance_id, input(with, it.input.as_deref()))
        }
        ActionType::CreateTimer(it) => format!("{id} timer {}", at(it.fire_at)),
        ActionType::CompleteOrchestration(it) => completion(with, it, abandoned),
        other => format!("{id} {other:?}"),
    }
}

fn completion(with: With, complete: &CompleteOrchestration, abandoned: &[String]) -> String {
    let result = || complete.result.as_deref().map(|it| json(with, it)).unwrap_or_default();
    match complete.orchestration_status() {
        OrchestrationStatus::Completed => format!("completed {}", result()),
        OrchestrationStatus::Failed => "failed".to_owned(),
        OrchestrationStatus::ContinuedAsNew => {
            let carried: Vec<String> = complete
                .carryover_events
                .iter()
                .filter(|it| !is_named(it, abandoned))
                .filter_map(|it| it.event_type.as_ref().map(event))
                .collect();
            format!("again {} carrying {}", result(), carried.join(", "))
        }
        other => format!("{other:?}"),
    }
}

fn is_named(event: &HistoryEvent, names: &[String]) -> bool {
    match &event.event_type {
        Some(EventType::EventRaised(it)) => names.iter().any(|name| name.eq_ignore_ascii_case(&it.name)),
        _ => false,
    }
}

/// An event in few words.
pub(super) fn event(event: &EventType) -> String {
    match event {
        EventType::OrchestratorStarted(_) => "an episode".to_owned(),
        EventType::ExecutionStarted(_) => "the start".to_owned(),
        EventType::ExecutionSuspended(_) => "suspend".to_owned(),
        EventType::ExecutionResumed(_) => "resume".to_owned(),
        EventType::TaskCompleted(it) | EventType::SubOrchestrationInstanceCompleted(it) => {
            format!("{} completed", it.task_scheduled_id)
        }
        EventType::TaskFailed(it) | EventType::SubOrchestrationInstanceFailed(it) => {
            format!("{} failed", it.task_scheduled_id)
        }
        EventType::TimerFired(it) => format!("{} fired", it.timer_id),
        EventType::EventRaised(it) => format!("{} {}", it.name, it.input.as_deref().unwrap_or_default()),
        other => format!("{other:?}"),
    }
}

fn at(time: Option<durable::protocol::Timestamp>) -> String {
    time.map(|it| format!("{}.{:09}", it.seconds, it.nanos)).unwrap_or_default()
}

/// JSON is compared as JSON: blanks are no difference.
fn json(with: With, text: &str) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap();
    if with == With::DotNet {
        blank_uuids(&mut value);
    }
    value.to_string()
}

/// Ids are made of the time, which .NET writes with one more digit.
fn blank_uuids(value: &mut Value) {
    match value {
        Value::String(it) if it.len() == 36 && it.matches('-').count() == 4 => *it = "uuid".to_owned(),
        Value::Array(them) => them.iter_mut().for_each(blank_uuids),
        _ => {}
    }
}

/// .NET writes inputs as a list of one, which the extension's own activities take apart.
fn input(with: With, text: Option<&str>) -> String {
    let Some(text) = text else { return String::new() };
    match serde_json::from_str(text).unwrap() {
        Value::Array(list) if with == With::DotNet && list.len() == 1 => list[0].to_string(),
        value => value.to_string(),
    }
}
