//! What a run shows while it runs: read from the tables as they grow, like everything else.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{IsTerminal, Read, Seek, SeekFrom, stderr},
    path::PathBuf,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    lab::{
        evidence::RunFolder,
        load::{Event, Scale},
    },
    settings::MIB,
};

/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
const BAR_WIDTH: usize = 40;
/// The guide's bands as shares of an EP1's memory, by where they end.
const BANDS: [(f64, &str); 3] = [(0.34, "healthy"), (0.71, "degraded"), (f64::INFINITY, "critical")];

/// A run's state, and the terminal it is shown on.
#[derive(Debug)]
pub(super) struct Live {
    tails: BTreeMap<&'static str, Tail>,
    limit_mib: u64,
    bar: Option<ProgressBar>,
    told: Option<Instant>,
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

/// The unread end of a file that grows.
#[derive(Debug)]
struct Tail {
    path: PathBuf,
    at: u64,
}

impl Tail {
    /// Rows that were completed since the last call.
    fn rows(&mut self) -> Vec<Value> {
        let mut text = String::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.at))?;
            file.read_to_string(&mut text)
        });
        // A table nobody has written to yet.
        if read.is_err() {
            return Vec::new();
        }
        let complete = text.rfind('\n').map_or(0, |it| it + 1);
        self.at += complete as u64;
        text[..complete].lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Live {
    pub(super) fn new(evidence: &RunFolder, scale: Scale) -> Self {
        let files = ["manifest", "tables/requests", "tables/traces", "tables/performanceCounters"];
        let tail = |name| (name, Tail { path: evidence.path().join(format!("{name}.jsonl")), at: 0 });
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        Self {
            tails: files.into_iter().map(tail).collect(),
            limit_mib: scale.limit_bytes() / MIB,
            bar,
            told: None,
            phase: "starting".to_owned(),
            seen: Seen::default(),
        }
    }

    /// Takes note of what the load generator does.
    pub(super) fn on(&mut self, event: &Event) {
        match event {
            Event::Staged { done, total } => self.phase = format!("staging {done}/{total}"),
            Event::Phase { phase } => {
                self.phase.clone_from(phase);
                self.told = None;
            }
            Event::PhaseEnd { phase, unsettled } if !unsettled.is_empty() => {
                self.say(format!("{phase}: {} blobs were not dealt with in time", unsettled.len()));
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
        match &self.bar {
            Some(bar) => {
                bar.set_message(self.screen());
                bar.tick();
            }
            None if self.told.is_none_or(|it| it.elapsed() >= LINE_INTERVAL) => {
                self.told = Some(Instant::now());
                eprintln!("{}", self.line());
            }
            None => {}
        }
    }

    /// Shows a line that stays.
    pub(super) fn say(&self, line: String) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Leaves the last state as a line.
    pub(super) fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{}", self.line());
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
            memory_bar(*memory_mib, self.limit_mib)
        )
    }
}

impl Seen {
    fn take(&mut self, table: &str, row: &Value) {
        match table {
            "manifest" => self.sent += 1,
            "tables/requests" if row["success"] == "True" => self.done += 1,
            "tables/requests" => self.failed += 1,
            "tables/performanceCounters" if row["counter"] == "Private Bytes" => {
                self.memory_mib = row["value"].as_u64().unwrap_or_default() / MIB;
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

/// `[####|.......|......] 120 of 896 MiB, healthy`, with a mark where a band ends.
fn memory_bar(used_mib: u64, limit_mib: u64) -> String {
    let share = used_mib as f64 / limit_mib as f64;
    let cell = |n: usize| {
        let (from, to) = (n as f64 / BAR_WIDTH as f64, (n + 1) as f64 / BAR_WIDTH as f64);
        match () {
            () if to <= share => '#',
            () if BANDS.iter().any(|(end, _)| (from..to).contains(end)) => '|',
            () => '.',
        }
    };
    let band = BANDS.iter().find(|(end, _)| share < *end).map_or("", |(_, name)| name);
    format!("[{}] {used_mib} of {limit_mib} MiB, {band}", (0..BAR_WIDTH).map(cell).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_shows_memory_against_the_bands() {
        assert_eq!(memory_bar(0, 896), "[.............|..............|...........] 0 of 896 MiB, healthy");
        assert_eq!(memory_bar(448, 896), "[####################........|...........] 448 of 896 MiB, degraded");
        assert_eq!(memory_bar(896, 896), "[########################################] 896 of 896 MiB, critical");
    }

    #[test]
    fn rows_are_counted_once_as_they_come() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        let mut tail = Tail { path: path.clone(), at: 0 };
        assert!(tail.rows().is_empty());
        std::fs::write(&path, "{\"n\":1}\n{\"n\"").unwrap();
        assert_eq!(tail.rows().len(), 1);
        std::fs::write(&path, "{\"n\":1}\n{\"n\":2}\n").unwrap();
        assert_eq!(tail.rows(), [serde_json::json!({"n": 2})]);
    }
}
