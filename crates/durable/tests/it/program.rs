//! Orchestrations as data: what an interpreter here, one in Python and one in .NET understand.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An orchestration. It is its own input.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Program {
    pub(super) steps: Vec<Step>,
    pub(super) end: End,
    /// Executions before this one.
    pub(super) round: u32,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "k", rename_all = "lowercase")]
pub(super) enum Step {
    Await {
        t: Leaf,
    },
    /// A failure fails the program once all have ended, unless it is caught.
    All {
        t: Vec<Leaf>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        catch: bool,
    },
    Any {
        t: Vec<Leaf>,
    },
    /// Begins something that is taken later, or never.
    Begin {
        #[serde(rename = "as")]
        name: String,
        t: Leaf,
    },
    Take {
        #[serde(rename = "as")]
        name: String,
    },
    /// Branches side by side.
    Join {
        b: Vec<Vec<Step>>,
    },
    /// A value from one branch to another; each channel has one.
    Send {
        c: String,
        v: Value,
    },
    Recv {
        c: String,
    },
    Status {
        v: Value,
    },
    Uuid,
    /// The instance's version.
    Version,
}

/// Something that is waited for. Names that begin with `bad` fail; an input `{"flaky": n}` fails n times. `v` is a version.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "k", rename_all = "lowercase")]
pub(super) enum Leaf {
    Activity {
        n: String,
        i: Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        v: Option<String>,
    },
    Retry {
        n: String,
        i: Value,
        max: u32,
        first: u64,
        coef: f64,
    },
    Timer {
        s: u64,
    },
    Event {
        n: String,
    },
    Sub {
        n: String,
        i: Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        v: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "k", rename_all = "lowercase")]
pub(super) enum End {
    Return,
    Fail,
    Again { save: bool },
}

impl Program {
    /// Its steps and those of its branches, a join before what is in it.
    pub(super) fn all_steps(&self) -> Vec<&Step> {
        let mut steps: Vec<&Step> = Vec::new();
        let mut todo: Vec<&Step> = self.steps.iter().rev().collect();
        while let Some(step) = todo.pop() {
            steps.push(step);
            if let Step::Join { b } = step {
                todo.extend(b.iter().flatten().rev());
            }
        }
        steps
    }

    /// The events that are waited for.
    pub(super) fn events(&self) -> Vec<String> {
        self.all_steps().into_iter().flat_map(Step::events).collect()
    }

    /// Those whose wait may be given up: it lost a race, or nobody took it.
    pub(super) fn abandoned_events(&self) -> Vec<String> {
        let steps = self.all_steps();
        let is_taken = |it: &str| steps.iter().any(|step| matches!(step, Step::Take { name } if name == it));
        let is_abandoned = |step: &&&Step| match step {
            Step::Any { .. } => true,
            Step::Begin { name, .. } => !is_taken(name),
            _ => false,
        };
        steps.iter().filter(is_abandoned).flat_map(|it| it.events()).collect()
    }

    /// Whether a retry uses up its attempts.
    pub(super) fn exhausts_a_retry(&self) -> bool {
        let is_exhausted = |it: &Leaf| matches!(it, Leaf::Retry { .. }) && it.fails();
        self.all_steps().into_iter().flat_map(Step::leaves).any(is_exhausted)
    }

    /// Whether it fails, by its end or by an `all` that nobody catches.
    pub(super) fn fails(&self) -> bool {
        let fails = |step: &Step| matches!(step, Step::All { t, catch: false } if t.iter().any(Leaf::fails));
        self.end == End::Fail || self.all_steps().into_iter().any(fails)
    }
}

impl Step {
    pub(super) fn leaves(&self) -> &[Leaf] {
        match self {
            Self::Await { t } | Self::Begin { t, .. } => std::slice::from_ref(t),
            Self::All { t, .. } | Self::Any { t } => t,
            _ => &[],
        }
    }

    fn events(&self) -> Vec<String> {
        let name = |it: &Leaf| if let Leaf::Event { n } = it { Some(n.clone()) } else { None };
        self.leaves().iter().filter_map(name).collect()
    }
}

impl Leaf {
    pub(super) fn has_version(&self) -> bool {
        matches!(self, Self::Activity { v: Some(_), .. } | Self::Sub { v: Some(_), .. })
    }

    /// Whether its outcome is a failure.
    pub(super) fn fails(&self) -> bool {
        match self {
            Self::Activity { n, .. } | Self::Sub { n, .. } => n.starts_with("bad"),
            Self::Retry { i, max, .. } => i["flaky"].as_u64() >= Some(u64::from(*max)),
            Self::Timer { .. } | Self::Event { .. } => false,
        }
    }
}
