//! Everything a run of the OOM lab left in its folder, read back. Nothing is judged from memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{OomLab, Scale};
use crate::{
    evidence::{Bands, Phases, Row, Rows, jsonl},
    labs::Lab,
};

#[derive(Debug)]
pub struct OomRows {
    pub(super) scale: Scale,
    /// Bands of the worker's memory, as shares of its limit.
    pub(super) bands: Bands,
    pub(super) phases: Phases,
    pub(super) requests: Rows,
    pub(super) traces: Rows,
    pub(super) logs: Rows,
    pub(super) dependencies: Rows,
    pub(super) counters: Rows,
    pub(super) manifest: Rows,
    pub(super) results: Rows,
    pub(super) redriven: Rows,
    pub(super) hosts: Rows,
    pub(super) actions: Rows,
    /// Lines of any file that nobody can read.
    pub(super) unreadable: BTreeMap<String, usize>,
}

impl OomRows {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn read(folder: &Path, scale: Scale) -> anyhow::Result<Self> {
        let phases = Phases::read(&folder.join("phases.jsonl"))?;
        let clock = phases.clock();
        let rows = |name: &str| Rows::read(&folder.join(format!("{name}.jsonl"))).map(|it| it.steady(clock));
        let table = |name: &str| rows(&format!("tables/{name}"));
        Ok(Self {
            scale,
            bands: OomLab::rules()?.bands,
            phases,
            requests: table("requests")?,
            traces: table("traces")?,
            logs: table("FunctionAppLogs")?,
            dependencies: table("dependencies")?,
            counters: table("performanceCounters")?,
            manifest: rows("manifest")?,
            results: rows("results")?,
            redriven: rows("redriven")?,
            hosts: rows("hosts")?,
            actions: rows("actions")?,
            unreadable: jsonl::unreadable(folder)?,
        })
    }

    /// Lines of the host's log in a phase that begin with a text.
    pub(super) fn lines(&self, phase: &str, start: &str) -> Option<Vec<&Row>> {
        Some(self.traces.within(self.phases.window(phase)?, |row| row.text("message").starts_with(start)))
    }

    /// Requests that began in a phase.
    pub(super) fn requests_in(&self, phase: &str) -> Option<Vec<&Row>> {
        Some(self.requests.within(self.phases.window(phase)?, |_| true))
    }

    /// Private Bytes of the worker in a phase.
    pub(super) fn private_bytes(&self, phase: &str) -> Option<Vec<&Row>> {
        Some(self.counters.within(self.phases.window(phase)?, |row| row.text("counter") == "Private Bytes"))
    }

    /// The largest of these.
    pub(super) fn peak(&self, phase: &str) -> Option<&Row> {
        self.private_bytes(phase)?
            .into_iter()
            .max_by(|one, other| one.number("value").total_cmp(&other.number("value")))
    }

    /// Tries of each blob, in order of time.
    pub(super) fn tries(&self) -> BTreeMap<&str, Vec<&Row>> {
        let mut tries: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        for row in &self.requests.0 {
            if let Some(name) = blob_of(row) {
                tries.entry(name).or_default().push(row);
            }
        }
        tries
    }

    /// Names of blobs that were sent, without the result they should have; each with what is wrong.
    pub(super) fn unprocessed(&self) -> Vec<(&Row, &'static str)> {
        let results: BTreeMap<&str, &Row> = self.results.0.iter().map(|row| (row.text("name"), row)).collect();
        let problem = |sent: &Row| match results.get(sent.text("name")) {
            None => Some("no result"),
            Some(result) if result.text("sha256") != sent.text("sha256") => Some("another SHA-256"),
            Some(result) if result.number("size_bytes") != sent.number("size_bytes") => Some("another size"),
            Some(_) => None,
        };
        self.manifest.0.iter().filter_map(|sent| Some((sent, problem(sent)?))).collect()
    }

    /// Results of blobs that were never sent.
    pub(super) fn unknown_results(&self) -> Vec<&Row> {
        let sent: BTreeSet<&str> = self.manifest.0.iter().map(|row| row.text("name")).collect();
        self.results.0.iter().filter(|row| !sent.contains(row.text("name"))).collect()
    }
}

/// The blob an invocation is about, from what triggered it: `New blob detected(…): input/<name>`.
pub(super) fn blob_of(request: &Row) -> Option<&str> {
    let reason = request.columns["customDimensions"]["TriggerReason"].as_str()?;
    reason.split_once(": ")?.1.split_once('/').map(|(_, name)| name)
}
