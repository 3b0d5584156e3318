//! `lab clean`: lists what the lab has made, asks, and removes it.

use super::clean_azure::OnAzure;
use crate::machine::exit::UsageError;

/// List what is in a resource group, ask, and delete it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab clean --resource-group rg-labs
Exit codes:  0 deleted, or not there; 3 it could not run; 64 usage, nobody to ask, or the group has things that are not the labs'")]
pub struct Clean {
    /// Delete without asking.
    #[arg(long)]
    yes: bool,
    /// Print one line of JSON; with --yes.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    azure: OnAzure,
}

impl Clean {
    /// Lists, asks and deletes.
    ///
    /// # Errors
    /// When it cannot be done, or must not.
    pub async fn run(self) -> anyhow::Result<u8> {
        if self.azure.is_meant() {
            return self.azure.run(self.yes, self.json).await;
        }
        Err(UsageError("give --resource-group".to_owned()).into())
    }
}
