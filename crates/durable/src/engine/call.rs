//! What an orchestrator asks for: what the host gets of it, and what is kept to compare with history.

use std::{borrow::Cow, fmt, rc::Rc};

use super::protocol::{ActionType, ScheduleTask, SubOrchestration};

/// An activity or a child, as it is asked for; a retry asks for it again.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub name: Cow<'static, str>,
    pub version: Option<Rc<str>>,
    /// The instance id of a child; an empty one is given at every attempt.
    pub child: Option<String>,
    /// JSON text; absent where history has the action.
    pub input: Option<String>,
}

/// What is kept of an action: enough to compare it with an event.
#[derive(Debug)]
pub(super) enum Attempt {
    Activity(Cow<'static, str>),
    Child(Cow<'static, str>),
    Timer,
    /// An event for another instance.
    Event(String),
    /// Nothing that could be asked for.
    Refused,
}

/// A call without its name.
pub(super) struct Rest {
    version: Option<Rc<str>>,
    child: Option<String>,
    input: Option<String>,
}

impl Call {
    pub(super) fn into_attempt(self) -> (Attempt, Rest) {
        let Self { name, version, child, input } = self;
        let attempt = if child.is_some() { Attempt::Child(name) } else { Attempt::Activity(name) };
        (attempt, Rest { version, child, input })
    }
}

impl Rest {
    pub(super) fn into_action(self, attempt: &Attempt) -> ActionType {
        let (version, input) = (self.version.map(|it| it.as_ref().to_owned()), self.input);
        let name = attempt.name().to_owned();
        match self.child {
            Some(instance_id) => ActionType::CreateSubOrchestration(SubOrchestration::with(|set| {
                (set.instance_id, set.name, set.version, set.input) = (instance_id, name, version, input);
            })),
            None => ActionType::ScheduleTask(ScheduleTask::with(|set| {
                (set.name, set.version, set.input) = (name, version, input);
            })),
        }
    }
}

impl Attempt {
    /// What was asked for with an action; `None` for the end of the execution.
    pub(super) fn of(action: &ActionType) -> Option<Self> {
        match action {
            ActionType::ScheduleTask(it) => Some(Self::Activity(it.name.clone().into())),
            ActionType::CreateSubOrchestration(it) => Some(Self::Child(it.name.clone().into())),
            ActionType::CreateTimer(_) => Some(Self::Timer),
            ActionType::SendEvent(it) => Some(Self::Event(it.name.clone())),
            _ => None,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Activity(name) | Self::Child(name) => name,
            Self::Event(name) => name,
            Self::Timer | Self::Refused => "",
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Activity(name) => write!(f, "activity {name:?}"),
            Self::Child(name) => write!(f, "child {name:?}"),
            Self::Timer => f.write_str("a timer"),
            Self::Event(name) => write!(f, "event {name:?} to another instance"),
            Self::Refused => f.write_str("nothing"),
        }
    }
}
