//! The doctor's look into the app: asks the function that tries the data planes, else reads the lines of the handler's start.

use std::path::Path;

use serde_json::{Value, json};
use url::Url;

use super::answered;
use crate::{
    doctor::{
        Finding, State,
        planes::{Grantee, ROUTE, findings, told},
    },
    evidence::Tail,
};
use incident_labs::blob::{AccountAccess, PlaneAccess};

/// Looks again and again.
#[derive(Debug)]
pub(super) struct Examiner {
    url: Url,
    traces: Tail,
    /// The handler's lines so far.
    lines: Vec<String>,
}

/// What one look found.
#[derive(Clone, Debug)]
pub(super) struct Examination {
    /// `function` or `lines`.
    pub source: &'static str,
    pub findings: Vec<Finding>,
}

impl Examiner {
    /// Of an app at a URL whose host writes into a folder of tables. Lines that are there already are passed over.
    pub(super) fn new(mut url: Url, traces: Tail) -> Self {
        url.set_path(ROUTE);
        Self { url, traces, lines: Vec::new() }
    }

    /// The unread end of the table with the handler's lines.
    pub(super) fn lines_of(tables: &Path) -> Tail {
        let mut traces = Tail::new(tables.join("traces.jsonl"));
        traces.rows();
        traces
    }

    /// Nothing while the app can neither be asked nor has told.
    pub(super) async fn look(&mut self, http: &reqwest::Client) -> Option<Examination> {
        if let Some(access) = answered::<AccountAccess>(http.get(self.url.clone())).await {
            return Some(Examination { source: "function", findings: findings(&access, Grantee::default()) });
        }
        let told_now = self.traces.rows().into_iter().filter_map(|row| Some(row["message"].as_str()?.to_owned()));
        self.lines.extend(told_now.filter(|it| it.starts_with(PlaneAccess::PREFIX)));
        let access = told(None, self.lines.iter().map(String::as_str));
        let has_told = !access.planes.is_empty();
        has_told.then(|| Examination { source: "lines", findings: findings(&access, Grantee::default()) })
    }
}

impl Examination {
    /// What is amiss.
    pub(super) fn amiss(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|it| matches!(it.state, State::Problem | State::Warning))
    }

    /// Ids of what is amiss.
    pub(super) fn found(&self) -> Vec<&str> {
        self.amiss().map(|it| it.id.as_str()).collect()
    }

    /// How many planes nothing is known of.
    pub(super) fn unknown(&self) -> usize {
        self.findings.iter().filter(|it| it.state == State::Unknown).count()
    }

    pub(super) fn finds_nothing(&self) -> bool {
        self.found().is_empty() && self.unknown() == 0
    }

    /// A row of `lab_examinations`, without its time.
    pub(super) fn row(&self, phase: &str) -> Value {
        let seen = self.amiss().map(|it| it.seen.as_str()).collect::<Vec<_>>().join(", ");
        json!({"phase": phase, "source": self.source, "found": self.found(), "unknown": self.unknown(), "seen": seen})
    }
}
