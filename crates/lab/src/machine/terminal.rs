//! Progress on stderr: a bar on a terminal, a line every few seconds elsewhere.

use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows what is going on where the total is unknown: lines that replace each other on a terminal, one every few
/// seconds elsewhere.
#[derive(Debug)]
pub struct StatusLine {
    bar: Option<ProgressBar>,
    told: Option<Instant>,
}

impl StatusLine {
    /// Nothing to show yet.
    pub fn start() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        Self { bar, told: None }
    }

    /// Shows `screen` on a terminal, and elsewhere `line` if it is time for one.
    pub fn show(&mut self, screen: &str, line: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(screen.to_owned());
                bar.tick();
            }
            None if self.told.is_none_or(|it| it.elapsed() >= LINE_INTERVAL) => {
                self.told = Some(Instant::now());
                eprintln!("{line}");
            }
            None => {}
        }
    }

    /// The next line is news: it does not wait.
    pub fn hurry(&mut self) {
        self.told = None;
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Leaves a last line.
    pub fn finish(&self, line: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{line}");
    }
}

/// Progress of one step towards a known number.
#[derive(Debug)]
pub struct Progress {
    step: &'static str,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Progress {
    /// A step that is done after `total` of something.
    pub fn start(step: &'static str, total: usize) -> Self {
        let total = total as u64;
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg:>11} [{bar:40}] {pos}/{len} {elapsed}");
            ProgressBar::new(total)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_message(step)
        });
        if bar.is_none() {
            eprintln!("{step} 0/{total}");
        }
        Self { step, total, done: 0, bar, told: Instant::now() }
    }

    /// One more is done.
    pub fn advance(&mut self) {
        self.done += 1;
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None => self.tick(),
        }
    }

    pub fn tick(&mut self) {
        match &self.bar {
            Some(bar) => bar.tick(),
            None if self.told.elapsed() >= LINE_INTERVAL && self.done < self.total => {
                self.told = Instant::now();
                eprintln!("{} {}/{}", self.step, self.done, self.total);
            }
            None => {}
        }
    }

    /// Prints a line to stdout without tearing the bar.
    pub fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{line}")),
            None => println!("{line}"),
        }
    }

    /// Leaves the bar, or a last line, as it stands.
    pub fn finish(&self) {
        match &self.bar {
            Some(bar) => bar.abandon(),
            None => eprintln!("{} {}/{}", self.step, self.done, self.total),
        }
    }
}
