//! `lab import`: evidence from elsewhere as tables that queries read.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use crate::{
    evidence::phases_file::PhasesFile,
    ingestion::{
        Counts,
        import::{Import as Reader, ImportFolder, Imported},
    },
    machine::{
        exit::{EXIT_OK, EXIT_WRONG, UsageError},
        terminal::{StatusLine, err, out},
    },
};

/// An import that takes less says nothing on the way.
const PATIENCE: Duration = Duration::from_secs(1);

/// Make tables of telemetry from elsewhere: envelopes, or what the portal or az exported.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab import telemetry.jsonl --folder evidence/mine
             cargo lab import requests.csv traces.json --folder evidence/portal --phases phases.json
Files:       envelopes as JSON lines or an array; CSV of the portal; JSON of `az monitor app-insights query` or
             `az monitor log-analytics query`; each packed with gzip or not
Exit codes:  0 everything is in; 1 some items were refused, the rest is in; 3 it could not run; 64 usage")]
pub struct Import {
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Make the tables here: a new or empty folder.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// Check a file of phases, and copy it into the folder.
    #[arg(long, value_name = "FILE")]
    phases: Option<PathBuf>,
    /// The table of rows that do not tell it by their columns: a name of either family.
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Replace what an earlier import wrote into the folder.
    #[arg(long)]
    replace: bool,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

impl Import {
    /// Reads all files, and then writes the tables.
    ///
    /// # Errors
    /// When a file cannot be read, or the folder is not to be filled.
    pub fn run(self) -> anyhow::Result<u8> {
        let mut reader = Reader::new(self.table.as_deref()).map_err(UsageError)?;
        let folder = ImportFolder::check(&self.folder, self.replace)?;
        let phases = self.phases.as_deref().map(PhasesFile::read).transpose()?;
        let (began, mut status) = (Instant::now(), None);
        for file in &self.files {
            reader.read(file, |counts| {
                if began.elapsed() > PATIENCE {
                    let text = format!("{} read, {} refused", counts.received, counts.refusals());
                    status.get_or_insert_with(StatusLine::start).show(&text, &text);
                }
            })?;
        }
        let imported = reader.finish();
        if let Some(status) = status {
            status.finish(&format!("{} read", imported.counts.received));
        }
        let summary = summary(&imported, phases.as_ref());
        folder.take()?;
        let text = serde_json::to_vec_pretty(&summary)?;
        folder.fill(&imported, self.phases.as_deref(), &text).context("write the tables")?;
        if self.json {
            out(&summary.to_string());
        } else {
            self.tell(&imported);
        }
        Ok(if imported.counts.refusals() == 0 { EXIT_OK } else { EXIT_WRONG })
    }

    fn tell(&self, imported: &Imported) {
        out(&imported.counts.report("items"));
        if imported.derived > 0 {
            out("  FunctionAppLogs is derived from the host's traces, and marked so in SourceSystem");
        }
        if !imported.columns_not_kept.is_empty() {
            let names: Vec<&str> = imported.columns_not_kept.iter().map(String::as_str).collect();
            out(&format!("  columns that no table here has, and that were left out: {}", names.join(", ")));
        }
        let folder = self.folder.display();
        err(&format!("tables in {folder}/tables; what the telemetry says of people and machines is in them, too"));
    }
}

fn summary(imported: &Imported, phases: Option<&PhasesFile>) -> Value {
    let Counts { received, accepted, kinds, rows, refused, .. } = &imported.counts;
    let names = phases.map(|it| it.phases.iter().map(|phase| phase.name.as_str()).collect::<Vec<_>>());
    json!({
        "received": received, "accepted": accepted, "kinds": kinds, "rows": rows, "refused": refused,
        "derived": imported.derived, "columnsNotKept": imported.columns_not_kept, "phases": names.unwrap_or_default(),
    })
}
