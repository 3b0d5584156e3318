//! `lab clean`: lists what the lab keeps on this machine, or a resource group on Azure, asks, and removes it.

mod found;

use std::{
    io::{self, BufRead, IsTerminal, stdin},
    path::PathBuf,
    time::Duration,
};

use anyhow::bail;
use serde_json::json;

use self::found::{Found, Kind, Outcome, find, remove, shown_mib};
use super::clean_azure::OnAzure;
use crate::{
    evidence::render::columns,
    machine::{
        exit::{EXIT_OK, EXIT_WRONG, UsageError, interrupted},
        terminal::{StatusLine, err, out},
    },
};
use custom_handler::clock;

/// List what the lab keeps here (runs, work folders, caches), ask, and remove it. What a lab uses at the moment is left alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab clean --dry-run
             cargo lab clean work --older-than 7d --yes
             cargo lab clean --resource-group rg-labs
Removes:     only folders that a lab has made and marked; links are not followed. `latest` then leads to the newest run that is left
Exit codes:  0 done, or nothing was chosen; 1 something could not be removed; 3 it could not run; 64 usage, or nobody to ask")]
pub struct Clean {
    /// What to look for [default: all].
    #[arg(value_enum, value_name = "KIND", conflicts_with = "resource_group")]
    kinds: Vec<Kind>,
    /// Only what was not written to for so long: 30m, 12h, 7d, 2w.
    #[arg(long, value_name = "AGE", value_parser = age, conflicts_with = "resource_group")]
    older_than: Option<Duration>,
    /// Where runs leave their evidence.
    #[arg(long, default_value = "evidence")]
    evidence: PathBuf,
    /// Folder of the work folders.
    #[arg(long, default_value = ".lab")]
    work: PathBuf,
    /// Remove without asking.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// List only.
    #[arg(long, conflicts_with = "resource_group")]
    dry_run: bool,
    /// Print one line of JSON; with --yes or --dry-run.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    azure: OnAzure,
}

/// Reads an age: a whole number and its unit.
fn age(text: &str) -> Result<Duration, String> {
    let wrong = || "write an age as 30m, 12h, 7d or 2w".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let minutes = match unit {
        'm' => 1,
        'h' => 60,
        'd' => 24 * 60,
        'w' => 7 * 24 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(minutes * 60).map(Duration::from_secs).ok_or_else(wrong)
}

impl Clean {
    /// Lists, asks and removes.
    ///
    /// # Errors
    /// When there is nobody to ask, it is interrupted, or Azure refuses.
    pub async fn run(self) -> anyhow::Result<u8> {
        if self.azure.is_meant() {
            return self.azure.run(self.yes, self.json).await;
        }
        if self.json && !self.yes && !self.dry_run {
            return Err(UsageError("--json asks nothing: add --dry-run to list, or --yes to remove".to_owned()).into());
        }
        let mut found = self.look();
        if !self.json {
            list(&found);
        }
        if !self.dry_run && found.iter().any(Found::is_free) && (self.yes || agreed(&found)?) {
            tokio::select! {
                () = remove_all(&mut found) => {}
                result = interrupted() => {
                    result?;
                    bail!("interrupted: what is not removed yet is left");
                }
            }
        }
        let failed: Vec<&Found> = found.iter().filter(|it| matches!(it.outcome, Outcome::Failed(_))).collect();
        if self.json {
            out(&json!({ "items": found }).to_string());
        } else {
            failed.iter().for_each(|it| err(&format!("error: {}: {}", it.shown(), it.outcome)));
            tell_removed(&found);
        }
        Ok(if failed.is_empty() { EXIT_OK } else { EXIT_WRONG })
    }

    fn look(&self) -> Vec<Found> {
        let is_wanted = |kind: Kind| self.kinds.is_empty() || self.kinds.contains(&kind);
        let now = clock::utc_now();
        let mut status = StatusLine::start();
        let found = find(&self.evidence, &self.work, is_wanted, |folder| {
            status.show(folder, &format!("looking at {folder}"));
        });
        status.clear();
        let is_old = |it: &Found| self.older_than.is_none_or(|age| now - it.last_written >= age);
        found.into_iter().filter(is_old).collect()
    }
}

fn list(found: &[Found]) {
    if found.is_empty() {
        return out("nothing of the lab's is kept here");
    }
    let now = clock::utc_now();
    let rows = found.iter().map(|it| {
        let age = shown_age(now - it.last_written);
        vec![it.kind.to_string(), it.shown_size(), age, it.shown(), it.outcome.to_string()]
    });
    let headings = ["kind", "size", "last written", "folder", ""].map(str::to_owned).to_vec();
    out(columns(&headings, &rows.collect::<Vec<_>>()).trim_end());
}

fn shown_age(age: time::Duration) -> String {
    match (age.whole_days(), age.whole_hours(), age.whole_minutes()) {
        (0, 0, minutes) => format!("{minutes} min ago"),
        (0, hours, _) => format!("{hours} h ago"),
        (days, ..) => format!("{days} d ago"),
    }
}

/// Asks on a terminal.
fn agreed(found: &[Found]) -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        let text = "nobody can be asked here: add --yes to remove these, or --dry-run to list them alone";
        return Err(UsageError(text.to_owned()).into());
    }
    let free = found.iter().filter(|it| it.is_free());
    let (folders, bytes) = free.fold((0, 0), |(folders, bytes), it| (folders + 1, bytes + it.bytes));
    err(&format!("remove {folders} of these, {}? [y/N]", shown_mib(bytes)));
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

async fn remove_all(found: &mut [Found]) {
    let mut status = StatusLine::start();
    for it in found.iter_mut().filter(|it| it.is_free()) {
        status.show(&it.shown(), &format!("removing {}", it.shown()));
        it.outcome = remove(it).await.unwrap_or_else(|error: io::Error| Outcome::Failed(error.to_string()));
    }
    status.clear();
}

fn tell_removed(found: &[Found]) {
    let removed = found.iter().filter(|it| it.outcome == Outcome::Removed);
    let (folders, bytes) = removed.fold((0, 0), |(folders, bytes), it| (folders + 1, bytes + it.bytes));
    if folders > 0 {
        out(&format!("removed {folders}, {}", shown_mib(bytes)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_its_unit() {
        assert_eq!(age("30m"), Ok(Duration::from_secs(1_800)));
        assert_eq!(age("2w"), Ok(Duration::from_secs(14 * 86_400)));
        for wrong in ["", "7", "d", "-1d", "1.5h", "7 d", "7ä", "99999999999999999999d", "18446744073709551615w"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
