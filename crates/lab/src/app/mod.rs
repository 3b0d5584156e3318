//! A Functions app as its files: host.json, every function.json, staging, packages.

pub mod blob_message;
pub mod blob_trigger;
pub mod function_json;
pub mod host_json;
pub mod package;
pub mod stage;
