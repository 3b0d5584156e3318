//! `lab doctor`: what would hinder each lab, and the way out of it.

use super::doctor_azure::OnAzure;
use crate::machine::exit::UsageError;

/// Look at a deployed app and say what would hinder each lab, what breaks, and what mends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab doctor --app APP --resource-group GROUP --wait
             cargo lab doctor --app APP --resource-group GROUP --plan
Exit codes:  0 nothing hinders a lab; 1 something does; 2 nothing was found, and a check gave no answer; 3 it could not run;
             64 usage")]
pub struct Doctor {
    /// Print one line of JSON: each finding with its state, the labs it hinders, what breaks and what mends it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    azure: OnAzure,
}

impl Doctor {
    /// Examines, and prints what was found.
    ///
    /// # Errors
    /// When it is interrupted, or Azure is away.
    pub async fn run(self) -> anyhow::Result<u8> {
        if self.azure.is_meant() {
            return self.azure.run(self.json).await;
        }
        Err(UsageError("give --app and --resource-group".to_owned()).into())
    }
}
