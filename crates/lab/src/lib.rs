//! The bench around the handler: what runs without Azure.

pub mod app;
pub mod azure;
pub mod bench;
pub mod commands;
pub mod diagnosis;
pub mod doctor;
pub mod emulator;
pub mod evidence;
pub mod ingestion;
pub mod judgement;
pub mod labs;
pub mod machine;
pub mod report;
