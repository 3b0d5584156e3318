//! Two Azure Functions incidents you can cause, watch, fix and prove.

pub mod blob;
pub mod clock;
pub mod host;
#[cfg(feature = "lab")]
pub mod lab;
