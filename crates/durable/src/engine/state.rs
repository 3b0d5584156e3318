//! What one replay knows: actions without an event, tasks without or with a result, events without a wait.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
    task::Waker,
    time::Duration,
};

use time::OffsetDateTime;

use super::{
    LogLine,
    error::Error,
    protocol::{ActionType, EventRaised, EventType, HistoryEvent, OrchestratorAction},
};

/// A task's outcome: JSON text, or why it failed.
pub(super) type TaskResult = Result<Option<String>, Error>;
/// Time since the episode began.
pub(super) type Stopwatch = Rc<dyn Fn() -> Duration>;

/// Of a task, or of a wait for an event. Waits have numbers of their own: waiting is no action.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Key {
    Task(i32),
    Event(u32),
}

/// Something that is waited for.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The outcome, and its place in the order of outcomes.
    pub outcome: Option<(u64, TaskResult)>,
    /// Set as long as a task waits.
    pub waker: Option<Waker>,
}

pub(super) struct State {
    pub instance_id: String,
    pub execution_id: Option<String>,
    pub parent_instance_id: Option<String>,
    pub now: OffsetDateTime,
    pub is_replaying: bool,
    pub stopwatch: Stopwatch,
    next_id: i32,
    next_wait: u32,
    next_outcome: u64,
    pub next_uuid: u32,
    /// Wanted, and not seen in history yet; by id, as ids are given in order.
    actions: VecDeque<(i32, ActionType)>,
    /// What is waited for of actions, by id.
    tasks: Vec<Option<Slot>>,
    /// What is waited for of events.
    events: HashMap<u32, Slot>,
    /// Waits for events, by lower-case name, oldest first.
    waits: HashMap<String, VecDeque<Key>>,
    /// Events without a wait, in order of arrival.
    unclaimed: VecDeque<EventRaised>,
    pub custom_status: Option<String>,
    pub continued_as_new: Option<(String, Carry)>,
    pub log: Vec<LogLine>,
}

/// What becomes of events that were not waited for when the orchestration continues as new.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Carry {
    /// The next execution finds them.
    Events,
    Nothing,
}

impl State {
    pub(super) fn new(instance_id: String, stopwatch: Stopwatch) -> Self {
        Self {
            instance_id,
            execution_id: None,
            parent_instance_id: None,
            now: OffsetDateTime::UNIX_EPOCH,
            is_replaying: false,
            stopwatch,
            next_id: 0,
            next_wait: 0,
            next_outcome: 0,
            next_uuid: 0,
            actions: VecDeque::new(),
            tasks: Vec::new(),
            events: HashMap::new(),
            waits: HashMap::new(),
            unclaimed: VecDeque::new(),
            custom_status: None,
            continued_as_new: None,
            log: Vec::new(),
        }
    }

    /// Gives an action the next id. Ids follow the order of creation, over all kinds of action.
    pub(super) fn act(&mut self, action: ActionType) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        self.actions.push_back((id, action));
        self.tasks.push(None);
        id
    }

    /// The action of this id, which stands in history and is not new any more.
    pub(super) fn confirm(&mut self, id: i32) -> Option<ActionType> {
        let at = self.actions.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.actions.remove(at).map(|(_, action)| action)
    }

    /// The same for an action that something is waited for.
    pub(super) fn await_action(&mut self, action: ActionType) -> Key {
        let key = Key::Task(self.act(action));
        if let Some(place) = self.tasks.last_mut() {
            *place = Some(Slot::default());
        }
        key
    }

    /// The id the next action will have.
    pub(super) fn next_id(&self) -> i32 {
        self.next_id
    }

    /// A wait that no event belongs to.
    pub(super) fn await_nothing(&mut self) -> Key {
        let wait = self.next_wait;
        self.next_wait += 1;
        self.events.insert(wait, Slot::default());
        Key::Event(wait)
    }

    /// Waits for an event, or claims the oldest of that name.
    pub(super) fn await_event(&mut self, name: &str) -> Key {
        let key = self.await_nothing();
        match self.unclaimed.iter().position(|it| it.name.eq_ignore_ascii_case(name)) {
            Some(at) => {
                let event = self.unclaimed.remove(at);
                self.resolve(key, Ok(event.and_then(|it| it.input)));
            }
            None => self.waits.entry(name.to_ascii_lowercase()).or_default().push_back(key),
        }
        key
    }

    /// Hands an event to the oldest wait for its name; keeps it where there is none. Returns whether a wait took it.
    pub(super) fn raise(&mut self, event: EventRaised) -> bool {
        let wait = self.waits.get_mut(&event.name.to_ascii_lowercase()).and_then(VecDeque::pop_front);
        match wait {
            Some(key) => self.resolve(key, Ok(event.input)),
            None => {
                self.unclaimed.push_back(event);
                false
            }
        }
    }

    /// Keeps an outcome and wakes its waiter. Returns false for one that is not wanted: a second outcome, or a task that was dropped.
    pub(super) fn resolve(&mut self, key: Key, outcome: TaskResult) -> bool {
        let order = self.next_outcome;
        let Some(slot) = self.slot(key).filter(|it| it.outcome.is_none()) else {
            return false;
        };
        slot.outcome = Some((order, outcome));
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
        self.next_outcome += 1;
        true
    }

    pub(super) fn slot(&mut self, key: Key) -> Option<&mut Slot> {
        match key {
            Key::Task(id) => self.tasks.get_mut(usize::try_from(id).ok()?)?.as_mut(),
            Key::Event(wait) => self.events.get_mut(&wait),
        }
    }

    /// Forgets a task that was dropped. An event that it was given and never returned goes to the next wait.
    pub(super) fn forget(&mut self, key: Key, event_name: Option<&str>) {
        let slot = match key {
            Key::Task(id) => usize::try_from(id).ok().and_then(|at| self.tasks.get_mut(at)?.take()),
            Key::Event(wait) => self.events.remove(&wait),
        };
        let Some(name) = event_name else { return };
        if let Some(waits) = self.waits.get_mut(&name.to_ascii_lowercase()) {
            waits.retain(|it| *it != key);
        }
        if let Some((_, Ok(input))) = slot.and_then(|it| it.outcome) {
            self.unclaimed.push_front(EventRaised { name: name.to_owned(), input });
        }
    }

    /// Whether anything the engine could bring about is waited for.
    pub(super) fn is_awaited(&self) -> bool {
        // The last task is the likeliest one.
        let tasks = self.tasks.iter().rev().flatten();
        tasks.chain(self.events.values()).any(|slot| slot.waker.is_some())
    }

    /// Events the next execution should find.
    pub(super) fn unclaimed_events(&mut self) -> Vec<HistoryEvent> {
        let events = std::mem::take(&mut self.unclaimed);
        events
            .into_iter()
            .map(|event| HistoryEvent {
                event_id: -1,
                timestamp: None,
                event_type: Some(EventType::EventRaised(event)),
            })
            .collect()
    }

    /// The new actions, in order of their ids.
    pub(super) fn take_actions(&mut self) -> Vec<OrchestratorAction> {
        let actions = std::mem::take(&mut self.actions);
        actions.into_iter().map(|(id, action)| OrchestratorAction { id, action_type: Some(action) }).collect()
    }
}
