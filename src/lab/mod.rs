//! The bench around the handler: what runs without Azure.

pub mod host;
pub mod tables;
