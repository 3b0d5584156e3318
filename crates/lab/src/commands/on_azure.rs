//! What the commands that speak to Azure have in common.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    azure::{Azure, AzureError},
    machine::terminal::{StatusLine, out},
};

/// Which subscription.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Subscription {
    /// Id of the subscription; else AZURE_SUBSCRIPTION_ID, else the one `az account set` chose.
    #[arg(long, value_name = "ID", value_parser = guid)]
    subscription: Option<String>,
}

impl Subscription {
    /// Azure itself, or a plan.
    ///
    /// # Errors
    /// As [`Azure::open`].
    pub fn open(&self, plan: bool) -> Result<Azure, AzureError> {
        Azure::open_or_plan(self.subscription.clone(), plan)
    }
}

/// Reads an id, which becomes part of a URL.
///
/// # Errors
/// When it is none.
pub fn guid(text: &str) -> Result<String, String> {
    let is_id = text.len() == 36 && text.chars().all(|it| it.is_ascii_hexdigit() || it == '-');
    if is_id {
        Ok(text.to_lowercase())
    } else {
        Err("must be an id: a GUID, as 00000000-0000-0000-0000-000000000000".to_owned())
    }
}

/// Prints a plan.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn show_plan(azure: &Azure, json: bool) -> anyhow::Result<()> {
    let plan = azure.plan();
    out(&if json { serde_json::to_string(&plan)? } else { plan.render() });
    Ok(())
}

/// Shows what is going on while it is, second by second.
pub async fn watched<T>(what: &str, work: impl Future<Output = T>) -> T {
    let (began, mut status, mut work) = (Instant::now(), StatusLine::start(), pin!(work));
    loop {
        tokio::select! {
            done = &mut work => {
                status.clear();
                return done;
            }
            () = sleep(Duration::from_secs(1)) => {
                let line = format!("{what}: {} s so far", began.elapsed().as_secs());
                status.show(&line, &line);
            }
        }
    }
}
