//! `lab azurite`: storage alone, on the ports every tool tries first.

use std::{path::PathBuf, pin::pin};

use anyhow::Context;

use crate::machine::{
    azurite::{Azurite as Storage, Ports},
    exit::{EXIT_OK, watch_interrupts},
    log,
    terminal::out,
    workspace::Workspace,
};

/// Run storage alone on its well-known ports, for `func start` and Storage Explorer.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab azurite
Exit codes:  0 stopped by Ctrl-C; 3 node or npm is missing, or a port is taken; 64 usage")]
pub struct Azurite {
    /// Where its data is kept.
    #[arg(long, default_value = ".lab/azurite")]
    folder: PathBuf,
}

impl Azurite {
    /// Runs it until Ctrl-C.
    ///
    /// # Errors
    /// When it cannot be started, or ends by itself.
    pub async fn run(self) -> anyhow::Result<u8> {
        let folder = Workspace::open(&self.folder).await?;
        log::keep_in(&folder.logs());
        // From before it is there: a Ctrl-C right after the greeting must not leave it behind.
        let mut stopped = pin!(watch_interrupts()?);
        let azurite = tokio::select! {
            azurite = Storage::start(&folder, Ports::WellKnown) => azurite?,
            () = &mut stopped => return Ok(EXIT_OK),
        };
        out("storage on 127.0.0.1, ports 10000 (blob), 10001 (queue) and 10002 (table)");
        out("connection string: UseDevelopmentStorage=true");
        out(&format!("data in {}; Ctrl-C stops it", folder.path().display()));
        tokio::select! {
            () = stopped => {}
            status = azurite.ended() => {
                let status = status.context("watch azurite")?;
                anyhow::bail!("azurite ended with {status}: see {}", azurite.log().display());
            }
        }
        azurite.stop().await;
        Ok(EXIT_OK)
    }
}
