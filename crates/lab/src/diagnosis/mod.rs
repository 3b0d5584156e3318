//! Which incident telemetry shows: the replay guide's decision flow and the OOM guide's signature, as questions put to any tables.

mod climb;
mod flow;
mod steps;

pub use flow::{DiagnosisError, Options, diagnose};
pub use steps::{Diagnosis, Finding, FindingKind, Reply, Step};
