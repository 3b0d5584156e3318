//! The handler's library: the functions of both labs, the worker, blobs, telemetry and settings.

#![doc = include_str!("ARCHITECTURE.md")]

pub mod blob;
pub mod functions;
pub mod settings;
pub mod telemetry;
pub mod worker;
