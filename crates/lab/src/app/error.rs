//! The one error about an app's files.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use custom_handler::files::Unreadable;

/// Why an app cannot be used: the file, what is wrong with it, and the way out.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {problem}; {way_out}", file.display())]
pub struct AppError {
    pub file: PathBuf,
    problem: String,
    way_out: String,
}

impl AppError {
    /// Of what the reader of an app's files could not read.
    pub(crate) fn unreadable(error: &Unreadable, way_out: impl Into<String>) -> Self {
        Self::new(&error.file, error.problem(), way_out)
    }

    pub(crate) fn new(file: &Path, problem: impl Display, way_out: impl Into<String>) -> Self {
        Self { file: file.to_owned(), problem: problem.to_string(), way_out: way_out.into() }
    }
}
