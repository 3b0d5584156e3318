//! From the text of a query to its answer: lexer, parser, binder, evaluation.

mod aggregates;
mod arithmetic;
mod bind;
mod dates;
mod error;
mod ex;
mod functions;
mod lexer;
mod limits;
mod parser;
mod plan;
mod query;
mod run;
mod syntax;
mod table;
mod terms;
mod value;
mod words;

pub use error::{Error, ErrorKind};
pub use limits::{Limits, MAX_COLUMNS, MAX_DEPTH, MAX_LIST, MAX_STEPS, MAX_STRING, MAX_TEXT};
pub use query::{Output, Parameter, Query};
pub use table::{Column, Database, Schema, Schemas, Table};
pub use value::{Type, UnknownType, Value};

/// What the subset has, by kind: operators, then functions with their arguments, then aggregates, then those of windows.
pub fn reference() -> [(&'static str, Vec<(&'static str, &'static str)>); 4] {
    [
        ("operators", parser::OPERATORS.iter().map(|it| (*it, "")).collect()),
        ("functions", functions::all().map(|it| (it.name, it.signature)).collect()),
        ("aggregates", aggregates::TABLE.iter().map(|it| (it.name, it.signature)).collect()),
        ("window", bind::WINDOW.to_vec()),
    ]
}
