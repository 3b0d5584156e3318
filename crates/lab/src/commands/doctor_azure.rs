//! `lab doctor --app`: the half that looks at Azure.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};

use super::on_azure::Subscription;
use crate::{
    azure::{Azure, Site, app_name, doctor, group_name},
    doctor::Examination,
    machine::{
        exit::{EXIT_OK, interrupted},
        terminal::{Paint, StatusLine, out},
    },
};

/// How often the app is examined while roles spread, as a multiple of the interval at which one request is sent again: an examination
/// is some 15 requests, and Resource Manager counts them.
const POLLS: u32 = 3;

/// Look at a deployed app instead of this machine.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "On Azure")]
pub struct OnAzure {
    /// Examine this function app.
    #[arg(long, value_parser = app_name, requires = "resource_group")]
    app: Option<String>,
    /// Its resource group.
    #[arg(long, value_name = "GROUP", value_parser = group_name, requires = "app")]
    resource_group: Option<String>,
    #[command(flatten)]
    subscription: Subscription,
    /// The workspace's id (customerId), where Application Insights does not lead to it.
    #[arg(long, value_name = "ID", value_parser = super::on_azure::guid, requires = "app")]
    workspace: Option<String>,
    /// Look again until nothing is refused, for so many seconds at most: a role takes 32 to 105 s to spread.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "600", requires = "app")]
    wait: Option<u64>,
    /// Print every request instead of sending it.
    #[arg(long, requires = "app")]
    plan: bool,
}

impl OnAzure {
    /// Whether it is Azure that is asked for.
    pub fn is_meant(&self) -> bool {
        self.app.is_some()
    }

    /// Examines the app, prints what was found and gives the exit code.
    ///
    /// # Errors
    /// When Azure is away, nobody is signed in, or it is interrupted.
    pub async fn run(self, json: bool) -> anyhow::Result<u8> {
        let (Some(app), Some(resource_group)) = (self.app, self.resource_group) else {
            bail!("--app and --resource-group go together");
        };
        let site = Site { app, resource_group };
        let azure = self.subscription.open(self.plan)?;
        let workspace = self.workspace.as_deref();
        if self.plan {
            doctor::examine(&azure, &site, workspace, &mut |_| {}).await?;
            super::on_azure::show_plan(&azure, json)?;
            return Ok(EXIT_OK);
        }
        let wait = self.wait.map(Duration::from_secs);
        let seen = tokio::select! {
            seen = examined(&azure, &site, workspace, wait) => seen?,
            result = interrupted() => {
                result?;
                bail!("interrupted: nothing was changed");
            }
        };
        out(&if json { serde_json::to_string(&seen)? } else { seen.render(Paint::on_stdout()) });
        Ok(seen.exit_code())
    }
}

/// Examines once, or until nothing is refused any more.
pub(super) async fn examined(
    azure: &Azure,
    site: &Site,
    workspace: Option<&str>,
    wait: Option<Duration>,
) -> anyhow::Result<Examination> {
    let (began, mut status) = (Instant::now(), StatusLine::start());
    loop {
        let seen = doctor::examine(azure, site, workspace, &mut |step| status.show(step, &format!("{step} …"))).await?;
        let waited = began.elapsed();
        let refused: Vec<&str> = doctor::refused(&seen).collect();
        let is_over = wait.is_none_or(|limit| waited >= limit);
        if refused.is_empty() || is_over {
            let outcome = match (refused.is_empty(), wait) {
                (_, None) => "examined".to_owned(),
                (true, Some(_)) => format!("nothing is refused, after {} s", waited.as_secs()),
                (false, Some(limit)) => format!("still refused after {} s: {}", limit.as_secs(), refused.join(", ")),
            };
            status.finish(&outcome);
            return Ok(seen);
        }
        let line = format!("refused: {}; {} s so far", refused.join(", "), waited.as_secs());
        status.show(&line, &line);
        sleep(azure.poll_interval() * POLLS).await;
    }
}
