//! A folder of tables as the database of a query: rows typed by the schema, under the names of either family.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use serde_json::Value as Json;

use super::{
    jsonl,
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

/// The columns of all tables of the schema.
pub fn documented(profile: Profile) -> kql::Schemas {
    schema::tables(profile).iter().map(|it| (it.name.clone(), it.columns.clone())).collect()
}

/// Reads the tables of these names.
///
/// # Errors
/// When a file cannot be read. A table without a file is empty.
pub fn load(folder: &Path, names: &BTreeSet<String>, profile: Profile) -> Result<Loaded, ReadError> {
    let now = clock::utc_now().unix_timestamp_nanos();
    let mut loaded = Loaded { database: Database::at(now), notes: Vec::new() };
    let is_known = |name: &&String| schema::table(name, profile).is_some() || path(folder, name).is_file();
    for name in names.iter().filter(is_known) {
        let path = path(folder, classic_of(name));
        let rows = rows(folder, classic_of(name))?;
        if !path.exists() {
            loaded.notes.push(format!("table {name} is empty: there is no {}", path.display()));
        }
        let (columns, rows) = match schema::table(name, profile) {
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

fn path(folder: &Path, table: &str) -> PathBuf {
    folder.join(table).with_extension("jsonl")
}

fn rows(folder: &Path, table: &str) -> Result<Vec<Json>, ReadError> {
    let path = path(folder, table);
    jsonl::read(&path).map_err(|source| ReadError { path, source })
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
