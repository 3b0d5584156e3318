//! What every `lab run` does alike: plan, find a platform, carry out, read back, judge, write down, tell.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use serde_json::json;

use super::Lab;
use crate::{
    app::{
        pace::Pace,
        running::{AppRequest, AppStart, OpenPlatform, Platform, RunningApp},
    },
    evidence::{Environment, RunFolder, phases_file::PhasesFile},
    judgement::{Bundle, Definition, ENVIRONMENT, Journal, Judged, Manifest, Origin, Step, render},
    machine::{
        exit::interrupted,
        log,
        own_folder::{Purpose, check},
        terminal::{Paint, err, out},
    },
    report::{self, live::LivePage},
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
    /// Wait as little as possible, or as long as the real host does where that only takes time.
    #[arg(long, value_enum, default_value_t)]
    pub pace: Pace,
    /// Serve the run's page while it is under way, and print its address.
    #[arg(long, conflicts_with = "runs")]
    pub watch: bool,
    /// Print verdict.json alone instead of tables.
    #[arg(long)]
    pub json: bool,
}

/// Runs the experiment and prints its verdict, whose exit code is returned.
///
/// # Errors
/// When the experiment could not be carried out.
pub(super) async fn run<L: Lab>(arguments: RunArguments<L>, open: OpenPlatform) -> anyhow::Result<u8> {
    let RunArguments { experiment: lab, runs, script_root, handler, evidence, folder, pace, watch, json } = arguments;
    let plan = lab.plan()?;
    // Before the work folder is emptied.
    check(&evidence, Purpose::Evidence)?;
    let needs = lab.needs(&plan);
    let request = AppRequest { functions: L::functions(), script_root, handler, work: folder, needs, pace };
    let platform = open(request).await?;
    let evidence = RunFolder::create(&evidence, L::NAME, clock::utc_now()).context("make the run folder")?;
    log::keep_in(evidence.path());
    if let Some(code) = lab.side_experiment(&*platform, &evidence, json).await? {
        return Ok(code);
    }
    let _page = if watch { Some(watched(evidence.path()).await?) } else { None };
    let runner = Runner { lab: &lab, plan: &plan, platform: &*platform, runs };
    for number in 1..=runs {
        let folder = if runs == 1 { evidence.clone() } else { evidence.part(&format!("run-{number}"))? };
        platform.clear().await?;
        runner.run_once(&folder).await?;
        let (verdict, seal) = runner.close(&folder, 0)?;
        if runs == 1 {
            return tell(&verdict, folder.path(), &seal, json);
        }
        err(&format!("run {number} of {runs}: {}", verdict.verdict.verdict));
    }
    runner.describe(&evidence)?;
    let (verdict, seal) = runner.close(&evidence, runs.into())?;
    tell(&verdict, evidence.path(), &seal, json)
}

/// An experiment, and where it takes place.
struct Runner<'a, L: Lab> {
    lab: &'a L,
    plan: &'a L::Plan,
    platform: &'a dyn Platform,
    runs: u16,
}

impl<L: Lab> Runner<'_, L> {
    /// Carries the experiment out; what it is judged by is in the folder then.
    async fn run_once(&self, folder: &RunFolder) -> anyhow::Result<()> {
        let journal = Journal::of(folder.path());
        journal.add(Step::Hypothesis, L::rules()?.hypothesis.trim(), json!({}))?;
        self.lab.carry_out(self.plan, self.platform, folder).await?;
        let phases = PhasesFile::of_run(folder.path(), L::PHASES).context("read the run's phases")?;
        folder.write_json(PhasesFile::NAME, &phases.to_json()).context("write phases.json")?;
        self.describe(folder)
    }

    fn describe(&self, folder: &RunFolder) -> anyhow::Result<()> {
        let mut environment = Environment::of_machine();
        environment.note("runs", self.runs);
        environment.0.extend(self.platform.facts());
        self.lab.describe(self.plan, &mut environment);
        folder.write_json(ENVIRONMENT, &environment).context("write environment.json")
    }

    /// Judges a folder, and closes it: nothing is written into it after this.
    fn close(&self, folder: &RunFolder, parts: usize) -> anyhow::Result<(Judged, String)> {
        let manifest = Manifest {
            scale: self.lab.scale(),
            control: self.lab.is_control(self.plan),
            parts,
            parameters: L::parameters(self.lab.limit_mb()),
            ..Manifest::new(L::definition(), folder.path(), Origin::Run)?
        };
        close(L::definition(), folder.path(), manifest)
    }
}

/// Judges a folder as its manifest says, writes what follows, and closes the bundle; gives what covers all of it, too.
///
/// # Errors
/// When the folder cannot be read or written.
pub fn close(definition: Definition, folder: &Path, manifest: Manifest) -> anyhow::Result<(Judged, String)> {
    let bundle = Bundle::make(definition, folder, manifest)?;
    let judged = bundle.judge().context("judge the evidence")?;
    bundle.keep(&judged)?;
    if let Some(beside) = report::beside(folder) {
        fs::write(folder.join("beside.json"), serde_json::to_vec_pretty(&beside)?).context("write beside.json")?;
    }
    report::write(folder).context("make the page")?;
    let seal = bundle.seal()?;
    Ok((judged, seal))
}

/// Prints what a folder came to, and gives the exit code.
pub fn tell(judged: &Judged, folder: &Path, seal: &str, json: bool) -> anyhow::Result<u8> {
    let verdict = &judged.verdict;
    if json {
        out(&serde_json::to_string(verdict)?);
    } else {
        let table = render::table(&verdict.criteria, verdict.verdict, Paint::on_stdout());
        out(format!("{}{table}", judged.sheets).trim_end());
        verdict.doubts.iter().for_each(|it| out(&format!("Nothing follows from this run: {it}")));
        judged.summary.trim().lines().for_each(out);
        // What was imported may be Microsoft's host itself.
        if verdict.origin == Origin::Run {
            out(&report::beside_real_host(&verdict.lab, &verdict.criteria));
        }
        out(&format!("evidence: {}", folder.display()));
        out(&format!("page:     {}", folder.join(report::FILE).display()));
        if !seal.is_empty() {
            out(&format!("seal:     {seal}"));
        }
    }
    Ok(verdict.verdict.exit_code())
}

/// Serves the page of a run that begins.
async fn watched(folder: &Path) -> anyhow::Result<LivePage> {
    let page = LivePage::start(folder.to_owned()).await.context("serve the run's page")?;
    err(&format!("watch the run: {}", page.url()));
    Ok(page)
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
