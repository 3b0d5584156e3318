//! Everything a run of the replay lab left in its folder, read back. Nothing is judged from memory.

use std::{collections::BTreeMap, io, path::Path};

use crate::evidence::{Phases, Row, Rows, jsonl};
use incident_labs::functions::{ACTIVITY_FUNCTION, ORCHESTRATOR_FUNCTION};

#[derive(Debug)]
pub struct ReplayRows {
    pub(super) phases: Phases,
    pub(super) instances: Rows,
    pub(super) requests: Rows,
    pub(super) traces: Rows,
    /// `None` without the table: an app that calls nothing leaves an empty one.
    pub(super) dependencies: Option<Rows>,
    pub(super) episodes: Rows,
    /// Lines of any file that nobody can read.
    pub(super) unreadable: BTreeMap<String, usize>,
}

impl ReplayRows {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let phases = Phases::read(&folder.join("phases.jsonl"))?;
        let clock = phases.clock();
        let rows = |name: &str| Rows::read(&folder.join(format!("{name}.jsonl"))).map(|it| it.steady(clock));
        let table = |name: &str| rows(&format!("tables/{name}"));
        Ok(Self {
            phases,
            instances: rows("instances")?,
            requests: table("requests")?,
            traces: table("traces")?,
            dependencies: folder
                .join("tables/dependencies.jsonl")
                .exists()
                .then(|| table("dependencies"))
                .transpose()?,
            episodes: table("episodes")?,
            unreadable: jsonl::unreadable(folder)?,
        })
    }

    /// Requests of a function that began in a phase.
    fn requests_of(&self, phase: &str, function: &str) -> Option<Vec<&Row>> {
        Some(self.requests.within(self.phases.window(phase)?, |row| row.text("operation_Name") == function))
    }

    /// Episodes of the orchestrator, as the host saw them.
    pub(super) fn orchestrator(&self, phase: &str) -> Option<Vec<&Row>> {
        self.requests_of(phase, ORCHESTRATOR_FUNCTION)
    }

    pub(super) fn activity(&self, phase: &str) -> Option<Vec<&Row>> {
        self.requests_of(phase, ACTIVITY_FUNCTION)
    }

    /// Instances of a phase; of all phases for no name.
    pub(super) fn instances_of(&self, phase: &str) -> Vec<&Row> {
        self.instances.0.iter().filter(|row| phase.is_empty() || row.text("phase") == phase).collect()
    }

    /// Lines about an instance that begin with a text.
    pub(super) fn lines(&self, instance_id: &str, start: &str) -> Vec<&Row> {
        let is_wanted = |row: &&Row| row.text("operation_Id") == instance_id && row.text("message").starts_with(start);
        self.traces.0.iter().filter(is_wanted).collect()
    }

    /// What the task hub's rows say a phase cost: reading, calling and writing, in ms.
    pub(super) fn cost_ms(&self, phase: &str) -> Option<f64> {
        let window = self.phases.window(phase)?;
        let rows = self.episodes.within(window, |_| true);
        let cost = |row: &Row| row.number("readMs") + row.number("callMs") + row.number("writeMs");
        if rows.is_empty() { None } else { Some(rows.into_iter().map(cost).sum()) }
    }
}

/// Batches of an instance, by the iterations of each.
pub(super) fn batches(instance: &Row) -> Vec<u64> {
    let (iterations, every) = (instance.number("iterations") as u64, instance.number("continueAsNewEvery") as u64);
    if every == 0 {
        return vec![iterations];
    }
    let full = iterations / every;
    let rest = iterations % every;
    std::iter::repeat_n(every, full as usize).chain(Some(rest).filter(|it| *it > 0)).collect()
}
