//! The engine, held to recordings, cases, properties and Microsoft's executors.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod branches;
mod cases;
mod corners;
pub(crate) mod decoded;
mod golden;
mod histories;
mod interpreter;
mod maker;
mod oracle;
mod program;
mod properties;
mod turns;
mod world;
