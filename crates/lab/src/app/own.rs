//! The project's own app: what it needs of its surroundings beside what its files say. Any other app is known by its files alone.

use super::{FunctionJson, ScriptRoot};
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
