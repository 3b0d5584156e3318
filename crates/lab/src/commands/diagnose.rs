//! `lab diagnose`: names the incident that telemetry shows.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::need_tables;
use crate::{
    diagnosis::{Diagnosis, DiagnosisError, Options, Reply, Step, diagnose},
    evidence::{render::columns, schema::read_time},
    labs::EP1_LIMIT_MB,
    machine::{
        exit::{EXIT_OK, UsageError},
        terminal::{Paint, out},
    },
};

/// Something was found.
const EXIT_FOUND: u8 = 1;
/// Nothing was found, and some questions could not be answered.
const EXIT_CANNOT_TELL: u8 = 2;

/// Walk the guides' decision flow over any telemetry: indexing failure, out of memory, replay storm, or none.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab import telemetry.jsonl --folder evidence/theirs
             cargo lab diagnose evidence/theirs
Folder:      of `lab import`, or of a run. No phases are needed; the app, its orchestrators and activities are found in the rows.
Queries:     load/diagnose/queries; docs/diagnose.md says what each finding means
Exit codes:  0 nothing was found; 1 something was; 2 nothing was, and some questions could not be answered; 3 it could not run;
             64 usage")]
pub struct Diagnose {
    /// Folder with the tables in `tables`.
    folder: PathBuf,
    /// The app (cloud_RoleName). The one with most rows, if not given.
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Look at rows from this time on.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<String>,
    /// Look at rows before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<String>,
    /// Memory limit of the worker, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = EP1_LIMIT_MB)]
    limit_mib: f64,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

fn time(text: &str) -> Result<String, String> {
    read_time(text).map(|it| it.text).ok_or_else(|| "write a time as 2026-04-05T01:30:00Z".to_owned())
}

impl Diagnose {
    /// Walks the flow and gives the exit code of what it found.
    ///
    /// # Errors
    /// When the folder has no tables, or no rows of the app.
    pub fn run(self) -> anyhow::Result<u8> {
        need_tables(&self.folder)?;
        let Self { folder, app, from, to, limit_mib, json } = self;
        let diagnosis = match diagnose(&folder, &Options { app, from, to, limit_mb: limit_mib }) {
            Err(error @ DiagnosisError::NoApp { .. }) => return Err(UsageError(error.to_string()).into()),
            other => other?,
        };
        if json {
            let mut told = serde_json::to_value(&diagnosis)?;
            told["verdict"] = diagnosis.findings.iter().map(|it| json!(it.kind)).collect();
            out(&told.to_string());
        } else {
            tell(&diagnosis);
        }
        let cannot_tell = diagnosis.steps.iter().any(|it| it.reply == Reply::CannotTell);
        Ok(match (diagnosis.findings.is_empty(), cannot_tell) {
            (false, _) => EXIT_FOUND,
            (true, true) => EXIT_CANNOT_TELL,
            (true, false) => EXIT_OK,
        })
    }
}

fn tell(diagnosis: &Diagnosis) {
    let Diagnosis { app, from, to, steps, findings } = diagnosis;
    let app = if app.is_empty() { "an app without a name" } else { app };
    out(&format!("{app}, {from} to {to}\n"));
    for (number, step) in (1..).zip(steps) {
        tell_step(number, step);
    }
    if findings.is_empty() {
        let unanswered: Vec<&str> =
            steps.iter().filter(|it| it.reply == Reply::CannotTell).map(|it| it.question).collect();
        out("Found: none of the three incidents");
        unanswered.iter().for_each(|it| out(&format!("  could not be told: {it}")));
    }
    for finding in findings {
        let kind = Paint::on_stdout().red(&finding.kind.to_string());
        let grade = serde_json::to_value(finding.grade).unwrap_or_default();
        out(&format!("Found: {kind} ({}): {}", grade.as_str().unwrap_or_default(), finding.said));
        out(&format!("  next: {}", finding.next));
    }
}

fn tell_step(number: usize, step: &Step) {
    let Step { question, queries, reply, said, rows, follows } = step;
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    out(&format!("{number}. {question}\n   {reply}{said}   [{}]", queries.join(", ")));
    if let Some(first) = rows.first() {
        let headings: Vec<String> = first.keys().cloned().collect();
        let cells = |row: &Map<String, Value>| headings.iter().map(|it| shown(&row[it])).collect::<Vec<_>>();
        let grid = columns(&headings, &rows.iter().map(cells).collect::<Vec<_>>());
        out(&grid.lines().map(|it| format!("     {it}")).collect::<Vec<_>>().join("\n"));
    }
    if !follows.is_empty() {
        out(&format!("   → {follows}"));
    }
    out("");
}

/// A value on one line.
fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let text: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    text.chars().take(80).collect()
}
