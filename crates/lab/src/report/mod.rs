//! The page of a run: what a folder of evidence says, as one file of HTML that needs nothing else. It is made from the folder's files
//! alone: the same files give the same bytes.

mod bundle;
mod criteria;
mod html;
pub mod live;
mod model;
mod page;
mod plan;
mod real_host;
mod sections;
mod tables;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    evidence::{database::ReadError, phases_file::PhasesError},
    judgement::PAGE,
};

pub use bundle::beside;
pub use real_host::beside_real_host;

/// The page's name in a run's folder.
pub const FILE: &str = PAGE;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("{} is no folder of evidence: there is no {missing}; `lab judge` makes it for an import", folder.display())]
    NoBundle { folder: PathBuf, missing: &'static str },
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not JSON", path.display())]
    NotJson { path: PathBuf, source: serde_json::Error },
    #[error("{}: there is no lab {lab:?}; there are oom and replay", folder.display())]
    NoLab { folder: PathBuf, lab: String },
    #[error("the page's plan of the lab {lab} cannot be read")]
    Plan { lab: String, source: toml::de::Error },
    #[error(transparent)]
    Phases(#[from] PhasesError),
    #[error(transparent)]
    Tables(#[from] ReadError),
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Writes the page of a run that ended into its folder.
///
/// # Errors
/// When a file of the folder is missing or cannot be read, or the page cannot be written.
pub fn write(folder: &Path) -> Result<(), ReportError> {
    write_to(folder, &folder.join(FILE))
}

/// Writes the page of a run that ended to a file.
///
/// # Errors
/// As [`write()`].
pub fn write_to(folder: &Path, path: &Path) -> Result<(), ReportError> {
    fs::write(path, page(folder)?).map_err(|source| ReportError::Write { path: path.to_owned(), source })
}

/// The page of a run that ended.
///
/// # Errors
/// When a file of the folder is missing or cannot be read.
pub fn page(folder: &Path) -> Result<String, ReportError> {
    Ok(page::whole(&page::Content::read(folder)?))
}
