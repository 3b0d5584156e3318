//! Tables: columns of values, and views of them that share what they have in common.

use std::{collections::BTreeMap, sync::Arc};

use crate::language::value::{Type, Value};

/// A column's name and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Type,
}

impl Column {
    pub fn new(name: impl Into<String>, kind: Type) -> Self {
        Self { name: name.into(), kind }
    }
}

pub type Schema = Vec<Column>;
/// Table names, case-sensitive, and their columns.
pub type Schemas = BTreeMap<String, Schema>;

/// A column's cells; views of one table share them.
#[derive(Clone, Debug)]
pub(crate) enum Cells {
    Same(Value),
    All(Arc<Vec<Value>>),
    Picked(Arc<Vec<Value>>, Arc<Vec<u32>>),
}

impl Cells {
    pub(crate) fn at(&self, row: usize) -> &Value {
        match self {
            Self::Same(it) => it,
            Self::All(it) => &it[row],
            Self::Picked(it, rows) => &it[rows[row] as usize],
        }
    }
}

/// Rows with the same columns.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) columns: Vec<Cells>,
    pub(crate) len: usize,
}

impl Batch {
    /// Keeps the rows in `rows`, in that order. Columns that share an index go on sharing one.
    pub(crate) fn pick(&self, rows: Vec<u32>) -> Self {
        let len = rows.len();
        let rows = Arc::new(rows);
        let mut known: Vec<(*const Vec<u32>, Arc<Vec<u32>>)> = Vec::new();
        let columns = self.columns.iter().map(|it| match it {
            Cells::Same(it) => Cells::Same(it.clone()),
            Cells::All(it) => Cells::Picked(it.clone(), rows.clone()),
            Cells::Picked(it, old) => {
                let key = Arc::as_ptr(old);
                let at = known.iter().position(|(it, _)| *it == key).unwrap_or_else(|| {
                    known.push((key, Arc::new(rows.iter().map(|row| old[*row as usize]).collect())));
                    known.len() - 1
                });
                Cells::Picked(it.clone(), known[at].1.clone())
            }
        });
        Self { columns: columns.collect(), len }
    }
}

/// A table: its columns, and its rows in order.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub(crate) schema: Schema,
    pub(crate) batches: Vec<Batch>,
}

impl Table {
    /// Cells beyond the schema are dropped; those a row lacks are null, or empty texts.
    pub fn new(schema: Schema, rows: Vec<Vec<Value>>) -> Self {
        let len = rows.len();
        let mut columns: Vec<Vec<Value>> = schema.iter().map(|_| Vec::with_capacity(len)).collect();
        for row in rows {
            let mut cells = row.into_iter();
            for (column, cells_of) in schema.iter().zip(&mut columns) {
                cells_of.push(fit(column.kind, cells.next().unwrap_or_default()));
            }
        }
        let columns = columns.into_iter().map(|it| Cells::All(Arc::new(it))).collect();
        Self { schema, batches: vec![Batch { columns, len }] }
    }

    pub fn columns(&self) -> &[Column] {
        &self.schema
    }

    pub fn len(&self) -> usize {
        self.batches.iter().map(|it| it.len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn rows(&self) -> impl Iterator<Item = Vec<Value>> + '_ {
        self.batches
            .iter()
            .flat_map(|batch| (0..batch.len).map(|row| batch.columns.iter().map(|it| it.at(row).clone()).collect()))
    }
}

/// An absent text is empty.
fn fit(kind: Type, value: Value) -> Value {
    if kind == Type::String && value.is_null() { Value::text("") } else { value }
}

/// Tables by name, and the time that `now()` has.
#[derive(Clone, Debug, Default)]
pub struct Database {
    /// Names are case-sensitive.
    pub tables: BTreeMap<String, Table>,
    /// In ticks since 0001-01-01; see [`Database::at`].
    pub now: i64,
}

impl Database {
    /// `now` in nanoseconds since 1970, as a clock gives it.
    pub fn at(now: i128) -> Self {
        let ticks = i64::try_from(now / 100).unwrap_or_default().saturating_add(crate::language::dates::EPOCH);
        Self { tables: BTreeMap::new(), now: ticks }
    }

    pub fn insert(&mut self, name: impl Into<String>, table: Table) {
        self.tables.insert(name.into(), table);
    }

    pub fn schemas(&self) -> Schemas {
        self.tables.iter().map(|(name, it)| (name.clone(), it.schema.clone())).collect()
    }
}
