//! `lab query`: runs a KQL text over a folder of tables.

use std::{
    fs,
    io::{Read, stdin},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use serde_json::{Map, json};

use crate::{
    evidence::{
        database,
        phases_file::PhasesFile,
        render::{columns, csv},
        schema::Profile,
    },
    machine::{
        exit::{EXIT_OK, UsageError},
        terminal::{err, out},
    },
};

/// Run a KQL query over a run's tables, or over those of `lab import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab query load/oom/queries/component/oom-outcome.kql
             echo 'requests | summarize count() by name, success' | cargo lab query -
Parameters:  the `let` statements with a plain value at the query's top. --param NAME=VALUE sets one. Where phases.json stands
             beside the tables, appName, <phase>Start, <phase>End, <phase>Id, runStart and runEnd come from it.
Tables:      <table>.jsonl, a JSON value a line, keys named as columns; datetimes in ISO 8601, timespans as d.hh:mm:ss.fffffff or
             milliseconds. requests and AppRequests are the same rows, and so on.
More:        docs/kql.md has the subset of KQL, docs/queries.md the shipped queries
Exit codes:  0 the query ran, whatever it found; 3 it could not run; 64 the query, a parameter or the command line is wrong")]
pub struct Query {
    /// File with the query; `-` is stdin.
    file: PathBuf,
    /// Folder with the tables. The newest run's, if not given.
    #[arg(long, value_name = "DIR")]
    tables: Option<PathBuf>,
    /// Where runs leave their evidence.
    #[arg(long, value_name = "DIR", default_value = "evidence", conflicts_with = "tables")]
    evidence: PathBuf,
    /// Take the parameters of these phases. Those beside the tables, if not given.
    #[arg(long, value_name = "FILE")]
    phases: Option<PathBuf>,
    /// Types of the columns: `documented` has durations in milliseconds, `timespan` as the printed queries expect them.
    #[arg(long, value_enum, default_value_t)]
    schema: Profile,
    /// Set a parameter of the query; repeatable.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    parameters: Vec<(String, String)>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Format {
    #[default]
    Table,
    /// `{"columns":[{"name","type"}],"rows":[[…]]}`
    Json,
    Csv,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

impl Query {
    /// Runs the query and prints its result.
    ///
    /// # Errors
    /// When the query is wrong, or the tables cannot be read.
    pub fn run(self) -> anyhow::Result<u8> {
        let (name, text) = self.text()?;
        let wrong = |error: kql::Error| UsageError(format!("{name}: {}", error.render(&text)));
        let query = kql::Query::parse(&text).map_err(wrong)?;
        let folder = match &self.tables {
            Some(folder) => tables_of(folder)?,
            None => newest_run(&self.evidence)?,
        };
        let query = self.with_parameters(query, &folder)?;
        let loaded = database::load(&folder, &query.tables(), self.schema)?;
        // A misspelt name is compared with all tables there are, not with those that were read.
        let mut schemas = database::documented(self.schema);
        schemas.extend(loaded.database.schemas());
        query.check(&schemas).map_err(wrong)?;
        let output = query.run(&loaded.database).map_err(wrong)?;
        for note in loaded.notes.iter().chain(&output.notes) {
            err(&format!("note: {note}"));
        }
        print(&output.table, self.format)?;
        Ok(EXIT_OK)
    }

    fn text(&self) -> anyhow::Result<(String, String)> {
        let mut text = String::new();
        if self.file == Path::new("-") {
            stdin().read_to_string(&mut text).context("read the query from stdin")?;
            return Ok(("stdin".to_owned(), text));
        }
        let name = self.file.display().to_string();
        let read = fs::read_to_string(&self.file);
        read.map(|text| (name.clone(), text)).map_err(|error| UsageError(format!("{name}: {error}")).into())
    }

    fn with_parameters(&self, mut query: kql::Query, folder: &Path) -> anyhow::Result<kql::Query> {
        let known: Vec<String> = query.parameters().iter().map(|it| it.name.clone()).collect();
        let phases = match &self.phases {
            Some(file) => Some(PhasesFile::read(file)?),
            None => PhasesFile::beside(folder)?,
        };
        let found = phases.as_ref().map(PhasesFile::parameters).unwrap_or_default();
        let is_given = |name: &String| self.parameters.iter().any(|it| it.0 == *name);
        let found: Vec<_> = found.into_iter().filter(|(name, _)| known.contains(name) && !is_given(name)).collect();
        if !found.is_empty() {
            let told: Vec<String> = found.iter().map(|(name, value)| format!("{name}={value}")).collect();
            err(&format!("from the phases: {}", told.join(" ")));
        }
        for (name, value) in found.iter().chain(&self.parameters) {
            query =
                query.with_parameter(name, value).map_err(|error| UsageError(format!("--param {name}: {error}")))?;
        }
        Ok(query)
    }
}

/// The folder itself, or `tables` in it: a run's folder and an import's have them there.
fn tables_of(folder: &Path) -> Result<PathBuf, UsageError> {
    let inside = folder.join("tables");
    match (inside.is_dir(), folder.is_dir()) {
        (true, _) => Ok(inside),
        (false, true) => Ok(folder.to_owned()),
        (false, false) => Err(UsageError(format!("--tables {}: there is no such folder", folder.display()))),
    }
}

/// Tables of the run that ended last.
fn newest_run(evidence: &Path) -> anyhow::Result<PathBuf> {
    let missing = || {
        anyhow!("there is no run in {}: run `cargo lab run oom`, or name tables with --tables DIR", evidence.display())
    };
    let labs = fs::read_dir(evidence).map_err(|_| missing())?;
    let latest = labs.filter_map(|it| it.ok()?.path().join("latest").canonicalize().ok());
    // The folders are named by the time of their start.
    let newest = latest.max_by_key(|it| it.file_name().map(ToOwned::to_owned)).ok_or_else(missing)?;
    let tables = newest.join("tables");
    if !tables.is_dir() {
        bail!(
            "{} has no tables: a repeated run has them in run-1, run-2 …; name one with --tables DIR",
            newest.display()
        );
    }
    err(&format!("tables of {}", newest.display()));
    Ok(tables)
}

fn print(table: &kql::Table, format: Format) -> anyhow::Result<()> {
    let names = || table.columns().iter().map(|it| it.name.clone());
    match format {
        Format::Json => {
            let column = |it: &kql::Column| json!({"name": it.name, "type": it.kind.to_string()});
            let rows: Vec<Vec<_>> = table.rows().map(|row| row.iter().map(kql::Value::to_json).collect()).collect();
            let columns: Vec<_> = table.columns().iter().map(column).collect();
            let answer = Map::from_iter([("columns".to_owned(), json!(columns)), ("rows".to_owned(), json!(rows))]);
            out(&serde_json::to_string(&answer)?);
        }
        Format::Csv => {
            out(csv(table)?.trim_end_matches('\n'));
        }
        Format::Table => {
            let rows: Vec<Vec<String>> = table.rows().map(|row| row.iter().map(shown).collect()).collect();
            out(&columns(&names().collect::<Vec<_>>(), &rows));
            let count = rows.len();
            out(&format!("{count} {}", if count == 1 { "row" } else { "rows" }));
        }
    }
    Ok(())
}

/// A value on one line of a table.
fn shown(value: &kql::Value) -> String {
    let text = value.to_string();
    if text.contains(['\n', '\r', '\t']) { text.escape_debug().to_string() } else { text }
}
