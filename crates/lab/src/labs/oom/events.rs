//! The generator's events, one JSON object a line, and the lines by which its parent process lets it go on.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::nudge;
use crate::machine::terminal::{err, out};

/// What the generator is doing.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// A source of later copies is in the account.
    #[serde(rename = "staged")]
    Uploaded {
        done: usize,
        total: usize,
    },
    Phase {
        phase: String,
    },
    /// A burst is about to be copied.
    Burst {
        phase: String,
        /// What the names of its blobs begin with.
        prefix: String,
        blobs: usize,
    },
    /// All blobs of that burst are there.
    Copied {
        /// What the names of its blobs begin with.
        prefix: String,
        blobs: usize,
    },
    /// Blobs that were not dealt with in time are touched, so that the host sees them.
    Nudge {
        /// What the names of these blobs begin with.
        prefix: String,
        blobs: usize,
    },
    /// A phase is over.
    PhaseEnd {
        phase: String,
        /// Blobs that neither succeeded nor failed for good in time.
        unsettled: Vec<String>,
        /// How many the host did not see until they were touched.
        #[serde(default)]
        nudged: usize,
    },
}

/// Where events go, and whether each burst waits for permission.
#[derive(Debug)]
pub(super) enum Gate {
    /// Lines for people, on stderr.
    People,
    /// JSON lines on stdout, for anyone who reads them.
    Json,
    /// JSON lines on stdout; before and after each burst is copied, a line on stdin is waited for.
    Step,
}

impl Gate {
    /// Tells an event, and waits where it says so.
    ///
    /// # Errors
    /// When a [`Gate::Step`]'s stdout or stdin is closed: the parent process is gone.
    pub(super) async fn tell(&mut self, event: Event) -> io::Result<()> {
        match self {
            Self::People => {
                if let Some(line) = for_people(&event) {
                    err(&line);
                }
            }
            Self::Json => out(&serde_json::to_string(&event)?),
            Self::Step => {
                write_line(&event)?;
                if matches!(event, Event::Burst { .. } | Event::Copied { .. }) {
                    spawn_blocking(permission).await.map_err(io::Error::other)??;
                }
            }
        }
        Ok(())
    }
}

/// Waits for a line; the end of stdin is a refusal.
fn permission() -> io::Result<()> {
    let mut line = String::new();
    match io::stdin().read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn write_line(event: &Event) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(event)?)?;
    stdout.flush()
}

fn for_people(event: &Event) -> Option<String> {
    match event {
        Event::Uploaded { done, total } => Some(format!("uploaded {done} of {total}")),
        Event::Phase { phase } => Some(format!("phase {phase}")),
        Event::Burst { prefix, blobs, .. } => Some(format!("  {blobs} blobs at once: {prefix}")),
        Event::Copied { .. } => None,
        Event::Nudge { prefix, blobs } => Some(format!(
            "  {blobs} blobs of {prefix} have neither a result nor failed for good, and are touched: {}",
            nudge::WHY
        )),
        Event::PhaseEnd { phase, unsettled, nudged } => {
            let nudged = (*nudged > 0).then(|| format!("  {phase}: {nudged} blobs nudged"));
            let left = unsettled.first().map(|first| {
                let count = unsettled.len();
                format!("  {phase}: {count} blobs have neither a result nor failed for good, {first} first")
            });
            let lines: Vec<String> = nudged.into_iter().chain(left).collect();
            (!lines.is_empty()).then(|| lines.join("\n"))
        }
    }
}
