//! `lab replay-check`: whether an app's orchestrators still do what recorded histories say.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use durable::history::{History, Misfit};
use serde_json::{Value, json};
use tokio::{runtime::Handle, task::block_in_place};

use super::app::{AppArgs, SettingArgs};
use crate::{
    app::{ScriptRoot, pace::Pace},
    emulator::{
        listener::HttpPort,
        session::{Session, SessionOptions},
        task_hub::{Instance, recorded},
    },
    evidence::render::columns,
    machine::{
        exit::{EXIT_OK, EXIT_WRONG, UsageError},
        terminal::{Progress, out},
        workspace::Workspace,
    },
};
use incident_labs::functions::{Lab, own_names_of};

/// Some could not be told, and no other was found not to fit.
const EXIT_CANNOT_TELL: u8 = 2;
/// What every SQLite file begins with.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// What a handler that hangs gets to end.
const DRAIN: Duration = Duration::from_secs(2);

/// Hold an app's orchestrators against recorded histories: would instances under way survive this code?
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     curl -s \"$APP/runtime/webhooks/durabletask/instances/$ID?showHistory=true&showHistoryOutput=true&code=$KEY\" \\
               > tests/histories/purchase.json
             cargo lab replay-check tests/histories --script-root my-app
History:     an answer of the status webhook, as above; the task hub's file of `lab start` (FOLDER/task-hub.db), with all instances
             in it; or a folder of such files (*.json, *.db)
What it does: starts the app's handler as the host does, and sends it each history as the last episode of the instance. Its answer must
             be what the history has next. For one that is not, the first place where they part is looked for, and both sides named.
             No activity runs.
In a test:   durable::history::replay_against does the same for one orchestrator, without a handler; docs/replay-check.md
Exit codes:  0 all fit; 1 some do not; 2 some cannot be told, and the others fit; 3 it could not run; 64 usage")]
pub struct ReplayCheck {
    /// Files, or folders of them.
    #[arg(required = true, value_name = "HISTORY")]
    histories: Vec<PathBuf>,
    #[command(flatten)]
    app: AppArgs,
    #[command(flatten)]
    settings: SettingArgs,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What there is to check: an instance, or a file that is no history.
struct Case {
    file: PathBuf,
    instance_id: String,
    /// Or why there is none.
    history: Result<History, String>,
}

/// `Err`: why it cannot be told.
type Verdict = Result<Result<(), Misfit>, String>;

impl ReplayCheck {
    /// Checks all histories and prints what became of each.
    ///
    /// # Errors
    /// When a file cannot be read, or the app cannot be started.
    pub async fn run(self) -> anyhow::Result<u8> {
        let mut cases = Vec::new();
        for path in &self.histories {
            for file in files(path)? {
                cases.extend(read(&file)?);
            }
        }
        let folder = tempfile::Builder::new().prefix("lab-replay-check-").tempdir().context("make a work folder")?;
        let session = self.start(folder.path()).await?;
        session.hub()?;
        let mut progress = Progress::start("replayed", cases.len());
        let mut told = Vec::with_capacity(cases.len());
        for case in cases {
            let verdict = check(&session, &case);
            told.push((case, verdict));
            progress.advance();
        }
        progress.finish();
        session.stop(DRAIN).await;
        let counts = [FITS, DOES_NOT_FIT, CANNOT_BE_TOLD]
            .map(|wanted| told.iter().filter(|(_, verdict)| word(verdict) == wanted).count());
        if self.json {
            let histories: Vec<Value> = told.iter().map(|(case, verdict)| as_json(case, verdict)).collect();
            let [fit, do_not, unknown] = counts;
            let told = json!({ "fit": fit, "doNotFit": do_not, "cannotBeTold": unknown, "histories": histories });
            out(&told.to_string());
        } else {
            tell(&told, counts);
        }
        Ok(match counts {
            [_, 0, 0] => EXIT_OK,
            [_, 0, _] => EXIT_CANNOT_TELL,
            _ => EXIT_WRONG,
        })
    }

    /// Starts the app on an empty task hub. Of the project's own app only the functions without storage are served.
    async fn start(&self, folder: &Path) -> anyhow::Result<Session> {
        let (app, stage) = (self.app.any()?, folder.join("stage"));
        let root = if app.is_own() {
            self.app.serve_some_from(&stage, &own_names_of(Lab::Replay))?
        } else {
            self.app.serve_from(&app, &stage)?
        };
        Session::start(SessionOptions {
            script_root: ScriptRoot::read(&root)?.with_settings(self.settings.settings.clone()),
            containers: Vec::new(),
            folder: Workspace::open(&folder.join("run")).await?,
            pace: Pace::Quick,
            port: HttpPort::Free,
            echo: None,
            withheld: None,
        })
        .await
    }
}

/// A file, or those of a folder that can be histories.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let of_folder = || format!("read the folder {}", path.display());
    let entries = fs::read_dir(path).with_context(of_folder)?.collect::<Result<Vec<_>, _>>().with_context(of_folder)?;
    let is_history = |it: &PathBuf| it.extension().is_some_and(|it| it == "json" || it == "db");
    let mut files: Vec<PathBuf> = entries.into_iter().map(|it| it.path()).filter(is_history).collect();
    if files.is_empty() {
        return Err(UsageError(format!("{} has no history: no file in it is a *.json or *.db", path.display())).into());
    }
    files.sort();
    Ok(files)
}

/// The instances in a file.
fn read(file: &Path) -> anyhow::Result<Vec<Case>> {
    let of_file = || format!("read the history {}", file.display());
    let mut start = Vec::new();
    File::open(file).and_then(|it| it.take(SQLITE.len() as u64).read_to_end(&mut start)).with_context(of_file)?;
    let case =
        |instance_id: &str, history| Case { file: file.to_owned(), instance_id: instance_id.to_owned(), history };
    if start != SQLITE {
        let text = fs::read(file).with_context(of_file)?;
        let history = History::from_status(&String::from_utf8_lossy(&text)).map_err(|error| error.to_string());
        let id = history.as_ref().map(|it| it.instance_id.clone()).unwrap_or_default();
        return Ok(vec![case(&id, history)]);
    }
    Ok(match recorded(file) {
        Err(error) => vec![case("", Err(format!("it is no task hub's file, or a damaged one: {error}")))],
        Ok(instances) if instances.is_empty() => vec![case("", Err("no instance is in it".to_owned()))],
        Ok(instances) => {
            let of_instance = |(instance, history): (Instance, History)| {
                let is_begun = history.started().is_some();
                let history =
                    is_begun.then_some(history).ok_or_else(|| format!("it is {:?} without a history", instance.status));
                case(&instance.instance_id, history)
            };
            instances.into_iter().map(of_instance).collect()
        }
    })
}

fn check(session: &Session, case: &Case) -> Verdict {
    let history = case.history.as_ref().map_err(String::clone)?;
    let name = history.started().map(|it| it.name.clone()).unwrap_or_default();
    history.check(|request| {
        block_in_place(|| {
            Handle::current().block_on(async {
                let hub = session.hub().map_err(|error| error.to_string())?;
                tokio::select! {
                    answer = hub.ask(&name, &request) => answer,
                    reason = session.ended() => Err(reason),
                }
            })
        })
    })
}

const FITS: &str = "fits";
const DOES_NOT_FIT: &str = "does not fit";
const CANNOT_BE_TOLD: &str = "cannot be told";

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Ok(Ok(())) => FITS,
        Ok(Err(_)) => DOES_NOT_FIT,
        Err(_) => CANNOT_BE_TOLD,
    }
}

fn tell(told: &[(Case, Verdict)], [fit, do_not, unknown]: [usize; 3]) {
    let row = |(case, verdict): &(Case, Verdict)| {
        let history = case.history.as_ref().ok();
        let name = history.and_then(History::started).map(|it| it.name.clone()).unwrap_or_default();
        let events = history.map(|it| it.events.len().to_string()).unwrap_or_default();
        let file = case.file.display().to_string();
        vec![word(verdict).to_owned(), case.instance_id.clone(), name, events, file]
    };
    let headings = ["verdict", "instance", "orchestrator", "events", "file"].map(str::to_owned);
    out(&columns(&headings, &told.iter().map(row).collect::<Vec<_>>()));
    out("");
    for (case, verdict) in told {
        let Case { file, instance_id, .. } = case;
        let which = format!("{} {instance_id}", file.display());
        match verdict {
            Ok(Ok(())) => continue,
            Ok(Err(misfit)) => {
                let event = misfit.event.map(|it| format!("  (event {it})")).unwrap_or_default();
                out(&format!("{} does not fit: {}", which.trim_end(), misfit.kind));
                out(&format!("  recorded   {}{event}\n  attempted  {}", misfit.recorded, misfit.attempted));
            }
            Err(why) => out(&format!("{} cannot be told:\n  {why}", which.trim_end())),
        }
    }
    out(&format!("fit: {fit}, do not fit: {do_not}, cannot be told: {unknown}"));
    let is_rebuilt = |it: &&(Case, Verdict)| it.0.history.as_ref().is_ok_and(|history| history.is_rebuilt);
    if told.iter().filter(is_rebuilt).any(|(_, verdict)| word(verdict) == DOES_NOT_FIT) {
        out("Histories of the status webhook are rebuilt: docs/replay-check.md says what it leaves out.");
    }
}

fn as_json(case: &Case, verdict: &Verdict) -> Value {
    let history = case.history.as_ref().ok();
    let misfit = verdict.as_ref().ok().and_then(|it| it.as_ref().err()).map(|it| {
        let Misfit { kind, event, recorded, attempted, .. } = it;
        json!({ "kind": kind.name(), "event": event, "recorded": recorded, "attempted": attempted })
    });
    json!({
        "file": case.file,
        "instanceId": case.instance_id,
        "orchestrator": history.and_then(History::started).map(|it| &it.name),
        "events": history.map(|it| it.events.len()),
        "isRebuilt": history.map(|it| it.is_rebuilt),
        "verdict": word(verdict),
        "misfit": misfit,
        "why": verdict.as_ref().err(),
    })
}
