//! The one error about an app's files.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

/// Why an app cannot be used: the file, what is wrong with it, and the way out.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {problem}; {way_out}", file.display())]
pub struct AppError {
    pub file: PathBuf,
    problem: String,
    way_out: String,
}

impl AppError {
    pub(crate) fn new(file: &Path, problem: impl Display, way_out: impl Into<String>) -> Self {
        Self { file: file.to_owned(), problem: problem.to_string(), way_out: way_out.into() }
    }
}
