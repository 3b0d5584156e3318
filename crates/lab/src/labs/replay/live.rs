//! What a run shows while it runs: read from the tables as they grow.

use std::{path::Path, time::Duration};

use tokio::time::Instant;

use crate::{evidence::Tail, machine::terminal::StatusLine};

/// Rates are told over this time.
const RATE_OVER: Duration = Duration::from_secs(1);

/// A run's state, and the terminal it is shown on.
#[derive(Debug)]
pub(super) struct Live {
    episodes: Tail,
    status: StatusLine,
    phase: String,
    iterations: u64,
    executions: u64,
    call_ms: f64,
    since: Instant,
    counted: u64,
    rate: f64,
}

impl Live {
    pub(super) fn new(tables: &Path) -> Self {
        Self {
            episodes: Tail::new(tables.join("episodes.jsonl")),
            status: StatusLine::start(),
            phase: String::new(),
            iterations: 0,
            executions: 0,
            call_ms: 0.0,
            since: Instant::now(),
            counted: 0,
            rate: 0.0,
        }
    }

    /// A phase begins, of so many iterations in all.
    pub(super) fn begin(&mut self, phase: &str, iterations: u64) {
        self.episodes.rows();
        (self.phase, self.iterations) = (phase.to_owned(), iterations);
        (self.executions, self.counted, self.since, self.rate) = (0, 0, Instant::now(), 0.0);
        self.status.hurry();
    }

    /// Reads what is new and shows it.
    pub(super) fn tick(&mut self) {
        for row in self.episodes.rows() {
            self.executions += 1;
            self.call_ms = row["callMs"].as_f64().unwrap_or_default();
        }
        let passed = self.since.elapsed();
        if passed >= RATE_OVER {
            self.rate = (self.executions - self.counted) as f64 / passed.as_secs_f64();
            (self.counted, self.since) = (self.executions, Instant::now());
        }
        let line = self.line();
        self.status.show(&line, &line);
    }

    /// Leaves a phase's end as a line.
    pub(super) fn end(&mut self, took: Duration) {
        self.tick();
        self.status.say(&format!("{:<10} {} iterations in {:.1} s", self.phase, self.iterations, took.as_secs_f64()));
    }

    fn line(&self) -> String {
        let iteration = self.executions.saturating_sub(1).min(self.iterations);
        format!(
            "{:<10} iteration {iteration} of {}; the last episode took {:.1} ms; {:.0} executions/s",
            self.phase, self.iterations, self.call_ms, self.rate
        )
    }
}
