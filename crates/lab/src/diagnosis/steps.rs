//! What a diagnosis consists of: questions with their rows, and what follows from them.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::judgement::Grade;

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Yes,
    No,
    /// Tables or rows are missing; that is never a no.
    CannotTell,
    /// An earlier answer made the question idle.
    NotAsked,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::CannotTell => "cannot tell",
            Self::NotAsked => "not asked",
        })
    }
}

/// A question of the flow, and its answer.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub question: &'static str,
    /// Files of the queries.
    pub queries: Vec<&'static str>,
    pub reply: Reply,
    /// The answer in words.
    pub said: String,
    /// Rows that say so.
    pub rows: Vec<Map<String, Value>>,
    /// What to do or ask next.
    pub follows: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    IndexingFailure,
    Oom,
    Storm,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::IndexingFailure => "indexing failure",
            Self::Oom => "out of memory",
            Self::Storm => "replay storm",
        })
    }
}

/// An incident that the tables show.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub kind: FindingKind,
    pub grade: Grade,
    pub said: String,
    /// The guide's next step.
    pub next: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// `cloud_RoleName` of the app.
    pub app: String,
    pub from: String,
    pub to: String,
    pub steps: Vec<Step>,
    /// In the order of the flow; empty if nothing was found.
    pub findings: Vec<Finding>,
}
