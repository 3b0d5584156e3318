//! `lab run oom`: carries the experiment out, judges what it left, and prints the verdict.

use std::{
    io::{IsTerminal, stdout},
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::{Map, Value};

use super::{load::plan, stage};
use crate::{
    evidence::{Criterion, Environment, RunFolder, Verdict, VerdictFile, render},
    labs::oom::{self, Ablation, Cell, Experiment, Plan, Remedy, RunTables, Scale, counts, judge_run, timeline},
    machine::{capacity, workspace::Folder},
};
use custom_handler::clock;
use incident_labs::blob::MIB;

/// What the host stand-in, storage and the load generator need beside the worker.
const AROUND_THE_WORKER: u64 = 1024 * MIB;

/// Small blobs, results, tables. Copies inside the emulator share their source's file.
const BESIDE_THE_SOURCES: u64 = 1024 * MIB;

/// What `lab run oom` was asked for.
#[derive(Debug)]
pub struct RunOomOptions {
    /// Share of an EP1.
    pub scale: Scale,
    /// What is changed between incident and recovery.
    pub remedy: Remedy,
    /// How often the experiment is repeated.
    pub runs: usize,
    /// A scenario other than the guide's.
    pub scenario: Option<PathBuf>,
    /// A handler; built if not set.
    pub handler: Option<PathBuf>,
    /// Folder of all evidence.
    pub evidence: PathBuf,
    /// Folder of storage and logs while it runs.
    pub work: PathBuf,
    /// One JSON object on stdout instead of tables.
    pub json: bool,
}

/// Runs the experiment and prints its verdict, whose exit code is returned.
///
/// # Errors
/// When the experiment could not be carried out.
pub async fn run(options: RunOomOptions) -> anyhow::Result<u8> {
    let (experiment, evidence) = prepare(&options).await?;
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        let folder = if options.runs == 1 { evidence.clone() } else { evidence.part(&format!("run-{number}"))? };
        experiment.run(&folder, options.remedy).await?;
        let judged = Judged::read(&options, &folder)?;
        if options.runs > 1 {
            let verdict = judged.clone().verdict(options.scale);
            eprintln!("run {number} of {}: {}", options.runs, verdict.verdict);
            folder.write_json("verdict.json", &verdict).context("write verdict.json")?;
        }
        runs.push(judged);
    }
    let judged = if let [only] = runs.as_slice() { only.clone() } else { Judged::over(&runs)? };
    let verdict = judged.verdict(options.scale);
    evidence.write_json("verdict.json", &verdict).context("write verdict.json")?;
    tell(&options, &evidence, &verdict)?;
    Ok(verdict.verdict.exit_code())
}

/// Runs all four combinations of the two changes and prints what follows.
///
/// # Errors
/// When a combination could not be run.
pub async fn run_ablation(options: RunOomOptions) -> anyhow::Result<u8> {
    let (experiment, evidence) = prepare(&options).await?;
    let mut cells = Vec::new();
    for remedy in Ablation::REMEDIES {
        eprintln!("remedy: {}", remedy.name());
        let folder = evidence.part(remedy.name())?;
        experiment.run_cell(&folder, remedy).await?;
        cells.push(Cell::of(&RunTables::read(folder.path(), options.scale)?, remedy));
    }
    let ablation = Ablation::new(options.scale, cells);
    evidence.write_json("ablation.json", &ablation).context("write ablation.json")?;
    if options.json {
        println!("{}", serde_json::to_string(&ablation)?);
    } else {
        print_ablation(&ablation);
        println!("\nevidence: {}", evidence.path().display());
    }
    Ok(if ablation.had_incident() { Verdict::Supported } else { Verdict::Inconclusive }.exit_code())
}

/// Checks everything that can be checked before anything is written, then stages the app.
async fn prepare(options: &RunOomOptions) -> anyhow::Result<(Experiment, RunFolder)> {
    let plan = plan(options.scenario.as_ref(), options.scale)?;
    ensure_room(&plan, &options.work)?;
    // Nobody else's run is disturbed, and what a killed run left is ended.
    drop(Folder::open(&options.work).await?);
    let script_root = options.work.join("stage");
    stage::make(&script_root, options.handler.clone())?;
    let evidence = RunFolder::create(&options.evidence, "oom", clock::utc_now()).context("make the run folder")?;
    let experiment = Experiment {
        scale: options.scale,
        scenario: options.scenario.clone(),
        script_root,
        work: options.work.clone(),
    };
    Ok((experiment, evidence))
}

fn ensure_room(plan: &Plan, work: &Path) -> anyhow::Result<()> {
    capacity::ensure_memory("the OOM lab at this scale", plan.scale.limit_bytes() + AROUND_THE_WORKER)?;
    Ok(capacity::ensure_disk("the OOM lab at this scale", work, plan.staged_bytes() + BESIDE_THE_SOURCES)?)
}

/// What one run, or all of them, came to.
#[derive(Clone)]
struct Judged {
    criteria: Vec<Criterion>,
    counts: Map<String, Value>,
    environment: Environment,
}

impl Judged {
    fn read(options: &RunOomOptions, folder: &RunFolder) -> anyhow::Result<Self> {
        let tables = RunTables::read(folder.path(), options.scale).context("read the run's tables")?;
        std::fs::write(folder.path().join("timeline.csv"), timeline(&tables)).context("write timeline.csv")?;
        let counts = counts(&tables);
        let mut environment = Environment::of_machine();
        environment.note_handler(&options.work.join("stage/handler"));
        environment.note("remedy", options.remedy.name());
        environment.note("runs", options.runs);
        environment.note("limit", tables.limit());
        environment.note("dispatch_skew_ms", counts["dispatch_skew_ms"].clone());
        folder.write_json("environment.json", &environment).context("write environment.json")?;
        Ok(Self { criteria: judge_run(&tables)?, counts, environment })
    }

    /// Medians and spread; the counts of each run.
    fn over(runs: &[Self]) -> anyhow::Result<Self> {
        let criteria: Vec<Vec<Criterion>> = runs.iter().map(|it| it.criteria.clone()).collect();
        let counts = runs.iter().zip(1..).map(|(run, n)| (format!("run-{n}"), Value::Object(run.counts.clone())));
        let environment = runs.last().map(|it| it.environment.clone()).unwrap_or_default();
        Ok(Self { criteria: Criterion::over_runs(&oom::rules()?, &criteria), counts: counts.collect(), environment })
    }

    fn verdict(self, scale: Scale) -> VerdictFile {
        VerdictFile {
            lab: "oom",
            verdict: Verdict::of(&self.criteria),
            scale: scale.to_string(),
            criteria: self.criteria,
            counts: self.counts,
            environment: self.environment,
        }
    }
}

fn tell(options: &RunOomOptions, evidence: &RunFolder, verdict: &VerdictFile) -> anyhow::Result<()> {
    if options.json {
        println!("{}", serde_json::to_string(verdict)?);
        return Ok(());
    }
    println!("{}", render::table(&verdict.criteria, verdict.verdict, stdout().is_terminal()));
    if options.runs == 1 {
        let count = |name: &str| verdict.counts[name].to_string();
        println!(
            "{} blobs uploaded, {} processed; {} tries, {} failed, {} retried; {} poisoned and {} re-driven",
            count("uploaded"),
            count("processed"),
            count("requests"),
            count("failed"),
            count("retried"),
            count("poisoned"),
            count("redriven")
        );
        println!("from the first to the last dispatch of a burst: {} ms at most", count("dispatch_skew_ms"));
    }
    println!("evidence: {}", evidence.path().display());
    Ok(())
}

fn print_ablation(ablation: &Ablation) {
    println!(
        "{:<12} {:>6} {:>13} {:>9} {:>8} {:>8}",
        "remedy", "exits", "MemoryErrors", "peak MiB", "failed", "p95 ms"
    );
    for cell in &ablation.cells {
        let Cell { remedy, exits, memory_errors, peak_mib, failed_percent, p95_ms } = cell;
        println!("{remedy:<12} {exits:>6} {memory_errors:>13} {peak_mib:>9} {failed_percent:>7}% {p95_ms:>8}");
    }
    println!("\n{}", ablation.conclusion);
}
