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

/// What has become of instances so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Those that have ended.
    pub instances: u64,
    /// Those of them that have not completed.
    pub failed: u64,
    /// When the first of them was started, in nanoseconds since 1970.
    pub first_started: i64,
    /// When the last of them ended.
    pub last_ended: i64,
}

/// Looks at those instances in a file whose id begins so.
///
/// # Errors
/// When it is no task hub's file.
pub fn progress(file: &Path, prefix: &str) -> rusqlite::Result<Progress> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    rows::progress(&Connection::open_with_flags(file, flags)?, prefix)
}
