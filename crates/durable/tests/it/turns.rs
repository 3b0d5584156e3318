//! One history, one orchestrator, one turn: what the cases are made of.

use std::{future::Future, time::Duration};

use durable::{Context, Error, Turn, protocol::*, replay};
use serde_json::Value;

use super::world::{event, started};

/// Replays events of which the last `new` are new.
pub(super) fn turn<F, Fut>(events: Vec<EventType>, new: usize, orchestrator: F) -> Turn
where
    F: FnOnce(Context, Value) -> Fut,
    Fut: Future<Output = Result<Value, Error>>,
{
    let mut ids = 0..;
    let mut all = Vec::new();
    for (event_type, seconds) in events.into_iter().zip(1..) {
        let is_action = matches!(
            event_type,
            EventType::TaskScheduled(_)
                | EventType::TimerCreated(_)
                | EventType::SubOrchestrationInstanceCreated(_)
                | EventType::EventSent(_)
        );
        let id = if is_action { ids.next().unwrap() } else { -1 };
        all.push(event(id, seconds, event_type));
    }
    let new_events = all.split_off(all.len() - new);
    let request = OrchestratorRequest::with(|set| {
        set.instance_id = "i".to_owned();
        set.past_events = all;
        set.new_events = new_events;
    });
    replay(request, orchestrator, || Duration::ZERO)
}

pub(super) fn begin() -> Vec<EventType> {
    vec![EventType::OrchestratorStarted(Nothing::default()), started("null", 0)]
}

pub(super) fn after(events: &[EventType]) -> Vec<EventType> {
    begin().into_iter().chain(events.iter().cloned()).collect()
}

pub(super) fn scheduled(name: &str) -> EventType {
    EventType::TaskScheduled(TaskScheduled::new(name.to_owned(), None))
}

pub(super) fn completed(id: i32, result: &str) -> EventType {
    EventType::TaskCompleted(TaskCompleted::new(id, Some(result.to_owned())))
}

pub(super) fn failed(id: i32) -> EventType {
    let details = FailureDetails::with(|set| {
        set.error_message = "disk full".to_owned();
    });
    EventType::TaskFailed(TaskFailed::new(id, Some(Box::new(details))))
}

pub(super) fn raised(name: &str, input: &str) -> EventType {
    EventType::EventRaised(EventRaised::new(name.to_owned(), Some(input.to_owned())))
}

pub(super) fn fired(timer_id: i32) -> EventType {
    EventType::TimerFired(TimerFired::new(None, timer_id))
}

pub(super) fn reason(text: &str) -> Reason {
    Reason::new(Some(text.to_owned()))
}

/// `(id, what)` of each action.
pub(super) fn actions(turn: &Turn) -> Vec<(i32, String)> {
    let name = |action: &OrchestratorAction| match action.action_type.as_ref().unwrap() {
        ActionType::ScheduleTask(it) => format!("{}({})", it.name, it.input.as_deref().unwrap_or_default()),
        ActionType::CreateTimer(it) => format!("timer {}", it.fire_at.unwrap().seconds),
        ActionType::CreateSubOrchestration(it) => format!("child {} {}", it.name, it.instance_id),
        ActionType::SendEvent(it) => format!("event {}", it.name),
        ActionType::CompleteOrchestration(it) => match &it.failure_details {
            Some(details) => format!("failed {}", details.error_type),
            None => format!("completed {}", it.result.as_deref().unwrap_or_default()),
        },
        other => format!("{other:?}"),
    };
    turn.response.actions.iter().map(|it| (it.id, name(it))).collect()
}

#[track_caller]
pub(super) fn check(turn: &Turn, wanted: &[(i32, &str)]) {
    let found = actions(turn);
    let found: Vec<(i32, &str)> = found.iter().map(|(id, what)| (*id, what.as_str())).collect();
    assert_eq!(found, wanted, "{:?}", turn.failure());
}
