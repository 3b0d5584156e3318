//! What a run shows while it runs: read from the tables as they grow, like everything else.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Scale, events::Event};
use crate::{
    evidence::{Bands, RunFolder, Tail},
    machine::terminal::StatusLine,
};
use incident_labs::blob::MIB;

const BAR_WIDTH: usize = 40;

/// A run's state, and the terminal it is shown on. Dropped, it leaves its last state as a line.
#[derive(Debug)]
pub(super) struct Live {
    tails: BTreeMap<&'static str, Tail>,
    limit_mib: u64,
    bands: Bands,
    status: StatusLine,
    phase: String,
    seen: Seen,
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Seen {
    sent: usize,
    dispatched: usize,
    done: usize,
    failed: usize,
    memory_mib: u64,
    exits: usize,
    memory_errors: usize,
}

impl Live {
    pub(super) fn new(evidence: &RunFolder, scale: Scale, bands: Bands) -> Self {
        let files = ["manifest", "tables/requests", "tables/traces", "tables/performanceCounters"];
        let tail = |name| (name, Tail::new(evidence.path().join(format!("{name}.jsonl"))));
        Self {
            tails: files.into_iter().map(tail).collect(),
            limit_mib: scale.limit_bytes() / MIB,
            bands,
            status: StatusLine::start(),
            phase: "starting".to_owned(),
            seen: Seen::default(),
        }
    }

    /// Takes note of what the load generator does.
    pub(super) fn on(&mut self, event: &Event) {
        match event {
            Event::Uploaded { done, total } => self.phase = format!("uploading {done}/{total}"),
            Event::Phase { phase } => {
                self.phase.clone_from(phase);
                self.status.hurry();
            }
            Event::PhaseEnd { phase, unsettled, .. } if !unsettled.is_empty() => {
                self.say(&format!("{phase}: {} blobs were not dealt with in time", unsettled.len()));
            }
            _ => {}
        }
        self.tick();
    }

    /// Reads what is new and shows it.
    pub(super) fn tick(&mut self) {
        for (name, tail) in &mut self.tails {
            tail.rows().iter().for_each(|row| self.seen.take(name, row));
        }
        let (screen, line) = (self.screen(), self.line());
        self.status.show(&screen, &line);
    }

    /// Shows a line that stays.
    pub(super) fn say(&self, line: &str) {
        self.status.say(line);
    }

    fn line(&self) -> String {
        let Seen { sent, done, failed, memory_mib, exits, memory_errors, .. } = &self.seen;
        format!(
            "{:<12} {sent} blobs sent, {} in flight, {done} done, {failed} tries failed; memory {memory_mib} of {} MiB; \
             kills {exits}, MemoryErrors {memory_errors}",
            self.phase,
            self.seen.in_flight(),
            self.limit_mib
        )
    }

    fn screen(&self) -> String {
        let Seen { sent, done, failed, memory_mib, exits, memory_errors, .. } = &self.seen;
        format!(
            "{}\n  blobs   {sent} sent, {} in flight, {done} done, {failed} tries failed\n  memory  {}\n  worker  \
             {exits} kills, {memory_errors} MemoryErrors",
            self.phase,
            self.seen.in_flight(),
            memory_bar(*memory_mib, self.limit_mib, &self.bands)
        )
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.status.finish(&self.line());
    }
}

impl Seen {
    fn take(&mut self, table: &str, row: &Value) {
        match table {
            "manifest" => self.sent += 1,
            "tables/requests" if row["success"] == "True" => self.done += 1,
            "tables/requests" => self.failed += 1,
            "tables/performanceCounters" if row["counter"] == "Private Bytes" => {
                self.memory_mib = row["value"].as_f64().unwrap_or_default() as u64 / MIB;
            }
            _ => {
                let message = row["message"].as_str().unwrap_or_default();
                self.exits += usize::from(message.starts_with("Worker process exited"));
                self.memory_errors += usize::from(message.starts_with("MemoryError"));
                self.dispatched += usize::from(message.starts_with("Executing '"));
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.dispatched.saturating_sub(self.done + self.failed)
    }
}

/// `[####|...|.......|......] 120 of 896 MiB, healthy`, with a mark where a band ends.
fn memory_bar(used_mib: u64, limit_mib: u64, bands: &Bands) -> String {
    let share = used_mib as f64 / limit_mib as f64;
    let cell = |n: usize| {
        let (from, to) = (n as f64 / BAR_WIDTH as f64, (n + 1) as f64 / BAR_WIDTH as f64);
        match () {
            () if to <= share => '#',
            () if bands.edges().any(|it| (from..to).contains(&it)) => '|',
            () => '.',
        }
    };
    let band = bands.of(share).map_or("", |it| &it.name);
    format!("[{}] {used_mib} of {limit_mib} MiB, {band}", (0..BAR_WIDTH).map(cell).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labs::{Lab, oom::OomLab};

    #[test]
    fn the_bar_shows_memory_against_the_bands() {
        let bands = OomLab::rules().unwrap().bands;
        for (used, want) in [
            (0, "[........|....|..............|...........] 0 of 896 MiB, healthy"),
            (224, "[##########...|..............|...........] 224 of 896 MiB, growing"),
            (448, "[####################........|...........] 448 of 896 MiB, degraded"),
            (896, "[########################################] 896 of 896 MiB, critical"),
        ] {
            assert_eq!(memory_bar(used, 896, &bands), want);
        }
    }
}
