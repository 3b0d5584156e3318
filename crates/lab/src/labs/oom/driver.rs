//! Carries the experiment out: starts the app under each set of settings, has the load generator drive it, re-drives, collects.

use std::{fs::File, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    time::{Instant, interval, sleep},
};

use super::{Event, Scale};
use super::{Remedy, live::Live};
use crate::{
    app::blob_message::{BlobMessage, trigger_queue},
    commands::{interrupted, redrive},
    emulator::{
        listener::HttpPort,
        session::{Blobs, Session, SessionOptions},
    },
    evidence::{RunFolder, jsonl::JsonLines},
    machine::workspace::Folder,
};
use custom_handler::clock;
use incident_labs::functions::RESULTS_CONTAINER;

/// How long a new blob or message may go unnoticed.
const PACE: Duration = Duration::from_millis(200);
const TICK: Duration = Duration::from_millis(250);
/// From the copies of a burst to their messages in the queue.
const QUEUED_WITHIN: Duration = Duration::from_secs(30);
/// From a phase's last blob to its result or the poison queue: all tries, restarts included.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
const PARALLEL_READS: usize = 8;

/// The experiment at one scale.
#[derive(Debug)]
pub struct Experiment {
    /// Share of an EP1.
    pub scale: Scale,
    /// A scenario other than the guide's.
    pub scenario: Option<PathBuf>,
    pub script_root: PathBuf,
    /// Storage and logs; emptied before each run.
    pub work: PathBuf,
}

/// The app under one set of settings.
struct Stage<'a> {
    experiment: &'a Experiment,
    evidence: &'a RunFolder,
    session: &'a Session,
    blobs: &'a Blobs,
    live: Live,
}

/// What is done with the app under one set of settings.
enum Act<'a> {
    /// Phases of the scenario.
    Load(&'a [&'a str]),
    /// What stands in the poison queue is given another five tries.
    Redrive,
}

impl Experiment {
    /// The whole experiment: incident, remedy, recovery. What it left is in `evidence`.
    ///
    /// # Errors
    /// When it could not be carried out; then nothing can be said of the hypothesis.
    pub async fn run(&self, evidence: &RunFolder, remedy: Remedy) -> anyhow::Result<()> {
        Folder::open(&self.work).await?.clear()?;
        let incident = [Act::Load(&["baseline", "load-1", "load-2", "incident"])];
        self.play(evidence, Remedy::None, &incident).await?;
        note(evidence, "remedy applied", remedy)?;
        let recovery = [Act::Load(&["recovery-a"]), Act::Redrive, Act::Load(&["recovery-b"])];
        self.play(evidence, remedy, &recovery).await
    }

    /// One cell of the ablation: the load of the incident under one set of settings.
    ///
    /// # Errors
    /// As [`Experiment::run`].
    pub async fn run_cell(&self, evidence: &RunFolder, remedy: Remedy) -> anyhow::Result<()> {
        Folder::open(&self.work).await?.clear()?;
        self.play(evidence, remedy, &[Act::Load(&["recovery-a"])]).await
    }

    async fn play(&self, evidence: &RunFolder, remedy: Remedy, acts: &[Act<'_>]) -> anyhow::Result<()> {
        let options = SessionOptions {
            folder: Folder::open(&self.work).await?.with_tables(evidence.tables()),
            script_root: self.script_root.clone(),
            settings: remedy.settings(self.scale),
            pace: Some(PACE),
            port: HttpPort::Free,
            echo: None,
        };
        let session = Session::start(options).await?;
        let blobs = session.blobs()?;
        let live = Live::new(evidence, self.scale);
        let mut stage = Stage { experiment: self, evidence, session: &session, blobs, live };
        let outcome = tokio::select! {
            outcome = stage.play(remedy, acts) => outcome,
            reason = session.host.stopped() => Err(anyhow::anyhow!("the host stopped: {reason}")),
            result = interrupted() => Err(result.err().map_or_else(|| anyhow::anyhow!("interrupted"), Into::into)),
        };
        stage.live.finish();
        session.stop(Duration::from_secs(2)).await;
        outcome
    }
}

impl Stage<'_> {
    async fn play(&mut self, remedy: Remedy, acts: &[Act<'_>]) -> anyhow::Result<()> {
        let front_pid = self.front_pid().await?;
        let start = clock::timestamp(clock::utc_now());
        for act in acts {
            match act {
                Act::Load(phases) => self.load(phases).await?,
                Act::Redrive => self.redrive().await?,
            }
        }
        self.collect().await?;
        let row = json!({
            "timestamp": start,
            "end": clock::timestamp(clock::utc_now()),
            "remedy": remedy.name(),
            "front_pid": front_pid,
            "front_pid_at_end": self.session.host.pid(),
            "settings": Value::from_iter(remedy.settings(self.experiment.scale)),
        });
        Ok(JsonLines::append(&self.evidence.path().join("hosts.jsonl"))?.write(&row)?)
    }

    async fn front_pid(&self) -> anyhow::Result<u32> {
        let asked = Instant::now();
        loop {
            match self.session.host.pid() {
                Some(pid) => return Ok(pid),
                None if asked.elapsed() > QUEUED_WITHIN => bail!("the handler did not start: see traces.jsonl"),
                None => sleep(TICK).await,
            }
        }
    }

    /// Has a load generator of its own process run phases, and holds the trigger back while a burst is copied.
    async fn load(&mut self, phases: &[&str]) -> anyhow::Result<()> {
        let mut generator = self.start_generator(phases)?;
        let mut permissions = generator.stdin.take().context("speak to the load generator")?;
        let mut events = BufReader::new(generator.stdout.take().context("hear the load generator")?).lines();
        let mut ticks = interval(TICK);
        loop {
            let line = tokio::select! {
                line = events.next_line() => line.context("hear the load generator")?,
                _ = ticks.tick() => {
                    self.live.tick();
                    continue;
                }
            };
            let Some(line) = line else { break };
            let event: Event = serde_json::from_str(&line).with_context(|| format!("understand {line:?}"))?;
            self.live.on(&event);
            match &event {
                Event::Burst { .. } => self.blobs.trigger.pause(),
                Event::Copied { prefix, blobs } => {
                    self.queued(prefix, *blobs).await?;
                    self.blobs.trigger.resume();
                }
                _ => continue,
            }
            permissions.write_all(b"\n").await.context("speak to the load generator")?;
        }
        let status = generator.wait().await.context("wait for the load generator")?;
        // 1: some blobs were not dealt with in time. The tables tell which.
        ensure!(
            matches!(status.code(), Some(0 | 1)),
            "the load generator ended with {status}: see {}",
            self.log().display()
        );
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.session.folder.logs().join("load.log")
    }

    fn start_generator(&self, phases: &[&str]) -> anyhow::Result<Child> {
        let log =
            File::options().create(true).append(true).open(self.log()).context("open the load generator's log")?;
        let experiment = self.experiment;
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        command.args(["load", "oom", "--step", "--run", "run", "--phases", &phases.join(",")]);
        command.args(["--scale", &experiment.scale.to_string(), "--settle-s", &SETTLED_WITHIN.as_secs().to_string()]);
        command.arg("--out").arg(self.evidence.path());
        if let Some(scenario) = &experiment.scenario {
            command.arg("--scenario").arg(scenario);
        }
        let connection = self.blobs.azurite.account().connection_string().unwrap_or_default();
        command.env("AzureWebJobsStorage", connection).envs([self.session.folder.mark()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        command.spawn().context("start the load generator")
    }

    /// Waits until all blobs of a burst have their messages: then the trigger can take them together.
    async fn queued(&self, prefix: &str, blobs: usize) -> anyhow::Result<()> {
        let queue = self.blobs.storage.queue(&trigger_queue()).await?;
        let asked = Instant::now();
        loop {
            let messages = queue.peek().await?;
            let is_of_burst =
                |text: &&String| BlobMessage::decode(text).is_some_and(|it| it.blob_name.starts_with(prefix));
            let found = messages.iter().filter(is_of_burst).count();
            match found {
                found if found >= blobs => return Ok(()),
                _ if asked.elapsed() > QUEUED_WITHIN => {
                    bail!("{found} of {blobs} blobs of {prefix} were noticed in time")
                }
                _ => sleep(PACE / 4).await,
            }
        }
    }

    async fn redrive(&mut self) -> anyhow::Result<()> {
        let names = redrive::redrive(&self.blobs.storage, &trigger_queue()).await?;
        self.live.say(&format!("re-driven {} blobs from the poison queue", names.len()));
        let now = clock::timestamp(clock::utc_now());
        let mut redriven = JsonLines::append(&self.evidence.path().join("redriven.jsonl"))?;
        for name in &names {
            redriven.write(&json!({"timestamp": now, "name": name}))?;
        }
        let asked = Instant::now();
        while asked.elapsed() < SETTLED_WITHIN && !self.are_processed(&names).await? {
            self.live.tick();
            sleep(TICK).await;
        }
        Ok(())
    }

    async fn are_processed(&self, names: &[String]) -> anyhow::Result<bool> {
        for name in names {
            if self.blobs.storage.read(RESULTS_CONTAINER, &format!("{name}.json")).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fetches all result records.
    async fn collect(&self) -> anyhow::Result<()> {
        let storage = &self.blobs.storage;
        let listed = storage.list(RESULTS_CONTAINER, "", false).await?;
        let now = clock::timestamp(clock::utc_now());
        let records = stream::iter(listed).map(|it| async move { storage.read(RESULTS_CONTAINER, &it.name).await });
        let records: Vec<_> = records.buffer_unordered(PARALLEL_READS).try_collect().await?;
        let read = |text: bytes::Bytes| {
            let mut record: Value = serde_json::from_slice(&text).unwrap_or_else(|_| json!({}));
            record["timestamp"] = json!(now);
            record
        };
        let mut results = JsonLines::replace(&self.evidence.path().join("results.jsonl"))?;
        for record in records.into_iter().flatten() {
            results.write(&read(record))?;
        }
        Ok(())
    }
}

/// Adds a line to the run's list of what was done by hand, as the guide's runbook has it.
fn note(evidence: &RunFolder, action: &str, remedy: Remedy) -> anyhow::Result<()> {
    let row = json!({"timestamp": clock::timestamp(clock::utc_now()), "action": action, "remedy": remedy.name()});
    Ok(JsonLines::append(&evidence.path().join("actions.jsonl"))?.write(&row)?)
}
