//! `lab bench hub`: the task hub with few instances at once and with many, of one lab or of several in turns.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::{Goal, Report, at_percentile, environment, median, ratio, served::Served};
use crate::{
    emulator::task_hub::{Progress, progress},
    machine::workspace::{Workspace, kill_processes_of},
};
use custom_handler::wire::WEBHOOK_PATH;
use incident_labs::functions::ORCHESTRATOR_FUNCTION;

const SCENARIO: &str = include_str!("../../../../load/bench/hub.toml");
/// The size that others are compared with.
const USUAL: u64 = 500;
/// Ids of the instances that are measured begin so.
const PREFIX: &str = "storm-";
const CONTINUATION: &str = "x-ms-continuation-token";
/// Longest time without an instance that ends.
const PATIENCE: Duration = Duration::from_secs(120);
/// Share of the time in which the hub's file is looked at: the looking must not be what is measured.
const PAUSE_PER_LOOK: u32 = 50;

/// What `load/bench/hub.toml` asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct HubBench {
    pub iterations_per_instance: u64,
    /// Clients that start instances side by side.
    pub clients: usize,
    /// Pages of a list that are timed.
    pub pages: usize,
    pub sizes: Vec<Size>,
}

/// So many instances at once.
#[derive(Clone, Debug, Deserialize)]
pub struct Size {
    pub instances: u64,
    /// In how many of the rounds they are measured.
    pub rounds: usize,
    /// The least rate that is right, as a multiple of that of 500.
    of_500: Option<f64>,
}

/// What one lab did with so many instances; an entry for each round.
#[derive(Debug, Default)]
struct Samples {
    rate: Vec<f64>,
    cpu_ms: Vec<f64>,
    peak_mb: Vec<f64>,
    page_ms: Vec<f64>,
    purge_ms: Vec<f64>,
}

impl HubBench {
    /// The bench as it is described.
    ///
    /// # Errors
    /// Never in practice: the description is part of the program.
    pub fn load() -> anyhow::Result<Self> {
        toml::from_str(SCENARIO).context("read load/bench/hub.toml")
    }

    /// Runs it: each of `labs` serves `stage`, a staged app with the replay lab's functions, below `folder`.
    ///
    /// # Errors
    /// When a lab does not start, does not answer as it should, or an instance does not complete.
    pub async fn run(
        &self,
        labs: &[PathBuf],
        (stage, folder): (&Path, &Path),
        tell: impl Fn(&str),
    ) -> anyhow::Result<Report> {
        let mut samples: Vec<Vec<Samples>> =
            labs.iter().map(|_| self.sizes.iter().map(|_| Samples::default()).collect()).collect();
        let rounds = self.sizes.iter().map(|it| it.rounds).max().unwrap_or_default();
        for round in 0..rounds {
            for (at, size) in self.sizes.iter().enumerate().filter(|(_, it)| round < it.rounds) {
                // Who is first changes: what the machine does meanwhile must not fall to one of them.
                for turn in 0..labs.len() {
                    let lab = (turn + round) % labs.len();
                    let folder = folder.join(format!("run-{round}-{at}-{lab}"));
                    let samples = &mut samples[lab][at];
                    self.measure(&labs[lab], (stage, &folder), size.instances, samples).await?;
                    let (lab, rate) = (name(&labs[lab]), samples.rate.last().copied().unwrap_or_default());
                    tell(&format!("round {} of {rounds}: {} instances, {lab}: {rate:.0}/s", round + 1, size.instances));
                }
            }
        }
        Ok(Report { environment: environment(), results: self.judge(labs, &samples) })
    }

    async fn measure(
        &self,
        lab: &Path,
        (stage, folder): (&Path, &Path),
        instances: u64,
        samples: &mut Samples,
    ) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let measured = self.storm(lab, (stage, &folder), instances, samples).await;
        kill_processes_of(&folder);
        fs::remove_dir_all(&folder)?;
        measured.with_context(|| format!("{instances} instances on {}", lab.display()))
    }

    async fn storm(
        &self,
        lab: &Path,
        (stage, folder): (&Path, &Path),
        instances: u64,
        samples: &mut Samples,
    ) -> anyhow::Result<()> {
        let command = |port: u16| {
            let mut command = Command::new(lab);
            command.args(["start", "--port", &port.to_string(), "--script-root"]).arg(stage);
            command.arg("--folder").arg(folder).stderr(std::process::Stdio::null());
            command
        };
        let (served, _) = Served::start(command).await?;
        let file = Workspace::task_hub_of(folder);
        self.start(&served, "warm-up-", 1).await?;
        until_ended(&file, "warm-up-", 1).await?;
        let before = served.cpu()?;
        self.start(&served, PREFIX, instances).await?;
        let Progress { first_started, last_ended, .. } = until_ended(&file, PREFIX, instances).await?;
        let activities = (instances * self.iterations_per_instance) as f64;
        samples.cpu_ms.push((served.cpu()? - before).as_secs_f64() * 1000.0 / activities);
        samples.rate.push(activities * 1e9 / (last_ended - first_started) as f64);
        samples.peak_mb.push(served.peak_rss_bytes()? as f64 / 1e6);
        self.list(&served, &mut samples.page_ms).await?;
        let began = Instant::now();
        let url = served.url(&format!("{WEBHOOK_PATH}/instances?createdTimeFrom=2000-01-01T00:00:00Z"));
        let deleted: Value = serde_json::from_slice(&served.send(served.http().delete(url)).await?.1)?;
        samples.purge_ms.push(began.elapsed().as_secs_f64() * 1000.0);
        ensure!(deleted["instancesDeleted"] == json!(instances + 1), "{deleted} instead of {} deleted", instances + 1);
        Ok(())
    }

    /// Starts instances by the webhook, several at a time.
    async fn start(&self, served: &Served, prefix: &str, instances: u64) -> anyhow::Result<()> {
        let input = json!({ "iterations": self.iterations_per_instance }).to_string();
        let starts = stream::iter(0..instances).map(|n| {
            let url = served.url(&format!("{WEBHOOK_PATH}/orchestrators/{ORCHESTRATOR_FUNCTION}/{prefix}{n:06}"));
            served.send(served.http().post(url).header("Content-Type", "application/json").body(input.clone()))
        });
        starts.buffer_unordered(self.clients).try_for_each(async |_| Ok(())).await
    }

    /// Reads a list page by page.
    async fn list(&self, served: &Served, page_ms: &mut Vec<f64>) -> anyhow::Result<()> {
        let mut token = None;
        for _ in 0..self.pages {
            let began = Instant::now();
            let mut request = served.http().get(served.url(&format!("{WEBHOOK_PATH}/instances?top=100")));
            if let Some(token) = token {
                request = request.header(CONTINUATION, token);
            }
            let (headers, _) = served.send(request).await?;
            page_ms.push(began.elapsed().as_secs_f64() * 1000.0);
            token = headers.get(CONTINUATION).cloned();
            if token.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn judge(&self, labs: &[PathBuf], samples: &[Vec<Samples>]) -> Vec<Goal> {
        let mut results = Vec::new();
        for (lab, samples) in labs.iter().zip(samples) {
            let lab = name(lab);
            let usual = self.sizes.iter().position(|it| it.instances == USUAL).map(|it| &samples[it]);
            for (size, samples) in self.sizes.iter().zip(samples) {
                results.extend(rows_of(&format!("{lab}: {}", size.instances), samples));
                if let Some(usual) = usual.filter(|_| size.instances > USUAL) {
                    let name = format!("{lab}: {} / {USUAL}, rate", size.instances);
                    let value = 1.0 / ratio(&samples.rate, &usual.rate);
                    results.push(
                        size.of_500.map_or_else(|| Goal::bare(&name, value), |goal| Goal::at_least(&name, value, goal)),
                    );
                }
            }
        }
        if let [ours, others @ ..] = samples {
            for (lab, other) in labs[1..].iter().zip(others) {
                for ((size, ours), other) in self.sizes.iter().zip(ours).zip(other) {
                    let name = format!("{} / {}: {}, rate", name(&labs[0]), name(lab), size.instances);
                    results.push(Goal::bare(name, 1.0 / ratio(&ours.rate, &other.rate)));
                }
            }
        }
        results
    }
}

fn rows_of(name: &str, samples: &Samples) -> [Goal; 5] {
    let row = |what: &str, value| Goal::bare(format!("{name}, {what}"), value);
    [
        row("activities per second", median(&samples.rate)),
        row("CPU ms per activity", median(&samples.cpu_ms)),
        row("peak memory, MB", at_percentile(&samples.peak_mb, 100.0)),
        row("page of a list, ms", median(&samples.page_ms)),
        row("purge of all, ms", median(&samples.purge_ms)),
    ]
}

/// Waits until so many instances have completed.
async fn until_ended(file: &Path, prefix: &str, instances: u64) -> anyhow::Result<Progress> {
    let (mut last, mut at) = (0, Instant::now());
    loop {
        let began = Instant::now();
        let now = progress(file, prefix).unwrap_or_default();
        ensure!(now.failed == 0, "{} instances failed", now.failed);
        if now.instances >= instances {
            return Ok(now);
        }
        if now.instances != last {
            (last, at) = (now.instances, Instant::now());
        }
        ensure!(at.elapsed() < PATIENCE, "{last} of {instances} instances have completed, and no other one since");
        sleep(began.elapsed() * PAUSE_PER_LOOK).await;
    }
}

/// What a lab is called in the table.
fn name(lab: &Path) -> String {
    lab.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
