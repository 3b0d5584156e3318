//! Two Azure Functions incidents you can cause, watch, fix and prove.

pub mod app;
pub mod arguments;
pub mod blob;
pub mod clock;
pub mod console;
pub mod front;
pub mod functions;
pub mod host;
#[cfg(feature = "lab")]
pub mod lab;
pub mod settings;
pub mod telemetry;
pub mod worker;
