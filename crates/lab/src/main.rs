//! `lab`: what the command line asks for. Everything else is in the library.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use incident_labs::functions::replay_storm_orchestrator;
use lab::{
    app::stage::Preset,
    commands::{
        azurite, bench, load, package, parse_setting, process, redrive, report, run_oom, run_replay, stage, start,
    },
    emulator::listener::HttpPort,
    labs::oom::{Gate, Remedy, Scale},
};

/// Cause, watch, fix and prove two Azure Functions incidents on this machine.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Start here:  cargo lab process Cargo.toml
Then:        cargo lab run oom
Exit codes:  0 all right; 1 it ran and something came out wrong; 3 it could not run; 64 the command line is wrong"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send files through storage, blob trigger and handler, and check each result.
    #[command(after_help = "\
Example:     cargo lab process --variant buffering photos/ Cargo.toml
Exit codes:  0 every result is right; 1 some are wrong or failed five times; 3 it could not run; 64 usage")]
    Process {
        /// Files, and folders whose files are taken with their path.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// How the handler holds a blob while it is processed.
        #[arg(long, value_enum, default_value = "streaming")]
        variant: Variant,
        /// Print one JSON object per line instead of a table.
        #[arg(long)]
        json: bool,
        /// Keep the run folder (it is always kept when something went wrong).
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        app: App,
    },
    /// Cause an incident, apply its remedy, and say whether the evidence supports the hypothesis.
    #[command(subcommand)]
    Run(Run),
    /// Drive an account or an app with an incident's load.
    #[command(subcommand)]
    Load(Load),
    /// Run storage, host, triggers and task hub until Ctrl-C; the folder goes on where it was left, even after kill -9.
    #[command(after_help = "\
Example:     cargo lab start --preset buffering --set BLOB_BLOCK_MIB=4
Exit codes:  0 stopped by Ctrl-C; 3 it could not run, or the host gave up; 64 usage")]
    Start {
        /// Run folder: storage data, tables, logs.
        #[arg(long, default_value = ".lab/start")]
        folder: PathBuf,
        /// Serve this staged app instead of staging one into the run folder.
        #[arg(long, conflicts_with = "handler")]
        stage: Option<PathBuf>,
        /// Settings to run under.
        #[arg(long, value_enum, default_value = "streaming")]
        preset: Variant,
        /// Look for blobs and messages at least this often (the host's own pace is 2000).
        #[arg(long, value_name = "MS")]
        pace_ms: Option<u64>,
        /// Port of the HTTP functions and webhooks on 127.0.0.1 (7071, or any free one if that is taken).
        #[arg(long)]
        port: Option<u16>,
        #[command(flatten)]
        app: App,
    },
    /// Make the flat script root a Functions host wants.
    #[command(after_help = "\
Example:     cargo lab stage --local --preset streaming && func start --script-root target/stage
Exit codes:  0 staged; 3 refused, or the handler does not build; 64 usage")]
    Stage {
        /// Where to.
        #[arg(long, default_value = "target/stage")]
        out: PathBuf,
        /// Use this handler instead of building one.
        #[arg(long)]
        handler: Option<PathBuf>,
        /// Also write local.settings.json, for `func start`.
        #[arg(long, requires = "preset")]
        local: bool,
        /// Settings for local.settings.json.
        #[arg(long, value_enum, requires = "local")]
        preset: Option<Variant>,
    },
    /// Make the zips a Functions app is deployed from: the OOM lab's two, and the replay lab's.
    #[command(after_help = "\
Example:     cargo lab package && cargo lab package --check artifacts/replay-app.zip
Exit codes:  0 made, and nothing found that would keep them from running; 1 something was; 3 it could not run; 64 usage")]
    Package {
        /// Where to.
        #[arg(long, default_value = "artifacts")]
        out: PathBuf,
        /// Use this handler instead of building a static one.
        #[arg(long)]
        handler: Option<PathBuf>,
        /// Only look into this zip.
        #[arg(long, value_name = "ZIP", conflicts_with_all = ["out", "handler"])]
        check: Option<PathBuf>,
    },
    /// Run storage alone on its well-known ports, for `func start` and Storage Explorer.
    #[command(after_help = "\
Example:     cargo lab azurite
Exit codes:  0 stopped by Ctrl-C; 3 node or npm is missing, or a port is taken; 64 usage")]
    Azurite {
        /// Where its data is kept.
        #[arg(long, default_value = ".lab/azurite")]
        folder: PathBuf,
    },
    /// Measure the handler beside a peer, in alternating rounds.
    #[command(after_help = "\
Example:     cargo lab bench blob --json
Exit codes:  0 every goal is met; 1 some are missed; 3 it could not run; 64 usage")]
    Bench {
        /// Which benchmark.
        #[arg(value_enum)]
        what: Bench,
        /// Use this handler instead of building one; repeated, `bench blob` measures them side by side.
        #[arg(long)]
        handler: Vec<PathBuf>,
        /// Print one JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Move blobs that failed five times from the poison queue back to the trigger.
    #[command(after_help = "\
Example:     cargo lab redrive --folder .lab/start
             cargo lab redrive --storage-url https://ACCOUNT.blob.core.windows.net
Account:     --storage-url as whoever is signed in (az login)
Exit codes:  0 moved (perhaps none); 3 it could not run; 64 usage")]
    Redrive {
        /// Folder of a running or stopped `lab start`.
        #[arg(long, default_value = ".lab/start", conflicts_with = "storage_url")]
        folder: PathBuf,
        /// Blob endpoint of an app's account instead.
        #[arg(long, value_name = "URL")]
        storage_url: Option<url::Url>,
        /// The app's trigger queue, where the account has several.
        #[arg(long, requires = "storage_url", value_name = "NAME")]
        queue: Option<String>,
    },
}

#[derive(Subcommand)]
enum Run {
    /// Whole blobs in memory, many at once, until the worker is killed; then blocks, few at once. About 4 minutes.
    #[command(after_help = "\
Example:     cargo lab run oom --remedy none        (the control: without a remedy it must not be supported)
Evidence:    evidence/oom/latest: verdict.json, timeline.csv, tables/*.jsonl, manifest.jsonl
Exit codes:  0 supported; 1 not supported; 2 inconclusive; 3 it could not run; 64 usage")]
    Oom(RunOom),
    /// An orchestration whose history grows until replay dominates; then the same work with ContinueAsNew. About half a minute.
    #[command(after_help = "\
Example:     cargo lab run replay --continue-as-new-every 0      (the control: without the cure it must not be supported)
             cargo lab run replay --iterations 500 --instances 10
Evidence:    evidence/replay/latest: verdict.json, timeline.csv, instances.jsonl, tables/*.jsonl
Exit codes:  0 supported; 1 not supported; 2 inconclusive; 3 it could not run; 64 usage")]
    Replay(RunReplay),
}

#[derive(Args)]
struct RunReplay {
    #[command(flatten)]
    storm: StormArgs,
    /// Use this handler instead of building one.
    #[arg(long)]
    handler: Option<PathBuf>,
    /// Where evidence is kept.
    #[arg(long, default_value = "evidence")]
    evidence: PathBuf,
    /// Task hub and logs while it runs.
    #[arg(long, default_value = ".lab/replay")]
    folder: PathBuf,
    /// Print verdict.json alone instead of tables.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct StormArgs {
    /// A scenario other than the guide's.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Iterations of incident and recovery.
    #[arg(long, value_name = "N")]
    iterations: Option<u64>,
    /// Iterations after which the recovery continues as new; 0 = never.
    #[arg(long, value_name = "N")]
    continue_as_new_every: Option<u64>,
    /// Instances that are started together, in each phase.
    #[arg(long, value_name = "N")]
    instances: Option<u64>,
    /// Longest time for a phase, in seconds.
    #[arg(long, default_value_t = 3600, value_name = "S")]
    longest_s: u64,
}

impl StormArgs {
    fn storm(self) -> (run_replay::Storm, Duration) {
        let Self { scenario, iterations, continue_as_new_every, instances, longest_s } = self;
        (run_replay::Storm { scenario, iterations, continue_as_new_every, instances }, Duration::from_secs(longest_s))
    }
}

#[derive(Args)]
struct RunOom {
    #[command(flatten)]
    load: OomScenario,
    /// What is changed between incident and recovery.
    #[arg(long, value_enum, default_value = "both")]
    remedy: RemedyName,
    /// Run the same load under all four combinations of the two changes, and say which does the work.
    #[arg(long, conflicts_with_all = ["remedy", "runs"])]
    ablation: bool,
    /// Repeat the experiment; a criterion on which runs disagree makes the verdict inconclusive.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=50))]
    runs: u16,
    /// Use this handler instead of building one.
    #[arg(long)]
    handler: Option<PathBuf>,
    /// Where runs leave their evidence.
    #[arg(long, default_value = "evidence")]
    evidence: PathBuf,
    /// Storage and logs while it runs; emptied first.
    #[arg(long, default_value = ".lab/run-oom")]
    folder: PathBuf,
    /// Print verdict.json alone instead of tables.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct OomScenario {
    /// Share of an EP1: its 3584 MiB and the guide's blobs of 100, 500 and 1024 MiB are multiplied by it.
    #[arg(long, default_value = "1/4")]
    scale: Scale,
    /// Another load than load/oom/scenario.toml.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum RemedyName {
    /// Nothing changes.
    None,
    /// Blocks instead of whole blobs, as many at once as before.
    Streaming,
    /// Fewer blobs at once, whole as before.
    Concurrency,
    /// Both, as in the guide.
    Both,
}

#[derive(Subcommand)]
enum Load {
    /// Blobs for BlobBufferProcessor: a steady stream of small ones, and bursts that follow from the memory limit.
    #[command(after_help = "\
Example:     cargo lab load oom --storage-url https://ACCOUNT.blob.core.windows.net --scale 1 --phases baseline,load-1
             cargo lab load oom --write load-files && az storage blob upload-batch --source load-files/phase1 …
Account:     --storage-url as whoever is signed in (az login), else the connection string in AzureWebJobsStorage
Exit codes:  0 every blob was dealt with; 1 some were not in time; 3 it could not run; 64 usage")]
    Oom(LoadOom),
    /// Storms on any app with the replay lab's functions, started and watched over HTTP.
    #[command(after_help = "\
Example:     cargo lab load replay --url https://APP.azurewebsites.net --phases baseline,incident
Exit codes:  0 every instance completed; 1 some did not; 3 it could not run; 64 usage")]
    Replay(LoadReplay),
}

#[derive(Args)]
struct LoadReplay {
    /// The app.
    #[arg(long, default_value = "http://127.0.0.1:7071")]
    url: url::Url,
    #[command(flatten)]
    storm: StormArgs,
    /// Only these phases, in this order.
    #[arg(long, value_delimiter = ',')]
    phases: Vec<String>,
    /// Where instances.jsonl and phases.jsonl go.
    #[arg(long, default_value = "evidence/load")]
    out: PathBuf,
}

#[derive(Args)]
struct LoadOom {
    #[command(flatten)]
    load: OomScenario,
    /// Blob endpoint of the account.
    #[arg(long, value_name = "URL")]
    storage_url: Option<url::Url>,
    /// Write phase1 to phase3 as files, with their SHA-256 in manifest.jsonl, and send nothing.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["storage_url", "phases", "step"])]
    write: Option<PathBuf>,
    /// Only these phases, in this order.
    #[arg(long, value_delimiter = ',')]
    phases: Vec<String>,
    /// First part of all blob names; the time if not given.
    #[arg(long)]
    run: Option<String>,
    /// Where manifest.jsonl and phases.jsonl go.
    #[arg(long, default_value = "evidence/load")]
    out: PathBuf,
    /// Longest wait for the blobs of a burst or phase to be dealt with, in seconds.
    #[arg(long, default_value_t = 600, value_name = "S")]
    settle_s: u64,
    /// Tell events as JSON lines on stdout.
    #[arg(long)]
    json: bool,
    /// The same, and wait for a line on stdin before and after each burst is copied.
    #[arg(long)]
    step: bool,
}

#[derive(Args)]
struct App {
    /// Use this handler instead of building one.
    #[arg(long)]
    handler: Option<PathBuf>,
    /// An app setting; may be repeated, and wins over presets.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, String)>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Variant {
    Buffering,
    Streaming,
}

#[derive(Clone, Copy, ValueEnum)]
enum Bench {
    /// 1 GiB streamed, beside `curl | openssl dgst`; start time, idle memory, latency of an empty blob.
    Blob,
    /// An episode's CPU time at 50 to 2000 iterations of history, beside azure-functions-durable; the task hub's throughput.
    Replay,
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Buffering => "buffering",
            Self::Streaming => "streaming",
        }
    }

    fn preset(self) -> Preset {
        match self {
            Self::Buffering => Preset::Buffering,
            Self::Streaming => Preset::Streaming,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        std::process::exit(if error.use_stderr() { 64 } else { 0 })
    });
    report(run(cli.command).await)
}

async fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Process { paths, variant, json, keep, app } => {
            let mut settings = vec![("BLOB_VARIANT".to_owned(), variant.name().to_owned())];
            settings.extend(app.settings);
            process::run(process::ProcessOptions { paths, handler: app.handler, settings, json, keep }).await
        }
        Command::Start { folder, stage, preset, pace_ms, port, app } => {
            let mut settings = preset.preset().settings();
            settings.extend(app.settings);
            let pace = pace_ms.map(Duration::from_millis);
            let port = port.map_or(HttpPort::Usual, HttpPort::Given);
            start::run(start::StartOptions { folder, stage, handler: app.handler, settings, pace, port }).await
        }
        Command::Stage { out, handler, local, preset } => {
            stage::run(&out, handler, preset.filter(|_| local).map(Variant::preset))
        }
        Command::Package { check: Some(zip), .. } => package::look_into(&zip),
        Command::Package { out, handler, .. } => package::make(handler, &out),
        Command::Run(Run::Oom(options)) => run_oom(options).await,
        Command::Run(Run::Replay(options)) => {
            let RunReplay { storm, handler, evidence, folder, json } = options;
            let (storm, longest) = storm.storm();
            run_replay::run(run_replay::RunReplayOptions { storm, longest, handler, evidence, work: folder, json })
                .await
        }
        Command::Load(Load::Replay(LoadReplay { url, storm, phases, out })) => {
            let (storm, longest) = storm.storm();
            run_replay::load(run_replay::LoadReplayOptions { url, storm, phases, longest, out }).await
        }
        Command::Load(Load::Oom(options)) => load_oom(options).await,
        Command::Azurite { folder } => azurite::run(&folder).await,
        Command::Bench { what: Bench::Blob, handler, json } => bench::run_blob(handler, json).await,
        Command::Bench { what: Bench::Replay, handler, json } => {
            bench::run_replay(replay_storm_orchestrator::answer, handler, json).await
        }
        Command::Redrive { storage_url: Some(url), queue, .. } => redrive::run_on(&url, queue).await,
        Command::Redrive { folder, .. } => redrive::run(&folder).await,
    }
}

async fn run_oom(options: RunOom) -> anyhow::Result<u8> {
    let remedy = match options.remedy {
        RemedyName::None => Remedy::None,
        RemedyName::Streaming => Remedy::Streaming,
        RemedyName::Concurrency => Remedy::Concurrency,
        RemedyName::Both => Remedy::Both,
    };
    let run = run_oom::RunOomOptions {
        scale: options.load.scale,
        remedy,
        runs: options.runs.into(),
        scenario: options.load.scenario,
        handler: options.handler,
        evidence: options.evidence,
        work: options.folder,
        json: options.json,
    };
    if options.ablation { run_oom::run_ablation(run).await } else { run_oom::run(run).await }
}

async fn load_oom(options: LoadOom) -> anyhow::Result<u8> {
    let OomScenario { scale, scenario } = options.load;
    if let Some(folder) = options.write {
        return load::write(scenario.as_ref(), scale, folder).await;
    }
    let gate = match (options.step, options.json) {
        (true, _) => Gate::Step,
        (false, true) => Gate::Json,
        (false, false) => Gate::People,
    };
    load::run(load::LoadOptions {
        storage_url: options.storage_url,
        scenario,
        scale,
        phases: options.phases,
        run: options.run,
        out: options.out,
        settle: Duration::from_secs(options.settle_s),
        gate,
    })
    .await
}
