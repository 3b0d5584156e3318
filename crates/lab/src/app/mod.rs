//! A Functions app: its files (host.json, every function.json, staging, packages), and what a lab may ask of it while it runs.

pub mod blob_message;
pub mod blob_trigger;
pub mod function_json;
pub mod host_json;
pub mod package;
pub mod preset;
pub mod redrive;
pub mod running;
pub mod stage;
