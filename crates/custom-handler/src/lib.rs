//! A framework for Azure Functions apps in Rust.

mod framework;

pub use framework::{clock, console, http, invocation, orchestrator, wire};
