//! `lab bench replay`: an episode's CPU time and memory beside Microsoft's executors for Python and .NET, and the task hub's
//! throughput.

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::ensure;
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;

use super::{
    Goal, Report,
    contenders::{Contender, Cost, DOTNET, PYTHON, Peers, Plans},
    environment, median, ratio, storm,
};
use crate::{
    app::{ScriptRoot, own, pace::Pace},
    emulator::{
        listener::HttpPort,
        session::{Session, SessionOptions},
    },
    labs::replay::{ReplayLoad, ReplayPhase},
    machine::workspace::Workspace,
};

const SCENARIO: &str = include_str!("../../../../load/bench/replay.toml");
/// Most a throughput measurement may take.
const LONGEST: Duration = Duration::from_secs(300);

/// The handler's answer to the body of an invocation: the bench knows no function but by its wire.
pub type AnswerFn = fn(&[u8]) -> Vec<u8>;

/// What `load/bench/replay.toml` asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct ReplayBench {
    /// Rounds, each with every contender once.
    pub rounds: usize,
    /// Episodes in a round that are measured without a process around them.
    pub episodes_per_round: usize,
    /// Instances at once, for the throughput.
    pub instances: u64,
    pub iterations_per_instance: u64,
    processes: Plans,
    goals: Goals,
}

#[derive(Clone, Debug, Deserialize)]
struct Goals {
    episode_ms: f64,
    vs_python: f64,
    vs_dotnet: f64,
    per_event_growth: f64,
    activities_per_second: f64,
}

/// CPU time of an episode in ms, without a process around it; one list for each of [`storm::ITERATIONS`].
type Episodes = [Vec<f64>; storm::ITERATIONS.len()];

impl ReplayBench {
    /// The bench as it is described.
    ///
    /// # Errors
    /// Never in practice: the description is part of the program.
    pub fn load() -> anyhow::Result<Self> {
        Ok(toml::from_str(SCENARIO)?)
    }

    /// Runs it: `answer` is the handler's orchestrator, `stage` a staged app with the replay lab's functions. Of a peer that is not
    /// there the report says so, and has no verdict on it.
    ///
    /// # Errors
    /// When it cannot run, or a peer that is there does not answer as it should.
    pub async fn run(
        &self,
        answer: AnswerFn,
        peers: &Peers,
        (stage, folder): (PathBuf, &Path),
        tell: impl Fn(&str),
    ) -> anyhow::Result<Report> {
        let mut environment = environment();
        environment.extend(peers.left_out().into_iter().flatten().map(|it| ("left out".to_owned(), it)));
        tell("warming up");
        let mut contenders = Contender::start_all(&stage, peers, &self.processes).await?;
        let mut episodes = Episodes::default();
        for round in 1..=self.rounds {
            tell(&format!("episodes, round {round} of {}", self.rounds));
            for (length, iterations) in storm::ITERATIONS.into_iter().enumerate() {
                let body = storm::body(iterations);
                episodes[length].extend((0..self.episodes_per_round).map(|_| episode_ms(answer, &body)));
                for contender in &mut contenders {
                    contender.round(length).await?;
                }
            }
        }
        let costs = contenders.into_iter().map(Contender::cost).collect::<anyhow::Result<Vec<_>>>()?;
        tell("task hub, synchronous=FULL");
        let rate = self.throughput(stage, folder).await?;
        Ok(Report { environment, results: self.judge(&episodes, &costs, rate) })
    }

    fn judge(&self, episodes: &Episodes, costs: &[Cost], rate: f64) -> Vec<Goal> {
        let goals = &self.goals;
        let [.., longest] = storm::ITERATIONS;
        let mut results: Vec<Goal> = Vec::new();
        for (iterations, ours) in storm::ITERATIONS.into_iter().zip(episodes) {
            let (name, ours) = (format!("episode, {iterations} iterations, CPU ms"), median(ours));
            results.push(match iterations == longest {
                true => Goal::at_most(name, ours, goals.episode_ms),
                false => Goal::bare(name, ours),
            });
        }
        let per_event = |length: usize| median(&episodes[length]) / storm::events(storm::ITERATIONS[length]) as f64;
        let growth = per_event(3) / per_event(1);
        results.push(Goal::at_most("time per event, 2000 against 250", growth, goals.per_event_growth));
        results.extend(costs.iter().flat_map(rows_of));
        if let [ours, peers @ ..] = costs {
            results.extend(peers.iter().flat_map(|peer| self.compare(ours, peer)));
        }
        results.push(Goal::at_least("task hub, activities per second", rate, goals.activities_per_second));
        results
    }

    /// What a peer takes, as multiples of what we take.
    fn compare(&self, ours: &Cost, peer: &Cost) -> Vec<Goal> {
        let [.., longest] = storm::ITERATIONS;
        let cpu = storm::ITERATIONS.into_iter().zip(ours.cpu_ms.iter().zip(&peer.cpu_ms));
        let mut results: Vec<Goal> = cpu
            .map(|(iterations, (ours_ms, peer_ms))| {
                let name = format!("{} / {}, CPU at {iterations}", peer.name, ours.name);
                match (peer.name, iterations) {
                    (PYTHON, at) if at == longest => {
                        Goal::at_least(name, ratio(ours_ms, peer_ms), self.goals.vs_python)
                    }
                    (DOTNET, at) if at == longest => {
                        Goal::at_least(name, ratio(ours_ms, peer_ms), self.goals.vs_dotnet)
                    }
                    _ => Goal::bare(name, ratio(ours_ms, peer_ms)),
                }
            })
            .collect();
        let name = format!("{} / {}, peak memory", peer.name, ours.name);
        results.push(Goal::bare(name, peer.peak_rss_mb / ours.peak_rss_mb));
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
            pace: Pace::Quick,
            port: HttpPort::Free,
            echo: None,
            withheld: None,
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

fn rows_of(cost: &Cost) -> Vec<Goal> {
    let cpu = storm::ITERATIONS.into_iter().zip(&cost.cpu_ms);
    let cpu =
        cpu.map(|(iterations, ms)| Goal::bare(format!("{}, {iterations} iterations, CPU ms", cost.name), median(ms)));
    cpu.chain([Goal::bare(format!("{}, peak memory, MB", cost.name), cost.peak_rss_mb)]).collect()
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
