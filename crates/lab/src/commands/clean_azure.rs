//! `lab clean --resource-group`: the half that deletes what is on Azure.

use std::io::{BufRead, IsTerminal, stdin};

use anyhow::bail;
use serde_json::json;

use super::on_azure::{Subscription, show_plan, watched};
use crate::{
    azure::{
        clean::{self, Contents},
        group_name,
    },
    machine::{
        exit::{EXIT_OK, UsageError, interrupted},
        terminal::{err, out},
    },
};

/// Delete a resource group on Azure instead of what is here.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "On Azure")]
pub struct OnAzure {
    /// Delete this resource group, with everything in it.
    #[arg(long, value_name = "GROUP", value_parser = group_name)]
    resource_group: Option<String>,
    #[command(flatten)]
    subscription: Subscription,
    /// Also where the group has things that are not the labs'.
    #[arg(long, requires = "resource_group")]
    with_others: bool,
    /// Print every request instead of sending it.
    #[arg(long, requires = "resource_group")]
    plan: bool,
}

impl OnAzure {
    /// Whether it is Azure that is asked for.
    pub fn is_meant(&self) -> bool {
        self.resource_group.is_some()
    }

    /// Lists the group, asks unless `yes`, and deletes it. Gives the exit code.
    ///
    /// # Errors
    /// When the group has things that are not the labs', nobody can be asked, or Azure refuses.
    pub async fn run(self, yes: bool, json: bool) -> anyhow::Result<u8> {
        let Some(group) = &self.resource_group else { bail!("--resource-group is missing") };
        let azure = self.subscription.open(self.plan)?;
        let listed = watched("list the resource group", clean::list(&azure, group)).await?;
        let call = clean::delete_call(group);
        if self.plan {
            azure.send(&call).await?;
            show_plan(&azure, json)?;
            return Ok(EXIT_OK);
        }
        let Some(contents) = listed else {
            let text = format!("there is no resource group {group}");
            out(&if json {
                json!({"resource_group": group, "deleted": false, "there": false}).to_string()
            } else {
                text
            });
            return Ok(EXIT_OK);
        };
        if !json {
            out(&shown(group, &contents));
        }
        self.allowed(group, &contents, yes)?;
        let gone = tokio::select! {
            gone = watched(&call.why, azure.send(&call)) => gone.map(drop),
            result = interrupted() => {
                result?;
                bail!("interrupted: Azure goes on deleting {group}; `az group show --name {group}` tells whether it is gone");
            }
        };
        gone?;
        out(&if json {
            json!({"resource_group": group, "deleted": true, "contents": contents}).to_string()
        } else {
            format!("{group} is deleted, and bills no more")
        });
        Ok(EXIT_OK)
    }

    fn allowed(&self, group: &str, contents: &Contents, yes: bool) -> anyhow::Result<()> {
        let others = contents.others();
        if !others.is_empty() && !self.with_others {
            let names: Vec<&str> = others.iter().map(|it| it.name.as_str()).collect();
            let text = format!(
                "{group} has things that are not the labs': {}. Nothing was deleted; with --with-others they are deleted too",
                names.join(", ")
            );
            return Err(UsageError(text).into());
        }
        if yes {
            return Ok(());
        }
        if !stdin().is_terminal() {
            return Err(UsageError("nobody can be asked: give --yes. Nothing was deleted".to_owned()).into());
        }
        err(&format!("Type the group's name to delete it ({group}):"));
        let mut answer = String::new();
        stdin().lock().read_line(&mut answer)?;
        if answer.trim() == group { Ok(()) } else { bail!("that is another name: nothing was deleted") }
    }
}

/// What is in the group, since when, and what will be done.
fn shown(group: &str, contents: &Contents) -> String {
    let width = contents.resources.iter().map(|it| it.name.chars().count()).max().unwrap_or_default();
    let made = if contents.is_tagged { ", made by `cargo lab deploy`" } else { "" };
    let mut text = format!("{group}, in {}{made}:", contents.location);
    for it in &contents.resources {
        let whose = if it.is_ours { "" } else { "  (not the labs')" };
        let since = it.created.split('T').next().filter(|it| !it.is_empty()).unwrap_or("unknown");
        text += &format!("\n  {:<width$}  {}, since {since}{whose}", it.name, it.kind);
    }
    if contents.resources.is_empty() {
        text += "\n  nothing";
    }
    text + &format!("\nAll of it is deleted:\n  $ az group delete --name {group}")
}
