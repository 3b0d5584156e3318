//! A history and an orchestrator that disagree, explained.

use super::{
    error::{Error, types},
    protocol::{ActionType, EventType},
};

/// `None` where the recorded event is what the attempted action becomes.
pub(super) fn explain(position: usize, id: i32, recorded: &EventType, attempted: Option<&ActionType>) -> Option<Error> {
    if attempted.is_some_and(|it| agree(it, recorded)) {
        return None;
    }
    let attempted = attempted.map_or_else(|| "nothing".to_owned(), describe_action);
    let text = format!(
        "history event {position} recorded {} as step {id}, the orchestrator attempted {attempted}: with the same history it must \
         do the same. Was its code changed while instances were running, or does it depend on time, chance or settings?",
        describe_event(recorded)
    );
    Some(Error::new(types::NON_DETERMINISTIC, text))
}

/// Whether the event is what becomes of the action. A timer's time is not compared: the host may round it.
fn agree(action: &ActionType, event: &EventType) -> bool {
    match (action, event) {
        (ActionType::ScheduleTask(attempted), EventType::TaskScheduled(recorded)) => attempted.name == recorded.name,
        (ActionType::CreateSubOrchestration(attempted), EventType::SubOrchestrationInstanceCreated(recorded)) => {
            attempted.name == recorded.name
        }
        (ActionType::SendEvent(attempted), EventType::EventSent(recorded)) => attempted.name == recorded.name,
        (ActionType::CreateTimer(_), EventType::TimerCreated(_)) => true,
        _ => false,
    }
}

fn describe_action(action: &ActionType) -> String {
    match action {
        ActionType::ScheduleTask(it) => activity(&it.name),
        ActionType::CreateSubOrchestration(it) => child(&it.name),
        ActionType::CreateTimer(_) => "a timer".to_owned(),
        ActionType::SendEvent(it) => event(&it.name),
        ActionType::CompleteOrchestration(_) => "its completion".to_owned(),
    }
}

fn describe_event(event_type: &EventType) -> String {
    match event_type {
        EventType::TaskScheduled(it) => activity(&it.name),
        EventType::SubOrchestrationInstanceCreated(it) => child(&it.name),
        EventType::TimerCreated(_) => "a timer".to_owned(),
        EventType::EventSent(it) => event(&it.name),
        other => format!("{other:?}"),
    }
}

fn activity(name: &str) -> String {
    format!("activity {name:?}")
}

fn child(name: &str) -> String {
    format!("child {name:?}")
}

fn event(name: &str) -> String {
    format!("event {name:?} to another instance")
}
