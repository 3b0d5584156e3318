//! Whether a bundle still is what it was, and whether its files still come to its verdict.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::{Bundle, BundleError, Definition, SESSION, bundle::part_name, sums};

/// What is wrong with a bundle; nothing, if all lists are empty.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verification {
    /// The last hash of the sums: it covers all files.
    pub seal: String,
    pub changed: Vec<String>,
    pub missing: Vec<String>,
    pub added: Vec<String>,
    /// What comes out otherwise now, a sentence each.
    pub differences: Vec<String>,
    /// The verdict that the files come to.
    pub verdict: String,
    /// Queries and criteria that were computed again.
    pub queries: usize,
    pub criteria: usize,
}

impl Verification {
    pub fn holds(&self) -> bool {
        let lists = [&self.changed, &self.missing, &self.added, &self.differences];
        lists.iter().all(|it| it.is_empty())
    }

    fn add(&mut self, part: &str, other: Self) {
        let named = |it: String| format!("{part}/{it}");
        self.changed.extend(other.changed.into_iter().map(named));
        self.missing.extend(other.missing.into_iter().map(named));
        self.added.extend(other.added.into_iter().map(named));
        self.differences.extend(other.differences.into_iter().map(|it| format!("{part}: {it}")));
        self.queries += other.queries;
    }
}

/// Compares a bundle's files with its sums, and judges them again.
///
/// # Errors
/// When it is no bundle, or cannot be read.
pub fn verify(definition: Definition, folder: &Path) -> Result<Verification, BundleError> {
    let bundle = Bundle::open(definition, folder)?;
    let mut verification = verify_files(folder)?;
    for number in 1..=bundle.manifest.parts {
        let part = part_name(number);
        match verify(definition, &folder.join(&part)) {
            Ok(other) => verification.add(&part, other),
            Err(error) => verification.differences.push(format!("{part}: {}", custom_handler::error_chain(&error))),
        }
    }
    match bundle.judge() {
        Err(error) => verification.differences.push(custom_handler::error_chain(&error)),
        Ok(judged) => {
            verification.verdict = judged.verdict.verdict.to_string().to_lowercase();
            verification.criteria = judged.verdict.criteria.len();
            for (name, bytes) in &judged.files {
                let kept = std::fs::read(bundle.folder().join(name)).unwrap_or_default();
                verification
                    .differences
                    .extend((kept != *bytes).then(|| differing(name, &kept, bytes)).into_iter().flatten());
                if *name == SESSION {
                    let session: Value = serde_json::from_slice(bytes).unwrap_or_default();
                    verification.queries += session["queries"].as_array().map_or(0, Vec::len);
                }
            }
        }
    }
    // The sums of the whole and of a part both name a file of the part.
    for files in [&mut verification.changed, &mut verification.missing, &mut verification.added] {
        files.sort();
        files.dedup();
    }
    Ok(verification)
}

/// Compares a folder's files with its sums alone.
///
/// # Errors
/// When a file cannot be read.
pub fn verify_files(folder: &Path) -> Result<Verification, BundleError> {
    let read = |source| BundleError::Read { path: folder.join(sums::FILE), source };
    let (found, seal) = sums::compare(folder).map_err(read)?;
    let (changed, missing, added) = (found.changed, found.missing, found.added);
    Ok(Verification { seal, changed, missing, added, ..Verification::default() })
}

/// What differs between a file as it is kept and as it comes out now.
fn differing(name: &str, kept: &[u8], now: &[u8]) -> Vec<String> {
    let (Ok(kept), Ok(now)) = (serde_json::from_slice::<Value>(kept), serde_json::from_slice::<Value>(now)) else {
        return vec![format!("{name} comes out otherwise")];
    };
    let mut told = Vec::new();
    if kept["verdict"] != now["verdict"] {
        told.push(format!("{name} says {}, and the files come to {}", kept["verdict"], now["verdict"]));
    }
    for (list, key) in [("criteria", "id"), ("queries", "name")] {
        let entries = |it: &Value| it[list].as_array().cloned().unwrap_or_default();
        let (before, after) = (entries(&kept), entries(&now));
        for (number, entry) in before.iter().enumerate().filter(|it| after.get(it.0) != Some(it.1)) {
            let shown = |it: Option<&Value>| {
                it.map_or("nothing".to_owned(), |it| it["observed"].as_str().unwrap_or("other rows").to_owned())
            };
            let (was, is) = (shown(Some(entry)), shown(after.get(number)));
            told.push(format!("{name}: {} was {was}, and is {is}", entry[key].as_str().unwrap_or_default()));
        }
    }
    if told.is_empty() { vec![format!("{name} comes out otherwise")] } else { told }
}
