//! The labs: each an experiment, its load, its measures and criteria, and its report.

pub mod oom;
pub mod replay;
