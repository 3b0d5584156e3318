//! Integration tests: the staged app, the stand-in and the house rules.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod azurite;
mod blob_trigger;
mod harness;
mod process;
mod restart;
mod stage;
