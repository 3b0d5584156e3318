//! `lab redrive`: gives blobs that failed too often another five tries.

use std::path::{Path, PathBuf};

use anyhow::Context;
use url::Url;

use crate::{
    app::{
        blob_message::{POISON_QUEUE, trigger_queue},
        redrive::{only_trigger_queue, redrive},
    },
    machine::{
        azurite::{Azurite, Ports},
        exit::EXIT_OK,
        log,
        storage::{Storage, developer_account},
        terminal::out,
        workspace::{Workspace, WorkspaceError},
    },
};
use incident_labs::blob::StorageAccount;

/// Move blobs that failed five times from the poison queue back to the trigger.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab redrive --folder .lab/start
             cargo lab redrive --storage-url https://ACCOUNT.blob.core.windows.net
Account:     --storage-url with the signed-in identity (az login)
Exit codes:  0 moved (perhaps none); 3 it could not run; 64 usage")]
pub struct Redrive {
    /// Folder of a running or stopped `lab start`.
    #[arg(long, default_value = ".lab/start", conflicts_with = "storage_url")]
    folder: PathBuf,
    /// Blob endpoint of an app's account instead.
    #[arg(long, value_name = "URL")]
    storage_url: Option<Url>,
    /// The app's trigger queue, where the account has several.
    #[arg(long, requires = "storage_url", value_name = "NAME")]
    queue: Option<String>,
}

impl Redrive {
    /// Moves the poison queue of a work folder or of an account.
    ///
    /// # Errors
    /// When storage is not there or does not answer, or the account has not one trigger queue.
    pub async fn run(self) -> anyhow::Result<u8> {
        let (moved, target) = match self.storage_url {
            Some(url) => on_account(&url, self.queue).await?,
            None => in_folder(&self.folder).await?,
        };
        let count = moved.len();
        out(&format!(
            "{count} {} moved from {POISON_QUEUE} to {target}",
            if count == 1 { "message" } else { "messages" }
        ));
        Ok(EXIT_OK)
    }
}

/// Whether or not a lab is running on the folder.
async fn in_folder(folder: &Path) -> anyhow::Result<(Vec<String>, String)> {
    let target = trigger_queue();
    let moved = match Workspace::open(folder).await {
        Ok(folder) => {
            log::keep_in(&folder.logs());
            let azurite = Azurite::start(&folder, Ports::Free).await?;
            let moved = redrive(&Storage::open(azurite.account())?, &target).await;
            azurite.stop().await;
            moved?
        }
        Err(WorkspaceError::InUse { path }) => {
            let [blob, queue, _] =
                Workspace::ports_of(&path).with_context(|| format!("{} names no ports in lab.json", path.display()))?;
            redrive(&Storage::open(&StorageAccount::emulator(blob, queue)?)?, &target).await?
        }
        Err(error) => return Err(error.into()),
    };
    Ok((moved, target))
}

async fn on_account(storage_url: &Url, queue: Option<String>) -> anyhow::Result<(Vec<String>, String)> {
    let storage = Storage::open(&developer_account(storage_url)?)?;
    let target = match queue {
        Some(queue) => queue,
        None => only_trigger_queue(&storage).await?,
    };
    Ok((redrive(&storage, &target).await?, target))
}
