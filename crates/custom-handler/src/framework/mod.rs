//! The framework.

pub mod clock;
pub mod console;
pub mod http;
pub mod invocation;
pub mod orchestrator;
pub mod wire;
