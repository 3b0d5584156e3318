//! What every `lab run` does alike: plan, find a platform, carry out, read back, judge, write down, tell.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use clap::{Arg, Args, Command};
use serde_json::json;

use super::Lab;
use crate::{
    app::{
        pace::Pace,
        running::{AppRequest, AppStart, Deployed, OpenPlatform, Platform, RunningApp, Traffic},
    },
    evidence::{Environment, RunFolder, phases_file::PhasesFile},
    judgement::{Bundle, Definition, ENVIRONMENT, Journal, Judged, Manifest, Origin, Step, render},
    machine::{
        exit::{EXIT_OK, UsageError, interruption},
        log,
        own_folder::{Purpose, check},
        terminal::{Paint, err, out},
    },
    report::{self, live::LivePage},
};
use custom_handler::clock;

/// Where the app runs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Place {
    /// Here, under the stand-in.
    #[default]
    Machine,
    /// Deployed already.
    Azure,
}

/// The app on Azure.
#[derive(Clone, Debug, clap::Args)]
pub struct OnAzure {
    /// Where the app runs. On Azure its settings are changed for the run and put back after it.
    #[arg(long, value_enum, default_value_t)]
    pub on: Place,
    /// The app.
    #[arg(long, value_name = "NAME", help_heading = "With --on azure")]
    pub app: Option<String>,
    /// Its resource group.
    #[arg(long, value_name = "GROUP", help_heading = "With --on azure")]
    pub resource_group: Option<String>,
    /// Id of its Log Analytics workspace (customerId).
    #[arg(long, value_name = "ID", help_heading = "With --on azure")]
    pub workspace: Option<String>,
    /// Id of the subscription; else AZURE_SUBSCRIPTION_ID, else the one `az account set` chose.
    #[arg(long, value_name = "ID", help_heading = "With --on azure")]
    pub subscription: Option<String>,
    /// Print every request that would be sent, and send none.
    #[arg(long, help_heading = "With --on azure")]
    pub plan: bool,
}

impl OnAzure {
    /// The app that is named; nothing on this machine.
    fn deployed(self) -> Result<Option<Deployed>, UsageError> {
        let Self { on, app, resource_group, workspace, subscription, plan } = self;
        if on == Place::Machine {
            let is_given = plan || [&app, &resource_group, &workspace, &subscription].iter().any(|it| it.is_some());
            let text = "--app, --resource-group, --workspace, --subscription and --plan are for --on azure";
            return if is_given { Err(UsageError(text.to_owned())) } else { Ok(None) };
        }
        let (Some(app), Some(resource_group), Some(workspace)) = (app, resource_group, workspace) else {
            return Err(UsageError("--on azure needs --app, --resource-group and --workspace".to_owned()));
        };
        Ok(Some(Deployed { app, resource_group, workspace, subscription, is_plan: plan }))
    }
}

/// `lab run NAME`.
#[derive(clap::Args, Debug)]
pub struct RunArguments<L: Lab> {
    #[command(flatten)]
    pub experiment: L,
    #[command(flatten)]
    pub azure: OnAzure,
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

/// `lab run NAME` as the command line has it. What is for Azure alone is not shown where it makes no sense.
pub(super) fn command<L: Lab>() -> Command {
    let command = super::command::<RunArguments<L>>(L::NAME, L::RUN_HELP);
    if L::NOT_ON_AZURE.is_none() {
        return command;
    }
    let of_azure = OnAzure::augment_args(Command::new(L::NAME));
    let is_of_azure = |it: &Arg| of_azure.get_arguments().any(|own| own.get_id() == it.get_id());
    command.mut_args(|it| if is_of_azure(&it) { it.hide(true) } else { it })
}

/// Runs the experiment and prints its verdict, whose exit code is returned.
///
/// # Errors
/// When the experiment could not be carried out.
pub(super) async fn run<L: Lab>(arguments: RunArguments<L>, open: OpenPlatform) -> anyhow::Result<u8> {
    let RunArguments { experiment: mut lab, azure, runs, script_root, handler, evidence, folder, pace, watch, json } =
        arguments;
    let deployed = azure.deployed()?;
    let is_plan = deployed.as_ref().is_some_and(|it| it.is_plan);
    if deployed.is_some() {
        if let Some(why) = L::NOT_ON_AZURE {
            return Err(UsageError(format!("the {} lab is for this machine: {why}", L::NAME)).into());
        }
        if script_root.is_some() || handler.is_some() {
            let text = "--script-root and --handler are for this machine: on Azure the package is deployed already";
            return Err(UsageError(text.to_owned()).into());
        }
        lab.go_to_azure();
    }
    let plan = lab.plan()?;
    // What a plan writes nobody sees.
    let scratch = is_plan.then(tempfile::tempdir).transpose().context("make a folder")?;
    let beside = |name: &str, path: PathBuf| scratch.as_ref().map_or(path, |it| it.path().join(name));
    let (evidence, work) = (beside("evidence", evidence), beside("work", folder));
    // Before the work folder is emptied.
    check(&evidence, Purpose::Evidence)?;
    let needs = lab.needs(&plan).filter(|_| deployed.is_none());
    let (functions, takes) = (L::functions(), lab.takes(&plan) * runs.into());
    let request = AppRequest {
        lab: L::NAME,
        functions,
        script_root,
        handler,
        work,
        needs,
        withholds_roles: L::WITHHOLDS_ROLES,
        pace,
        deployed,
        takes,
    };
    let platform = open(request).await?;
    let evidence = RunFolder::create(&evidence, L::NAME, clock::utc_now()).context("make the run folder")?;
    let runner = Runner { lab: &lab, plan: &plan, platform: &*platform, runs };
    if is_plan {
        runner.rehearse(&evidence).await?;
        out(&platform.rehearsed(json).unwrap_or_default());
        return Ok(EXIT_OK);
    }
    log::keep_in(evidence.path());
    if let Some(code) = runner.left(lab.side_experiment(&*platform, &evidence, json)).await? {
        return Ok(code);
    }
    let _page = if watch { Some(watched(evidence.path()).await?) } else { None };
    runner.run_all(&evidence, json).await
}

/// An experiment, and where it takes place.
struct Runner<'a, L: Lab> {
    lab: &'a L,
    plan: &'a L::Plan,
    platform: &'a dyn Platform,
    runs: u16,
}

impl<L: Lab> Runner<'_, L> {
    /// Carries out as many runs as were asked for, judges them, and prints the verdict.
    async fn run_all(&self, evidence: &RunFolder, json: bool) -> anyhow::Result<u8> {
        for number in 1..=self.runs {
            let folder = if self.runs == 1 { evidence.clone() } else { evidence.part(&format!("run-{number}"))? };
            self.platform.clear().await?;
            self.run_once(&folder).await?;
            let (verdict, seal) = self.close(&folder, 0).await?;
            if self.runs == 1 {
                return tell(&verdict, folder.path(), &seal, json);
            }
            err(&format!("run {number} of {}: {}", self.runs, verdict.verdict.verdict));
        }
        self.describe(evidence)?;
        let (verdict, seal) = self.close(evidence, self.runs.into()).await?;
        tell(&verdict, evidence.path(), &seal, json)
    }

    /// Does what a run does, on a platform that writes requests down instead of sending them.
    async fn rehearse(&self, folder: &RunFolder) -> anyhow::Result<()> {
        self.platform.clear().await?;
        self.left(self.lab.carry_out(self.plan, self.platform, folder)).await?;
        self.platform.gather(folder.path(), &BTreeMap::new()).await?;
        self.platform.ask_again(folder.path()).await
    }

    /// Carries the experiment out; what it is judged by is in the folder then.
    async fn run_once(&self, folder: &RunFolder) -> anyhow::Result<()> {
        let journal = Journal::of(folder.path());
        journal.add(Step::Hypothesis, L::rules()?.hypothesis.trim(), json!({}))?;
        self.left(self.lab.carry_out(self.plan, self.platform, folder)).await?;
        let expected = L::expected_rows(folder.path()).context("read the run's records")?;
        self.unless_interrupted(self.platform.gather(folder.path(), &expected)).await?;
        let phases = PhasesFile::of_run(folder.path(), L::PHASES).context("read the run's phases")?;
        folder.write_json(PhasesFile::NAME, &phases.to_json()).context("write phases.json")?;
        self.describe(folder)
    }

    /// Does something with the app, and leaves the app as it was then, whatever came of it.
    async fn left<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let done = self.unless_interrupted(work).await;
        match (done, self.platform.leave().await) {
            (Ok(done), left) => left.map(|()| done),
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(left)) => Err(error.context(format!("{left:#}"))),
        }
    }

    async fn unless_interrupted<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done,
            () = self.platform.interrupted() => Err(anyhow!("interrupted")),
        }
    }

    fn describe(&self, folder: &RunFolder) -> anyhow::Result<()> {
        let mut environment = Environment::of_machine();
        environment.note("runs", self.runs);
        environment.0.extend(self.platform.facts());
        self.lab.describe(self.plan, &mut environment);
        folder.write_json(ENVIRONMENT, &environment).context("write environment.json")
    }

    /// Judges a folder, and closes it: nothing is written into it after this.
    async fn close(&self, folder: &RunFolder, parts: usize) -> anyhow::Result<(Judged, String)> {
        let origin = if self.platform.is_on_azure() { Origin::Azure } else { Origin::Run };
        let manifest = Manifest {
            scale: self.lab.scale(),
            control: self.lab.is_control(self.plan),
            parts,
            parameters: L::parameters(self.lab.limit_mb()),
            ..Manifest::new(L::definition(), folder.path(), origin)?
        };
        let bundle = Bundle::make(L::definition(), folder.path(), manifest)?;
        if parts == 0 {
            self.unless_interrupted(self.platform.ask_again(folder.path())).await?;
        }
        finish(&bundle, folder.path())
    }
}

/// Judges a folder as its manifest says, writes what follows, and closes the bundle; gives what covers all of it, too.
///
/// # Errors
/// When the folder cannot be read or written.
pub fn close(definition: Definition, folder: &Path, manifest: Manifest) -> anyhow::Result<(Judged, String)> {
    finish(&Bundle::make(definition, folder, manifest)?, folder)
}

fn finish(bundle: &Bundle, folder: &Path) -> anyhow::Result<(Judged, String)> {
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

/// Starts the app, has `work` done with it, which sends `traffic`, and stops it when that is done, the app cannot go on, or Ctrl-C is pressed.
pub(super) async fn with_app(
    platform: &dyn Platform,
    start: AppStart,
    traffic: &[Traffic],
    work: impl AsyncFnOnce(&dyn RunningApp) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let app = tokio::select! {
        app = platform.start(start) => app?,
        error = interruption() => return Err(error),
    };
    if app.rehearses(traffic) {
        return app.stop().await;
    }
    let done = tokio::select! {
        done = work(&*app) => done,
        reason = app.ended() => Err(anyhow!(reason)),
        error = interruption() => Err(error),
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
