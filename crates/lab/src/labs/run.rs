//! What every `lab run` does alike: plan, find a platform, carry out, read back, judge, write down, tell.

use std::{
    fs,
    io::{IsTerminal, stdout},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use serde_json::{Map, Value};

use super::{Lab, judge};
use crate::{
    app::running::{AppRequest, AppStart, OpenPlatform, Platform, RunningApp},
    evidence::{Criterion, Environment, RunFolder, Verdict, VerdictFile, doubts, phases_file::PhasesFile, render},
    machine::{
        exit::interrupted,
        log,
        own_folder::{Purpose, check},
        terminal::{err, out},
    },
};
use custom_handler::clock;

/// `lab run NAME`.
#[derive(clap::Args, Debug)]
pub struct RunArguments<L: Lab> {
    #[command(flatten)]
    pub experiment: L,
    /// Repeat the experiment; a criterion on which runs disagree makes the verdict inconclusive.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=50))]
    pub runs: u16,
    /// Use this app: a folder with host.json, and each function's folder beside it or in functions/.
    #[arg(long, value_name = "DIR")]
    pub script_root: Option<PathBuf>,
    /// Use this handler instead of building one.
    #[arg(long)]
    pub handler: Option<PathBuf>,
    /// Where runs leave their evidence.
    #[arg(long, default_value = "evidence")]
    pub evidence: PathBuf,
    /// Work folder: storage, task hub and logs while it runs; emptied first.
    #[arg(long, default_value = L::WORK)]
    pub folder: PathBuf,
    /// Print verdict.json alone instead of tables.
    #[arg(long)]
    pub json: bool,
}

/// Runs the experiment and prints its verdict, whose exit code is returned.
///
/// # Errors
/// When the experiment could not be carried out.
pub(super) async fn run<L: Lab>(arguments: RunArguments<L>, open: OpenPlatform) -> anyhow::Result<u8> {
    let RunArguments { experiment: lab, runs, script_root, handler, evidence, folder, json } = arguments;
    let plan = lab.plan()?;
    // Before the work folder is emptied.
    check(&evidence, Purpose::Evidence)?;
    let needs = lab.needs(&plan);
    let request = AppRequest { functions: L::functions(), script_root, handler, work: folder, needs };
    let platform = open(request).await?;
    let evidence = RunFolder::create(&evidence, L::NAME, clock::utc_now()).context("make the run folder")?;
    log::keep_in(evidence.path());
    if let Some(code) = lab.side_experiment(&*platform, &evidence, json).await? {
        return Ok(code);
    }
    let mut judged = Vec::new();
    for number in 1..=runs {
        let folder = if runs == 1 { evidence.clone() } else { evidence.part(&format!("run-{number}"))? };
        platform.clear().await?;
        lab.carry_out(&plan, &*platform, &folder).await?;
        let run = Judged::read(&lab, (&*platform, runs), &folder)?;
        if runs > 1 {
            let verdict = run.clone().verdict(&lab);
            err(&format!("run {number} of {runs}: {}", verdict.verdict));
            folder.write_json("verdict.json", &verdict).context("write verdict.json")?;
        }
        judged.push(run);
    }
    let judged = if let [only] = judged.as_slice() { only.clone() } else { Judged::over::<L>(&judged)? };
    let (guide_tables, totals) = (judged.guide_tables.clone(), judged.totals.clone());
    let verdict = judged.verdict(&lab);
    evidence.write_json("verdict.json", &verdict).context("write verdict.json")?;
    if json {
        out(&serde_json::to_string(&verdict)?);
    } else {
        let table = render::table(&verdict.criteria, verdict.verdict, stdout().is_terminal());
        out(&format!("{guide_tables}{table}"));
        verdict.doubts.iter().for_each(|it| out(&format!("Nothing follows from this run: {it}")));
        totals.lines().for_each(out);
        out(&format!("evidence: {}", evidence.path().display()));
    }
    Ok(verdict.verdict.exit_code())
}

/// Starts the app, has `work` done with it, and stops it when that is done, the app cannot go on, or Ctrl-C is pressed.
pub(super) async fn with_app(
    platform: &dyn Platform,
    start: AppStart,
    work: impl AsyncFnOnce(&dyn RunningApp) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let app = platform.start(start).await?;
    let done = tokio::select! {
        done = work(&*app) => done,
        reason = app.ended() => Err(anyhow!(reason)),
        result = interrupted() => Err(result.err().map_or_else(|| anyhow!("interrupted"), Into::into)),
    };
    let stopped = app.stop().await;
    done.and(stopped)
}

/// Reads a scenario from a file, or takes the guide's.
pub(super) fn scenario<S, E>(
    file: Option<&Path>,
    guide: &str,
    parse: impl Fn(&str) -> Result<S, E>,
) -> anyhow::Result<S>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let Some(path) = file else { return Ok(parse(guide)?) };
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| format!("read {}", path.display()))
}

/// A run, or all of them, held against the criteria.
#[derive(Clone)]
struct Judged {
    criteria: Vec<Criterion>,
    doubts: Vec<String>,
    counts: Map<String, Value>,
    environment: Environment,
    /// Printed above the criteria.
    guide_tables: String,
    /// Printed below the criteria.
    totals: String,
}

impl Judged {
    fn read<L: Lab>(lab: &L, (platform, runs): (&dyn Platform, u16), folder: &RunFolder) -> anyhow::Result<Self> {
        let rows = lab.read(folder.path()).context("read the run's tables")?;
        fs::write(folder.path().join("timeline.csv"), L::timeline(&rows)).context("write timeline.csv")?;
        let phases = PhasesFile::of_run(folder.path(), L::PHASES).context("read the run's phases")?;
        folder.write_json(PhasesFile::NAME, &phases.to_json()).context("write phases.json")?;
        let mut environment = Environment::of_machine();
        environment.note("runs", runs);
        environment.0.extend(platform.facts());
        lab.describe(&rows, &mut environment);
        folder.write_json("environment.json", &environment).context("write environment.json")?;
        let counts = L::counts(&rows);
        let (guide_tables, totals) = (L::guide_tables(&rows), L::totals(&counts));
        let doubts = doubts(folder.path()).context("read what was lost")?;
        Ok(Self { criteria: judge::<L>(&rows)?, doubts, counts, environment, guide_tables, totals })
    }

    /// Medians and spread; the counts of each run.
    fn over<L: Lab>(runs: &[Self]) -> anyhow::Result<Self> {
        let criteria: Vec<Vec<Criterion>> = runs.iter().map(|it| it.criteria.clone()).collect();
        let counts = runs.iter().zip(1..).map(|(run, n)| (format!("run-{n}"), Value::Object(run.counts.clone())));
        let doubts =
            runs.iter().zip(1..).flat_map(|(run, n)| run.doubts.iter().map(move |it| format!("run {n}: {it}")));
        Ok(Self {
            doubts: doubts.collect(),
            criteria: Criterion::over_runs(&L::rules()?, &criteria),
            counts: counts.collect(),
            environment: runs.last().map(|it| it.environment.clone()).unwrap_or_default(),
            guide_tables: String::new(),
            totals: String::new(),
        })
    }

    fn verdict<L: Lab>(self, lab: &L) -> VerdictFile {
        VerdictFile {
            lab: L::NAME,
            verdict: Verdict::of(&self.criteria).doubted(&self.doubts),
            doubts: self.doubts,
            scale: lab.scale(),
            criteria: self.criteria,
            counts: self.counts,
            environment: self.environment,
        }
    }
}
