//! What an orchestrator may do: everything else would differ from replay to replay.

use std::{cell::RefCell, fmt, rc::Rc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use time::{OffsetDateTime, format_description::FormatItem, macros::format_description};
use uuid::Uuid;

use super::{
    Activity, Carry, Level, LogLine,
    error::{Error, types},
    protocol::{
        ActionType, OrchestrationInstance, SendEvent, SubOrchestration, TaskScheduled, TimerCreated, Timestamp,
    },
    retry::RetryPolicy,
    state::State,
    task::{Retried, Task, Timer},
};

/// A message of Azure Storage's queues lives for seven days.
const LONGEST_TIMER: time::Duration = time::Duration::days(6);
/// Namespace of deterministic ids: version 5 of this text in the OID namespace, as Microsoft's SDKs have it.
const UUID_NAMESPACE: &str = "9e952958-5e33-4daf-827f-2fa12937b875";
const UUID_TIME: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// An orchestrator's view of its instance. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub(super) state: Rc<RefCell<State>>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("instance_id", &self.instance_id()).finish_non_exhaustive()
    }
}

impl Context {
    pub fn instance_id(&self) -> String {
        self.state.borrow().instance_id.clone()
    }

    /// The instance that created this one.
    pub fn parent_instance_id(&self) -> Option<String> {
        self.state.borrow().parent_instance_id.clone()
    }

    /// The time of the episode that is being replayed: the same in every replay.
    pub fn now(&self) -> OffsetDateTime {
        self.state.borrow().now
    }

    /// Whether what is done now has been done before. For side effects that should happen once, as logging.
    pub fn is_replaying(&self) -> bool {
        self.state.borrow().is_replaying
    }

    /// Time since this episode began. It differs from replay to replay: for log lines, not for decisions.
    pub fn elapsed(&self) -> Duration {
        let stopwatch = Rc::clone(&self.state.borrow().stopwatch);
        stopwatch()
    }

    /// An id that is the same in every replay: version 5, as Microsoft's SDKs make it.
    pub fn new_uuid(&self) -> Uuid {
        let mut state = self.state.borrow_mut();
        let now = state.now.format(UUID_TIME).unwrap_or_default();
        let name = format!("{}_{now}_{}", state.instance_id, state.next_uuid);
        state.next_uuid += 1;
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_OID, UUID_NAMESPACE.as_bytes());
        Uuid::new_v5(&namespace, name.as_bytes())
    }

    /// Schedules an activity by its handle: the input is what it takes, the result what it gives.
    pub fn call<I: Serialize, O: DeserializeOwned>(&self, activity: Activity<I, O>, input: &I) -> Task<O> {
        self.activity(activity.name(), input)
    }

    /// The same, tried again when it fails.
    ///
    /// # Errors
    /// When the input cannot be written as JSON; then nothing is scheduled.
    pub fn call_with_retry<I: Serialize, O: DeserializeOwned>(
        &self,
        activity: Activity<I, O>,
        input: &I,
        policy: RetryPolicy,
    ) -> Result<Retried<O>, Error> {
        self.activity_with_retry(activity.name(), input, policy)
    }

    /// Schedules an activity by name, such as one of another app.
    pub fn activity<T: DeserializeOwned>(&self, name: &str, input: &impl Serialize) -> Task<T> {
        match encode(input) {
            Ok(input) => self.schedule(name, input),
            Err(error) => self.failed(name, error),
        }
    }

    /// The same, tried again when it fails.
    ///
    /// # Errors
    /// When the input cannot be written as JSON; then nothing is scheduled.
    pub fn activity_with_retry<T: DeserializeOwned>(
        &self,
        name: &str,
        input: &impl Serialize,
        policy: RetryPolicy,
    ) -> Result<Retried<T>, Error> {
        Ok(Retried::new(self, name, encode(input)?, policy))
    }

    pub(super) fn schedule<T>(&self, name: &str, input: Option<String>) -> Task<T> {
        let action = TaskScheduled { name: name.to_owned(), version: None, input };
        let key = self.state.borrow_mut().await_action(ActionType::ScheduleTask(action));
        Task::new(&self.state, key, name)
    }

    /// Starts a child under an id that is unique to this execution.
    pub fn sub_orchestration<T: DeserializeOwned>(&self, name: &str, input: &impl Serialize) -> Task<T> {
        let id = {
            let state = self.state.borrow();
            format!("{}:{:04x}", state.execution_id.as_ref().unwrap_or(&state.instance_id), state.next_id())
        };
        self.sub_orchestration_as(&id, name, input)
    }

    /// Starts a child under a given id, which must not be empty.
    pub fn sub_orchestration_as<T: DeserializeOwned>(
        &self,
        instance_id: &str,
        name: &str,
        input: &impl Serialize,
    ) -> Task<T> {
        let input = match encode(input) {
            Ok(_) if instance_id.is_empty() => {
                return self.failed(name, Error::new(types::SUB_ORCHESTRATION_FAILED, "a child needs an instance id"));
            }
            Ok(input) => input,
            Err(error) => return self.failed(name, error),
        };
        let child =
            SubOrchestration { instance_id: instance_id.to_owned(), name: name.to_owned(), version: None, input };
        let key = self.state.borrow_mut().await_action(ActionType::CreateSubOrchestration(child));
        Task::new(&self.state, key, name)
    }

    /// A timer that fires after this time, counted from [`Context::now`].
    pub fn timer(&self, after: Duration) -> Timer {
        self.timer_at(self.now().saturating_add(after.try_into().unwrap_or(time::Duration::MAX)))
    }

    /// A timer that fires at this time.
    pub fn timer_at(&self, fire_at: OffsetDateTime) -> Timer {
        Timer::new(self, fire_at)
    }

    /// The next part of a timer, and until when it lasts.
    pub(super) fn timer_part<T>(&self, fire_at: OffsetDateTime) -> (Task<T>, OffsetDateTime) {
        let until = fire_at.min(self.now().saturating_add(LONGEST_TIMER));
        let action = ActionType::CreateTimer(TimerCreated { fire_at: Some(until.into()) });
        let key = self.state.borrow_mut().await_action(action);
        (Task::new(&self.state, key, "timer"), until)
    }

    /// Waits for an event by name, without regard to case. Events are handed out in order of arrival, also to waits that come
    /// later than they.
    pub fn external_event<T: DeserializeOwned>(&self, name: &str) -> Task<T> {
        let key = self.state.borrow_mut().await_event(name);
        Task::new(&self.state, key, name)
    }

    /// Sends an event to another instance. Delivery is not confirmed.
    ///
    /// # Errors
    /// When the data cannot be written as JSON.
    pub fn send_event(&self, instance_id: &str, name: &str, data: &impl Serialize) -> Result<(), Error> {
        let instance = OrchestrationInstance { instance_id: instance_id.to_owned(), execution_id: None };
        let event = SendEvent { instance: Some(instance), name: name.to_owned(), data: encode(data)? };
        self.state.borrow_mut().act(ActionType::SendEvent(event));
        Ok(())
    }

    /// Ends this execution and begins the next with an empty history: `return ctx.continue_as_new(&next, Carry::Events)`.
    ///
    /// # Errors
    /// Always: the value of an orchestrator that continues is not looked at. It is a real error only where the input cannot be
    /// written as JSON.
    pub fn continue_as_new<T>(&self, input: &impl Serialize, carry: Carry) -> Result<T, Error> {
        let input = encode(input)?.unwrap_or_else(|| "null".to_owned());
        self.state.borrow_mut().continued_as_new = Some((input, carry));
        Err(Error::new("ContinuedAsNew", "this execution goes on as a new one"))
    }

    /// What the status API shows beside the state, from this episode on.
    ///
    /// # Errors
    /// When the status cannot be written as JSON.
    pub fn set_custom_status(&self, status: &impl Serialize) -> Result<(), Error> {
        self.state.borrow_mut().custom_status = encode(status)?;
        Ok(())
    }

    /// Logs a line, once: not in replays.
    pub fn log(&self, level: Level, message: impl FnOnce() -> String) {
        if !self.is_replaying() {
            let line = LogLine { level, message: message() };
            self.state.borrow_mut().log.push(line);
        }
    }

    /// A task that has failed before it began.
    fn failed<T>(&self, name: &str, error: Error) -> Task<T> {
        let mut state = self.state.borrow_mut();
        let key = state.await_nothing();
        state.resolve(key, Err(error));
        Task::new(&self.state, key, name)
    }
}

/// JSON text of a value.
pub(super) fn encode(value: &impl Serialize) -> Result<Option<String>, Error> {
    serde_json::to_string(value).map(Some).map_err(|error| Error::new(types::ENCODE, error.to_string()))
}

impl From<OffsetDateTime> for Timestamp {
    fn from(at: OffsetDateTime) -> Self {
        Self { seconds: at.unix_timestamp(), nanos: at.nanosecond().cast_signed() }
    }
}

impl From<Timestamp> for OffsetDateTime {
    /// A time outside of what can be written is the epoch: history is not ours to refuse.
    fn from(at: Timestamp) -> Self {
        let nanos = i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
        Self::from_unix_timestamp_nanos(nanos).unwrap_or(Self::UNIX_EPOCH)
    }
}
