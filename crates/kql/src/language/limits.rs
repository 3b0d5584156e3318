//! What bounds a query, and the account of what it has used.

use std::cell::Cell;

/// Bytes of a query's text.
pub const MAX_TEXT: usize = 256 * 1024;
/// Levels of nesting, and operators in one chain.
pub const MAX_DEPTH: usize = 64;
/// Operators and `let`s of a query.
pub const MAX_STEPS: usize = 2_000;
/// Columns of a table that a query makes.
pub const MAX_COLUMNS: usize = 2_000;
/// Bytes of a string that a query makes, as Kusto has it.
pub const MAX_STRING: usize = 1024 * 1024;
/// Elements of a list that an aggregate makes, as Kusto has it.
pub const MAX_LIST: usize = 1_048_576;

/// What a run may use. Each is a documented constant by default.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Rows of any table the query makes.
    pub rows: usize,
    /// Rows visited, all operators together.
    pub work: u64,
    /// Bytes of strings and dynamic values the query makes.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows: 20_000_000, work: 4_000_000_000, bytes: 4 << 30 }
    }
}

impl Limits {
    /// As many rows, visits and bytes, where the defaults are too much.
    pub fn new(rows: usize, work: u64, bytes: u64) -> Self {
        Self { rows, work, bytes }
    }
}

/// What is left of the limits, and the time of the query.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) now: i64,
    rows: usize,
    work: Cell<u64>,
    bytes: Cell<u64>,
    limits: Limits,
}

impl Env {
    pub(crate) fn new(now: i64, limits: Limits) -> Self {
        Self { now, rows: limits.rows, work: Cell::new(limits.work), bytes: Cell::new(limits.bytes), limits }
    }

    /// Charges a step over `rows` rows.
    pub(crate) fn spend(&self, rows: usize) -> Result<(), String> {
        let left = self.work.get().saturating_sub(rows as u64 + 1);
        self.work.set(left);
        if left == 0 {
            return Err(format!(
                "the query visits more than {} rows, its limit (work); filter earlier",
                self.limits.work
            ));
        }
        if self.bytes.get() == 0 {
            let bytes = self.limits.bytes;
            return Err(format!(
                "the query makes more than {bytes} bytes of text and dynamic values, its limit (bytes)"
            ));
        }
        Ok(())
    }

    /// Whether a table may have so many rows.
    pub(crate) fn fits(&self, rows: usize) -> Result<(), String> {
        if rows <= self.rows {
            Ok(())
        } else {
            Err(format!("the query makes a table of more than {} rows, its limit (rows)", self.rows))
        }
    }

    /// Charges bytes; false when there are none left, and the value is then null.
    pub(crate) fn charge(&self, bytes: usize) -> bool {
        let left = self.bytes.get().saturating_sub(bytes as u64);
        self.bytes.set(left);
        left > 0
    }
}
