//! What an orchestrator may do: everything else would differ from replay to replay.

use std::{borrow::Cow, cell::RefCell, cmp::Ordering, fmt, rc::Rc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use time::{OffsetDateTime, format_description::FormatItem, macros::format_description};
use uuid::Uuid;

use super::{
    Activity, Carry, Either, Level, LogLine,
    call::Call,
    error::{Error, types},
    protocol::{ActionType, OrchestrationInstance, SendEvent, Timestamp},
    retry::RetryPolicy,
    select,
    state::{Key, State},
    task::{Retried, Task, Timer},
    version,
};

/// The extension fails an instance whose custom status is longer, counted in UTF-16.
const LONGEST_STATUS_BYTES: usize = 16 << 10;
/// What the error of a continue-as-new says. One that was made of it says it too.
const CONTINUES: &str = "this execution goes on as a new one";
/// Namespace of deterministic ids: version 5 of this text in the OID namespace, as Microsoft's SDKs have it.
const UUID_NAMESPACE: &str = "9e952958-5e33-4daf-827f-2fa12937b875";
const UUID_TIME: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// An orchestrator's view of its instance. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub(super) state: Rc<RefCell<State>>,
    /// Of the children and activities asked for through it, and of the execution it continues as.
    pub(super) version: Option<Rc<str>>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("instance_id", &self.instance_id()).finish_non_exhaustive()
    }
}

impl Context {
    pub fn instance_id(&self) -> String {
        self.state.borrow().instance.id.clone()
    }

    /// The instance that created this one.
    pub fn parent_instance_id(&self) -> Option<String> {
        self.state.borrow().instance.parent_id.clone()
    }

    /// The version this instance was started with: that of its start, of its parent's call, or the host's
    /// `durableTask.defaultVersion`. It stays the same while newer code replays it.
    pub fn version(&self) -> Option<String> {
        self.state.borrow().instance.version.clone()
    }

    /// Where [`Context::version`] stands to another: no version is below any, dotted numbers go by number, the rest as text.
    ///
    /// ```
    /// # use durable::{Context, Error};
    /// # async fn fulfil(ctx: Context, order: String) -> Result<(), Error> {
    /// if ctx.compare_version_to("2.0").is_ge() {
    ///     ctx.activity::<()>("Inform", &order).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn compare_version_to(&self, other: &str) -> Ordering {
        version::compare(self.version().as_deref().unwrap_or_default(), other)
    }

    /// The same context for another version: children and activities that are asked for through it get this version, and so does
    /// the execution that it continues as.
    #[must_use]
    pub fn at_version(&self, version: &str) -> Self {
        Self { state: Rc::clone(&self.state), version: Some(version.into()) }
    }

    /// The time of the episode that is being replayed: the same in every replay.
    pub fn now(&self) -> OffsetDateTime {
        self.state.borrow().now.into()
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
        let now = OffsetDateTime::from(state.now).format(UUID_TIME).unwrap_or_default();
        let name = format!("{}_{now}_{}", state.instance.id, state.next_uuid);
        state.next_uuid += 1;
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_OID, UUID_NAMESPACE.as_bytes());
        Uuid::new_v5(&namespace, name.as_bytes())
    }

    /// Schedules an activity by its handle: the input is what it takes, the result what it gives.
    pub fn call<I: Serialize, O: DeserializeOwned>(&self, activity: Activity<I, O>, input: &I) -> Task<O> {
        self.begin(Cow::Borrowed(activity.name()), None, input)
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
        self.begin_retried(Cow::Borrowed(activity.name()), None, input, policy)
    }

    /// Schedules an activity by name, such as one of another app.
    pub fn activity<T: DeserializeOwned>(&self, name: &str, input: &impl Serialize) -> Task<T> {
        self.begin(Cow::Owned(name.to_owned()), None, input)
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
        self.begin_retried(Cow::Owned(name.to_owned()), None, input, policy)
    }

    /// Starts a child under an id that is unique to this execution.
    pub fn sub_orchestration<T: DeserializeOwned>(&self, name: &str, input: &impl Serialize) -> Task<T> {
        self.begin(Cow::Owned(name.to_owned()), Some(""), input)
    }

    /// The same, tried again when it fails, each time under an id of its own.
    ///
    /// # Errors
    /// When the input cannot be written as JSON; then nothing is started.
    pub fn sub_orchestration_with_retry<T: DeserializeOwned>(
        &self,
        name: &str,
        input: &impl Serialize,
        policy: RetryPolicy,
    ) -> Result<Retried<T>, Error> {
        self.begin_retried(Cow::Owned(name.to_owned()), Some(""), input, policy)
    }

    /// Starts a child under a given id. The task fails at once for an empty id, and for that of this instance or of its parent: the
    /// host would replace them without a word.
    pub fn sub_orchestration_as<T: DeserializeOwned>(
        &self,
        instance_id: &str,
        name: &str,
        input: &impl Serialize,
    ) -> Task<T> {
        match self.refused_child(instance_id) {
            Some(error) => self.refuse(error),
            None => self.begin(Cow::Owned(name.to_owned()), Some(instance_id), input),
        }
    }

    /// The same, tried again when it fails, each time under the same id.
    ///
    /// # Errors
    /// When the input cannot be written as JSON; then nothing is started.
    pub fn sub_orchestration_as_with_retry<T: DeserializeOwned>(
        &self,
        instance_id: &str,
        name: &str,
        input: &impl Serialize,
        policy: RetryPolicy,
    ) -> Result<Retried<T>, Error> {
        match self.refused_child(instance_id) {
            Some(error) => Ok(self.refuse(error)),
            None => self.begin_retried(Cow::Owned(name.to_owned()), Some(instance_id), input, policy),
        }
    }

    /// What is wrong with a child's id.
    fn refused_child(&self, id: &str) -> Option<Error> {
        let state = self.state.borrow();
        let text = if id.is_empty() {
            "a child needs an instance id".to_owned()
        } else if id == state.instance.id || state.instance.parent_id.as_deref() == Some(id) {
            format!("a child cannot be {id}: that is this instance or its parent, which the child would replace")
        } else {
            return None;
        };
        Some(Error::new(types::SUB_ORCHESTRATION_FAILED, text))
    }

    fn begin<T>(&self, name: Cow<'static, str>, child: Option<&str>, input: &impl Serialize) -> Task<T> {
        // Nobody asks for the input of what history has.
        let is_recorded = self.state.borrow_mut().is_next_recorded();
        let input = if is_recorded { Ok(None) } else { encode(input) };
        match input {
            Ok(input) => {
                let call = Call { name, version: self.version_of(child), child: child.map(str::to_owned), input };
                let key = self.state.borrow_mut().begin(call);
                self.task(key)
            }
            Err(error) => self.refuse(error),
        }
    }

    fn begin_retried<T>(
        &self,
        name: Cow<'static, str>,
        child: Option<&str>,
        input: &impl Serialize,
        policy: RetryPolicy,
    ) -> Result<Retried<T>, Error> {
        // The next attempt may need the input where history has the first.
        let input = encode(input).inspect_err(|error| drop(self.refuse::<T>(error.clone())))?;
        let call = Call { name, version: self.version_of(child), child: child.map(str::to_owned), input };
        let key = self.state.borrow_mut().begin_retried(call, policy);
        Ok(self.task(key))
    }

    /// The version of what is asked for. The extension gives none to a child, and refuses it then where versions are strict.
    fn version_of(&self, child: Option<&str>) -> Option<Rc<str>> {
        let default = || self.state.borrow().instance.default_version.clone();
        self.version.clone().or_else(|| child.and_then(|_| default()))
    }

    fn task<T>(&self, key: Key) -> Task<T> {
        Task::new(Rc::clone(&self.state), key)
    }

    /// A task that has failed before it began.
    fn refuse<T>(&self, error: Error) -> Task<T> {
        let key = self.state.borrow_mut().refuse(error);
        self.task(key)
    }

    /// A timer that fires after this time, counted from [`Context::now`].
    pub fn timer(&self, after: Duration) -> Timer {
        let fire_at = self.state.borrow().time_after(after);
        self.timer_at(fire_at)
    }

    /// A timer that fires at this time.
    pub fn timer_at(&self, fire_at: OffsetDateTime) -> Timer {
        let key = self.state.borrow_mut().begin_timer(fire_at);
        Timer::new(self.task(key))
    }

    /// Waits for an event by name, without regard to case. Events are handed out in order of arrival, also to waits that come
    /// later than they.
    pub fn external_event<T: DeserializeOwned>(&self, name: &str) -> Task<T> {
        let key = self.state.borrow_mut().await_event(name);
        self.task(key)
    }

    /// The same for so long; `None` when the event has not come by then. It goes to the next who waits then.
    ///
    /// # Errors
    /// When the event holds another type.
    pub async fn external_event_within<T: DeserializeOwned>(
        &self,
        name: &str,
        timeout: Duration,
    ) -> Result<Option<T>, Error> {
        let (mut event, mut timer) = (self.external_event(name), self.timer(timeout));
        match select(&mut event, &mut timer).await {
            Either::First(event) => event.map(Some),
            Either::Second(()) => Ok(None),
        }
    }

    /// Sends an event to another instance. Delivery is not confirmed.
    ///
    /// # Errors
    /// When the data cannot be written as JSON, or the instance id is empty.
    pub fn send_event(&self, instance_id: &str, name: &str, data: &impl Serialize) -> Result<(), Error> {
        let data = encode(data).and_then(|data| match instance_id {
            "" => Err(Error::new(types::BAD_INSTANCE_ID, "an event needs the id of an instance")),
            _ => Ok(data),
        });
        let data = data.inspect_err(|error| drop(self.refuse::<()>(error.clone())))?;
        self.state.borrow_mut().send(name, || {
            let instance = OrchestrationInstance { instance_id: instance_id.to_owned(), execution_id: None };
            ActionType::SendEvent(SendEvent { instance: Some(instance), name: name.to_owned(), data })
        });
        Ok(())
    }

    /// Ends this execution and begins the next with an empty history: `return ctx.continue_as_new(&next, Carry::Events)`.
    ///
    /// From here on nothing more is asked for and nothing that is awaited comes, so code that takes the error for a failure and
    /// wants to compensate it does not get far. What the orchestrator gives is not looked at, unless it fails of something else:
    /// that fails the instance.
    ///
    /// # Errors
    /// Always. It is a real error only where the input cannot be written as JSON.
    pub fn continue_as_new<T>(&self, input: &impl Serialize, carry: Carry) -> Result<T, Error> {
        let input = encode(input)?.unwrap_or_else(|| "null".to_owned());
        let version = self.version.as_ref().map(|it| it.as_ref().to_owned());
        self.state.borrow_mut().continue_as_new(input, carry, version);
        Err(Error::new(types::CONTINUED_AS_NEW, CONTINUES))
    }

    /// What the status API shows beside the state, from this episode on.
    ///
    /// # Errors
    /// When the status cannot be written as JSON, or its JSON takes more than 16 KiB in UTF-16; the one before it stays.
    pub fn set_custom_status(&self, status: &impl Serialize) -> Result<(), Error> {
        let status = encode(status)?;
        let bytes = status.as_ref().map_or(0, |it| 2 * it.encode_utf16().count());
        if bytes > LONGEST_STATUS_BYTES {
            let text =
                format!("a custom status of {bytes} bytes in UTF-16: the host takes {LONGEST_STATUS_BYTES} at most");
            return Err(Error::new(types::CUSTOM_STATUS_TOO_LONG, text));
        }
        self.state.borrow_mut().custom_status = status;
        Ok(())
    }

    /// Logs a line, once: not in replays.
    pub fn log(&self, level: Level, message: impl FnOnce() -> String) {
        if !self.is_replaying() {
            let line = LogLine { level, message: message() };
            self.state.borrow_mut().log.push(line);
        }
    }
}

/// Whether an error is that of a continue-as-new, or was made of it.
pub(super) fn is_continued(error: &Error) -> bool {
    error.error_type == types::CONTINUED_AS_NEW || error.message.contains(CONTINUES)
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
