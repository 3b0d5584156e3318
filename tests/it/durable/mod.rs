//! The replay engine, held to recordings, to named cases, to properties and to Microsoft's own executor.

mod cases;
pub(crate) mod decoded;
mod golden;
mod oracle;
mod program;
mod properties;
mod world;
