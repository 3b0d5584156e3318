//! Puts queries to a folder of tables: parameters from its phases, and a reason where the tables cannot answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use kql::{Database, Query, Table, Value};
use serde_json::Map;

use super::{
    Definition,
    session::{QueryRecord, QueryWindow, Session},
};
use crate::evidence::{
    database::{self, ReadError},
    phases_file::{PhasesFile, camel},
    schema::Profile,
};

/// A query and what it is asked about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// The query's file.
    pub query: &'a str,
    /// Which of its rows count: a KQL predicate, or nothing.
    pub keep: &'a str,
    pub phase: &'a str,
    pub against: &'a str,
    pub parameters: Option<&'a BTreeMap<String, String>>,
    /// The criterion or figure it is asked for.
    pub asked_by: &'a str,
    /// Whether tables that are missing count as empty: for figures that nothing is concluded from.
    pub is_lenient: bool,
}

/// A query's rows.
#[derive(Clone, Debug)]
pub struct Answer {
    pub table: Table,
}

impl Answer {
    pub fn has(&self, column: &str) -> bool {
        self.table.columns().iter().any(|it| it.name == column)
    }

    /// The rows as JSON, by column.
    pub fn rows(&self) -> impl Iterator<Item = Map<String, serde_json::Value>> {
        let names = self.table.columns().iter().map(|it| it.name.clone());
        let names: Vec<String> = names.collect();
        self.table.rows().map(move |row| names.iter().cloned().zip(row.iter().map(Value::to_json)).collect())
    }
}

/// Why the tables cannot answer.
#[derive(Clone, Debug)]
pub struct Unanswerable {
    pub reason: String,
    /// Whether it is the lab's own records that are missing.
    pub needs_own_records: bool,
}

impl Unanswerable {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), needs_own_records: false }
    }
}

/// A question that cannot be put.
#[derive(Debug, thiserror::Error)]
pub enum AskerError {
    #[error("the lab {lab} has no query {query}")]
    NoQuery { lab: &'static str, query: String },
    #[error("the query {query} has no column {column}")]
    NoColumn { query: String, column: String },
    #[error("the query {query} cannot be put: {problem}")]
    Wrong { query: String, problem: String },
    #[error(transparent)]
    Table(#[from] ReadError),
}

/// Parameters by name.
type Values = Vec<(String, String)>;

/// Tables, and the queries that were put to them.
pub struct Asker {
    definition: Definition,
    tables: PathBuf,
    database: Database,
    /// Of all tables that are known, read or not.
    schemas: kql::Schemas,
    phases: PhasesFile,
    /// Phases by the names that parameters have for them.
    stands_for: BTreeMap<String, String>,
    parameters: Vec<(String, String)>,
    /// Times of the app's rows in each table of telemetry, in order.
    times: BTreeMap<String, Vec<i64>>,
    session: Session,
    /// Tables of the lab's own that a criterion may lack.
    excused: fn(&str) -> bool,
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asker").field("definition", &self.definition).finish_non_exhaustive()
    }
}

impl Asker {
    /// Reads the tables that the queries of these files need.
    ///
    /// # Errors
    /// When a table cannot be read, or a query is not there or wrong.
    pub fn read<'a>(
        definition: Definition,
        folder: &Path,
        queries: impl Iterator<Item = &'a str>,
        phases: PhasesFile,
        parameters: Vec<(String, String)>,
    ) -> Result<Self, AskerError> {
        let mut names = BTreeSet::new();
        for file in queries {
            names.extend(parsed(definition, file, "")?.tables());
        }
        let tables = folder.join("tables");
        let database = database::load(&tables, &names, Profile::Documented)?.database;
        let app = phases.app_name.clone();
        let times = names.iter().filter_map(|it| Some((it.clone(), ticks(database.tables.get(it)?, &app)))).collect();
        let stands_for = definition.rules().map(|it| it.stands_for).unwrap_or_default();
        let session = Session::default();
        let mut schemas = database::documented(Profile::Documented);
        schemas.extend(database.schemas());
        Ok(Self {
            definition,
            tables,
            database,
            schemas,
            phases,
            stands_for,
            parameters,
            times,
            session,
            excused: is_own,
        })
    }

    /// Says which of the lab's own records are not missed; all of them if this is not called.
    #[must_use]
    pub fn excusing(self, excused: fn(&str) -> bool) -> Self {
        Self { excused, ..self }
    }

    /// What the judge gives the queries beside the phases.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|it| it.0 == name).map(|it| it.1.as_str())
    }

    /// Puts a question, and keeps it with its answer.
    ///
    /// # Errors
    /// When the question is wrong. That the tables cannot answer is no error.
    pub fn ask(&mut self, question: &Question<'_>) -> Result<Result<Answer, Unanswerable>, AskerError> {
        let query = parsed(self.definition, question.query, question.keep)?;
        let (found, windows) = match self.values(&query, question) {
            Ok(found) => found,
            Err(reason) => return Ok(Err(Unanswerable { needs_own_records: self.lacks_own_records(&query), reason })),
        };
        if let Some(unanswerable) = self.lacking(&query, &windows).filter(|_| !question.is_lenient) {
            return Ok(Err(unanswerable));
        }
        let wrong = |problem: String| AskerError::Wrong { query: question.query.to_owned(), problem };
        let text = with_values(query.text(), &query.parameters(), &found);
        let set = |query: Query, (name, value): &(String, String)| query.with_parameter(name, value);
        let query = found.iter().try_fold(query, set).map_err(|error| wrong(error.render(question.query)))?;
        query.check(&self.schemas).map_err(|error| wrong(error.render(query.text())))?;
        let output = match query.run(&self.database) {
            Ok(output) => output,
            Err(error) => return Ok(Err(Unanswerable::new(format!("the query stopped: {}", error.message)))),
        };
        let window = windows.iter().find(|it| !question.phase.is_empty() && it.phase == question.phase);
        self.session.add(QueryRecord::new(question, text, found, window.cloned(), &output.table));
        Ok(Ok(Answer { table: output.table }))
    }

    /// All questions and answers.
    pub fn into_session(self) -> Session {
        self.session
    }

    /// The query's parameters that are known, and the windows they make; or which phase there is not.
    fn values(&self, query: &Query, question: &Question<'_>) -> Result<(Values, Vec<QueryWindow>), String> {
        let names: Vec<String> = query.parameters().into_iter().map(|it| it.name).collect();
        let windows = self.windows(&names, question)?;
        let bounds = windows.iter().flat_map(|(name, window)| {
            [(format!("{name}Start"), window.start.clone()), (format!("{name}End"), window.end.clone())]
        });
        let mut values: Values = bounds.collect();
        let given = self.phases.parameters();
        for name in &names {
            let is_known = values.iter().any(|(known, _)| known == name);
            let value = if is_known { None } else { self.value(name, question, &given)? };
            values.extend(value.map(|it| (name.clone(), it)));
        }
        Ok((values, windows.into_iter().map(|it| it.1).collect()))
    }

    /// The windows of a query, by the names that its parameters have for them.
    fn windows(&self, names: &[String], question: &Question<'_>) -> Result<Vec<(String, QueryWindow)>, String> {
        let windows: Vec<&str> =
            names.iter().filter_map(|it| it.strip_suffix("Start")).filter(|it| *it != "run").collect();
        let found = windows.iter().map(|window| {
            let phase = match *window {
                "reference" => question.against.to_owned(),
                "window" => question.phase.to_owned(),
                _ if windows.len() == 1 && !question.phase.is_empty() => question.phase.to_owned(),
                window => {
                    let named = self.phases.phases.iter().map(|it| &it.name).find(|it| camel(it) == window);
                    named.map_or_else(|| kebab(window), Clone::clone)
                }
            };
            let known = self.phase(&phase).ok_or_else(|| format!("there is no phase {phase}"))?;
            let (start, end) = (known.start.text.clone(), known.end.text.clone());
            Ok(((*window).to_owned(), QueryWindow { phase, start, end }))
        });
        found.collect()
    }

    /// The value of any other parameter; none where its default stands.
    fn value(&self, name: &str, question: &Question<'_>, given: &[(String, String)]) -> Result<Option<String>, String> {
        let own = question.parameters.and_then(|it| it.get(name)).map(String::as_str).or_else(|| self.parameter(name));
        let of_phases = || given.iter().find(|it| it.0 == name).map(|it| it.1.as_str());
        match (own.or_else(of_phases), name.strip_suffix("Id")) {
            (Some(value), _) => Ok(Some(value.to_owned())),
            (None, _) if ["runStart", "runEnd"].contains(&name) => {
                Err("there are no phases: write them in phases.json".to_owned())
            }
            (None, Some(phase)) => Err(format!("the phase {} names no instance", kebab(phase))),
            (None, None) => Ok(None),
        }
    }

    fn phase(&self, name: &str) -> Option<&crate::evidence::phases_file::NamedPhase> {
        self.phases.phase(name).or_else(|| self.phases.phase(self.stands_for.get(name)?))
    }

    /// Why the tables cannot answer: one is missing, or has no rows of the app in a window. Without this, rows that are not there would
    /// count as things that did not happen.
    fn lacking(&self, query: &Query, windows: &[QueryWindow]) -> Option<Unanswerable> {
        let has_app = query.parameters().iter().any(|it| it.name == "appName");
        for table in query.tables() {
            if let Some(reason) = database::missing(&self.tables, &table) {
                return Some(Unanswerable { reason, needs_own_records: (self.excused)(&table) });
            }
            let Some(times) = self.times.get(&table).filter(|_| has_app && !is_own(&table)) else { continue };
            let app = &self.phases.app_name;
            if times.is_empty() {
                return Some(Unanswerable::new(format!(
                    "{table} has no rows of the app {app:?}, which phases.json names"
                )));
            }
            let is_within = |window: &&QueryWindow| {
                let (Some(start), Some(end)) = (tick(&window.start), tick(&window.end)) else { return false };
                times.partition_point(|it| *it < start) < times.partition_point(|it| *it < end)
            };
            if let Some(empty) = windows.iter().find(|it| !is_within(it)) {
                return Some(Unanswerable::new(format!("{table} has no rows in the phase {}", empty.phase)));
            }
        }
        None
    }

    fn lacks_own_records(&self, query: &Query) -> bool {
        query.tables().iter().any(|it| (self.excused)(it) && database::missing(&self.tables, it).is_some())
    }
}

/// Whether only a lab writes the table.
pub(super) fn is_own(table: &str) -> bool {
    table.starts_with("lab_")
}

fn parsed(definition: Definition, file: &str, keep: &str) -> Result<Query, AskerError> {
    let text = definition.query(file);
    let text = text.ok_or_else(|| AskerError::NoQuery { lab: definition.name, query: file.to_owned() })?;
    let text = if keep.is_empty() { text.to_owned() } else { format!("{}\n| where {keep}\n", text.trim_end()) };
    Query::parse(&text).map_err(|error| AskerError::Wrong { query: file.to_owned(), problem: error.render(&text) })
}

/// `recoveryA` as a phase's name: `recovery-a`.
fn kebab(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() || letter.is_ascii_digit() {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

fn tick(text: &str) -> Option<i64> {
    match Value::parse(kql::Type::DateTime, text)? {
        Value::DateTime(it) => Some(it),
        _ => None,
    }
}

/// The times of an app's rows in a table, in order.
fn ticks(table: &Table, app: &str) -> Vec<i64> {
    let place = |names: &[&str]| table.columns().iter().position(|it| names.contains(&it.name.as_str()));
    let Some(time) = place(&["timestamp", "TimeGenerated"]) else { return Vec::new() };
    let role = place(&["cloud_RoleName", "AppRoleName", "AppName"]);
    let is_its = |row: &Vec<Value>| role.is_none_or(|it| row[it].to_string() == app);
    let read = |row: Vec<Value>| match row[time] {
        Value::DateTime(it) => Some(it),
        _ => None,
    };
    let mut times: Vec<i64> = table.rows().filter(is_its).filter_map(read).collect();
    times.sort_unstable();
    times
}

/// The text with the values in the places of its parameters, so that it can be run as it stands.
fn with_values(text: &str, parameters: &[kql::Parameter], values: &[(String, String)]) -> String {
    let line = |line: &str| {
        let name = line.strip_prefix("let ").and_then(|it| it.split_once(" = ")).map(|it| it.0);
        let found = name.and_then(|name| {
            let value = values.iter().find(|it| it.0 == name)?;
            Some((name, &value.1, parameters.iter().find(|it| it.name == name)?.kind))
        });
        let Some((name, value, kind)) = found else { return line.to_owned() };
        let literal = match kind {
            kql::Type::DateTime => format!("datetime({value})"),
            kql::Type::String => format!("{value:?}"),
            _ => value.clone(),
        };
        format!("let {name} = {literal};")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
}
