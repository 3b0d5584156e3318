//! Carries the experiment out: starts the app under each set of settings, has the load generator drive it, re-drives, collects.

use std::{convert::Infallible, fs::File, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{OomLab, Remedy, ScaledScenario, events::Event, generator, live::Live, load::CONNECTION};
use crate::{
    app::{
        blob_message::{BlobMessage, POISON_QUEUE},
        redrive::redrive,
        running::{AppStart, Platform, RunningApp, Traffic},
    },
    evidence::{RunFolder, jsonl::JsonLines, moment::Moment},
    judgement::{Journal, Step},
    labs::{Lab, run::with_app},
    machine::storage::Storage,
};
use custom_handler::clock;
use incident_labs::blob::{RESULTS_CONTAINER, record_name};

/// Between two looks at whether a burst is in the queue.
const QUEUED_POLL: Duration = Duration::from_millis(50);
const TICK: Duration = Duration::from_millis(250);
/// From the copies of a burst to their messages in the queue.
const QUEUED_WITHIN: Duration = Duration::from_secs(30);
/// From a phase's last blob to its result or the poison queue: all tries, restarts included. The waits before them come on top.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// How often a blob is tried.
const TRIES: u32 = 5;
const PARALLEL_READS: usize = 8;
/// Between two looks at the queues.
const QUEUE_PACE: Duration = Duration::from_secs(1);
const REDRIVEN: &str = "redriven.jsonl";
const CGROUP: &str = "cgroup.jsonl";
const QUEUES: &str = "queue.jsonl";

/// The experiment, where it takes place, and what it leaves.
#[derive(Debug)]
pub(super) struct Experiment<'a> {
    pub(super) load: &'a ScaledScenario,
    pub(super) platform: &'a dyn Platform,
    pub(super) evidence: &'a RunFolder,
}

/// One thing that is done with the app under one set of settings.
enum Task<'a> {
    /// Phases of the scenario.
    Load(&'a [&'a str]),
    /// Blobs in the poison queue get another five tries.
    Redrive,
}

/// Drives the app while it runs under one set of settings.
struct Driver<'a> {
    experiment: &'a Experiment<'a>,
    app: &'a dyn RunningApp,
    storage: &'a Storage,
    live: Live,
}

impl Experiment<'_> {
    /// # Errors
    /// When it could not be carried out; then nothing can be said of the hypothesis.
    pub(super) async fn run(&self, remedy: Remedy) -> anyhow::Result<()> {
        self.under(Remedy::None, &[Task::Load(&["baseline", "load-1", "load-2", "incident"])]).await?;
        self.note("remedy applied", remedy)?;
        self.under(remedy, &[Task::Load(&["recovery-a"]), Task::Redrive, Task::Load(&["recovery-b"])]).await
    }

    /// One cell of the ablation: the load of the incident under one set of settings.
    ///
    /// # Errors
    /// As [`Experiment::run`].
    pub(super) async fn run_cell(&self, remedy: Remedy) -> anyhow::Result<()> {
        self.under(remedy, &[Task::Load(&["recovery-a"])]).await
    }

    /// Starts the app with a remedy applied, and does the tasks.
    async fn under(&self, remedy: Remedy, tasks: &[Task<'_>]) -> anyhow::Result<()> {
        let start = AppStart { settings: self.settings(remedy), tables: self.evidence.tables() };
        // One that is missing was taken away; one that is empty says that there was nothing.
        for file in [REDRIVEN, CGROUP, QUEUES] {
            self.append(file)?;
        }
        let bands = OomLab::rules()?.bands;
        let facts = json!({"remedy": remedy.name(), "settings": Value::from_iter(start.settings.clone())});
        self.journal().add(Step::Action, "the app is started", facts)?;
        with_app(self.platform, start, &self.traffic(tasks)?, async |app| {
            let live = Live::new(self.evidence, self.load.scale(), bands);
            Driver { experiment: self, app, storage: app.storage()?, live }.drive(remedy, tasks).await
        })
        .await
    }

    /// Adds a line to the run's list of what was done by hand, as the guide's runbook has it.
    fn note(&self, action: &str, remedy: Remedy) -> anyhow::Result<()> {
        self.journal().add(Step::Action, action, json!({"remedy": remedy.name()}))?;
        let mut row = json!({"action": action, "remedy": remedy.name()});
        Moment::now().stamp(&mut row);
        Ok(self.append("actions.jsonl")?.write(&row)?)
    }

    /// First part of the blobs' names. On an account that others use too it is the run's own: `oom-2026-04-05T01-30-00Z`, or that time and
    /// `run-1`.
    fn run_name(&self) -> String {
        if !self.platform.is_on_azure() {
            return "run".to_owned();
        }
        let mut names = self.evidence.path().iter().rev().map(|it| it.to_string_lossy());
        let (own, above) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        format!("{above}-{own}")
    }

    fn settings(&self, remedy: Remedy) -> Vec<(String, String)> {
        remedy.settings(self.platform.limits_memory().then(|| self.load.scale().limit_bytes()))
    }

    /// About what the tasks send.
    fn traffic(&self, tasks: &[Task<'_>]) -> anyhow::Result<Vec<Traffic>> {
        let plan = self.load.plan()?;
        let run = if self.platform.is_on_azure() { "{run}".to_owned() } else { self.run_name() };
        let of_task = |task: &Task<'_>| match task {
            Task::Load(phases) => generator::traffic(&plan, phases, &run),
            Task::Redrive => vec![Traffic {
                method: "POST",
                path: "/{trigger queue}/messages".to_owned(),
                body: None,
                why: "give the messages of the poison queue another five tries".to_owned(),
                count: 1,
                is_storage: true,
                repeats: true,
            }],
        };
        Ok(tasks.iter().flat_map(of_task).collect())
    }

    fn journal(&self) -> Journal {
        Journal::of(self.evidence.path())
    }

    fn settled_within(&self) -> Duration {
        SETTLED_WITHIN + TRIES * self.platform.pace().waits().poll_max
    }

    fn append(&self, file: &str) -> anyhow::Result<JsonLines> {
        Ok(JsonLines::append(&self.evidence.path().join(file))?)
    }
}

impl Driver<'_> {
    async fn drive(&mut self, remedy: Remedy, tasks: &[Task<'_>]) -> anyhow::Result<()> {
        self.app.ready().await?;
        let front_pid = self.app.handler_pid();
        let start = Moment::now();
        let queues = [("trigger", self.app.trigger_queue().await?), ("poison", POISON_QUEUE.to_owned())];
        let watched = watch(self.storage, queues, self.experiment.append(QUEUES)?);
        tokio::select! {
            done = self.work_through(tasks) => done?,
            stopped = watched => match stopped? {},
        }
        self.note_usage(remedy)?;
        self.note_front(remedy, start, front_pid)
    }

    /// Which process the host watched, where that can be known.
    fn note_front(&self, remedy: Remedy, start: Moment, front_pid: Option<u32>) -> anyhow::Result<()> {
        if self.experiment.platform.is_on_azure() {
            return Ok(());
        }
        let mut row = json!({
            "remedy": remedy.name(),
            "front_pid": front_pid,
            "front_pid_at_end": self.app.handler_pid(),
            "settings": Value::from_iter(self.experiment.settings(remedy)),
        });
        start.stamp_until(Moment::now(), &mut row);
        Ok(self.experiment.append("hosts.jsonl")?.write(&row)?)
    }

    async fn work_through(&mut self, tasks: &[Task<'_>]) -> anyhow::Result<()> {
        for task in tasks {
            match task {
                Task::Load(phases) => self.load(phases).await?,
                Task::Redrive => self.redrive().await?,
            }
        }
        self.collect().await
    }

    /// What the kernel says of the worker, whatever handler and host say of it.
    fn note_usage(&self, remedy: Remedy) -> anyhow::Result<()> {
        let Some(usage) = self.app.worker_usage() else { return Ok(()) };
        let mut row = json!({
            "remedy": remedy.name(), "oomKills": usage.oom_kills, "peakBytes": usage.peak_bytes,
        });
        Moment::now().stamp(&mut row);
        Ok(self.experiment.append(CGROUP)?.write(&row)?)
    }

    /// Has a load generator of its own process run phases, and holds the trigger back while a burst is copied.
    async fn load(&mut self, phases: &[&str]) -> anyhow::Result<()> {
        let mut generator = self.start_generator(phases)?;
        let mut permissions = generator.stdin.take().context("speak to the load generator")?;
        let mut events = BufReader::new(generator.stdout.take().context("hear the load generator")?).lines();
        let mut ticks = interval(TICK);
        let mut is_held = false;
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
            self.note(&event)?;
            match &event {
                Event::Burst { .. } => is_held = self.app.hold_blob_trigger(),
                Event::Copied { prefix, blobs } if is_held => {
                    self.queued(prefix, *blobs).await?;
                    self.app.release_blob_trigger();
                }
                Event::Copied { .. } => {}
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

    /// Puts what begins and ends a phase into the journal.
    fn note(&self, event: &Event) -> anyhow::Result<()> {
        let journal = self.experiment.journal();
        match event {
            Event::Phase { phase } => journal.add(Step::Action, "a phase begins", json!({"phase": phase}))?,
            Event::PhaseEnd { phase, unsettled, .. } => {
                let facts = json!({"phase": phase, "unsettled": unsettled.len()});
                journal.add(Step::Observation, "a phase is over", facts)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.experiment.platform.work().logs().join("load.log")
    }

    fn start_generator(&self, phases: &[&str]) -> anyhow::Result<Child> {
        let log =
            File::options().create(true).append(true).open(self.log()).context("open the load generator's log")?;
        let Experiment { load, platform, evidence } = self.experiment;
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        command.args(["load", "oom", "--step", "--run", &self.experiment.run_name(), "--phases", &phases.join(",")]);
        command.args([
            "--scale",
            &load.scale().to_string(),
            "--settle-s",
            &self.experiment.settled_within().as_secs().to_string(),
        ]);
        command.arg("--out").arg(evidence.path());
        if let Some(scenario) = &load.scenario {
            command.arg("--scenario").arg(scenario);
        }
        if load.guide_windows {
            command.arg("--guide-windows");
        }
        let account = self.storage.account();
        match account.connection_string() {
            Some(connection) => command.env(CONNECTION, connection),
            None => command.arg("--storage-url").arg(account.blob_endpoint.as_str()),
        };
        command.envs([platform.work().mark()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        command.spawn().context("start the load generator")
    }

    /// Waits until all blobs of a burst have their messages: then the trigger can take them together.
    async fn queued(&self, prefix: &str, blobs: usize) -> anyhow::Result<()> {
        let queue = self.storage.queue(&self.app.trigger_queue().await?).await?;
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
                _ => sleep(QUEUED_POLL).await,
            }
        }
    }

    async fn redrive(&mut self) -> anyhow::Result<()> {
        let mut names = redrive(self.storage, &self.app.trigger_queue().await?).await?.names;
        let own = format!("{}/", self.experiment.run_name());
        names.retain(|it| !self.experiment.platform.is_on_azure() || it.starts_with(&own));
        self.live.say(&format!("re-driven {} blobs from the poison queue", names.len()));
        let facts = json!({"blobs": names.len()});
        self.experiment.journal().add(
            Step::Action,
            "messages of the poison queue are given another five tries",
            facts,
        )?;
        let now = clock::timestamp(clock::utc_now());
        let mut redriven = self.experiment.append(REDRIVEN)?;
        for name in &names {
            redriven.write(&json!({"timestamp": now, "name": name}))?;
        }
        let asked = Instant::now();
        while asked.elapsed() < self.experiment.settled_within() && !self.are_processed(&names).await? {
            self.live.tick();
            sleep(TICK).await;
        }
        Ok(())
    }

    async fn are_processed(&self, names: &[String]) -> anyhow::Result<bool> {
        for name in names {
            if self.storage.read(RESULTS_CONTAINER, &record_name(name)).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fetches all result records.
    async fn collect(&self) -> anyhow::Result<()> {
        // Of an account that others use too, the run's own.
        let prefix = self.experiment.platform.is_on_azure().then(|| format!("{}/", self.experiment.run_name()));
        let listed = self.storage.list(RESULTS_CONTAINER, &prefix.unwrap_or_default(), false).await?;
        let now = clock::timestamp(clock::utc_now());
        let read = async |name: String| self.storage.read(RESULTS_CONTAINER, &name).await;
        let records = stream::iter(listed).map(|it| read(it.name));
        let records: Vec<_> = records.buffer_unordered(PARALLEL_READS).try_collect().await?;
        let mut results = JsonLines::replace(&self.experiment.evidence.path().join("results.jsonl"))?;
        for text in records.into_iter().flatten() {
            let mut record: Value = serde_json::from_slice(&text).unwrap_or_else(|_| json!({}));
            record["timestamp"] = json!(now);
            results.write(&record)?;
        }
        Ok(())
    }
}

/// Notes how many messages wait, again and again. Storage that does not answer is asked another time.
async fn watch(storage: &Storage, names: [(&str, String); 2], mut rows: JsonLines) -> anyhow::Result<Infallible> {
    let mut queues = Vec::new();
    for (kind, name) in &names {
        queues.push((kind, storage.queue(name).await?));
    }
    let mut ticks = interval(QUEUE_PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (kind, queue) in &queues {
            let Ok(Some(messages)) = queue.messages().await else { continue };
            let mut row = json!({"queue": kind, "messages": messages});
            Moment::now().stamp(&mut row);
            rows.write(&row)?;
        }
    }
}
