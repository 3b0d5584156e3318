//! Folders of rows that tests write, as bundles.

use std::{collections::BTreeMap, fs, path::Path};

use lab::{
    evidence::{phases_file::PhasesFile, row_file::LostRows},
    judgement::{Bundle, CriterionResult, Judged, Manifest, Origin, Verdict},
    labs::{Lab, named, oom::OomLab, replay::ReplayLab, roles::RolesLab},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Rows by file, from the run's folder and without the ending.
pub(crate) type Files = BTreeMap<&'static str, Vec<Value>>;

/// A run's folder with these files. A row that is `cut` is as a full disk leaves it: cut inside a character, and the next row on a line of its
/// own.
pub(crate) fn written(files: &Files) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tables")).unwrap();
    for (file, rows) in files {
        let line = |row: &Value| {
            if row["cut"] == true { b"{\"message\":\"\xc3\n".to_vec() } else { format!("{row}\n").into_bytes() }
        };
        let text: Vec<u8> = rows.iter().flat_map(line).collect();
        fs::write(folder.path().join(format!("{file}.jsonl")), text).unwrap();
    }
    folder
}

/// The ids in a lab's file of criteria.
pub(crate) fn ids(lab: &str) -> Vec<String> {
    let rules = named(lab).unwrap().definition.rules().unwrap();
    rules.criterion.into_iter().map(|it| it.id).collect()
}

/// What `verdict.json` says of a run.
pub(crate) struct Told {
    pub(crate) verdict: Value,
    pub(crate) criteria: Vec<Value>,
    pub(crate) whole: Value,
}

impl Told {
    /// Of a folder, judged by a lab at full scale.
    pub(crate) fn of(lab: &str, folder: &Path) -> Self {
        let whole = json!(bundle(lab, folder, 3584.0).judge().unwrap().verdict);
        let criteria = whole["criteria"].as_array().unwrap().clone();
        Self { verdict: whole["verdict"].clone(), criteria, whole }
    }

    /// Ids of the criteria that came out so.
    pub(crate) fn with(&self, result: &str) -> Vec<&str> {
        self.criteria.iter().filter(|it| it["result"] == result).map(|it| it["id"].as_str().unwrap()).collect()
    }

    pub(crate) fn criterion(&self, id: &str) -> &Value {
        self.criteria.iter().find(|it| it["id"] == id).unwrap_or_else(|| panic!("no {id}"))
    }
}

/// A run's folder with phases.jsonl, as the bundle that the lab makes of it.
pub(crate) fn bundle(lab: &str, folder: &Path, limit_mb: f64) -> Bundle {
    let phases = match lab {
        "oom" => OomLab::PHASES,
        "replay" => ReplayLab::PHASES,
        _ => RolesLab::PHASES,
    };
    let phases = PhasesFile::of_run(folder, phases).unwrap();
    if !phases.phases.is_empty() {
        fs::write(folder.join(PhasesFile::NAME), phases.to_json().to_string()).unwrap();
    }
    LostRows::open(&folder.join("tables"));
    let entry = named(lab).unwrap();
    let parameters = (entry.parameters)(limit_mb);
    let manifest = Manifest { parameters, ..Manifest::new(entry.definition, folder, Origin::Run).unwrap() };
    Bundle::of(entry.definition, folder, manifest)
}

/// The same, closed; then a file of it is deleted, and it is judged again.
pub(crate) fn judged_without(lab: &str, folder: &Path, limit_mb: f64, file: &str) -> Judged {
    let open = bundle(lab, folder, limit_mb);
    let closed = Bundle::make(named(lab).unwrap().definition, folder, open.manifest.clone()).unwrap();
    assert_eq!(closed.judge().unwrap().verdict.verdict, Verdict::Supported);
    fs::remove_file(folder.join(file)).unwrap();
    let judged = closed.judge().unwrap();
    assert_eq!(judged.verdict.verdict, Verdict::Inconclusive, "{file}: {:#?}", judged.verdict);
    assert!(judged.verdict.doubts.iter().any(|it| it.starts_with(&format!("{file} is missing, and had"))), "{file}");
    for criterion in &judged.verdict.criteria {
        let text = named(lab).unwrap().definition.query(&criterion.query).unwrap();
        let tables = kql::Query::parse(text).unwrap().tables();
        let record = Path::new(file).file_stem().unwrap().to_str().unwrap();
        let reads = tables.iter().any(|it| it == record || it.strip_prefix("lab_") == Some(record));
        // The phases are in phases.json, too.
        let is_told = reads && record != "phases";
        let says = criterion.result == CriterionResult::Inconclusive && criterion.reason.contains(file);
        assert_eq!(says, is_told, "{file}: {criterion:#?}");
    }
    judged
}
