//! `lab bench replay`: an episode's CPU time beside azure-functions-durable's, and the task hub's throughput.

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, ensure};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{Goal, Report, median, storm};
use crate::{
    app::{ScriptRoot, own},
    emulator::{
        listener::HttpPort,
        session::{Session, SessionOptions},
    },
    labs::replay::{ReplayLoad, ReplayPhase},
    machine::workspace::Workspace,
};

const SCENARIO: &str = include_str!("../../../../load/bench/replay.toml");
const PEER: &str = "load/bench/replay_peer.py";
/// Most a throughput measurement may take.
const LONGEST: Duration = Duration::from_secs(300);

/// The handler's answer to the body of an invocation: the bench knows no function but by its wire.
pub type AnswerFn = fn(&[u8]) -> Vec<u8>;

/// What `load/bench/replay.toml` asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct ReplayBench {
    /// Rounds, each with every peer once.
    pub rounds: usize,
    /// Episodes of ours in a round; one of the peer's takes as long.
    pub episodes_per_round: usize,
    /// Instances at once, for the throughput.
    pub instances: u64,
    pub iterations_per_instance: u64,
    goals: Goals,
}

#[derive(Clone, Debug, Deserialize)]
struct Goals {
    episode_ms: f64,
    vs_python: f64,
    per_event_growth: f64,
    activities_per_second: f64,
}

/// CPU times in ms, by iterations.
#[derive(Debug, Default)]
struct Samples {
    ours: Vec<(u64, f64)>,
    python: Vec<(u64, f64)>,
}

impl Samples {
    fn median_of(samples: &[(u64, f64)], iterations: u64) -> f64 {
        median(&samples.iter().filter(|it| it.0 == iterations).map(|it| it.1).collect::<Vec<_>>())
    }
}

impl ReplayBench {
    /// The bench as it is described.
    ///
    /// # Errors
    /// Never in practice: the description is part of the program.
    pub fn load() -> anyhow::Result<Self> {
        Ok(toml::from_str(SCENARIO)?)
    }

    /// Runs it: `answer` is the handler's orchestrator, `stage` a staged app with the replay lab's functions. The peer is in
    /// the checkout; without it or its Python there is no verdict on it.
    ///
    /// # Errors
    /// When it cannot run.
    pub async fn run(
        &self,
        answer: AnswerFn,
        checkout: Option<&Path>,
        (stage, folder): (PathBuf, &Path),
        tell: impl Fn(&str),
    ) -> anyhow::Result<Report> {
        let mut samples = Samples::default();
        let mut peer = checkout.map(Peer::start).transpose()?.flatten();
        if peer.is_none() {
            tell("no Python in target/python (bash tests/python/install): the peer is left out");
        }
        for round in 1..=self.rounds {
            tell(&format!("episodes, round {round} of {}", self.rounds));
            for iterations in storm::ITERATIONS {
                let body = storm::body(iterations);
                samples.ours.extend((0..self.episodes_per_round).map(|_| (iterations, episode_ms(answer, &body))));
                if let Some(peer) = &mut peer {
                    samples.python.push((iterations, peer.episode_ms(iterations).await?));
                }
            }
        }
        tell("task hub, synchronous=FULL");
        let rate = self.throughput(stage, folder).await?;
        Ok(Report { environment: environment(), results: self.judge(&samples, rate) })
    }

    fn judge(&self, samples: &Samples, rate: f64) -> Vec<Goal> {
        let goals = &self.goals;
        let mut results: Vec<Goal> = Vec::new();
        for iterations in storm::ITERATIONS {
            let ours = Samples::median_of(&samples.ours, iterations);
            let name = format!("episode, {iterations} iterations, CPU ms");
            results.push(match iterations {
                2000 => Goal::at_most(name, ours, goals.episode_ms),
                _ => Goal::bare(name, ours),
            });
        }
        if !samples.python.is_empty() {
            for iterations in storm::ITERATIONS {
                let name = format!("azure-functions-durable, {iterations} iterations, CPU ms");
                results.push(Goal::bare(name, Samples::median_of(&samples.python, iterations)));
            }
            let ratio = Samples::median_of(&samples.python, 2000) / Samples::median_of(&samples.ours, 2000);
            results.push(Goal::at_least("times less CPU than Python at 2000", ratio, goals.vs_python));
        }
        let per_event = |iterations| Samples::median_of(&samples.ours, iterations) / storm::events(iterations) as f64;
        results.push(Goal::at_most(
            "time per event, 2000 against 250",
            per_event(2000) / per_event(250),
            goals.per_event_growth,
        ));
        results.push(Goal::at_least("task hub, activities per second", rate, goals.activities_per_second));
        results
    }

    async fn throughput(&self, script_root: PathBuf, folder: &Path) -> anyhow::Result<f64> {
        let full = "AzureFunctionsJobHost__extensions__durableTask__storageProvider__synchronous";
        let folder = Workspace::open(folder).await?;
        let script_root = ScriptRoot::read(&script_root)?;
        let session = Session::start(SessionOptions {
            script_root: script_root.with_settings([(full.to_owned(), "FULL".to_owned())]),
            containers: own::containers(),
            folder,
            pace: None,
            port: HttpPort::Free,
            echo: None,
        })
        .await?;
        let out = session.folder.path().join("load");
        let load = ReplayLoad::new(session.http.url().parse()?, out, LONGEST);
        let phase = |name: &str, instances, iterations| ReplayPhase {
            name: name.to_owned(),
            iterations,
            continue_as_new_every: 0,
            instances,
        };
        load.run(&phase("warm-up", 1, 1)).await?;
        let outcome = load.run(&phase("throughput", self.instances, self.iterations_per_instance)).await;
        session.stop(Duration::from_secs(2)).await;
        let outcome = outcome?;
        ensure!(outcome.not_completed.is_empty(), "instances did not complete: {:?}", outcome.not_completed);
        Ok((self.instances * self.iterations_per_instance) as f64 / outcome.took.as_secs_f64())
    }
}

/// CPU time of one episode of ours.
fn episode_ms(answer: AnswerFn, body: &[u8]) -> f64 {
    let before = thread_cpu_ms();
    let answer = answer(black_box(body));
    let spent = thread_cpu_ms() - before;
    black_box(answer);
    spent
}

fn thread_cpu_ms() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1000.0 + now.tv_nsec as f64 / 1_000_000.0
}

fn environment() -> Vec<(String, String)> {
    let machine = crate::evidence::Environment::of_machine();
    let wanted = ["cpu", "cores", "kernel"].into_iter();
    let mut facts: Vec<(String, String)> = wanted
        .filter_map(|name| Some((name.to_owned(), machine.0.get(name)?.to_string().trim_matches('"').to_owned())))
        .collect();
    facts.push(("at".to_owned(), custom_handler::clock::timestamp(custom_handler::clock::utc_now())));
    facts
}

/// A Python process that replays the same storm.
struct Peer {
    _child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// `None` where Python is not installed.
    fn start(checkout: &Path) -> anyhow::Result<Option<Self>> {
        let python = checkout.join("target/python/bin/python");
        if !python.exists() {
            return Ok(None);
        }
        let mut child = Command::new(python)
            .arg(checkout.join(PEER))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start Python")?;
        let stdin = child.stdin.take().context("no stdin")?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        Ok(Some(Self { _child: child, stdin, stdout }))
    }

    async fn episode_ms(&mut self, iterations: u64) -> anyhow::Result<f64> {
        self.stdin.write_all(format!("{iterations}\n").as_bytes()).await?;
        let line = self.stdout.next_line().await?;
        let line = line.context("Python ended: see what it printed above")?;
        Ok(line.parse()?)
    }
}
