//! What each command of `lab` does. Errors here are for the person at the keyboard.

pub mod azurite;
pub mod bench;
pub mod load;
pub mod package;
pub mod process;
pub mod redrive;
pub mod run_oom;
pub mod run_replay;
pub mod stage;
pub mod start;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use incident_labs::blob::StorageAccount;

/// Everything went as asked.
pub const EXIT_OK: u8 = 0;
/// It ran, and some blobs came out wrong or not at all.
pub const EXIT_WRONG: u8 = 1;
/// It could not run.
pub const EXIT_COULD_NOT_RUN: u8 = 3;
/// sysexits' EX_USAGE.
pub const EXIT_USAGE: u8 = 64;

/// A mistake in what was asked for, as opposed to one in carrying it out.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Prints a failure and says which exit code it is.
pub fn report(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            let is_usage = error.downcast_ref::<UsageError>().is_some();
            if is_usage { EXIT_USAGE } else { EXIT_COULD_NOT_RUN }.into()
        }
    }
}

/// The account of `--storage-url`, as whoever is signed in.
fn developer_account(storage_url: &Url) -> anyhow::Result<StorageAccount> {
    if storage_url.query().is_some() {
        let text = "a SAS in --storage-url would stand in the process list: sign in with `az login` and give the URL alone, or put \
                    a connection string into AzureWebJobsStorage";
        return Err(UsageError(text.to_owned()).into());
    }
    Ok(StorageAccount::from_developer(storage_url)?)
}

/// Resolves at Ctrl-C or SIGTERM.
///
/// # Errors
/// When the signals cannot be watched.
pub async fn interrupted() -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Reads `NAME=VALUE`.
///
/// # Errors
/// When there is no `=` or no name.
pub fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
