//! How fast the stand-in goes where the real host only makes a learner wait.

use std::time::Duration;

use clap::ValueEnum;

/// Which waits the stand-in keeps.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Pace {
    /// Short ones, for work at a desk.
    #[default]
    Quick,
    /// The real host's.
    Real,
}

/// Every wait that the two paces differ in. None of them changes what is done, only when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Waits {
    /// From the end of a listing of the containers to the next one.
    pub listing: Duration,
    /// Longest wait between two looks at an empty trigger queue.
    pub poll_max: Duration,
    /// How long a message that was taken stays hidden without renewal, and so after a kill.
    pub message_lease: Duration,
    /// How long a message under way at a stop stays hidden: as long as its lease, where this is `None`.
    pub released_at_stop: Option<Duration>,
    /// How long the listener's lock outlives a killed host, and how often a host that waits for it asks; `None` without a lock.
    pub listener_lock: Option<Duration>,
    /// When an orchestrator's call comes back that was under way at a stop or kill.
    pub orchestrator_again: Duration,
    /// When an activity's call does.
    pub activity_again: Duration,
}

const QUICK: Waits = Waits {
    listing: Duration::from_millis(200),
    poll_max: Duration::from_millis(200),
    message_lease: Duration::from_secs(30),
    released_at_stop: Some(Duration::ZERO),
    // The lock on the work folder keeps a second host away already.
    listener_lock: None,
    orchestrator_again: Duration::ZERO,
    activity_again: Duration::ZERO,
};

const REAL: Waits = Waits {
    listing: Duration::from_secs(2),
    poll_max: Duration::from_secs(60),
    message_lease: Duration::from_secs(600),
    released_at_stop: None,
    listener_lock: Some(Duration::from_secs(60)),
    orchestrator_again: Duration::from_secs(300),
    activity_again: Duration::from_secs(5),
};

impl Pace {
    /// Its name on the command line and in a run's environment.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Real => "real",
        }
    }

    pub const fn waits(self) -> Waits {
        match self {
            Self::Quick => QUICK,
            Self::Real => REAL,
        }
    }
}
