//! Histories written by hand, for tests: ids, times and the bounds of episodes come by themselves.

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use super::{History, created, is_answer, is_step, scheduled};
use crate::engine::{
    ActivityError,
    protocol::{
        EventRaised, EventSent, EventType, ExecutionCompleted, ExecutionStarted, FailureDetails, HistoryEvent, Nothing,
        OrchestrationInstance, OrchestrationStatus, OrchestratorRequest, Reason, TaskCompleted, TaskFailed,
        TimerCreated, TimerFired, Timestamp,
    },
};

/// 2026-01-01T00:00:00Z, when a history begins that does not say otherwise.
const BEGIN: i64 = 1_767_225_600;
/// The episode's own begin, and the execution's.
const START_EVENTS: usize = 2;
/// Between two events.
const TICK: Duration = Duration::from_millis(1);

/// A history in the making: each call adds what it is called after.
///
/// Steps get the ids 0, 1, 2 … in order. An outcome that comes after a step begins a new episode; outcomes in a row share one.
///
/// ```
/// use durable::history::History;
///
/// let request = History::of("fulfil")
///     .input(&7)
///     .scheduled("Reserve")
///     .scheduled("Charge")
///     .completed(1, &"paid")
///     .completed(0, &"reserved")
///     .request();
/// assert_eq!((request.past_events.len(), request.new_events.len()), (5, 3));
/// ```
#[derive(Clone, Debug)]
pub struct HistoryBuilder {
    history: History,
    now: OffsetDateTime,
    next_id: i32,
}

impl History {
    /// Begins a history of this orchestrator, of an instance named `test`.
    pub fn of(orchestrator: impl Into<String>) -> HistoryBuilder {
        let started = ExecutionStarted::with(|set| {
            set.name = orchestrator.into();
            set.version = Some(String::new());
        });
        let now = Timestamp::new(BEGIN, 0).into();
        let builder = HistoryBuilder { history: Self::new("test", Vec::new()), now, next_id: 0 };
        builder.push(-1, EventType::ExecutionStarted(Box::new(started))).instance("test")
    }
}

impl HistoryBuilder {
    /// Names the instance; its execution gets an id of the same name.
    #[must_use]
    pub fn instance(mut self, id: &str) -> Self {
        self.history.instance_id = id.to_owned();
        self.start(|it| {
            it.orchestration_instance = Some(OrchestrationInstance::new(id.to_owned(), Some(id.to_owned())))
        })
    }

    #[must_use]
    pub fn version(self, version: &str) -> Self {
        self.start(|it| it.version = Some(version.to_owned()))
    }

    #[must_use]
    pub fn input(self, input: &impl Serialize) -> Self {
        self.start(|it| it.input = json(input))
    }

    /// Sets the clock: the next event happens at this time. Called first, it is when the history begins.
    #[must_use]
    pub fn at(mut self, now: OffsetDateTime) -> Self {
        self.now = now;
        let events = &mut self.history.events;
        if events.len() == START_EVENTS {
            events.iter_mut().for_each(|it| it.timestamp = Some(now.into()));
        }
        self
    }

    /// Gives the next step this id, and those after it the ids that follow.
    #[must_use]
    pub fn id(mut self, id: i32) -> Self {
        self.next_id = id;
        self
    }

    /// Ends the episode: what comes next is new in another one.
    #[must_use]
    pub fn episode(self) -> Self {
        self.push(-1, EventType::OrchestratorCompleted(Nothing::default()))
    }

    /// Schedules an activity.
    #[must_use]
    pub fn scheduled(self, activity: &str) -> Self {
        self.step(|_| scheduled(activity, None))
    }

    /// Schedules an activity that completes before anything else happens.
    #[must_use]
    pub fn activity(self, name: &str, result: &impl Serialize) -> Self {
        let id = self.next_id;
        self.scheduled(name).completed(id, result)
    }

    /// Creates a child.
    #[must_use]
    pub fn child(self, orchestrator: &str) -> Self {
        let parent = self.history.instance_id.clone();
        self.step(|id| created(format!("{parent}:{id:04x}"), orchestrator, None))
    }

    /// Creates a timer.
    #[must_use]
    pub fn timer(self, after: Duration) -> Self {
        let fire_at = Some((self.now + after).into());
        self.step(|_| EventType::TimerCreated(TimerCreated::new(fire_at)))
    }

    /// Sends an event to another instance.
    #[must_use]
    pub fn sent(self, instance_id: &str, event: &str, data: &impl Serialize) -> Self {
        self.step(|_| EventType::EventSent(EventSent::new(instance_id.to_owned(), event.to_owned(), json(data))))
    }

    /// Completes the activity or child of this id.
    #[must_use]
    pub fn completed(self, id: i32, result: &impl Serialize) -> Self {
        let outcome = TaskCompleted::new(id, json(result));
        let is_child = self.is_child(id);
        self.push(
            -1,
            if is_child {
                EventType::SubOrchestrationInstanceCompleted(outcome)
            } else {
                EventType::TaskCompleted(outcome)
            },
        )
    }

    /// Fails the activity or child of this id. An activity's failure has the form in which the host passes it on.
    #[must_use]
    pub fn failed(self, id: i32, error: &ActivityError) -> Self {
        let details = |kind: &str, message: String| {
            Box::new(FailureDetails::with(|set| (set.error_type, set.error_message) = (kind.to_owned(), message)))
        };
        if self.is_child(id) {
            let mut details = details(&error.error_type, error.message.clone());
            details.is_non_retriable = error.is_non_retriable;
            return self.push(-1, EventType::SubOrchestrationInstanceFailed(TaskFailed::new(id, Some(details))));
        }
        let answer = format!("Invalid HttpResponseMessage:\nHeaders:\n{{\n}}\n {}", error.to_answer());
        let mut outer = details("Microsoft.Azure.WebJobs.Host.FunctionInvocationException", String::new());
        outer.inner_failure = Some(details("System.InvalidOperationException", answer));
        self.push(-1, EventType::TaskFailed(TaskFailed::new(id, Some(outer))))
    }

    /// Fires the timer of this id, when it was to.
    #[must_use]
    pub fn fired(mut self, id: i32) -> Self {
        let fire_at = match self.history.step(id) {
            Some((_, EventType::TimerCreated(it))) => it.fire_at,
            _ => None,
        };
        self.now = self.now.max(fire_at.map_or(self.now, OffsetDateTime::from));
        self.push(-1, EventType::TimerFired(TimerFired::new(fire_at, id)))
    }

    /// Raises an event.
    #[must_use]
    pub fn raised(self, event: &str, data: &impl Serialize) -> Self {
        self.push(-1, EventType::EventRaised(EventRaised::new(event.to_owned(), json(data))))
    }

    #[must_use]
    pub fn suspended(self) -> Self {
        self.push(-1, EventType::ExecutionSuspended(Reason::default()))
    }

    #[must_use]
    pub fn resumed(self) -> Self {
        self.push(-1, EventType::ExecutionResumed(Reason::default()))
    }

    /// A client asks for the end; [`HistoryBuilder::ended`] is that end.
    #[must_use]
    pub fn terminated(self, reason: &str) -> Self {
        self.push(-1, EventType::ExecutionTerminated(Reason::new(Some(reason.to_owned()))))
    }

    /// Ends the execution with an output.
    #[must_use]
    pub fn completed_with(self, output: &impl Serialize) -> Self {
        self.ended(OrchestrationStatus::Completed, json(output))
    }

    /// Ends the execution with the input of the next one.
    #[must_use]
    pub fn continued_as_new(self, input: &impl Serialize) -> Self {
        self.ended(OrchestrationStatus::ContinuedAsNew, json(input))
    }

    /// Ends the execution with a failure.
    #[must_use]
    pub fn failed_with(self, error_type: &str, message: &str) -> Self {
        let details = FailureDetails::with(|set| {
            (set.error_type, set.error_message) = (error_type.to_owned(), message.to_owned());
        });
        self.end(ExecutionCompleted::with(|set| {
            set.orchestration_status = OrchestrationStatus::Failed as i32;
            set.failure_details = Some(Box::new(details));
        }))
    }

    /// Ends the execution in any other way; `result` is JSON text.
    #[must_use]
    pub fn ended(self, status: OrchestrationStatus, result: Option<String>) -> Self {
        self.end(ExecutionCompleted::with(|set| (set.orchestration_status, set.result) = (status as i32, result)))
    }

    /// Adds an event as it is, where nothing above makes it.
    #[must_use]
    pub fn event(mut self, event: HistoryEvent) -> Self {
        self.history.events.push(event);
        self
    }

    pub fn build(self) -> History {
        self.history
    }

    /// The request of the last episode.
    pub fn request(&self) -> OrchestratorRequest {
        self.history.last_request()
    }

    fn start(mut self, set: impl FnOnce(&mut ExecutionStarted)) -> Self {
        let started = self.history.events.iter_mut().find_map(|it| match &mut it.event_type {
            Some(EventType::ExecutionStarted(it)) => Some(it),
            _ => None,
        });
        if let Some(started) = started {
            set(started);
        }
        self
    }

    fn step(mut self, event: impl FnOnce(i32) -> EventType) -> Self {
        let id = self.next_id;
        self.next_id += 1;
        self.push(id, event(id))
    }

    fn end(self, completed: ExecutionCompleted) -> Self {
        let id = self.next_id;
        self.push(id, EventType::ExecutionCompleted(completed)).episode()
    }

    /// Adds an event that happens now, and opens an episode for it where none is open.
    fn push(mut self, id: i32, event: EventType) -> Self {
        let last = self.history.events.last().and_then(|it| it.event_type.as_ref());
        let is_open = last.is_some_and(|it| !is_answer(it));
        if !is_answer(&event) && !is_open {
            if last.is_some_and(is_step) {
                self.add(-1, EventType::OrchestratorCompleted(Nothing::default()));
            }
            self.add(-1, EventType::OrchestratorStarted(Nothing::default()));
        }
        self.add(id, event);
        self
    }

    fn add(&mut self, id: i32, event: EventType) {
        self.history.events.push(HistoryEvent::new(id, Some(self.now.into()), Some(event)));
        self.now += TICK;
    }

    fn is_child(&self, id: i32) -> bool {
        matches!(self.history.step(id), Some((_, EventType::SubOrchestrationInstanceCreated(_))))
    }
}

#[expect(clippy::expect_used, reason = "the values of a test can be written as JSON, or the test is to fail")]
fn json(value: &impl Serialize) -> Option<String> {
    Some(serde_json::to_string(value).expect("a value that can be written as JSON"))
}
