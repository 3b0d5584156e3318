//! The app's functions, one module for each folder in `functions/`.

pub mod blob_buffer_processor;
pub mod episode;
mod http;
pub mod invocation;
pub mod replay_lab_activity;
pub mod replay_status;
pub mod replay_storm_orchestrator;
pub mod start_replay_lab;
