//! `journal.jsonl`: what was supposed, done and seen, in typed steps.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use crate::evidence::{
    database::JOURNAL,
    jsonl::{JsonLines, WriteError},
    moment::Moment,
};

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// What is to be shown.
    Hypothesis,
    /// What was done.
    Action,
    /// What was seen.
    Observation,
}

/// The journal of a run's folder.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    pub fn of(folder: &Path) -> Self {
        Self { path: folder.join(JOURNAL) }
    }

    /// Adds a step, with facts beside its text.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&self, step: Step, text: &str, facts: Value) -> Result<(), WriteError> {
        let mut row = json!({ "step": step, "text": text });
        if let (Some(row), Value::Object(facts)) = (row.as_object_mut(), facts) {
            row.extend(facts);
        }
        Moment::now().stamp(&mut row);
        JsonLines::append(&self.path)?.write(&row)
    }
}
