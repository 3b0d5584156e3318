//! What a workspace gave for a run on Azure, and where that leaves doubts.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Rows that were fetched from a workspace.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Ingestion {
    /// Id of the workspace.
    pub workspace: String,
    /// The first moment that was asked for, and the first that was not.
    pub from: String,
    pub to: String,
    /// By table.
    pub rows: BTreeMap<String, u64>,
    /// A sentence each.
    pub doubts: Vec<String>,
}

impl Ingestion {
    /// Its name beside the folder of tables.
    pub const FILE: &str = "ingestion.json";

    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join(Self::FILE), serde_json::to_vec_pretty(self)?)
    }
}

/// A query that was put to the workspace too.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AskedAgain {
    pub name: String,
    /// As it was sent.
    pub text: String,
    pub engine: String,
    /// Name and type of each column, as Kusto has them.
    pub columns: Vec<(String, String)>,
    pub rows: Vec<Vec<Value>>,
    /// How its answer differs from the one over the fetched rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<String>,
    /// Largest relative difference of a percentile, which Kusto estimates.
    #[serde(default)]
    pub percentiles_differ_by: f64,
}

/// `workspace-session.json`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct WorkspaceSession {
    pub queries: Vec<AskedAgain>,
}

impl WorkspaceSession {
    pub const FILE: &str = "workspace-session.json";

    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join(Self::FILE), serde_json::to_vec_pretty(self)?)
    }
}

/// The doubts that both files leave; none where a run has neither.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn doubts(folder: &Path) -> io::Result<Vec<String>> {
    let ingestion: Option<Ingestion> = read(&folder.join(Ingestion::FILE))?;
    let session: Option<WorkspaceSession> = read(&folder.join(WorkspaceSession::FILE))?;
    let differing = session.into_iter().flat_map(|it| it.queries).filter_map(|query| {
        let differs = query.differs?;
        Some(format!("the workspace answers {} otherwise than the rows that were fetched: {differs}", query.name))
    });
    Ok(ingestion.into_iter().flat_map(|it| it.doubts).chain(differing).collect())
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
