//! A closed subset of the Kusto Query Language: text and tables in, a table out. No I/O.
//!
//! `docs/kql.md` lists what is in it. All else is an [`Error`] that says where, and what Kusto accepts there.
//!
//! ```
//! use kql::{Database, Query};
//!
//! let query = Query::parse("range x from 1 to 4 step 1 | summarize total = sum(x)")?;
//! let output = query.run(&Database::default())?;
//! assert_eq!(output.table.rows().next().map(|row| row[0].to_string()), Some("10".to_owned()));
//! # Ok::<(), kql::Error>(())
//! ```

mod language;

pub use language::{
    Column, Database, Error, ErrorKind, Limits, MAX_COLUMNS, MAX_DEPTH, MAX_LIST, MAX_STEPS, MAX_STRING, MAX_TEXT,
    Output, Parameter, Query, Schema, Schemas, Table, Type, UnknownType, Value, reference,
};
