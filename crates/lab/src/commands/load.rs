//! `lab load`: drives an account with a scenario's load, or writes that load as files.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use url::Url;

use super::{EXIT_OK, EXIT_WRONG, UsageError, developer_account, interrupted};
use crate::{
    labs::oom::{Gate, Generator, GeneratorOptions, Plan, Scale, Scenario, write_files},
    machine::{capacity, storage::Storage},
};
use custom_handler::clock;
use incident_labs::{blob::StorageAccount, settings};

/// The variable that names an account when no URL does; the handler reads the same one.
const CONNECTION: &str = "AzureWebJobsStorage";

/// What `lab load oom` was asked for.
#[derive(Debug)]
pub struct LoadOptions {
    /// Blob endpoint of an account reached with the developer's own identity; else `AzureWebJobsStorage` says.
    pub storage_url: Option<Url>,
    /// A scenario other than the guide's.
    pub scenario: Option<PathBuf>,
    /// Share of an EP1.
    pub scale: Scale,
    /// Phases to run; all when empty.
    pub phases: Vec<String>,
    /// First part of all names; the time when not given.
    pub run: Option<String>,
    /// Where the manifest goes.
    pub out: PathBuf,
    /// Longest wait for blobs to be dealt with.
    pub settle: Duration,
    pub gate: Gate,
}

/// Reads a scenario, the guide's if no file is named, and plans it.
///
/// # Errors
/// When it cannot be read, or not be run at this scale.
pub fn plan(scenario: Option<&PathBuf>, scale: Scale) -> anyhow::Result<Plan> {
    let scenario = match scenario {
        None => Scenario::guide()?,
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
            Scenario::parse(&text).with_context(|| format!("read {}", path.display()))?
        }
    };
    Ok(scenario.plan(scale)?)
}

/// Runs the load; wrong when blobs were neither processed nor given up in time.
///
/// # Errors
/// When the account refuses or is away, or the scenario cannot be run.
pub async fn run(mut options: LoadOptions) -> anyhow::Result<u8> {
    let plan = plan(options.scenario.as_ref(), options.scale)?.select(&options.phases)?;
    let storage = Storage::open(&account(options.storage_url)?)?;
    let now = clock::timestamp(clock::utc_now());
    let run = options.run.unwrap_or_else(|| now.replace(':', "-"));
    let generator = GeneratorOptions { storage, plan, run, out: options.out, settle: options.settle };
    let gate = &mut options.gate;
    let work = async {
        let generator = Generator::stage(generator, gate).await?;
        generator.run(gate).await
    };
    let unsettled = tokio::select! {
        unsettled = work => unsettled?,
        result = interrupted() => {
            result?;
            bail!("interrupted; what was released goes on being processed")
        }
    };
    Ok(if unsettled == 0 { EXIT_OK } else { EXIT_WRONG })
}

/// Writes phase1 to phase3 as files for any upload tool.
///
/// # Errors
/// When they do not fit on the disk, or cannot be written.
pub async fn write(scenario: Option<&PathBuf>, scale: Scale, folder: PathBuf) -> anyhow::Result<u8> {
    let plan = plan(scenario, scale)?;
    capacity::ensure_disk("the load", &folder, plan.staged_bytes())?;
    write_files(&plan, &folder, |path| eprintln!("wrote {}", path.display())).await?;
    println!("load in {0}; SHA-256 of each file in {0}/manifest.jsonl", folder.display());
    Ok(EXIT_OK)
}

fn account(storage_url: Option<Url>) -> anyhow::Result<StorageAccount> {
    if let Some(url) = storage_url {
        return developer_account(&url);
    }
    let environment = settings::process_environment();
    let text = environment.get(CONNECTION).ok_or_else(|| {
        UsageError(format!("no account: give --storage-url, or put a connection string into {CONNECTION}"))
    })?;
    StorageAccount::from_connection_string(text).with_context(|| format!("{CONNECTION} cannot be used"))
}
