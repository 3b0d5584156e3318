//! `lab collect`: the ingestion endpoint alone, for an app under Microsoft's host.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::time::interval;

use crate::{
    ingestion::{Collector, Counts, Sink},
    machine::{
        exit::{EXIT_OK, EXIT_WRONG, watch_interrupts},
        terminal::{StatusLine, err, out},
    },
};

/// Always the same, so that local.settings.json needs its line once.
pub(super) const PORT: u16 = 7078;
const PACE: Duration = Duration::from_secs(1);
/// Longest first line of a file that is looked at.
const LOOKED_AT: u64 = 64 << 20;

/// Receive an app's telemetry as Application Insights would, for `func start` without Azure.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab collect --out telemetry.jsonl
             then put the connection string it prints into local.settings.json and run `func start`
Then:        cargo lab import telemetry.jsonl --folder evidence/mine
Exit codes:  0 stopped by Ctrl-C; 1 the same, and some items were refused or not stored; 3 it could not run; 64 usage")]
pub struct Collect {
    /// Listen here, on 127.0.0.1; 0 is any port that is free.
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// Add the envelopes to this file, one a line, as they are sent.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON: a line at the start, and one at the end.
    #[arg(long)]
    json: bool,
}

impl Collect {
    /// Collects until Ctrl-C.
    ///
    /// # Errors
    /// When the port is taken or the file is not one of envelopes.
    pub async fn run(self) -> anyhow::Result<u8> {
        let had_bytes = check(&self.out)?;
        let sink = Sink::file(&self.out)?;
        let collector = Collector::start(self.port, sink).await?;
        let mut stopped = std::pin::pin!(watch_interrupts()?);
        self.greet(&collector, had_bytes);
        let mut status = StatusLine::start();
        let (mut told, mut turns) = (0, interval(PACE));
        loop {
            tokio::select! {
                () = &mut stopped => break,
                _ = turns.tick() => show(&mut status, &collector.counts(), &mut told),
            }
        }
        let counts = collector.stop().await;
        status.finish(&format!("{} received", counts.received));
        if self.json {
            out(&serde_json::to_string(&counts)?);
        } else {
            out(&counts.report("envelopes"));
        }
        Ok(if counts.refusals() == 0 { EXIT_OK } else { EXIT_WRONG })
    }

    fn greet(&self, collector: &Collector, had_bytes: u64) {
        let (file, connection_string) = (self.out.display(), collector.connection_string());
        if self.json {
            let line = json!({"url": collector.url(), "connectionString": connection_string, "hadBytes": had_bytes});
            return out(&line.to_string());
        }
        if had_bytes > 0 {
            err(&format!("{file} has {had_bytes} bytes already: envelopes are added behind them"));
        }
        out(&format!("collecting on {} into {file}", collector.url()));
        out("APPLICATIONINSIGHTS_CONNECTION_STRING for local.settings.json, before `func start`:");
        out(&connection_string);
        out("Ctrl-C stops it");
    }
}

/// Says how many there are, if there are more.
fn show(status: &mut StatusLine, counts: &Counts, told: &mut u64) {
    if counts.received > *told {
        *told = counts.received;
        let text = format!("{} received, {} refused", counts.received, counts.refusals());
        status.show(&text, &text);
    }
}

/// The bytes a file has. One that is not of JSON lines is another's.
fn check(path: &Path) -> anyhow::Result<u64> {
    let length = match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        other => other.with_context(|| format!("look at {}", path.display()))?.len(),
    };
    if path.is_dir() {
        bail!("{} is a folder: name a file with --out", path.display());
    }
    let mut first = Vec::new();
    let file = File::open(path).with_context(|| format!("read {}", path.display()))?;
    BufReader::new(file).take(LOOKED_AT).read_until(b'\n', &mut first)?;
    if length > 0 && !serde_json::from_slice::<Value>(&first).is_ok_and(|it| it.is_object()) {
        bail!("{} holds something else than envelopes: choose another file with --out", path.display());
    }
    Ok(length)
}
