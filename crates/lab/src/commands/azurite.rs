//! `lab azurite`: storage alone, on the ports every tool tries first.

use std::path::Path;

use anyhow::Context;

use super::{EXIT_OK, interrupted};
use crate::machine::{
    azurite::{Azurite, Ports},
    workspace::Folder,
};

/// Runs Azurite until Ctrl-C.
///
/// # Errors
/// When it cannot be started, or ends by itself.
pub async fn run(folder: &Path) -> anyhow::Result<u8> {
    let folder = Folder::open(folder).await?;
    let azurite = Azurite::start(&folder, Ports::WellKnown).await?;
    println!("storage on 127.0.0.1, ports 10000 (blob), 10001 (queue) and 10002 (table)");
    println!("connection string: UseDevelopmentStorage=true");
    println!("data in {}; Ctrl-C stops it", folder.path().display());
    tokio::select! {
        result = interrupted() => result?,
        status = azurite.ended() => {
            let status = status.context("watch azurite")?;
            anyhow::bail!("azurite ended with {status}: see {}", azurite.log().display());
        }
    }
    azurite.stop().await;
    Ok(EXIT_OK)
}
