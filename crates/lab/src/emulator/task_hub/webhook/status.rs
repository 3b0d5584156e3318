//! An instance as the HTTP API shows it, and which instances a list is about.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::emulator::task_hub::Instance;
use custom_handler::clock;
use durable::protocol::{
    EventType, FailureDetails, HistoryEvent, OrchestrationStatus, TaskCompleted, TaskFailed, Timestamp,
};

/// The body of a status answer; `history` with whether results are shown.
pub(super) fn status_of(instance: &Instance, show_input: bool, history: Option<(&[HistoryEvent], bool)>) -> Value {
    let mut status = json!({
        "name": instance.name,
        "instanceId": instance.instance_id,
        "runtimeStatus": format!("{:?}", instance.status),
        "input": if show_input { value(instance.input.as_deref()) } else { Value::Null },
        "customStatus": value(instance.custom_status.as_deref()),
        "output": value(instance.output.as_deref()),
        "createdTime": seconds(instance.created),
        "lastUpdatedTime": seconds(instance.updated),
    });
    if let Some((history, show_output)) = history {
        status["historyEvents"] = events(history, show_output);
    }
    status
}

/// The value of a JSON text; text that is none is shown as it is.
pub(super) fn value(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)))
}

fn seconds(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

/// History as the extension shows it (extension: `DurableClient.cs`): what has an outcome is told with it, an episode's begin and end
/// not at all.
fn events(history: &[HistoryEvent], show_output: bool) -> Value {
    let ended = history.iter().filter_map(|it| match it.event_type.as_ref()? {
        EventType::TaskCompleted(it) | EventType::SubOrchestrationInstanceCompleted(it) => Some(it.task_scheduled_id),
        EventType::TaskFailed(it) | EventType::SubOrchestrationInstanceFailed(it) => Some(it.task_scheduled_id),
        _ => None,
    });
    let mut teller = Teller { ended: ended.collect(), scheduled: HashMap::new(), show_output };
    history.iter().filter_map(|it| teller.tell(it)).collect()
}

struct Teller<'a> {
    /// Ids of what has an outcome.
    ended: HashSet<i32>,
    /// Name and time of what was scheduled, by its id.
    scheduled: HashMap<i32, (&'a str, String)>,
    show_output: bool,
}

impl<'a> Teller<'a> {
    fn tell(&mut self, event: &'a HistoryEvent) -> Option<Value> {
        use EventType as E;
        let at = time_of(event);
        let mut told = match event.event_type.as_ref()? {
            E::TaskScheduled(it) if self.ended.contains(&event.event_id) => {
                return self.remember(event.event_id, &it.name, at);
            }
            E::SubOrchestrationInstanceCreated(it) if self.ended.contains(&event.event_id) => {
                return self.remember(event.event_id, &it.name, at);
            }
            E::TaskScheduled(it) => json!({ "EventType": "TaskScheduled", "Name": it.name, "Input": it.input }),
            E::SubOrchestrationInstanceCreated(it) => json!({
                "EventType": "SubOrchestrationInstanceCreated",
                "InstanceId": it.instance_id,
                "Name": it.name,
                "Input": it.input,
            }),
            E::TimerCreated(it) => json!({ "EventType": "TimerCreated", "FireAt": fire_at(it.fire_at) }),
            E::ExecutionStarted(it) => {
                json!({ "EventType": "ExecutionStarted", "Input": it.input, "FunctionName": it.name })
            }
            E::TaskCompleted(it) => self.completed("TaskCompleted", it),
            E::SubOrchestrationInstanceCompleted(it) => self.completed("SubOrchestrationInstanceCompleted", it),
            E::TaskFailed(it) => self.failed("TaskFailed", it),
            E::SubOrchestrationInstanceFailed(it) => self.failed("SubOrchestrationInstanceFailed", it),
            E::TimerFired(it) => json!({ "EventType": "TimerFired", "FireAt": fire_at(it.fire_at) }),
            E::EventRaised(it) => json!({ "EventType": "EventRaised", "Name": it.name, "Input": it.input }),
            E::EventSent(it) => json!({
                "EventType": "EventSent",
                "InstanceId": it.instance_id,
                "Name": it.name,
                "Input": it.input,
            }),
            E::ExecutionCompleted(it) => {
                let status =
                    OrchestrationStatus::try_from(it.orchestration_status).unwrap_or(OrchestrationStatus::Failed);
                let completed = json!({
                    "EventType": "ExecutionCompleted",
                    "OrchestrationStatus": format!("{status:?}"),
                    "FailureDetails": details(it.failure_details.as_deref()),
                });
                self.with_output(completed, it.result.as_deref())
            }
            E::ExecutionTerminated(it) => json!({ "EventType": "ExecutionTerminated", "Input": it.input }),
            E::ExecutionSuspended(it) => json!({ "EventType": "ExecutionSuspended", "Reason": it.input }),
            E::ExecutionResumed(it) => json!({ "EventType": "ExecutionResumed", "Reason": it.input }),
            _ => return None,
        };
        told["Timestamp"] = Value::from(at);
        Some(told)
    }

    fn remember(&mut self, id: i32, name: &'a str, at: String) -> Option<Value> {
        self.scheduled.insert(id, (name, at));
        None
    }

    fn completed(&self, kind: &str, outcome: &TaskCompleted) -> Value {
        let completed = self.outcome(kind, outcome.task_scheduled_id);
        self.with_output(completed, outcome.result.as_deref())
    }

    fn failed(&self, kind: &str, outcome: &TaskFailed) -> Value {
        let mut failed = self.outcome(kind, outcome.task_scheduled_id);
        failed["Reason"] =
            json!(outcome.failure_details.as_ref().map(|it| format!("{}: {}", it.error_type, it.error_message)));
        failed["FailureDetails"] = details(outcome.failure_details.as_deref());
        failed
    }

    fn outcome(&self, kind: &str, id: i32) -> Value {
        let (name, at) = self.scheduled.get(&id).cloned().unwrap_or_default();
        json!({ "EventType": kind, "ScheduledTime": at, "FunctionName": name })
    }

    fn with_output(&self, mut event: Value, result: Option<&str>) -> Value {
        if self.show_output {
            event["Result"] = value(result);
        }
        event
    }
}

fn fire_at(at: Option<Timestamp>) -> Option<String> {
    at.map(|it| clock::timestamp(it.into()))
}

fn details(it: Option<&FailureDetails>) -> Value {
    it.map_or(Value::Null, |it| {
        json!({
            "ErrorType": it.error_type,
            "ErrorMessage": it.error_message,
            "StackTrace": it.stack_trace,
            "InnerFailure": details(it.inner_failure.as_deref()),
            "IsNonRetriable": it.is_non_retriable,
        })
    })
}

fn time_of(event: &HistoryEvent) -> String {
    event.timestamp.map(|it| clock::timestamp(it.into())).unwrap_or_default()
}

/// Which instances are meant.
#[derive(Debug, Default)]
pub(super) struct Filter {
    prefix: String,
    from: Option<OffsetDateTime>,
    to: Option<OffsetDateTime>,
    statuses: Vec<String>,
}

impl Filter {
    /// Reads a query.
    ///
    /// # Errors
    /// Which parameter is wrong.
    pub(super) fn read(query: &BTreeMap<String, String>) -> Result<Self, String> {
        let time = |name: &str| match query.get(name).filter(|it| !it.is_empty()) {
            None => Ok(None),
            // A plus that was not encoded has become a blank.
            Some(text) => OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339)
                .map(Some)
                .map_err(|_| format!("{name} is not a time like 2026-01-01T00:00:00Z")),
        };
        let statuses = query.get("runtimeStatus").map(String::as_str).unwrap_or_default();
        Ok(Self {
            prefix: query.get("instanceIdPrefix").cloned().unwrap_or_default(),
            from: time("createdTimeFrom")?,
            to: time("createdTimeTo")?,
            statuses: statuses.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_lowercase).collect(),
        })
    }

    pub(super) fn has(&self, instance: &Instance) -> bool {
        instance.instance_id.starts_with(&self.prefix)
            && self.from.is_none_or(|it| instance.created >= it)
            && self.to.is_none_or(|it| instance.created <= it)
            && (self.statuses.is_empty() || self.statuses.contains(&format!("{:?}", instance.status).to_lowercase()))
    }
}
