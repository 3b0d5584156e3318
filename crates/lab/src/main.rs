//! `lab`: what the command line asks for. Everything else is in the library.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use incident_labs::{functions::replay_storm_orchestrator, settings::Variant};
use lab::{
    app::preset::preset,
    commands::{
        azurite, bench, load::Load, package, parse_setting, process, redrive, report, run::Run, stage, start,
        variant_parser,
    },
    emulator::listener::HttpPort,
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
        #[arg(long, value_parser = variant_parser(), default_value = "streaming")]
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
        #[arg(long, value_parser = variant_parser(), default_value = "streaming")]
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
        #[arg(long, value_parser = variant_parser(), requires = "local")]
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
enum Bench {
    /// 1 GiB streamed, beside `curl | openssl dgst`; start time, idle memory, latency of an empty blob.
    Blob,
    /// An episode's CPU time at 50 to 2000 iterations of history, beside azure-functions-durable; the task hub's throughput.
    Replay,
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
        Command::Start { folder, stage, preset: variant, pace_ms, port, app } => {
            let mut settings = preset(variant);
            settings.extend(app.settings);
            let pace = pace_ms.map(Duration::from_millis);
            let port = port.map_or(HttpPort::Usual, HttpPort::Given);
            start::run(start::StartOptions { folder, stage, handler: app.handler, settings, pace, port }).await
        }
        Command::Stage { out, handler, local, preset } => stage::run(&out, handler, preset.filter(|_| local)),
        Command::Package { check: Some(zip), .. } => package::look_into(&zip),
        Command::Package { out, handler, .. } => package::make(handler, &out),
        Command::Run(run) => run.run().await,
        Command::Load(load) => load.run().await,
        Command::Azurite { folder } => azurite::run(&folder).await,
        Command::Bench { what: Bench::Blob, handler, json } => bench::run_blob(handler, json).await,
        Command::Bench { what: Bench::Replay, handler, json } => {
            bench::run_replay(replay_storm_orchestrator::answer, handler, json).await
        }
        Command::Redrive { storage_url: Some(url), queue, .. } => redrive::run_on(&url, queue).await,
        Command::Redrive { folder, .. } => redrive::run(&folder).await,
    }
}
