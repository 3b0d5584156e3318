//! The run's evidence on disk: one append-only JSON-lines file per Azure Monitor table.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;

use super::jsonl::{JsonLines, WriteError};
use super::row_file::LostRows;

/// A table the queries read, named as they name it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Table {
    /// One row per invocation.
    Requests,
    /// One row per log line.
    Traces,
    /// One row per exception logged by the host.
    Exceptions,
    /// One row per outgoing call of the handler.
    Dependencies,
    /// One row per gauge sample.
    PerformanceCounters,
    /// One row per value, or per aggregate of values, of any other metric.
    CustomMetrics,
    /// One row per event an app tells.
    CustomEvents,
    /// The host's log lines as the workspace keeps them.
    FunctionAppLogs,
    /// One row per work item of the task hub: what it cost, which no table of Azure Monitor tells.
    Episodes,
    /// One row per invocation that the emulated host dispatched.
    Dispatches,
}

impl Table {
    const ALL: [Self; 10] = [
        Self::Requests,
        Self::Traces,
        Self::Exceptions,
        Self::Dependencies,
        Self::PerformanceCounters,
        Self::CustomMetrics,
        Self::CustomEvents,
        Self::FunctionAppLogs,
        Self::Episodes,
        Self::Dispatches,
    ];

    /// The table of a name, as it is spelt.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// The name used in queries and, with `.jsonl`, in the folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Traces => "traces",
            Self::Exceptions => "exceptions",
            Self::Dependencies => "dependencies",
            Self::PerformanceCounters => "performanceCounters",
            Self::CustomMetrics => "customMetrics",
            Self::CustomEvents => "customEvents",
            Self::FunctionAppLogs => "FunctionAppLogs",
            Self::Episodes => "episodes",
            Self::Dispatches => "dispatches",
        }
    }
}

/// Writers of a run's tables. Several processes may share a folder.
#[derive(Clone, Debug)]
pub struct Tables {
    folder: Arc<PathBuf>,
    state: Arc<Mutex<State>>,
    lost: Arc<LostRows>,
    /// Folders of this machine, each with what stands for it in a row: the longest first.
    places: Arc<Vec<(String, &'static str)>>,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<Table, JsonLines>,
    /// Rows in a row that a table has not taken.
    failing: HashMap<Table, u64>,
}

impl Tables {
    /// Opens the tables in a folder, which is created if need be. A table's file appears with its first row.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self {
            folder: Arc::new(folder.to_owned()),
            state: Arc::default(),
            lost: Arc::new(LostRows::open(folder)),
            places: Arc::default(),
        })
    }

    /// The same, with names in the place of folders: evidence is given to others, and a path tells them whose machine it was.
    #[must_use]
    pub fn naming(mut self, places: &[(&Path, &'static str)]) -> Self {
        let mut places: Vec<(String, &str)> = places.iter().map(|it| (it.0.display().to_string(), it.1)).collect();
        places.sort_by_key(|it| std::cmp::Reverse(it.0.len()));
        self.places = Arc::new(places);
        self
    }

    /// Where a table's rows are.
    pub fn path(&self, table: Table) -> PathBuf {
        self.folder.join(format!("{}.jsonl", table.name()))
    }

    /// Adds a row. One that cannot be written is counted beside the tables and told once on the lab's own log: evidence must
    /// not vanish unnoticed, but a full disk must not fail an invocation either.
    pub fn append(&self, table: Table, row: &Value) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let name = table.name();
        let named = (!self.places.is_empty()).then(|| renamed(row, &self.places));
        match self.try_append(&mut state.files, table, named.as_ref().unwrap_or(row)) {
            Err(WriteError { source, .. }) => {
                let is_counted = self.lost.add(name, &source);
                let failing = state.failing.entry(table).or_default();
                *failing += 1;
                if *failing == 1 {
                    let uncounted = if is_counted { "" } else { ", nor can they be counted" };
                    tracing::error!("rows of table {name} are lost{uncounted}: {source}");
                }
            }
            Ok(()) => {
                if let Some(lost) = state.failing.remove(&table) {
                    tracing::warn!("table {name} takes rows again; {lost} were lost");
                }
            }
        }
    }

    fn try_append(&self, files: &mut HashMap<Table, JsonLines>, table: Table, row: &Value) -> Result<(), WriteError> {
        match files.entry(table) {
            Entry::Occupied(file) => file.into_mut().write(row),
            Entry::Vacant(entry) => entry.insert(JsonLines::append(&self.path(table))?).write(row),
        }
    }
}

/// A row with names in the place of folders.
fn renamed(value: &Value, places: &[(String, &str)]) -> Value {
    match value {
        Value::String(text) => Value::String(places.iter().fold(text.clone(), |text, it| text.replace(&it.0, it.1))),
        Value::Array(items) => items.iter().map(|it| renamed(it, places)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, it)| (name.clone(), renamed(it, places))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn two_writers_append_whole_lines_to_one_table() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (Tables::open(folder.path()).unwrap(), Tables::open(folder.path()).unwrap());
        for row in 0..50 {
            one.append(Table::Traces, &json!({"message": "one", "row": row}));
            two.append(Table::Traces, &json!({"message": "two", "row": row}));
        }
        let text = std::fs::read_to_string(one.path(Table::Traces)).unwrap();
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len(), 100);
        assert_eq!(rows.iter().filter(|row| row["message"] == "two").count(), 50);
    }

    #[test]
    fn a_row_names_no_folder_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let places = [(Path::new("/srv/app"), "<app>"), (Path::new("/srv/app/.lab"), "<work>")];
        let tables = Tables::open(folder.path()).unwrap().naming(&places);
        let row = json!({"message": "start /srv/app/handler", "customDimensions": {"log": ["/srv/app/.lab/logs", 7]}});
        tables.append(Table::Traces, &row);
        let text = std::fs::read_to_string(tables.path(Table::Traces)).unwrap();
        let wanted = json!({"message": "start <app>/handler", "customDimensions": {"log": ["<work>/logs", 7]}});
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wanted);
    }
}
