//! The lab's own records as tables: their columns, and where a run's folder has them.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use super::{TableSchema, columns};

const FILE: &str = include_str!("../../../../../load/lab_schema.json");
/// The rows of the folder's files, counted when they are asked for.
pub const FILES: &str = "lab_files";
/// A run's phases; those of an import are in phases.json.
pub const PHASES: &str = "lab_phases";
/// Records that the host writes beside the telemetry.
const IN_TABLES: [&str; 2] = ["lab_episodes", "lab_dispatches"];
/// The handler's process at each start.
const HOSTS: &str = "lab_hosts";
/// Records that say something by being empty.
const MAY_BE_EMPTY: [&str; 3] = ["lab_redriven", "lab_cgroup", "lab_queue"];

#[derive(Deserialize)]
struct SchemaFile {
    tables: BTreeMap<String, String>,
}

/// The file is a part of the program: one that cannot be read has no tables, and the tests say so.
static TABLES: LazyLock<Vec<TableSchema>> = LazyLock::new(|| {
    let file: SchemaFile = serde_json::from_str(FILE).unwrap_or(SchemaFile { tables: BTreeMap::new() });
    file.tables.iter().map(|(name, own)| TableSchema { name: name.clone(), columns: columns(own) }).collect()
});

/// All of the lab's own tables.
pub fn own_tables() -> &'static [TableSchema] {
    &TABLES
}

/// A table of the lab's own, as its name is spelt.
pub fn own_table(name: &str) -> Option<&'static TableSchema> {
    own_tables().iter().find(|it| it.name == name)
}

/// Its file, from the run's folder; none for a table that is made when it is read.
pub fn own_file(name: &str) -> Option<String> {
    let record = own_table(name)?.name.strip_prefix("lab_")?;
    let folder = if IN_TABLES.contains(&name) { "tables/" } else { "" };
    (name != FILES).then(|| format!("{folder}{record}.jsonl"))
}

/// Whether the records are of a host that runs here: its calls, and which process its handler is.
pub fn is_hosts_record(name: &str) -> bool {
    name == HOSTS || IN_TABLES.contains(&name)
}

/// Whether a table without rows says something.
pub fn may_be_empty(name: &str) -> bool {
    MAY_BE_EMPTY.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_has_a_file_and_a_schema() {
        assert_eq!(own_tables().len(), 15);
        assert!(own_tables().iter().all(|it| it.columns.len() > 1), "{:?}", own_tables());
        assert_eq!(own_file("lab_manifest").as_deref(), Some("manifest.jsonl"));
        assert_eq!(own_file("lab_episodes").as_deref(), Some("tables/episodes.jsonl"));
        assert_eq!((own_file("lab_files"), own_file("requests")), (None, None));
    }
}
