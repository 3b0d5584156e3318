//! `lab load oom`: drives an account with the scenario's load, or writes that load as files.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use async_trait::async_trait;
use url::Url;

use super::{
    ScaledScenario,
    events::Gate,
    generator::{Generator, GeneratorOptions, burst_prefix, control_name, write_files},
    scenario::Phase,
};
use crate::{
    app::blob_message::is_seen,
    labs::{Help, Load, seconds},
    machine::{
        capacity,
        exit::{EXIT_OK, EXIT_WRONG, UsageError, interrupted},
        own_folder::{OwnFolder, Purpose, check},
        storage::{Storage, account_at},
        terminal::{err, out},
    },
};
use custom_handler::clock;
use incident_labs::{
    blob::{EMULATOR_ACCOUNT, StorageAccount, check_name, shown},
    settings,
};

/// The variable that names an account when no URL does; the handler reads the same one.
pub(super) const CONNECTION: &str = "AzureWebJobsStorage";

#[derive(Debug, clap::Args)]
pub struct LoadOom {
    #[command(flatten)]
    pub load: ScaledScenario,
    /// Blob endpoint of the account.
    #[arg(long, value_name = "URL")]
    pub storage_url: Option<Url>,
    /// Write phase1 to phase3 as files, with their SHA-256 in manifest.jsonl, and send nothing.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["storage_url", "phases", "step"])]
    pub write: Option<PathBuf>,
    /// Only these phases, in this order.
    #[arg(long, value_delimiter = ',')]
    pub phases: Vec<String>,
    /// First part of all blob names; the time if not given.
    #[arg(long)]
    pub run: Option<String>,
    /// Where manifest.jsonl and phases.jsonl go.
    #[arg(long, default_value = "evidence/load")]
    pub out: PathBuf,
    /// Longest wait for the blobs of a burst or phase to be dealt with, in seconds. On development storage those left are then touched, three
    /// times at most: a real host does not see all blobs there.
    #[arg(long = "settle-s", default_value = "600", value_name = "S", value_parser = seconds)]
    pub settle: Duration,
    /// Tell events as JSON lines on stdout.
    #[arg(long)]
    pub json: bool,
    /// The same, and wait for a line on stdin before and after each burst is copied.
    #[arg(long)]
    pub step: bool,
}

#[async_trait(?Send)]
impl Load for LoadOom {
    const HELP: Help = Help {
        about: "Blobs for BlobBufferProcessor: a steady stream of small ones, and bursts that follow from the memory limit",
        after: "\
Example:     cargo lab load oom --storage-url https://ACCOUNT.blob.core.windows.net --scale 1 --phases baseline,load-1
             cargo lab load oom --write load-files && az storage blob upload-batch --source load-files/phase1 …
Account:     --storage-url with the signed-in identity (az login), else the connection string in AzureWebJobsStorage
Exit codes:  0 every blob was dealt with; 1 some were not in time; 3 it could not run; 64 usage",
    };

    async fn run(self) -> anyhow::Result<u8> {
        if let Some(folder) = &self.write {
            let plan = self.load.plan()?;
            capacity::ensure_disk("the load", folder, plan.source_bytes())?;
            OwnFolder::take(folder, Purpose::Load)?;
            write_files(&plan, folder, |path| err(&format!("wrote {}", path.display()))).await?;
            out(&format!("load in {0}; SHA-256 of each file in {0}/manifest.jsonl", folder.display()));
            return Ok(EXIT_OK);
        }
        self.send().await
    }
}

impl LoadOom {
    /// Runs the load; wrong when blobs were neither processed nor given up in time.
    async fn send(self) -> anyhow::Result<u8> {
        let mut gate = match (self.step, self.json) {
            (true, _) => Gate::Step,
            (false, true) => Gate::Json,
            (false, false) => Gate::People,
        };
        let plan = self.load.plan()?.select(&self.phases)?;
        let storage = Storage::open(&account(self.storage_url.as_ref())?)?;
        check(&self.out, Purpose::Evidence)?;
        let now = clock::timestamp(clock::utc_now());
        let run = self.run.unwrap_or_else(|| now.replace(':', "-"));
        for name in plan.phases.iter().flat_map(|phase| names(&run, phase)) {
            check_name(&name).map_err(|cause| UsageError(format!("no blob can be named {}: {cause}", shown(&name))))?;
        }
        if !plan.phases.iter().flat_map(|phase| names(&run, phase)).all(|it| is_seen(&it)) {
            err("the host sees no blob whose name begins or ends with a slash: these are counted as not seen");
        }
        // The stand-in sees every blob, and steps are its own lab's.
        let nudge = storage.account().name == EMULATOR_ACCOUNT && !self.step;
        let options = GeneratorOptions { storage, plan, run, out: self.out, settle: self.settle, nudge };
        let work = async {
            OwnFolder::take(&options.out, Purpose::Evidence)?;
            let generator = Generator::prepare(options, &mut gate).await?;
            anyhow::Ok(generator.run(&mut gate).await?)
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
}

/// A name of each kind that a phase gives to its blobs.
fn names(run: &str, phase: &Phase) -> Vec<String> {
    let bursts = phase.bursts.iter().map(|burst| burst_prefix(run, &phase.name, &burst.class, 0));
    bursts.chain([control_name(run, &phase.name, 0)]).collect()
}

fn account(storage_url: Option<&Url>) -> anyhow::Result<StorageAccount> {
    let environment = settings::process_environment();
    let connection = environment.get(CONNECTION);
    if let Some(url) = storage_url {
        return account_at(url, connection.map(String::as_str));
    }
    let text = connection.ok_or_else(|| {
        UsageError(format!("no account: give --storage-url, or put a connection string into {CONNECTION}"))
    })?;
    StorageAccount::from_connection_string(text).with_context(|| format!("{CONNECTION} cannot be used"))
}
