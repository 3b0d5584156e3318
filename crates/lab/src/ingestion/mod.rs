//! Telemetry that arrives: envelopes of Application Insights, over HTTP or in files, and what a portal exports, as rows of our tables.

mod body;
mod collector;
mod counters;
mod counts;
mod envelope;
mod exceptions;
mod history;
pub mod import;
mod items;
mod rows;
mod sink;

pub use collector::{Collector, ListenError};
pub use counts::{Counts, Refused};
pub use envelope::{Envelope, Refusal};
pub use rows::{TableRow, rows_of};
pub use sink::Sink;
