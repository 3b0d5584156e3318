//! The histories in a task hub's file, without a hub: read while no lab, or another one, works on it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::rows;
use durable::history::History;

/// Reads the state and history of every instance in a file, by id.
///
/// # Errors
/// When it is no task hub's file, or is damaged.
pub fn recorded(file: &Path) -> rusqlite::Result<Vec<(rows::Instance, History)>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    // One view of the file, whatever is written meanwhile.
    let view = connection.unchecked_transaction()?;
    let with_history = |instance: rows::Instance| {
        let events = rows::history(&view, &instance.instance_id)?;
        let history = History::new(instance.instance_id.clone(), events);
        Ok((instance, history))
    };
    rows::all(&view)?.into_iter().map(with_history).collect()
}
