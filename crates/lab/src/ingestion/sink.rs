//! Where envelopes go that arrive: as rows into tables, as they are into a file, or both.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use super::{envelope::Refusal, rows::TableRow};
use crate::evidence::{
    jsonl::{JsonLines, WriteError},
    table_writer::Tables,
};

#[derive(Debug, Default)]
pub struct Sink {
    tables: Option<Tables>,
    /// The file, and whether it took the last envelope.
    file: Option<Mutex<(JsonLines, bool)>>,
}

impl Sink {
    /// Rows into these tables. What a full disk does not take is counted beside them.
    pub fn tables(tables: Tables) -> Self {
        Self { tables: Some(tables), file: None }
    }

    /// Envelopes into a file of JSON lines, behind what it has.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn file(path: &Path) -> Result<Self, WriteError> {
        Self::default().and_file(path)
    }

    /// The same, and envelopes into a file.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn and_file(mut self, path: &Path) -> Result<Self, WriteError> {
        self.file = Some(Mutex::new((JsonLines::append(path)?, true)));
        Ok(self)
    }

    /// Adds an envelope to the file, if there is one.
    pub(super) fn keep(&self, envelope: &Value) -> Result<(), Refusal> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.0.write(envelope);
        if written.is_err() && file.1 {
            tracing::error!("envelopes are not stored, and their senders are asked to try again: {written:?}");
        }
        file.1 = written.is_ok();
        written.map_err(|error| Refusal::NotStored(error.source.to_string()))
    }

    pub(super) fn append(&self, row: TableRow) {
        if let Some(tables) = &self.tables {
            tables.append(row.table, &Value::Object(row.columns));
        }
    }
}
