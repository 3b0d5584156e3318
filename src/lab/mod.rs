//! The bench around the handler: what runs without Azure.

pub mod azurite;
pub mod bench;
pub mod blob_trigger;
pub mod commands;
mod elf;
pub mod evidence;
pub mod folder;
pub mod function_json;
pub mod host;
pub mod http_trigger;
pub mod load;
pub mod oom;
pub mod package;
pub mod progress;
pub mod replay;
pub mod room;
pub mod stage;
pub mod storage;
pub mod tables;
pub mod task_hub;
