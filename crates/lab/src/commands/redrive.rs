//! `lab redrive`: gives blobs that failed too often another five tries.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;
use time::OffsetDateTime;
use url::Url;

use crate::{
    app::{
        ScriptRoot,
        blob_message::{POISON_QUEUE, trigger_queue},
        redrive::{Redriven, chosen_trigger_queue, redrive},
    },
    machine::{
        azurite::{Azurite, Ports},
        exit::{EXIT_OK, UsageError},
        log,
        storage::{Storage, account_at, ensure_private},
        terminal::out,
        workspace::{Workspace, WorkspaceError},
    },
};
use custom_handler::clock;
use incident_labs::{blob::StorageAccount, settings::process_environment};

const CONNECTION: &str = "AzureWebJobsStorage";
/// Where `lab start` works if it is not told otherwise.
const WORK_FOLDER: &str = ".lab/start";

/// Move blobs that failed five times from the poison queue back to the trigger.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab redrive
             cargo lab redrive --storage-url https://ACCOUNT.blob.core.windows.net
             cargo lab redrive --storage-url http://127.0.0.1:10000/devstoreaccount1
             AzureWebJobsStorage=UseDevelopmentStorage=true cargo lab redrive
Account:     --storage-url with the signed-in identity (az login), or the storage emulator on this machine;
             else the connection string of the app in --script-root; else --folder; else the connection
             string in AzureWebJobsStorage; else .lab/start. Plain http to another machine is refused
Expiry:      messages are gone after 7 days, in the poison queue and moved; a move begins these days anew
Real host:   one that was idle looks after up to 60 s; a new blob wakes it
Exit codes:  0 moved (perhaps none); 3 it could not run; 64 usage")]
pub struct Redrive {
    /// Folder of a running or stopped `lab start`.
    #[arg(long, conflicts_with_all = ["storage_url", "script_root"])]
    folder: Option<PathBuf>,
    /// Blob endpoint of an app's account instead.
    #[arg(long, value_name = "URL", conflicts_with = "script_root")]
    storage_url: Option<Url>,
    /// An app's folder instead: the account is that of its local.settings.json.
    #[arg(long, value_name = "FOLDER")]
    script_root: Option<PathBuf>,
    /// The app's trigger queue, where the account has several.
    #[arg(long, conflicts_with = "folder", value_name = "NAME")]
    queue: Option<String>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Where the messages are.
enum Place {
    Account(Box<StorageAccount>),
    Folder(PathBuf),
}

impl Redrive {
    /// Moves the poison queue of a work folder or of an account.
    ///
    /// # Errors
    /// When storage is not there or does not answer, or the account has not the one trigger queue.
    pub async fn run(self) -> anyhow::Result<u8> {
        let place = self.place()?;
        if let (Place::Folder(_), Some(_)) = (&place, &self.queue) {
            let text = format!("--queue is for an account: give --storage-url or --script-root, or set {CONNECTION}");
            return Err(UsageError(text).into());
        }
        let is_account = matches!(place, Place::Account(_));
        let (redriven, target) = match place {
            Place::Account(account) => on_account(&account, self.queue.as_deref()).await?,
            Place::Folder(folder) => in_folder(&folder).await?,
        };
        tell(&redriven, &target, is_account, self.json);
        Ok(EXIT_OK)
    }

    fn place(&self) -> anyhow::Result<Place> {
        let environment = process_environment();
        let connection = environment.get(CONNECTION).map(String::as_str).filter(|it| !it.is_empty());
        if let Some(url) = &self.storage_url {
            return Ok(Place::Account(account_at(url, connection)?.into()));
        }
        if let Some(folder) = &self.script_root {
            let app = ScriptRoot::read(folder)?;
            let text = app.setting(CONNECTION).filter(|it| !it.is_empty());
            let text = text.with_context(|| format!("the app in {} sets no {CONNECTION}", folder.display()))?;
            return Ok(Place::Account(account_of(text)?.into()));
        }
        Ok(match (&self.folder, connection) {
            (None, Some(text)) => Place::Account(account_of(text)?.into()),
            (folder, _) => Place::Folder(folder.clone().unwrap_or_else(|| WORK_FOLDER.into())),
        })
    }
}

fn account_of(connection: &str) -> anyhow::Result<StorageAccount> {
    let account = StorageAccount::from_connection_string(connection);
    let account = account.map_err(|error| UsageError(format!("{CONNECTION} cannot be used: it {error}")))?;
    ensure_private(&account)?;
    Ok(account)
}

/// Whether or not a lab is running on the folder.
async fn in_folder(folder: &Path) -> anyhow::Result<(Redriven, String)> {
    let target = trigger_queue();
    let redriven = match Workspace::open(folder).await {
        Ok(folder) => {
            log::keep_in(&folder.logs());
            let azurite = Azurite::start(&folder, Ports::Free).await?;
            let redriven = redrive(&Storage::open(azurite.account())?, &target).await;
            azurite.stop().await;
            redriven?
        }
        Err(WorkspaceError::InUse { path }) => {
            let [blob, queue, _] =
                Workspace::ports_of(&path).with_context(|| format!("{} names no ports in lab.json", path.display()))?;
            redrive(&Storage::open(&StorageAccount::emulator(blob, queue)?)?, &target).await?
        }
        Err(error) => return Err(error.into()),
    };
    Ok((redriven, target))
}

async fn on_account(account: &StorageAccount, queue: Option<&str>) -> anyhow::Result<(Redriven, String)> {
    let storage = Storage::open(account)?;
    let target = chosen_trigger_queue(&storage, queue).await?;
    Ok((redrive(&storage, &target).await?, target))
}

fn tell(redriven: &Redriven, target: &str, is_account: bool, as_json: bool) {
    let count = redriven.names.len();
    let time = |it: Option<OffsetDateTime>| it.map(clock::timestamp);
    if as_json {
        let told = json!({
            "moved": count,
            "queue": target,
            "blobs": redriven.names,
            "earliestExpiry": time(redriven.earliest_expiry),
            "poisonExpiry": time(redriven.poison_expiry),
        });
        return out(&told.to_string());
    }
    out(&format!("{count} {} moved from {POISON_QUEUE} to {target}", if count == 1 { "message" } else { "messages" }));
    if let (Some(earliest), Some(poison)) = (redriven.earliest_expiry, redriven.poison_expiry) {
        out(&format!("the first to expire do so {}; unmoved it would have been {}", day(earliest), day(poison)));
    }
    if is_account && count > 0 {
        out("a real host that is idle looks after up to 60 s; a new blob wakes it at once");
    }
}

/// `on 2026-12-05 at 12:44 UTC`.
fn day(at: OffsetDateTime) -> String {
    // What never expires has the last year there is.
    if at.year() >= 9999 {
        return "never".to_owned();
    }
    let text = clock::timestamp(at);
    format!("on {} at {} UTC", text.get(..10).unwrap_or(&text), text.get(11..16).unwrap_or_default())
}
