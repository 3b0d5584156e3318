//! The engine, held to recordings, cases, properties and Microsoft's executor.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod branches;
mod cases;
mod corners;
pub(crate) mod decoded;
mod golden;
mod histories;
mod oracle;
mod program;
mod properties;
mod turns;
mod world;
