//! Folders of rows that tests write, as bundles.

use std::{fs, path::Path};

use lab::{
    evidence::{phases_file::PhasesFile, row_file::LostRows},
    judgement::{Bundle, CriterionResult, Judged, Manifest, Origin, Verdict},
    labs::{Lab, named, oom::OomLab, replay::ReplayLab},
};

/// A run's folder with phases.jsonl, as the bundle that the lab makes of it.
pub(crate) fn bundle(lab: &str, folder: &Path, limit_mb: f64) -> Bundle {
    let phases = if lab == "oom" { OomLab::PHASES } else { ReplayLab::PHASES };
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
