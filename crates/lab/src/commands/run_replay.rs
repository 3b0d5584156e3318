//! `lab run replay`: carries the experiment out, judges what it left, and prints the verdict.

use std::{
    io::{IsTerminal, stdout},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::time::sleep;
use url::Url;

use super::{EXIT_OK, EXIT_WRONG, UsageError, interrupted, stage};
use crate::emulator::{
    listener::HttpPort,
    session::{Session, SessionOptions},
};
use crate::{
    evidence::{Environment, RunFolder, Verdict, VerdictFile, render},
    labs::replay::{
        Live, PhaseOutcome, ReplayLoad, ReplayPhase, ReplayScenario, ReplayTables, bins_csv, counts, judge_run,
        tell_tables,
    },
    machine::workspace::Folder,
};
use custom_handler::clock;

/// Between two looks at the tables.
const TICK: Duration = Duration::from_millis(250);

/// What a storm is, beside the scenario.
#[derive(Clone, Debug, Default)]
pub struct Storm {
    /// A scenario other than the guide's.
    pub scenario: Option<PathBuf>,
    /// Iterations of incident and recovery.
    pub iterations: Option<u64>,
    /// Iterations of an execution in the recovery; 0 is the control.
    pub continue_as_new_every: Option<u64>,
    /// Instances of each phase.
    pub instances: Option<u64>,
}

/// What `lab run replay` was asked for.
#[derive(Debug)]
pub struct RunReplayOptions {
    pub storm: Storm,
    /// Longest time for a phase.
    pub longest: Duration,
    /// A handler; built if not set.
    pub handler: Option<PathBuf>,
    /// Folder of all evidence.
    pub evidence: PathBuf,
    /// Folder of the task hub and logs while it runs.
    pub work: PathBuf,
    /// One JSON object on stdout instead of tables.
    pub json: bool,
}

/// What `lab load replay` was asked for.
#[derive(Debug)]
pub struct LoadReplayOptions {
    pub url: Url,
    pub storm: Storm,
    /// Phases to run; all when empty.
    pub phases: Vec<String>,
    /// Longest time for a phase.
    pub longest: Duration,
    /// Where phases.jsonl and instances.jsonl go.
    pub out: PathBuf,
}

impl Storm {
    /// The phases to run.
    ///
    /// # Errors
    /// When the scenario cannot be read, or asks for what the app refuses.
    fn phases(&self) -> anyhow::Result<Vec<ReplayPhase>> {
        let scenario = match &self.scenario {
            None => ReplayScenario::guide()?,
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
                ReplayScenario::parse(&text).with_context(|| format!("read {}", path.display()))?
            }
        };
        let mut phases = scenario.phase;
        for phase in &mut phases {
            if phase.name != "baseline" {
                phase.iterations = self.iterations.unwrap_or(phase.iterations);
            }
            if phase.name == "recovery" {
                phase.continue_as_new_every = self.continue_as_new_every.unwrap_or(phase.continue_as_new_every);
            }
            phase.instances = self.instances.unwrap_or(phase.instances);
            phase.check().map_err(UsageError)?;
        }
        Ok(phases)
    }
}

/// Runs the experiment and prints its verdict, whose exit code is returned.
///
/// # Errors
/// When the experiment could not be carried out.
pub async fn run(options: RunReplayOptions) -> anyhow::Result<u8> {
    let phases = options.storm.phases()?;
    let work = Folder::open(&options.work).await?;
    work.clear()?;
    let script_root = options.work.join("stage-replay");
    stage::make_replay(&script_root, options.handler.clone())?;
    let evidence = RunFolder::create(&options.evidence, "replay", clock::utc_now()).context("make the run folder")?;
    let session = SessionOptions {
        folder: work.with_tables(evidence.tables()),
        script_root,
        settings: Vec::new(),
        pace: None,
        port: HttpPort::Free,
        echo: None,
    };
    let mut session = Session::start(session).await?;
    let base: Url = session.http.url().parse()?;
    let load = ReplayLoad::new(base, evidence.path().to_owned(), options.longest);
    let mut live = Live::new(&evidence.tables());
    let outcome = tokio::select! {
        outcome = drive(&load, &phases, &mut live) => outcome,
        reason = session.ended() => Err(anyhow::anyhow!(reason)),
        result = interrupted() => Err(result.err().map_or_else(|| anyhow::anyhow!("interrupted"), Into::into)),
    };
    session.stop(Duration::from_secs(2)).await;
    outcome?;
    judge(&options, &evidence)
}

async fn drive(load: &ReplayLoad, phases: &[ReplayPhase], live: &mut Live) -> anyhow::Result<()> {
    for phase in phases {
        live.begin(&phase.name, phase.iterations * phase.instances);
        let outcome = watched(load.run(phase), live).await?;
        live.end(outcome.took);
    }
    Ok(())
}

async fn watched<T>(work: impl Future<Output = T>, live: &mut Live) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = sleep(TICK) => live.tick(),
        }
    }
}

fn judge(options: &RunReplayOptions, evidence: &RunFolder) -> anyhow::Result<u8> {
    let tables = ReplayTables::read(evidence.path()).context("read the run's tables")?;
    std::fs::write(evidence.path().join("timeline.csv"), bins_csv(&tables)).context("write timeline.csv")?;
    let mut environment = Environment::of_machine();
    environment.note_handler(&options.work.join("stage-replay/handler"));
    environment.note("task_hub", "SQLite, WAL, synchronous=NORMAL");
    evidence.write_json("environment.json", &environment).context("write environment.json")?;
    let criteria = judge_run(&tables)?;
    let verdict = VerdictFile {
        lab: "replay",
        verdict: Verdict::of(&criteria),
        scale: "1".to_owned(),
        counts: counts(&tables),
        criteria,
        environment,
    };
    evidence.write_json("verdict.json", &verdict).context("write verdict.json")?;
    if options.json {
        println!("{}", serde_json::to_string(&verdict)?);
    } else {
        println!("{}", tell_tables(&tables));
        println!("{}", render::table(&verdict.criteria, verdict.verdict, stdout().is_terminal()));
        println!("evidence: {}", evidence.path().display());
    }
    Ok(verdict.verdict.exit_code())
}

/// Runs the load against any app.
///
/// # Errors
/// When the app does not answer as it should, or a phase is asked for that is not there.
pub async fn load(options: LoadReplayOptions) -> anyhow::Result<u8> {
    let all = options.storm.phases()?;
    let named = |name: &String| {
        let found = all.iter().find(|it| it.name == *name).cloned();
        found.ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
            UsageError(format!("there is no phase {name:?}: there are {}", names.join(", ")))
        })
    };
    let phases = if options.phases.is_empty() {
        all.clone()
    } else {
        options.phases.iter().map(named).collect::<Result<_, _>>()?
    };
    let load = ReplayLoad::new(options.url, options.out.clone(), options.longest);
    let mut wrong = 0;
    for phase in &phases {
        eprintln!("{} started: {} x {} iterations", phase.name, phase.instances, phase.iterations);
        let outcome = tokio::select! {
            outcome = load.run(phase) => outcome?,
            result = interrupted() => {
                result?;
                bail!("interrupted; what was started goes on")
            }
        };
        wrong += tell(phase, &outcome);
    }
    println!("instances and phases in {}", options.out.display());
    Ok(if wrong == 0 { EXIT_OK } else { EXIT_WRONG })
}

fn tell(phase: &ReplayPhase, outcome: &PhaseOutcome) -> usize {
    println!("{:<10} {:>7} iterations in {:.1} s", phase.name, phase.iterations, outcome.took.as_secs_f64());
    for (id, state) in &outcome.not_completed {
        println!("  {id} did not complete: {state}");
    }
    outcome.not_completed.len()
}
