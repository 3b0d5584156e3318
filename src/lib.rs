//! The library of both binaries; `handler` is the product, `lab` the bench around it.

#![doc = include_str!("ARCHITECTURE.md")]

pub mod app;
pub mod arguments;
pub mod blob;
mod cgroup;
pub mod clock;
pub mod console;
pub mod durable;
pub mod front;
pub mod functions;
pub mod host;
#[cfg(feature = "lab")]
pub mod lab;
pub mod settings;
pub mod telemetry;
pub mod tls;
pub mod worker;
