//! `kql-session.json`: every query that was put to the tables, and what it gave.

use kql::{Table, Value};
use serde::Serialize;
use serde_json::{Map, json};

use super::Question;

/// The phase that a query is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueryWindow {
    pub phase: String,
    pub start: String,
    pub end: String,
}

/// A query as it ran.
#[derive(Clone, Debug, Serialize)]
pub struct QueryRecord {
    pub name: String,
    /// Complete: pasted as it is, it asks the same.
    pub text: String,
    parameters: Map<String, serde_json::Value>,
    window: Option<QueryWindow>,
    /// Name and type of each.
    columns: Vec<serde_json::Value>,
    pub rows: Vec<Vec<serde_json::Value>>,
    engine: String,
    /// The criteria and figures it was put for.
    #[serde(rename = "for")]
    asked_by: Vec<String>,
}

impl QueryRecord {
    pub(super) fn new(
        question: &Question<'_>,
        text: String,
        parameters: Vec<(String, String)>,
        window: Option<QueryWindow>,
        table: &Table,
    ) -> Self {
        Self {
            name: question.query.to_owned(),
            text,
            parameters: parameters.into_iter().map(|(name, value)| (name, json!(value))).collect(),
            window,
            columns: table.columns().iter().map(|it| json!({"name": it.name, "type": it.kind.to_string()})).collect(),
            rows: table.rows().map(|row| row.iter().map(Value::to_json).collect()).collect(),
            engine: format!("kql {}", env!("CARGO_PKG_VERSION")),
            asked_by: vec![question.asked_by.to_owned()],
        }
    }
}

/// Queries in the order in which they were put, each once.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Session {
    queries: Vec<QueryRecord>,
}

impl QueryRecord {
    /// Names of the columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter_map(|it| it["name"].as_str())
    }
}

impl Session {
    pub fn queries(&self) -> &[QueryRecord] {
        &self.queries
    }

    pub(super) fn add(&mut self, record: QueryRecord) {
        match self.queries.iter_mut().find(|it| it.name == record.name && it.text == record.text) {
            Some(known) => known.asked_by.extend(record.asked_by),
            None => self.queries.push(record),
        }
    }

    pub fn len(&self) -> usize {
        self.queries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }
}
