//! The 2×2 table: which of the remedy's two changes does the work?

use std::fmt;

use anyhow::{Context, anyhow};
use serde::Serialize;
use serde_json::Value;

use super::{OomLab, Remedy, Scale, ScaledScenario, driver::Experiment};
use crate::{
    app::running::Platform,
    evidence::{RunFolder, doubts, phases_file::PhasesFile},
    judgement::{Asker, Question, Verdict},
    labs::Lab,
    machine::terminal::err,
};

/// The query whose row is a cell.
const QUERY: &str = "oom-cell.kql";

/// One combination of variant and concurrency, measured under the incident's load.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cell {
    /// The remedy this combination amounts to.
    pub remedy: &'static str,
    /// Worker exits with 137.
    pub exits: usize,
    pub memory_errors: usize,
    /// Largest Private Bytes, in MiB.
    pub peak_mib: f64,
    /// Failed requests in percent.
    pub failed_percent: f64,
    /// p95 of all requests in milliseconds.
    pub p95_ms: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Ablation {
    pub lab: &'static str,
    /// Share of an EP1.
    pub scale: String,
    /// In the order none, concurrency, streaming, both.
    pub cells: Vec<Cell>,
    /// What follows from them.
    pub conclusion: String,
    /// What keeps anything from following from them.
    pub doubts: Vec<String>,
}

impl Cell {
    /// Reads a cell's figures from its run.
    fn of(folder: &RunFolder, remedy: Remedy) -> anyhow::Result<Self> {
        let phases = PhasesFile::of_run(folder.path(), OomLab::PHASES).context("read the phases")?;
        folder.write_json(PhasesFile::NAME, &phases.to_json()).context("write phases.json")?;
        let mut asker = Asker::read(OomLab::definition(), folder.path(), [QUERY].into_iter(), phases, Vec::new())?;
        let answer = asker.ask(&Question { query: QUERY, asked_by: remedy.name(), ..Question::default() })?;
        let answer =
            answer.map_err(|it| anyhow!("nothing can be told with the remedy {}: {}", remedy.name(), it.reason))?;
        let row = answer.rows().next().unwrap_or_default();
        let number = |column: &str| row.get(column).and_then(Value::as_f64).unwrap_or_default();
        Ok(Self {
            remedy: remedy.name(),
            exits: number("exits") as usize,
            memory_errors: number("memoryErrors") as usize,
            peak_mib: number("peakMB"),
            failed_percent: number("failedPercent"),
            p95_ms: number("p95Ms"),
        })
    }

    fn is_cured(&self) -> bool {
        self.exits == 0 && self.memory_errors == 0
    }
}

impl Ablation {
    /// The combinations, in order.
    pub(super) const REMEDIES: [Remedy; 4] = [Remedy::None, Remedy::Concurrency, Remedy::Streaming, Remedy::Both];

    pub(super) fn new(scale: Scale, cells: Vec<Cell>, doubts: Vec<String>) -> Self {
        let conclusion = conclude(&cells);
        Self { lab: "oom", scale: scale.to_string(), cells, conclusion, doubts }
    }

    /// Runs all four combinations of the two changes under the load of the incident.
    ///
    /// # Errors
    /// When a combination could not be run.
    pub(super) async fn run(
        load: &ScaledScenario,
        platform: &dyn Platform,
        evidence: &RunFolder,
    ) -> anyhow::Result<Self> {
        let (mut cells, mut in_doubt) = (Vec::new(), Vec::new());
        for remedy in Self::REMEDIES {
            err(&format!("remedy: {}", remedy.name()));
            let folder = evidence.part(remedy.name())?;
            platform.clear().await?;
            Experiment { load, platform, evidence: &folder }.run_cell(remedy).await?;
            in_doubt.extend(doubts(folder.path())?.into_iter().map(|it| format!("{}: {it}", remedy.name())));
            cells.push(Cell::of(&folder, remedy)?);
        }
        Ok(Self::new(load.scale(), cells, in_doubt))
    }

    /// Without an incident there is nothing to remedy.
    pub(super) fn verdict(&self) -> Verdict {
        let had_incident = self.cells.first().is_some_and(|it| !it.is_cured());
        let verdict = if had_incident { Verdict::Supported } else { Verdict::Inconclusive };
        verdict.doubted(&self.doubts)
    }
}

impl fmt::Display for Ablation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<12} {:>6} {:>13} {:>9} {:>8} {:>8}",
            "remedy", "exits", "MemoryErrors", "peak MiB", "failed", "p95 ms"
        )?;
        for cell in &self.cells {
            let Cell { remedy, exits, memory_errors, peak_mib, failed_percent, p95_ms } = cell;
            writeln!(f, "{remedy:<12} {exits:>6} {memory_errors:>13} {peak_mib:>9} {failed_percent:>7}% {p95_ms:>8}")?;
        }
        write!(f, "\n{}", self.conclusion)?;
        self.doubts.iter().try_for_each(|it| write!(f, "\nNothing follows from this run: {it}"))
    }
}

fn conclude(cells: &[Cell]) -> String {
    let [none, concurrency, streaming, both] = cells else {
        return "not all four combinations were measured".to_owned();
    };
    let seen = |cell: &Cell| {
        format!("{} exits, {} MemoryErrors, peak {:.0} MiB", cell.exits, cell.memory_errors, cell.peak_mib)
    };
    let verdict = match (none.is_cured(), concurrency.is_cured(), streaming.is_cured(), both.is_cured()) {
        (true, ..) => "There was no incident without a remedy, so nothing can be said of remedies",
        (_, _, _, false) => "Both changes together do not remove the incident",
        (_, false, true, _) => {
            "Streaming does the work: alone it removes the incident, lower concurrency alone does not"
        }
        (_, true, false, _) => {
            "Lower concurrency does the work: alone it removes the incident, streaming alone does not"
        }
        (_, true, true, _) => "Either change alone removes the incident",
        (_, false, false, true) => "Only both changes together remove the incident",
    };
    format!("{verdict} (concurrency alone: {}; streaming alone: {}).", seen(concurrency), seen(streaming))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(exits: usize) -> Cell {
        Cell { remedy: "none", exits, memory_errors: 0, peak_mib: 1.0, failed_percent: 0.0, p95_ms: 1.0 }
    }

    #[test]
    fn the_sentence_follows_from_the_cells() {
        let cases = [
            ([0, 0, 0, 0], "There was no incident"),
            ([2, 2, 0, 0], "Streaming does the work"),
            ([2, 0, 2, 0], "Lower concurrency does the work"),
            ([2, 0, 0, 0], "Either change alone"),
            ([2, 1, 1, 0], "Only both changes together"),
            ([2, 0, 0, 1], "Both changes together do not"),
        ];
        for (exits, want) in cases {
            let text = conclude(&exits.map(cell));
            assert!(text.starts_with(want), "{exits:?}: {text}");
        }
    }
}
