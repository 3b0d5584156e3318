//! An app's files as the host's .NET reads them: one reader for handler, lab and checks.

pub mod host_json;
pub mod json;
pub mod setting;

pub use host_json::{HostJson, Unreadable};
pub use json::{Document, JsonError, field};
