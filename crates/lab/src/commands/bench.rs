//! `lab bench`: measures, prints, and says whether the goals are met.

use std::path::PathBuf;

use anyhow::{Context, ensure};

use super::{EXIT_OK, EXIT_WRONG, stage};
use crate::bench::{AnswerFn, BlobBench, ReplayBench, Report};

/// Runs the blob benchmark and prints its table, or one JSON object. Several handlers are measured side by side.
///
/// # Errors
/// When it cannot run.
pub async fn run_blob(mut handlers: Vec<PathBuf>, json: bool) -> anyhow::Result<u8> {
    if handlers.is_empty() {
        handlers.push(stage::build()?);
    }
    let folder = tempfile::Builder::new().prefix("lab-bench-").tempdir().context("make a run folder")?;
    let report = BlobBench::load()?.run(&handlers, folder.path(), |step| eprintln!("{step}")).await?;
    tell(&report, json)
}

/// Runs the replay benchmark and prints its table, or one JSON object.
///
/// # Errors
/// When it cannot run.
pub async fn run_replay(answer: AnswerFn, handlers: Vec<PathBuf>, json: bool) -> anyhow::Result<u8> {
    ensure!(handlers.len() < 2, "bench replay takes one --handler: only bench blob measures several side by side");
    let folder = tempfile::Builder::new().prefix("lab-bench-").tempdir().context("make a run folder")?;
    let stage = folder.path().join("stage");
    stage::make_replay(&stage, handlers.into_iter().next())?;
    let run = folder.path().join("run");
    let report = ReplayBench::load()?.run(answer, stage::source(), (stage, &run), |step| eprintln!("{step}")).await?;
    tell(&report, json)
}

fn tell(report: &Report, json: bool) -> anyhow::Result<u8> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        print(report);
    }
    let missed = report.results.iter().any(|it| it.met == Some(false));
    Ok(if missed { EXIT_WRONG } else { EXIT_OK })
}

fn print(report: &Report) {
    for (name, value) in &report.environment {
        println!("{name:>16}  {value}");
    }
    println!();
    for result in &report.results {
        let verdict = match result.met {
            None => "",
            Some(true) => "met",
            Some(false) => "MISSED",
        };
        let line = format!("{:<50} {:>9.2}  {:<8} {verdict}", result.name, result.value, result.goal);
        println!("{}", line.trim_end());
    }
}
