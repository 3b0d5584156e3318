//! A history as the API shows it (extension: `DurableClient.cs`): what has an outcome is shown with it, an episode's begin and end
//! are left out.

use std::collections::{HashMap, HashSet};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::json::{float, quoted, raw, shown};
use custom_handler::clock;
use durable::protocol::{
    EventType, FailureDetails, HistoryEvent, OrchestrationStatus, Properties, TaskCompleted, TaskFailed, Timestamp,
    Value, ValueKind,
};

/// What is shown of events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub input: bool,
    pub output: bool,
    /// How often the instance was started again under its id.
    pub generation: i64,
}

/// An event's members, in the extension's order.
#[derive(Debug)]
pub(super) struct Event(Vec<(&'static str, Box<RawValue>)>);

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Event {
    fn new(kind: &str) -> Self {
        Self(Vec::new()).with("EventType", text(kind))
    }

    fn with(mut self, name: &'static str, value: Box<RawValue>) -> Self {
        self.0.push((name, value));
        self
    }
}

fn text(text: &str) -> Box<RawValue> {
    raw(quoted(text))
}

fn optional(it: Option<&str>) -> Box<RawValue> {
    it.map_or_else(null, text)
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

pub(super) fn events(history: &[HistoryEvent], shown: Shown) -> Vec<Event> {
    let ended = history.iter().filter_map(|it| match it.event_type.as_ref()? {
        EventType::TaskCompleted(it) | EventType::SubOrchestrationInstanceCompleted(it) => Some(it.task_scheduled_id),
        EventType::TaskFailed(it) | EventType::SubOrchestrationInstanceFailed(it) => Some(it.task_scheduled_id),
        _ => None,
    });
    let mut teller = Teller { ended: ended.collect(), scheduled: HashMap::new(), shown };
    history.iter().filter_map(|it| teller.tell(it)).collect()
}

struct Teller<'a> {
    /// Ids of what has an outcome.
    ended: HashSet<i32>,
    /// What was scheduled, by its id.
    scheduled: HashMap<i32, Scheduled<'a>>,
    shown: Shown,
}

#[derive(Clone, Copy)]
struct Scheduled<'a> {
    name: &'a str,
    input: Option<&'a str>,
    at: Option<Timestamp>,
}

impl<'a> Teller<'a> {
    fn tell(&mut self, event: &'a HistoryEvent) -> Option<Event> {
        use EventType as E;
        let (id, at) = (event.event_id, event.timestamp);
        let told = match event.event_type.as_ref()? {
            E::TaskScheduled(it) => {
                let input = it.input.as_deref();
                if self.remember(id, Scheduled { name: &it.name, input, at }) {
                    return None;
                }
                self.with_input(Event::new("TaskScheduled").with("Name", text(&it.name)), input)
            }
            E::SubOrchestrationInstanceCreated(it) => {
                let input = it.input.as_deref();
                if self.remember(id, Scheduled { name: &it.name, input, at }) {
                    return None;
                }
                let created = Event::new("SubOrchestrationInstanceCreated").with("InstanceId", text(&it.instance_id));
                self.with_input(created.with("Name", text(&it.name)), input)
            }
            E::TimerCreated(it) => Event::new("TimerCreated").with("FireAt", time(it.fire_at)),
            E::TimerFired(it) => Event::new("TimerFired").with("FireAt", time(it.fire_at)),
            E::ExecutionStarted(it) => {
                let started = self.with_input(Event::new("ExecutionStarted"), it.input.as_deref());
                return Some(self.started(started).with("Timestamp", time(at)).with("FunctionName", text(&it.name)));
            }
            E::TaskCompleted(it) => return Some(self.completed("TaskCompleted", it, at)),
            E::SubOrchestrationInstanceCompleted(it) => {
                return Some(self.completed("SubOrchestrationInstanceCompleted", it, at));
            }
            E::TaskFailed(it) => return Some(self.failed("TaskFailed", it, at)),
            E::SubOrchestrationInstanceFailed(it) => {
                return Some(self.failed("SubOrchestrationInstanceFailed", it, at));
            }
            E::EventRaised(it) => {
                self.with_input(Event::new("EventRaised").with("Name", text(&it.name)), it.input.as_deref())
            }
            E::EventSent(it) => {
                let sent = Event::new("EventSent").with("InstanceId", text(&it.instance_id));
                self.with_input(sent.with("Name", text(&it.name)), it.input.as_deref())
            }
            E::ExecutionCompleted(it) => {
                let status = OrchestrationStatus::try_from(it.orchestration_status);
                let status = format!("{:?}", status.unwrap_or(OrchestrationStatus::Failed));
                let completed = Event::new("ExecutionCompleted").with("OrchestrationStatus", text(&status));
                let completed = self.with_output(completed, it.result.as_deref());
                completed.with("FailureDetails", details(it.failure_details.as_deref()))
            }
            E::ExecutionTerminated(it) => self.with_input(Event::new("ExecutionTerminated"), it.input.as_deref()),
            E::ExecutionSuspended(it) => Event::new("ExecutionSuspended").with("Reason", optional(it.input.as_deref())),
            E::ExecutionResumed(it) => Event::new("ExecutionResumed").with("Reason", optional(it.input.as_deref())),
            E::GenericEvent(it) => Event::new("GenericEvent").with("Data", optional(it.input.as_deref())),
            _ => return None,
        };
        Some(told.with("Timestamp", time(at)))
    }

    /// Keeps what was scheduled for its outcome. False where there is none yet.
    fn remember(&mut self, id: i32, scheduled: Scheduled<'a>) -> bool {
        let has_ended = self.ended.contains(&id);
        if has_ended {
            self.scheduled.insert(id, scheduled);
        }
        has_ended
    }

    fn started(&self, event: Event) -> Event {
        event
            .with("Correlation", null())
            .with("ParentTraceContext", null())
            .with("ScheduledStartTime", null())
            .with("Generation", raw(self.shown.generation.to_string()))
            .with("GenerateNewTrace", raw("false".to_owned()))
    }

    fn completed(&self, kind: &str, outcome: &TaskCompleted, at: Option<Timestamp>) -> Event {
        let completed = self.with_output(Event::new(kind), outcome.result.as_deref());
        self.with_schedule(completed.with("Timestamp", time(at)), outcome.task_scheduled_id)
    }

    fn failed(&self, kind: &str, outcome: &TaskFailed, at: Option<Timestamp>) -> Event {
        let cause = outcome.failure_details.as_deref();
        let reason = cause.map(|it| format!("{}: {}", it.error_type, it.error_message));
        let failed = Event::new(kind).with("Reason", optional(reason.as_deref())).with("Details", null());
        let failed = failed.with("FailureDetails", details(cause)).with("Timestamp", time(at));
        self.with_schedule(failed, outcome.task_scheduled_id)
    }

    fn with_schedule(&self, event: Event, id: i32) -> Event {
        let Some(Scheduled { name, input, at }) = self.scheduled.get(&id).copied() else { return event };
        // The extension reads this one as a local time, which is UTC.
        let at = at.map(|it| format!("{}+00:00", timestamp(it).trim_end_matches('Z')));
        let event = event.with("ScheduledTime", optional(at.as_deref())).with("FunctionName", text(name));
        self.with_input(event, input)
    }

    fn with_input(&self, event: Event, input: Option<&str>) -> Event {
        if self.shown.input { event.with("Input", optional(input)) } else { event }
    }

    /// The result as JSON; as a text where it begins with a comment.
    fn with_output(&self, event: Event, result: Option<&str>) -> Event {
        if !self.shown.output {
            return event;
        }
        event.with("Result", shown(result).unwrap_or_else(|_| optional(result)))
    }
}

fn time(at: Option<Timestamp>) -> Box<RawValue> {
    optional(at.map(timestamp).as_deref())
}

/// Without zeros at the end of the fraction.
fn timestamp(at: Timestamp) -> String {
    let written = clock::timestamp(at.into());
    let digits = written.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{digits}Z")
}

fn details(it: Option<&FailureDetails>) -> Box<RawValue> {
    let Some(it) = it else { return null() };
    let told = Event(Vec::new())
        .with("ErrorType", text(&it.error_type))
        .with("ErrorMessage", text(&it.error_message))
        .with("StackTrace", optional(it.stack_trace.as_deref()))
        .with("InnerFailure", details(it.inner_failure.as_deref()))
        .with("IsNonRetriable", raw(it.is_non_retriable.to_string()))
        .with("Properties", raw(members(&it.properties)));
    serde_json::value::to_raw_value(&told).unwrap_or_else(|_| null())
}

fn members(properties: &Properties) -> String {
    let members = properties.iter().map(|(name, value)| format!("{}:{}", quoted(name), property(value)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn property(value: &Value) -> String {
    match &value.kind {
        None | Some(ValueKind::Null(_)) => "null".to_owned(),
        Some(ValueKind::Bool(it)) => it.to_string(),
        Some(ValueKind::Number(it)) => float(*it),
        Some(ValueKind::String(it)) => quoted(it),
        Some(ValueKind::List(it)) => format!("[{}]", it.values.iter().map(property).collect::<Vec<_>>().join(",")),
        Some(ValueKind::Struct(it)) => members(&it.fields),
    }
}
