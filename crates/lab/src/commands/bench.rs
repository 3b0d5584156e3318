//! `lab bench`: measures, prints, and says whether the goals are met.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::{app::AppArgs, handler};
use crate::{
    bench::{BlobBench, ExporterBench, HubBench, Peers, ReplayBench, Report},
    machine::{
        checkout,
        exit::{EXIT_OK, EXIT_WRONG},
        terminal::{err, out},
    },
};
use incident_labs::functions::{self, replay_storm_orchestrator};

/// Measure the handler beside a peer, in alternating rounds.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab bench blob --json
             cargo lab bench hub --lab NEW --lab OLD    (two builds of the lab, in turns)
Exit codes:  0 every goal is met; 1 some are missed; 3 it could not run; 64 usage")]
pub struct Bench {
    /// Which benchmark.
    #[arg(value_enum)]
    what: What,
    /// Use this handler instead of building one; repeated, `bench blob` measures them side by side.
    #[arg(long)]
    handler: Vec<PathBuf>,
    /// Measure this executor for .NET in `bench replay`: it is started with `serve PORT`, answers GET / when it is ready, and
    /// the host's bodies as a handler does. Without it the report says that it was left out.
    #[arg(long, value_name = "PATH")]
    dotnet_peer: Option<PathBuf>,
    /// Measure this executable of the lab in `bench hub` instead of the one that is running; repeated, they are measured in turns.
    #[arg(long, value_name = "PATH")]
    lab: Vec<PathBuf>,
    /// Measure only these of the sizes in `bench hub`.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    instances: Vec<u64>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// 1 GiB streamed, beside `curl | openssl dgst`; start time, idle memory, latency of an empty blob.
    Blob,
    /// An episode's CPU time and memory at 50 to 2000 iterations of history, beside Microsoft's executors for Python and
    /// .NET; the task hub's throughput.
    Replay,
    /// The task hub with 50 to 50,000 instances at once: rates, memory, and what a page of a list and a purge take.
    Hub,
    /// What sending telemetry costs: an empty blob and an episode, with and without a connection string.
    Exporter,
}

impl Bench {
    /// Runs a benchmark and prints its table, or one JSON object.
    ///
    /// # Errors
    /// When it cannot run.
    pub async fn run(self) -> anyhow::Result<u8> {
        let report = match self.what {
            What::Blob => run_blob(self.handler).await?,
            What::Replay => run_replay(self.handler, self.dotnet_peer).await?,
            What::Hub => run_hub(self.handler, self.lab, &self.instances).await?,
            What::Exporter => run_exporter(self.handler).await?,
        };
        tell(&report, self.json)
    }
}

async fn run_blob(mut handlers: Vec<PathBuf>) -> anyhow::Result<Report> {
    if handlers.is_empty() {
        handlers.push(handler::find(handler::RELEASE)?);
    }
    let folder = tempfile::Builder::new().prefix("lab-bench-").tempdir().context("make a work folder")?;
    BlobBench::load()?.run(&handlers, folder.path(), err).await
}

async fn run_replay(handlers: Vec<PathBuf>, dotnet: Option<PathBuf>) -> anyhow::Result<Report> {
    ensure!(handlers.len() < 2, "bench replay takes one --handler: only bench blob measures several side by side");
    let folder = tempfile::Builder::new().prefix("lab-bench-").tempdir().context("make a work folder")?;
    let stage = stage(folder.path(), handlers)?;
    let (run, peers) = (folder.path().join("run"), Peers { checkout: checkout::find(), dotnet });
    let answer = replay_storm_orchestrator::answer;
    ReplayBench::load()?.run(answer, &peers, (stage, &run), err).await
}

async fn run_hub(handlers: Vec<PathBuf>, mut labs: Vec<PathBuf>, instances: &[u64]) -> anyhow::Result<Report> {
    ensure!(handlers.len() < 2, "bench hub takes one --handler: it measures what calls that one");
    let mut bench = HubBench::load()?;
    for wanted in instances {
        let known: Vec<String> = bench.sizes.iter().map(|it| it.instances.to_string()).collect();
        let is_known = bench.sizes.iter().any(|it| it.instances == *wanted);
        ensure!(is_known, "bench hub has no size {wanted}: there are {}", known.join(", "));
    }
    bench.sizes.retain(|it| instances.is_empty() || instances.contains(&it.instances));
    if labs.is_empty() {
        labs.push(std::env::current_exe().context("find this program")?);
    }
    let folder = tempfile::Builder::new().prefix("lab-bench-").tempdir().context("make a work folder")?;
    let stage = stage(folder.path(), handlers)?;
    bench.run(&labs, (&stage, folder.path()), err).await
}

/// Stages the replay lab's functions in a folder.
fn stage(folder: &Path, handlers: Vec<PathBuf>) -> anyhow::Result<PathBuf> {
    let handler = handlers.into_iter().next().map_or_else(|| handler::find(handler::RELEASE), Ok)?;
    AppArgs { handler: Some(handler), ..AppArgs::default() }
        .serve_some_from(&folder.join("stage"), &functions::own_names_of(functions::Lab::Replay))
}

async fn run_exporter(handlers: Vec<PathBuf>) -> anyhow::Result<Report> {
    ensure!(handlers.len() < 2, "bench exporter takes one --handler: it measures that one with and without telemetry");
    let folder = tempfile::Builder::new().prefix("lab-bench-").tempdir().context("make a work folder")?;
    let handler = handlers.into_iter().next().map_or_else(|| handler::find(handler::RELEASE), Ok)?;
    ExporterBench::load()?.run(&handler, folder.path(), err).await
}

fn tell(report: &Report, json: bool) -> anyhow::Result<u8> {
    if json {
        out(&serde_json::to_string(report)?);
    } else {
        print(report);
    }
    let missed = report.results.iter().any(|it| it.met == Some(false));
    Ok(if missed { EXIT_WRONG } else { EXIT_OK })
}

fn print(report: &Report) {
    for (name, value) in &report.environment {
        out(&format!("{name:>16}  {value}"));
    }
    out("");
    for result in &report.results {
        let verdict = match result.met {
            None => "",
            Some(true) => "met",
            Some(false) => "MISSED",
        };
        let line = format!("{:<50} {:>9.2}  {:<8} {verdict}", result.name, result.value, result.goal);
        out(line.trim_end());
    }
}
