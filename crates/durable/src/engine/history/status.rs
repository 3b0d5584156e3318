//! Rebuilds a history from what the status webhook shows of it (extension: `DurableClient.cs`).

use std::fmt;

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{History, created, scheduled};
use crate::engine::protocol::{
    EventRaised, EventSent, EventType, ExecutionCompleted, ExecutionStarted, FailureDetails, HistoryEvent, Nothing,
    OrchestrationInstance, OrchestrationStatus, Reason, TaskCompleted, TaskFailed, TimerCreated, TimerFired, Timestamp,
};

/// Why a text is no history of the status webhook.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct NotAHistory {
    /// The row of `historyEvents`, from 1, and its `EventType`.
    pub row: Option<(usize, String)>,
    pub why: String,
}

impl fmt::Display for NotAHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.row {
            Some((row, kind)) => write!(f, "row {row} of historyEvents ({kind}): {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

impl std::error::Error for NotAHistory {}

impl History {
    /// Reads the answer of the status webhook to `GET instances/{id}?showHistory=true&showHistoryOutput=true`.
    ///
    /// The extension leaves out what replay needs, so the history is rebuilt ([`History::is_rebuilt`]):
    /// - ids: they follow the times at which steps were scheduled, and rows where times are equal.
    /// - the place of a step whose outcome is shown: it stands before that outcome, which is as late as it can stand.
    /// - the bounds of episodes: each outcome is one with the time of its own row. What code does with [`Context::now`] or
    ///   [`Context::new_uuid`] may differ by it.
    /// - instance ids of children that have ended, parent, version and execution id: they are absent. Replay does not compare them.
    ///
    /// Only the present execution is shown: what was before a continue-as-new is gone.
    ///
    /// [`Context::now`]: crate::Context::now
    /// [`Context::new_uuid`]: crate::Context::new_uuid
    ///
    /// # Errors
    /// Which row is damaged or cannot be rebuilt, and why.
    pub fn from_status(json: &str) -> Result<Self, NotAHistory> {
        let status: Value = serde_json::from_str(json).map_err(|error| whole(format!("it is not JSON: {error}")))?;
        let Some(instance_id) = status["instanceId"].as_str().filter(|_| status["runtimeStatus"].is_string()) else {
            return Err(whole("it is no answer of the status webhook: instanceId or runtimeStatus is missing"));
        };
        let rows = status["historyEvents"].as_array().filter(|it| !it.is_empty());
        let rows = rows.ok_or_else(|| {
            whole("it has no historyEvents: ask with showHistory=true&showHistoryOutput=true, and not while it is Pending")
        })?;
        let mut rebuilt =
            Rebuilt { status: &status, now: OffsetDateTime::UNIX_EPOCH, events: Vec::new(), steps: Vec::new() };
        for (at, row) in rows.iter().enumerate() {
            let kind = row["EventType"].as_str().unwrap_or("no EventType");
            let add = rebuilt.add(kind, row);
            add.map_err(|why| NotAHistory { row: Some((at + 1, kind.to_owned())), why })?;
        }
        rebuilt.number();
        let history = Self { instance_id: instance_id.to_owned(), events: rebuilt.events, is_rebuilt: true };
        history.started().is_some().then_some(history).ok_or_else(|| whole("no row is an ExecutionStarted"))
    }
}

fn whole(why: impl Into<String>) -> NotAHistory {
    NotAHistory { row: None, why: why.into() }
}

/// A step: when it was scheduled, where it stands, and where its outcome does.
struct Step {
    at: OffsetDateTime,
    place: usize,
    outcome: Option<usize>,
}

struct Rebuilt<'a> {
    status: &'a Value,
    now: OffsetDateTime,
    events: Vec<HistoryEvent>,
    steps: Vec<Step>,
}

impl Rebuilt<'_> {
    fn add(&mut self, kind: &str, row: &Value) -> Result<(), String> {
        use EventType as E;
        let at = time(row, "Timestamp")?;
        match kind {
            "ExecutionStarted" => {
                let started = self.started(row)?;
                self.happened(at, E::ExecutionStarted(Box::new(started)));
            }
            "TaskScheduled" => self.step(at, scheduled(text(row, "Name")?, json_text(&row["Input"]))),
            "SubOrchestrationInstanceCreated" => {
                self.step(at, created(text(row, "InstanceId")?, text(row, "Name")?, json_text(&row["Input"])));
            }
            "TaskCompleted" | "SubOrchestrationInstanceCompleted" => {
                let result = row.get("Result").ok_or("it has no Result: record with showHistoryOutput=true")?;
                let completed = TaskCompleted::new(0, (!result.is_null()).then(|| result.to_string()));
                let is_task = kind == "TaskCompleted";
                let outcome = if is_task { E::TaskCompleted } else { E::SubOrchestrationInstanceCompleted };
                self.outcome(row, is_task, at, outcome(completed))?;
            }
            "TaskFailed" | "SubOrchestrationInstanceFailed" => {
                let failed = TaskFailed::new(0, details(&row["FailureDetails"]));
                let is_task = kind == "TaskFailed";
                let outcome = if is_task { E::TaskFailed } else { E::SubOrchestrationInstanceFailed };
                self.outcome(row, is_task, at, outcome(failed))?;
            }
            "TimerCreated" => self.step(at, E::TimerCreated(TimerCreated::new(Some(time(row, "FireAt")?.into())))),
            "TimerFired" => self.fired(at, time(row, "FireAt")?)?,
            "EventSent" => {
                let sent = EventSent::new(text(row, "InstanceId")?, text(row, "Name")?, json_text(&row["Input"]));
                self.step(at, E::EventSent(sent));
            }
            "EventRaised" => {
                self.happened(at, E::EventRaised(EventRaised::new(text(row, "Name")?, json_text(&row["Input"]))))
            }
            "ExecutionSuspended" => self.happened(at, E::ExecutionSuspended(reason(row))),
            "ExecutionResumed" => self.happened(at, E::ExecutionResumed(reason(row))),
            "ExecutionTerminated" => self.happened(at, E::ExecutionTerminated(reason(row))),
            "ExecutionCompleted" => {
                let completed = self.completed(row)?;
                self.events.push(event(at, E::ExecutionCompleted(completed)));
            }
            "ContinueAsNew" => {
                let next = ExecutionCompleted::with(|set| {
                    set.orchestration_status = OrchestrationStatus::ContinuedAsNew as i32;
                    set.result = json_text(&row["Result"]);
                });
                self.events.push(event(at, E::ExecutionCompleted(next)));
            }
            _ => return Err("a history with such a row cannot be rebuilt".to_owned()),
        }
        Ok(())
    }

    fn started(&self, row: &Value) -> Result<ExecutionStarted, String> {
        let id = self.status["instanceId"].as_str().unwrap_or_default();
        let name = text(row, "FunctionName")?;
        // The stand-in of old and `showInput=false` leave it out.
        let shown = &self.status["input"];
        let input = row.get("Input").map_or_else(|| (!shown.is_null()).then(|| shown.to_string()), json_text);
        Ok(ExecutionStarted::with(|set| {
            (set.name, set.input) = (name, input);
            set.orchestration_instance = Some(OrchestrationInstance::new(id.to_owned(), None));
        }))
    }

    fn completed(&self, row: &Value) -> Result<ExecutionCompleted, String> {
        let status = text(row, "OrchestrationStatus")?;
        let status = match status.as_str() {
            "Completed" => OrchestrationStatus::Completed,
            "Failed" => OrchestrationStatus::Failed,
            "Terminated" => OrchestrationStatus::Terminated,
            "ContinuedAsNew" => OrchestrationStatus::ContinuedAsNew,
            "Canceled" => OrchestrationStatus::Canceled,
            other => return Err(format!("an execution does not end as {other:?}")),
        };
        let result = row.get("Result").unwrap_or(&self.status["output"]);
        Ok(ExecutionCompleted::with(|set| {
            set.orchestration_status = status as i32;
            set.result = (!result.is_null()).then(|| result.to_string());
            set.failure_details = details(&row["FailureDetails"]);
        }))
    }

    /// Adds what an orchestrator was told, at the time it happened at or that of the message before it.
    fn happened(&mut self, at: OffsetDateTime, what: EventType) {
        self.now = self.now.max(at);
        self.events.push(event(self.now, EventType::OrchestratorStarted(Nothing::default())));
        self.events.push(event(at, what));
    }

    fn step(&mut self, at: OffsetDateTime, what: EventType) {
        self.steps.push(Step { at, place: self.events.len(), outcome: None });
        self.events.push(event(at, what));
    }

    /// Takes a row that tells a step and its outcome apart.
    fn outcome(&mut self, row: &Value, is_task: bool, at: OffsetDateTime, what: EventType) -> Result<(), String> {
        let (name, input) = (text(row, "FunctionName")?, json_text(&row["Input"]));
        let began = time(row, "ScheduledTime")?;
        self.step(began, if is_task { scheduled(name, input) } else { created(String::new(), name, input) });
        self.happened(at, what);
        if let Some(step) = self.steps.last_mut() {
            step.outcome = Some(self.events.len() - 1);
        }
        Ok(())
    }

    fn fired(&mut self, at: OffsetDateTime, fire_at: OffsetDateTime) -> Result<(), String> {
        let fire = Some(Timestamp::from(fire_at));
        let is_it = |it: &&mut Step| {
            let created = &self.events[it.place].event_type;
            it.outcome.is_none() && matches!(created, Some(EventType::TimerCreated(it)) if it.fire_at == fire)
        };
        let timer = self.steps.iter_mut().find(is_it).ok_or("no TimerCreated with this FireAt stands before it")?;
        timer.outcome = Some(self.events.len() + 1);
        self.happened(at.max(fire_at), EventType::TimerFired(TimerFired::new(fire, 0)));
        Ok(())
    }

    /// Gives steps and their outcomes the ids that the extension leaves out.
    fn number(&mut self) {
        self.steps.sort_by_key(|it| it.at);
        for (id, step) in (0..).zip(&self.steps) {
            self.events[step.place].event_id = id;
            match step.outcome.and_then(|it| self.events[it].event_type.as_mut()) {
                Some(EventType::TaskCompleted(it) | EventType::SubOrchestrationInstanceCompleted(it)) => {
                    it.task_scheduled_id = id;
                }
                Some(EventType::TaskFailed(it) | EventType::SubOrchestrationInstanceFailed(it)) => {
                    it.task_scheduled_id = id;
                }
                Some(EventType::TimerFired(it)) => it.timer_id = id,
                _ => {}
            }
        }
    }
}

fn event(at: OffsetDateTime, what: EventType) -> HistoryEvent {
    HistoryEvent::new(-1, Some(at.into()), Some(what))
}

fn text(row: &Value, field: &str) -> Result<String, String> {
    row[field].as_str().map(str::to_owned).ok_or_else(|| format!("it has no {field}"))
}

fn time(row: &Value, field: &str) -> Result<OffsetDateTime, String> {
    let text = text(row, field)?;
    OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| format!("its {field} is no time: {text:?}"))
}

/// What the extension shows as it keeps it: a JSON text.
fn json_text(shown: &Value) -> Option<String> {
    shown.as_str().map(str::to_owned).or_else(|| (!shown.is_null()).then(|| shown.to_string()))
}

/// Why a client suspends, resumes or terminates an instance.
fn reason(row: &Value) -> Reason {
    Reason::new(row["Reason"].as_str().or_else(|| row["Input"].as_str()).map(str::to_owned))
}

fn details(shown: &Value) -> Option<Box<FailureDetails>> {
    let text = |field: &str| shown[field].as_str().map(str::to_owned);
    shown.is_object().then(|| {
        Box::new(FailureDetails::with(|set| {
            set.error_type = text("ErrorType").unwrap_or_default();
            set.error_message = text("ErrorMessage").unwrap_or_default();
            set.stack_trace = text("StackTrace");
            set.inner_failure = details(&shown["InnerFailure"]);
            set.is_non_retriable = shown["IsNonRetriable"].as_bool().unwrap_or_default();
        }))
    })
}
