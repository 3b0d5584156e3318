//! A history and an orchestrator that disagree, explained.

use std::fmt;

use super::{
    call::Attempt,
    error::{Error, types},
    events::Kind,
    names,
    protocol::EventType,
};

/// An action, as history has it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Recorded<'a> {
    Activity(&'a [u8]),
    Child(&'a str),
    Timer,
    /// An event for another instance.
    Event(&'a str),
}

impl<'a> Recorded<'a> {
    /// `None` for an event that tells of no action.
    pub(super) fn of(kind: &'a Kind<'_>) -> Option<Self> {
        match kind {
            Kind::TaskScheduled { name } => Some(Self::Activity(name)),
            Kind::Rare(rare) => Self::of_event(rare),
            _ => None,
        }
    }

    /// The same for an event of the protocol.
    pub(super) fn of_event(event_type: &'a EventType) -> Option<Self> {
        match event_type {
            EventType::TaskScheduled(it) => Some(Self::Activity(it.name.as_bytes())),
            EventType::SubOrchestrationInstanceCreated(it) => Some(Self::Child(&it.name)),
            EventType::TimerCreated(_) => Some(Self::Timer),
            EventType::EventSent(it) => Some(Self::Event(&it.name)),
            _ => None,
        }
    }

    /// Whether this is what became of the attempt. Names of functions have no case to the host. A timer's time is not compared:
    /// the host may round it.
    pub(super) fn is(self, attempt: &Attempt) -> bool {
        match (attempt, self) {
            (Attempt::Activity(attempted), Self::Activity(recorded)) => {
                let are_equal = |recorded| names::are_equal(attempted, recorded);
                attempted.as_bytes() == recorded || std::str::from_utf8(recorded).is_ok_and(are_equal)
            }
            (Attempt::Child(attempted), Self::Child(recorded)) => names::are_equal(attempted, recorded),
            (Attempt::Event(attempted), Self::Event(recorded)) => names::are_equal(attempted, recorded),
            (Attempt::Timer, Self::Timer) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Recorded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Activity(name) => write!(f, "activity {:?}", String::from_utf8_lossy(name)),
            Self::Child(name) => write!(f, "child {name:?}"),
            Self::Timer => f.write_str("a timer"),
            Self::Event(name) => write!(f, "event {name:?} to another instance"),
        }
    }
}

/// `None` where the recorded action is the attempted one.
pub(super) fn explain(position: usize, id: i32, recorded: Recorded<'_>, attempted: Option<&Attempt>) -> Option<Error> {
    if attempted.is_some_and(|it| recorded.is(it)) {
        return None;
    }
    let attempted = attempted.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let text = format!(
        "history event {position} recorded {recorded} as step {id}, the orchestrator attempted {attempted}: with the same history it \
         must do the same. Was its code changed while instances were running, or does it depend on time, chance or settings?"
    );
    Some(Error::new(types::NON_DETERMINISTIC, text))
}
