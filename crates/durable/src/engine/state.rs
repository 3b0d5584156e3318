//! What one replay knows: actions asked for, what is waited for, events without a wait.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use time::OffsetDateTime;

use super::{
    LogLine,
    call::{Attempt, Call},
    error::{Error, types},
    event_queue::{EventQueues, Raised},
    protocol::{ActionType, EventRaised, OrchestratorAction, TimerCreated, Timestamp},
    retry::{Retry, RetryPolicy},
};

/// A task's outcome: JSON text, or why it failed.
pub(super) type TaskResult = Result<Option<String>, Box<Error>>;
/// Time since the episode began.
pub(super) type Stopwatch = Rc<dyn Fn() -> Duration>;

/// A message of Azure Storage's queues lives for seven days; a timer that is further ahead blocks the whole hub.
const LONGEST_TIMER: time::Duration = time::Duration::days(6);

/// Something that is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Key(u32);

#[derive(Debug)]
struct Slot {
    stage: Stage,
    /// Set as long as somebody waits.
    waker: Option<Waker>,
    source: Source,
}

/// Where an outcome comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The action of this id.
    Action(i32),
    /// The events of this name.
    Events(u32),
}

#[derive(Debug)]
enum Stage {
    Waiting,
    /// The place in the order of outcomes, and what came.
    Ready(u64, Outcome),
    /// It was given to who waited.
    Taken,
    /// Nobody will ask.
    Dropped,
}

#[derive(Debug)]
enum Outcome {
    Settled(TaskResult),
    Raised(Raised),
}

impl Outcome {
    fn into_result(self) -> TaskResult {
        match self {
            Self::Settled(result) => result,
            Self::Raised(raised) => Ok(raised.event.input),
        }
    }
}

/// Whose an action's outcome is.
#[derive(Debug)]
pub(super) enum Owner {
    Nobody,
    Task(Key),
    /// A part of a timer.
    Part(Key, Until),
    /// An attempt, or the pause before the next one.
    Attempt(Box<Retry>),
    Pause(Box<Retry>, Until),
}

/// A point in time, and the end of the part of the way there that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    fire_at: OffsetDateTime,
    part: OffsetDateTime,
}

/// What is known of the instance from the start.
#[derive(Debug, Default)]
pub(super) struct Instance {
    pub id: String,
    pub execution_id: Option<String>,
    pub parent_id: Option<String>,
    pub version: Option<String>,
    /// What a child gets that was given none.
    pub default_version: Option<Rc<str>>,
}

/// A wish to continue as new.
#[derive(Debug)]
pub(super) struct Continued {
    pub input: String,
    pub carry: Carry,
    pub new_version: Option<String>,
    /// Actions before it: those after it are not asked for any more.
    actions: usize,
}

pub(super) struct State {
    pub instance: Instance,
    pub now: Timestamp,
    pub is_replaying: bool,
    pub stopwatch: Stopwatch,
    pub next_uuid: u32,
    pub custom_status: Option<String>,
    pub log: Vec<LogLine>,
    pub continued: Option<Continued>,
    /// Ids of the actions that history has, in order, those before the next id left out.
    recorded: VecDeque<i32>,
    /// What was asked for, by id, and whose the outcome will be.
    attempts: Vec<(Attempt, Owner)>,
    /// What history does not have yet.
    actions: Vec<OrchestratorAction>,
    slots: Vec<Slot>,
    /// How many slots have a waker.
    awaited: usize,
    next_outcome: u64,
    events: EventQueues,
    /// Children with an id of the orchestrator's choice, and the action that created each last.
    children: HashMap<String, i32>,
}

/// What becomes of events that were not waited for when the orchestration continues as new.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Carry {
    /// The next execution finds them.
    Events,
    Nothing,
}

impl State {
    pub(super) fn new(instance: Instance, recorded: VecDeque<i32>, stopwatch: Stopwatch) -> Self {
        Self {
            instance,
            now: Timestamp::default(),
            is_replaying: false,
            stopwatch,
            next_uuid: 0,
            custom_status: None,
            log: Vec::new(),
            continued: None,
            recorded,
            attempts: Vec::new(),
            actions: Vec::new(),
            slots: Vec::new(),
            awaited: 0,
            next_outcome: 0,
            events: EventQueues::default(),
            children: HashMap::new(),
        }
    }

    /// The id the next action will have. Ids follow the order of creation, over all kinds of action.
    pub(super) fn next_id(&self) -> i32 {
        i32::try_from(self.attempts.len()).unwrap_or(i32::MAX)
    }

    /// Whether history has the next action already: then nobody will ask what it was given.
    pub(super) fn is_next_recorded(&mut self) -> bool {
        let next = self.next_id();
        while self.recorded.front().is_some_and(|it| *it < next) {
            self.recorded.pop_front();
        }
        self.recorded.front() == Some(&next)
    }

    /// Gives an action the next id; asks for it unless history has it.
    fn act(&mut self, attempt: Attempt, owner: Owner, action: impl FnOnce(&Attempt) -> ActionType) {
        if !self.is_next_recorded() {
            let (id, action_type) = (self.next_id(), Some(action(&attempt)));
            self.actions.push(OrchestratorAction { id, action_type });
        }
        self.attempts.push((attempt, owner));
    }

    fn call(&mut self, mut call: Call, owner: Owner) {
        let id = self.next_id();
        if let Some(child) = &call.child {
            if child.is_empty() {
                let execution = self.instance.execution_id.as_ref().unwrap_or(&self.instance.id);
                call.child = Some(format!("{execution}:{id:04x}"));
            } else if let Some(before) = self.children.insert(child.clone(), id) {
                self.warn_of_replaced(&call, before);
            }
        }
        let (attempt, rest) = call.into_attempt();
        self.act(attempt, owner, |attempt| rest.into_action(attempt));
    }

    /// The host replaces a live instance without a word, and its parent would wait for ever.
    fn warn_of_replaced(&mut self, call: &Call, before: i32) {
        let owner = self.attempts.get(before.cast_unsigned() as usize).map(|(_, owner)| owner);
        let is_live = owner.is_some_and(|it| !matches!(it, Owner::Nobody));
        if is_live && !self.is_replaying {
            let id = call.child.as_deref().unwrap_or_default();
            let message =
                format!("child {} replaces another one that is under way as {id}: give each its own id", call.name);
            self.log.push(LogLine { level: super::Level::Warning, message });
        }
    }

    /// An event for another instance: nothing comes back.
    pub(super) fn send(&mut self, name: &str, action: impl FnOnce() -> ActionType) {
        self.act(Attempt::Event(name.to_owned()), Owner::Nobody, |_| action());
    }

    /// Begins something that is waited for.
    pub(super) fn begin(&mut self, call: Call) -> Key {
        let key = self.wait(Source::Action(self.next_id()));
        self.call(call, Owner::Task(key));
        key
    }

    /// Begins something that is tried again when it fails.
    pub(super) fn begin_retried(&mut self, call: Call, policy: RetryPolicy) -> Key {
        let key = self.wait(Source::Action(self.next_id()));
        let retry = Retry { key, call: call.clone(), policy, failures: 0, began: self.now.into() };
        self.call(call, Owner::Attempt(Box::new(retry)));
        key
    }

    pub(super) fn begin_timer(&mut self, fire_at: OffsetDateTime) -> Key {
        let key = self.wait(Source::Action(self.next_id()));
        self.time(fire_at, |until| Owner::Part(key, until));
        key
    }

    /// A timer, or as much of it as a queue message lives.
    fn time(&mut self, fire_at: OffsetDateTime, owner: impl FnOnce(Until) -> Owner) {
        // What is before 1970 fires at once, and .NET could not read it.
        let fire_at = fire_at.max(OffsetDateTime::UNIX_EPOCH);
        let part = fire_at.min(OffsetDateTime::from(self.now).saturating_add(LONGEST_TIMER));
        let action = ActionType::CreateTimer(TimerCreated { fire_at: Some(part.into()) });
        self.act(Attempt::Timer, owner(Until { fire_at, part }), |_| action);
    }

    /// Something that has failed before it began. It takes an id all the same: what comes after it keeps its own.
    pub(super) fn refuse(&mut self, error: Error) -> Key {
        let key = self.wait(Source::Action(self.next_id()));
        self.attempts.push((Attempt::Refused, Owner::Nobody));
        self.resolve(key, Outcome::Settled(Err(Box::new(error))));
        key
    }

    /// Waits for an event, or claims the oldest of that name.
    pub(super) fn await_event(&mut self, name: &str) -> Key {
        let queue = self.events.of(name);
        let key = self.wait(Source::Events(queue));
        match self.events.claim(queue) {
            Some(raised) => self.resolve(key, Outcome::Raised(raised)),
            None => self.events.line_up(queue, key),
        }
        key
    }

    fn wait(&mut self, source: Source) -> Key {
        let key = Key(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        self.slots.push(Slot { stage: Stage::Waiting, waker: None, source });
        key
    }

    /// What was asked for under an id that history has; `None` for an id that was not given yet.
    pub(super) fn attempt(&self, id: i32) -> Option<&Attempt> {
        self.attempts.get(usize::try_from(id).ok()?).map(|(attempt, _)| attempt)
    }

    /// Hands an outcome to whose it is. A second one changes nothing. A failure that may be tried again comes back: whether it is
    /// says code of the orchestrator's, which must not be called from in here.
    pub(super) fn settle(&mut self, id: i32, result: TaskResult) -> Option<(Box<Retry>, Box<Error>)> {
        let (_, owner) = self.attempts.get_mut(usize::try_from(id).ok()?)?;
        match (mem::replace(owner, Owner::Nobody), result) {
            (Owner::Nobody, _) => {}
            (Owner::Part(key, until), Ok(_)) if until.part < until.fire_at => {
                // A timer that was dropped is cancelled.
                if !matches!(self.slot(key).stage, Stage::Dropped) {
                    self.time(until.fire_at, |until| Owner::Part(key, until));
                }
            }
            (Owner::Task(key) | Owner::Part(key, _), result) => self.resolve(key, Outcome::Settled(result)),
            (Owner::Attempt(retry), Err(error)) => return Some((retry, error)),
            (Owner::Attempt(retry), result) => self.resolve(retry.key, Outcome::Settled(result)),
            (Owner::Pause(retry, until), _) if until.part < until.fire_at => {
                self.time(until.fire_at, |until| Owner::Pause(retry, until));
            }
            (Owner::Pause(retry, _), _) => self.call(retry.call.clone(), Owner::Attempt(retry)),
        }
        None
    }

    /// Goes on after a failed attempt: with a pause, or with the failure.
    pub(super) fn retry(&mut self, retry: Box<Retry>, error: Box<Error>, pause: Option<Duration>) {
        match pause {
            Some(pause) => {
                let at = self.time_after(pause);
                self.time(at, |until| Owner::Pause(retry, until));
            }
            None => self.resolve(retry.key, Outcome::Settled(Err(error))),
        }
    }

    /// The time so long after now; the last that can be written where it would be later.
    pub(super) fn time_after(&self, duration: Duration) -> OffsetDateTime {
        let duration = duration.try_into().unwrap_or(time::Duration::MAX);
        OffsetDateTime::from(self.now).saturating_add(duration)
    }

    /// Hands an event to the oldest wait for its name; keeps it where there is none.
    pub(super) fn raise(&mut self, event: EventRaised) {
        let (queue, raised) = self.events.arrive(event);
        self.hand_out(queue, raised);
    }

    fn hand_out(&mut self, queue: u32, raised: Raised) {
        // Those who dropped their wait are still in line.
        while let Some(key) = self.events.next_in_line(queue) {
            if matches!(self.slot(key).stage, Stage::Waiting) {
                return self.resolve(key, Outcome::Raised(raised));
            }
        }
        self.events.keep(queue, raised);
    }

    fn resolve(&mut self, key: Key, outcome: Outcome) {
        let order = self.next_outcome;
        self.next_outcome += 1;
        let slot = self.slot(key);
        if !matches!(slot.stage, Stage::Waiting) {
            return;
        }
        slot.stage = Stage::Ready(order, outcome);
        if let Some(waker) = slot.waker.take() {
            self.awaited -= 1;
            waker.wake();
        }
    }

    fn slot(&mut self, key: Key) -> &mut Slot {
        &mut self.slots[key.0 as usize]
    }

    /// The place of an outcome in the order of outcomes; `None` until it is there.
    pub(super) fn ready_at(&self, key: Key) -> Option<u64> {
        match self.slots[key.0 as usize].stage {
            Stage::Ready(order, _) => Some(order),
            _ => None,
        }
    }

    /// Gives an outcome to who waits for it. After a continue-as-new nothing comes any more.
    pub(super) fn poll(&mut self, key: Key, waker: &Waker) -> Poll<TaskResult> {
        if self.continued.is_some() {
            return Poll::Pending;
        }
        let slot = self.slot(key);
        match mem::replace(&mut slot.stage, Stage::Taken) {
            Stage::Ready(_, outcome) => Poll::Ready(outcome.into_result()),
            Stage::Waiting => {
                slot.stage = Stage::Waiting;
                match &mut slot.waker {
                    Some(before) => before.clone_from(waker),
                    none => {
                        *none = Some(waker.clone());
                        self.awaited += 1;
                    }
                }
                Poll::Pending
            }
            Stage::Taken | Stage::Dropped => {
                let text =
                    format!("{} has ended, its outcome was taken, and it is waited for again", self.describe(key));
                Poll::Ready(Err(Box::new(Error::new(types::ALREADY_AWAITED, text))))
            }
        }
    }

    /// What is waited for, for messages.
    pub(super) fn describe(&self, key: Key) -> String {
        match self.slots[key.0 as usize].source {
            Source::Action(id) => self.attempt(id).map(ToString::to_string).unwrap_or_default(),
            Source::Events(queue) => format!("event {:?}", self.events.name(queue)),
        }
    }

    /// Forgets a task that was dropped. An event that it was given and never returned goes to the next wait.
    pub(super) fn forget(&mut self, key: Key) {
        let slot = self.slot(key);
        let (stage, source) = (mem::replace(&mut slot.stage, Stage::Dropped), slot.source);
        if slot.waker.take().is_some() {
            self.awaited -= 1;
        }
        if let (Stage::Ready(_, Outcome::Raised(raised)), Source::Events(queue)) = (stage, source) {
            self.hand_out(queue, raised);
        }
    }

    /// Whether anything the engine could bring about is waited for.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited > 0
    }

    /// Events the next execution should find, in order of arrival.
    pub(super) fn unclaimed_events(&mut self) -> Vec<EventRaised> {
        // One that was handed out and never taken is unclaimed too.
        for slot in &mut self.slots {
            if let Stage::Ready(_, Outcome::Raised(_)) = slot.stage
                && let Stage::Ready(_, Outcome::Raised(raised)) = mem::replace(&mut slot.stage, Stage::Dropped)
                && let Source::Events(queue) = slot.source
            {
                self.events.keep(queue, raised);
            }
        }
        self.events.take_all()
    }

    /// The new actions, in order of their ids.
    pub(super) fn take_actions(&mut self) -> Vec<OrchestratorAction> {
        mem::take(&mut self.actions)
    }

    /// Ends this execution at what it has asked for so far.
    pub(super) fn continue_as_new(&mut self, input: String, carry: Carry, new_version: Option<String>) {
        let actions = self.actions.len();
        self.continued = Some(Continued { input, carry, new_version, actions });
    }

    /// Drops what was asked for after the continue-as-new.
    pub(super) fn end_continued(&mut self) -> Option<Continued> {
        let continued = self.continued.take()?;
        self.actions.truncate(continued.actions);
        Some(continued)
    }

    /// Code of the orchestrator's, to be dropped where its panics are caught.
    pub(super) fn take_policies(&mut self) -> Vec<Owner> {
        let owners = self.attempts.iter_mut().map(|(_, owner)| owner);
        let retried = owners.filter(|it| matches!(it, Owner::Attempt(_) | Owner::Pause(..)));
        retried.map(|it| mem::replace(it, Owner::Nobody)).collect()
    }
}
