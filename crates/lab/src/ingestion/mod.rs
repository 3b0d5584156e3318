//! Telemetry that arrives, as rows of our tables: envelopes of Application Insights, over HTTP or in files, and portal exports.

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
pub(crate) use rows::bucket;
pub use rows::{TableRow, rows_of};
pub use sink::Sink;
