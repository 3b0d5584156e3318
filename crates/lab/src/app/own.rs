//! The project's own app: what it needs of its surroundings beside what its files say. Any other app is known by its files alone.

use std::path::Path;

use super::{AppError, FunctionJson, ScriptRoot};
use incident_labs::{blob::RESULTS_CONTAINER, functions};

/// Whether an app has functions of ours.
pub fn is_own(root: &ScriptRoot) -> bool {
    root.functions().iter().any(is_ours)
}

fn is_ours(function: &FunctionJson) -> bool {
    functions::names().contains(&function.name.as_str())
}

/// Containers it expects to find beside those of its triggers; on Azure the template makes them.
pub fn containers() -> Vec<String> {
    vec![RESULTS_CONTAINER.to_owned()]
}

/// Settings under which its handler writes its rows into a run's tables.
pub fn settings(tables: &Path) -> Vec<(String, String)> {
    vec![("TELEMETRY_FOLDER".to_owned(), tables.display().to_string())]
}

/// Reads it from a script root, with [`settings`] below its own.
///
/// # Errors
/// As [`ScriptRoot::read`].
pub fn read(script_root: &Path, tables: &Path) -> Result<ScriptRoot, AppError> {
    Ok(ScriptRoot::read(script_root)?.with_defaults(settings(tables)))
}
