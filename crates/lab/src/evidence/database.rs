//! A folder of tables as the database of a query: rows typed by the schema, under the names of either family.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use serde_json::{Value as Json, json};

use super::{
    Steady, jsonl,
    phases_file::PhasesFile,
    schema::{self, Profile, classic_of, rows_as},
};
use custom_handler::clock;
use kql::{Column, Database, Table, Type, Value};

/// A table that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read the table {}", path.display())]
pub struct ReadError {
    path: PathBuf,
    source: io::Error,
}

/// Tables in memory, and what is to be said about them.
#[derive(Debug)]
pub struct Loaded {
    pub database: Database,
    /// Lines that were passed over, values that are not of their column's type, tables without a file.
    pub notes: Vec<String>,
}

/// The columns of all tables that are known: of the telemetry, and the lab's own.
pub fn documented(profile: Profile) -> kql::Schemas {
    let all = schema::tables(profile).iter().chain(schema::own_tables());
    all.map(|it| (it.name.clone(), it.columns.clone())).collect()
}

/// Reads the tables of these names.
///
/// # Errors
/// When a file cannot be read. A table without a file is empty.
pub fn load(folder: &Path, names: &BTreeSet<String>, profile: Profile) -> Result<Loaded, ReadError> {
    let now = clock::utc_now().unix_timestamp_nanos();
    let mut loaded = Loaded { database: Database::at(now), notes: Vec::new() };
    let run = run_of(folder);
    let steady = Steady::of_run(&run).map_err(|source| ReadError { path: run, source })?;
    let is_known = |name: &&String| known(name, profile).is_some() || file(folder, name).is_file();
    for name in names.iter().filter(is_known) {
        let rows = match name.as_str() {
            schema::FILES => counted(folder)?,
            schema::PHASES if !file(folder, name).exists() => given(folder),
            name => rows(folder, name, steady)?,
        };
        if let Some(why) = missing(folder, name).filter(|_| !file(folder, name).exists()) {
            loaded.notes.push(why);
        }
        let (columns, rows) = match known(name, profile) {
            Some(known) => (known.columns.clone(), rows_as(name, &rows)),
            None => (inferred(&rows), rows),
        };
        let mut unfit = BTreeMap::new();
        let typed = rows.iter().map(|row| columns.iter().map(|it| value(it, row, &mut unfit)).collect()).collect();
        let note = |(column, count): (&str, usize)| {
            format!("{count} values of {name}.{column} are not of its type and read as null")
        };
        loaded.notes.extend(unfit.into_iter().map(note));
        loaded.database.insert(name.clone(), Table::new(columns.clone(), typed));
    }
    Ok(loaded)
}

fn known(name: &str, profile: Profile) -> Option<&'static schema::TableSchema> {
    schema::table(name, profile).or_else(|| schema::own_table(name))
}

/// Whether a table has no file of its own: it is made of other files when it is read.
fn is_made(folder: &Path, table: &str) -> bool {
    table == schema::FILES || (table == schema::PHASES && !given(folder).is_empty())
}

/// Whether a run's folder has a table, with rows or without.
pub fn has(folder: &Path, table: &str) -> bool {
    is_made(folder, table) || file(folder, table).is_file()
}

/// Why a table of a run's folder cannot be told from.
pub fn missing(folder: &Path, table: &str) -> Option<String> {
    if is_made(folder, table) {
        return None;
    }
    let classic = classic_of(table);
    let name = schema::own_file(table).unwrap_or_else(|| format!("tables/{classic}.jsonl"));
    let path = file(folder, table);
    if !path.is_file() {
        return Some(format!("the table {table} is missing: there is no {name}"));
    }
    let is_told_from = schema::may_be_empty(table) || jsonl::has_rows(&path).unwrap_or_default();
    (!is_told_from).then(|| format!("the table {table} is missing: {name} has no rows"))
}

/// What was done and seen, in a run's folder.
pub const JOURNAL: &str = "journal.jsonl";

/// Lines of each file of the run's folder.
fn counted(folder: &Path) -> Result<Vec<Json>, ReadError> {
    let run = run_of(folder);
    let files = jsonl::counted(&run).map_err(|source| ReadError { path: run, source })?;
    // The journal goes on when the rows are judged.
    let rows = files.into_iter().filter(|it| it.0 != JOURNAL);
    Ok(rows.map(|(file, it)| json!({"file": file, "rows": it.rows, "unreadable": it.unreadable})).collect())
}

/// The phases that an import was given.
fn given(folder: &Path) -> Vec<Json> {
    let phases = PhasesFile::beside(folder).ok().flatten().unwrap_or_default().phases;
    let row = |it: &super::phases_file::NamedPhase| json!({"timestamp": it.start.text, "phase": it.name, "start": it.start.text, "end": it.end.text});
    phases.iter().map(row).collect()
}

fn value<'a>(column: &'a Column, row: &Json, unfit: &mut BTreeMap<&'a str, usize>) -> Value {
    let json = row.get(&column.name).or_else(|| instead(&column.name, row)).unwrap_or(&Json::Null);
    Value::from_json(column.kind, json).unwrap_or_else(|| {
        *unfit.entry(column.name.as_str()).or_default() += 1;
        Value::Null
    })
}

/// What stands for a column that a row does not have. An envelope does not name the component it is sent to; here that is named as the
/// app, without which the printed queries find nothing: the column wins over their `let appName`.
fn instead<'a>(column: &str, row: &'a Json) -> Option<&'a Json> {
    if column == "appName" { row.get("cloud_RoleName") } else { None }
}

/// A table's file; the folder is a run's `tables`.
fn file(folder: &Path, table: &str) -> PathBuf {
    match schema::own_file(table) {
        Some(record) => run_of(folder).join(record),
        None => folder.join(classic_of(table)).with_extension("jsonl"),
    }
}

/// The run's folder around its tables.
fn run_of(tables: &Path) -> PathBuf {
    tables.parent().filter(|_| tables.ends_with("tables")).unwrap_or(tables).to_owned()
}

fn rows(folder: &Path, table: &str, steady: Option<Steady>) -> Result<Vec<Json>, ReadError> {
    let path = file(folder, table);
    let mut rows: Vec<Json> = jsonl::read(&path).map_err(|source| ReadError { path, source })?;
    if let Some(steady) = steady {
        rows.iter_mut().for_each(|row| steady.correct(row));
    }
    Ok(rows)
}

/// Columns of rows without a schema, in the order of their first appearance. A column has the type of all its values.
fn inferred(rows: &[Json]) -> Vec<Column> {
    let mut columns: Vec<(String, Option<Type>)> = Vec::new();
    for (name, value) in rows.iter().filter_map(Json::as_object).flatten() {
        let seen = match value {
            Json::Null => None,
            Json::Bool(_) => Some(Type::Bool),
            Json::Number(_) => Some(Type::Real),
            Json::String(text) if schema::read_time(text).is_some() => Some(Type::DateTime),
            Json::String(_) => Some(Type::String),
            Json::Array(_) | Json::Object(_) => Some(Type::Dynamic),
        };
        match columns.iter_mut().find(|it| it.0 == *name) {
            None => columns.push((name.clone(), seen)),
            Some((_, known)) => *known = merged(*known, seen),
        }
    }
    columns.into_iter().map(|(name, kind)| Column::new(name, kind.unwrap_or(Type::String))).collect()
}

fn merged(one: Option<Type>, other: Option<Type>) -> Option<Type> {
    match (one, other) {
        (None, it) | (it, None) => it,
        (Some(one), Some(other)) if one == other => Some(one),
        (Some(Type::DateTime | Type::String), Some(Type::DateTime | Type::String)) => Some(Type::String),
        _ => Some(Type::Dynamic),
    }
}
