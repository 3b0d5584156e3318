//! A stand-in for the Functions host and its extensions, held to recordings of the real ones.

pub mod blob_trigger;
pub mod host;
pub mod http_trigger;
mod hub_tables;
pub mod listener;
pub mod local;
pub mod session;
mod starting;
mod surroundings;
pub mod task_hub;

pub use surroundings::unserved;
