//! Tables made of evidence from elsewhere: envelopes and portal exports become `DIR/tables`, in order of time.

mod export;
mod folder;
mod function_logs;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use serde_json::{Map, Value};
use time::OffsetDateTime;

use self::{export::Export, function_logs::FunctionLogs};
use super::{
    counts::Counts,
    envelope::{Envelope, Refusal},
    rows::{TableRow, rows_of},
};
use crate::evidence::{row_file::LostRows, schema::rows_as, table_writer::Table};

pub use folder::{FolderRefusal, ImportFolder, SUMMARY, WriteRefusal};
pub use source::ReadError;

/// Rows as lines, each with its time.
type Lines = Vec<(OffsetDateTime, String)>;

/// What has been read so far.
#[derive(Debug, Default)]
pub struct Import {
    /// The table that rows are of where neither they nor their columns say.
    table: Option<&'static str>,
    counts: Counts,
    tables: BTreeMap<Table, Lines>,
    logs: FunctionLogs,
    /// Columns of exports that no table has.
    columns_not_kept: BTreeSet<String>,
}

/// What was read: rows by table, in order of time.
#[derive(Debug)]
pub struct Imported {
    pub counts: Counts,
    /// Rows of `FunctionAppLogs` that are made of the host's traces.
    pub derived: usize,
    pub columns_not_kept: BTreeSet<String>,
    tables: BTreeMap<Table, Lines>,
}

impl Import {
    /// An import whose rows are of `table` where they do not say themselves: a name of either family.
    ///
    /// # Errors
    /// Gives the names there are when this is none.
    pub fn new(table: Option<&str>) -> Result<Self, String> {
        let table = table.map(export::table_named).transpose()?;
        Ok(Self { table, ..Self::default() })
    }

    /// Reads a file; `told` is called now and then with what has been read.
    ///
    /// # Errors
    /// When it cannot be read, or is an export whose columns are of no table. What is wrong with an item is counted.
    pub fn read(&mut self, path: &Path, mut told: impl FnMut(&Counts)) -> Result<(), ReadError> {
        let mut export = Export::new(path, self.table);
        source::read(path, &mut export, |place, export, item| {
            self.take(place, export, item);
            if self.counts.received.is_multiple_of(1000) {
                told(&self.counts);
            }
        })
    }

    /// Takes rows of a table, which is named after either family.
    ///
    /// # Errors
    /// When there is no such table. What is wrong with a row is counted.
    pub fn take_rows(&mut self, table: &str, rows: impl Iterator<Item = Map<String, Value>>) -> Result<(), String> {
        let mut export = Export::new(Path::new(table), Some(export::table_named(table)?));
        for (number, row) in (1..).zip(rows) {
            self.take(&format!("{table} row {number}"), &mut export, Ok(Value::Object(row)));
        }
        Ok(())
    }

    /// Sorts what was read, and derives `FunctionAppLogs` where no export had it.
    pub fn finish(mut self) -> Imported {
        let mut derived = 0;
        if !self.tables.contains_key(&Table::FunctionAppLogs) {
            for row in self.logs.rows() {
                derived += 1;
                self.keep(row);
            }
        }
        for lines in self.tables.values_mut() {
            lines.sort_by_key(|it| it.0);
        }
        let Self { counts, tables, columns_not_kept, .. } = self;
        Imported { counts, derived, columns_not_kept, tables }
    }

    fn take(&mut self, place: &str, export: &mut Export, item: Result<Value, Refusal>) {
        let taken = item.and_then(|it| match it {
            Value::Object(row) if export::is_row(&row) => self.export_row(export, &row),
            other => self.envelope(other),
        });
        match taken {
            Ok(kind) => self.counts.accept(kind.as_deref()),
            Err(refusal) => self.counts.refuse(place, &refusal),
        }
    }

    fn envelope(&mut self, item: Value) -> Result<Option<String>, Refusal> {
        let envelope = Envelope::read(item)?;
        rows_of(&envelope)?.into_iter().for_each(|row| self.take_row(row));
        Ok(Some(envelope.item.kind))
    }

    fn export_row(&mut self, export: &mut Export, row: &Map<String, Value>) -> Result<Option<String>, Refusal> {
        let row = export.row(row, &mut self.columns_not_kept)?;
        self.take_row(row);
        Ok(None)
    }

    fn take_row(&mut self, row: TableRow) {
        self.logs.note(&row);
        self.keep(row);
    }

    fn keep(&mut self, row: TableRow) {
        self.counts.row(row.table.name());
        self.tables.entry(row.table).or_default().push((row.at, Value::Object(row.columns).to_string()));
    }
}

impl Imported {
    /// Tables of which only a sample was kept: name, items that the rows stand for, rows.
    pub fn sampled(&self) -> impl Iterator<Item = (&'static str, u64, u64)> {
        let weight = |line: &(OffsetDateTime, String)| {
            let row: Value = serde_json::from_str(&line.1).unwrap_or_default();
            row["itemCount"].as_u64().unwrap_or(1).max(1)
        };
        let sums = self.tables.iter().filter(|it| *it.0 != Table::CustomMetrics);
        let sums = sums.map(move |(table, lines)| (table.name(), lines.iter().map(weight).sum(), lines.len() as u64));
        sums.filter(|(_, items, rows)| items > rows)
    }

    /// Writes the tables into a folder of them, in the place of those of the same names.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write(&self, tables: &Path) -> io::Result<()> {
        std::fs::create_dir_all(tables)?;
        // Nothing was lost on the way that is not told: there is a count, and it is none.
        LostRows::open(tables);
        for (table, lines) in &self.tables {
            let path = tables.join(table.name()).with_extension("jsonl");
            folder::write_lines(&path, lines.iter().map(|it| it.1.as_str()))?;
        }
        Ok(())
    }

    /// The rows of a table under its own names: `requests` or `AppRequests`.
    ///
    /// # Errors
    /// When a row is not JSON.
    pub fn rows(&self, table: &str) -> serde_json::Result<Vec<Value>> {
        let lines = Table::named(crate::evidence::schema::classic_of(table)).and_then(|it| self.tables.get(&it));
        let rows: Vec<Value> =
            lines.into_iter().flatten().map(|it| serde_json::from_str(&it.1)).collect::<serde_json::Result<_>>()?;
        Ok(rows_as(table, &rows))
    }
}
