//! `manifest.json`: what a bundle is, and how it is to be judged.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Definition, RulesError, asker::is_own};

use crate::evidence::{database::JOURNAL, jsonl, schema::is_hosts_record};

/// Where tables come from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A run of a lab, with its own records.
    Run,
    /// A run of a lab on Azure: its own records, and the telemetry of a workspace. What only the stand-in records is not there.
    Azure,
    /// Telemetry from elsewhere.
    Import,
}

impl Origin {
    /// Which of the lab's own records its criteria may lack.
    pub(super) fn excused(self) -> fn(&str) -> bool {
        if self == Self::Azure { is_hosts_record } else { is_own }
    }

    /// Whether a lab's own records belong to it.
    pub fn is_run(self) -> bool {
        self != Self::Import
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Manifest {
    /// Its lab: `oom`, `replay` or `roles`.
    pub lab: String,
    /// Name of the run's folder when it was made.
    pub run: String,
    pub origin: Origin,
    /// Share of an EP1, where the lab is scaled.
    pub scale: String,
    /// Whether the remedy was left out on purpose.
    pub control: bool,
    /// Runs in folders of their own, `run-1` and on; 0 where the bundle is a run.
    pub parts: usize,
    /// What the judge gives the queries beside the phases.
    pub parameters: BTreeMap<String, String>,
    pub hypothesis: String,
    /// Version of the lab that judged.
    pub version: String,
    /// Lines of each file of rows.
    pub rows: BTreeMap<String, usize>,
}

/// A manifest that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("{} is missing: this is no folder that `lab run` or `lab judge` made a bundle in", path.display())]
    Missing { path: PathBuf },
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("understand {}", path.display())]
    Invalid { path: PathBuf, source: serde_json::Error },
}

impl Manifest {
    pub const FILE: &str = "manifest.json";

    /// The manifest of a folder that is judged at full scale, with the remedy.
    ///
    /// # Errors
    /// When the lab's criteria cannot be read.
    pub fn new(definition: Definition, folder: &Path, origin: Origin) -> Result<Self, RulesError> {
        Ok(Self {
            lab: definition.name.to_owned(),
            run: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            origin,
            scale: "1".to_owned(),
            control: false,
            parts: 0,
            parameters: BTreeMap::new(),
            hypothesis: definition.rules()?.hypothesis.trim().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rows: BTreeMap::new(),
        })
    }

    /// Reads a bundle's manifest.
    ///
    /// # Errors
    /// When there is none, or it is not what it should be.
    pub fn read(folder: &Path) -> Result<Self, ManifestError> {
        let path = folder.join(Self::FILE);
        let text = fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ManifestError::Missing { path: path.clone() },
            _ => ManifestError::Read { path: path.clone(), source },
        })?;
        serde_json::from_slice(&text).map_err(|source| ManifestError::Invalid { path, source })
    }

    /// Files of rows that are not as the manifest has them, a sentence each.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn doubts(&self, folder: &Path) -> io::Result<Vec<String>> {
        let now = rows(folder)?;
        let doubt = |(file, were): (&String, &usize)| match now.get(file) {
            Some(are) if are == were => None,
            Some(are) => Some(format!("{file} has {are} lines, and had {were}")),
            None => Some(format!("{file} is missing, and had {were} lines")),
        };
        Ok(self.rows.iter().filter_map(doubt).collect())
    }
}

/// Lines of each file of rows in a run's folder and its tables, by path from the folder.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn rows(folder: &Path) -> io::Result<BTreeMap<String, usize>> {
    let counted = jsonl::counted(folder)?.into_iter().filter(|it| it.0 != JOURNAL);
    Ok(counted.map(|(file, lines)| (file, lines.rows)).collect())
}
