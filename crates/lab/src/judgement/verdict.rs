//! The verdict that follows from criteria, and the file that has both.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Criterion, CriterionResult, Kind, Origin};
use crate::evidence::BandEdges;

/// What the criteria come to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Supported,
    /// At least one criterion fails.
    NotSupported,
    /// None fails, but some cannot be told, or differ from run to run.
    Inconclusive,
}

impl Verdict {
    /// A single failure decides, but one of the checklist: evidence that is not what it should be proves nothing either way. What cannot be told or is unstable only keeps a pass from being one. Records that
    /// only the stand-in makes are not asked of other hosts' telemetry.
    pub fn of(criteria: &[Criterion], origin: Origin) -> Self {
        let is_excused = |it: &&Criterion| it.optional || (origin != Origin::Run && it.needs_own_records);
        let any = |result| criteria.iter().filter(|it| !is_excused(it)).any(|it| it.result == result);
        let (checklist, claims): (Vec<&Criterion>, Vec<_>) = criteria.iter().partition(|it| it.kind == Kind::Checklist);
        let has_failed = |all: &[&Criterion]| all.iter().any(|it| it.result == CriterionResult::Fail);
        let is_proven = criteria.iter().any(|it| it.kind == Kind::Proof && it.result == CriterionResult::Pass);
        match () {
            () if has_failed(&claims) => Self::NotSupported,
            () if has_failed(&checklist) || !is_proven => Self::Inconclusive,
            () if any(CriterionResult::Inconclusive) || any(CriterionResult::Unstable) => Self::Inconclusive,
            () => Self::Supported,
        }
    }

    /// Nothing follows from evidence that is in doubt.
    #[must_use]
    pub fn doubted(self, doubts: &[String]) -> Self {
        if doubts.is_empty() { self } else { Self::Inconclusive }
    }

    /// The exit code of a run.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Supported => 0,
            Self::NotSupported => 1,
            Self::Inconclusive => 2,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Supported => "supported",
            Self::NotSupported => "NOT SUPPORTED",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// `verdict.json`.
#[derive(Clone, Debug, Serialize)]
pub struct VerdictFile {
    /// Its lab: `oom`, `replay` or `roles`.
    pub lab: String,
    /// Name of the run's folder when it was made.
    pub run: String,
    pub origin: Origin,
    /// What the criteria come to, unless there are doubts.
    pub verdict: Verdict,
    /// What keeps anything from following from the evidence.
    pub doubts: Vec<String>,
    /// Share of an EP1, where the lab is scaled.
    pub scale: String,
    pub runs: usize,
    /// Whether the remedy was left out on purpose.
    pub control: bool,
    /// What the judge gave the queries beside the phases.
    pub parameters: Map<String, Value>,
    pub bands: Vec<BandEdges>,
    pub criteria: Vec<Criterion>,
    /// What there was, by name.
    pub counts: Map<String, Value>,
    pub environment: Value,
}
