//! The files of a run's folder, read once.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::ReportError;
use crate::{
    evidence::{database, jsonl, phases_file::PhasesFile},
    judgement::{ENVIRONMENT, SESSION, VERDICT},
};

/// What a folder of evidence has.
#[derive(Clone, Debug)]
pub(super) struct Bundle {
    pub folder: PathBuf,
    pub lab: String,
    pub run: String,
    /// None while the run is under way.
    pub verdict: Option<Value>,
    pub environment: Value,
    pub phases: PhasesFile,
    pub session: Value,
    pub beside: Option<Value>,
    pub checklist: String,
}

impl Bundle {
    /// Reads a run that ended.
    ///
    /// # Errors
    /// When a file is missing or cannot be read.
    pub(super) fn read(folder: &Path) -> Result<Self, ReportError> {
        if !folder.join(VERDICT).is_file() {
            return Err(ReportError::NoBundle { folder: folder.to_owned(), missing: VERDICT });
        }
        // Without phases there still are criteria to show, and why they are inconclusive.
        let phases = PhasesFile::beside(&folder.join("tables"))?.unwrap_or_default();
        let verdict = object(folder, VERDICT)?.unwrap_or_default();
        Self::with(folder, text(&verdict, "lab"), Some(verdict), phases)
    }

    /// Reads what there is of a run of a lab.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn under_way(folder: &Path, lab: &str) -> Result<Self, ReportError> {
        let path = folder.join("phases.jsonl");
        let failed = |source| ReportError::Read { path: path.clone(), source };
        let rows: Vec<Value> = jsonl::read(&path).map_err(failed)?;
        let names: BTreeSet<&str> = rows.iter().filter_map(|it| it["phase"].as_str()).collect();
        let single: Vec<[&str; 1]> = names.iter().map(|it| [*it]).collect();
        let own: Vec<(&str, &[&str])> = single.iter().map(|it| (it[0], &it[..])).collect();
        let mut phases = PhasesFile::of_run(folder, &own).map_err(failed)?;
        phases.app_name = app_name(folder);
        Self::with(folder, lab.to_owned(), None, phases)
    }

    fn with(folder: &Path, lab: String, verdict: Option<Value>, phases: PhasesFile) -> Result<Self, ReportError> {
        let told = verdict.as_ref().map(|it| text(it, "run")).filter(|it| !it.is_empty());
        let named = || folder.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self {
            run: told.unwrap_or_else(named),
            environment: object(folder, ENVIRONMENT)?
                .or_else(|| verdict.as_ref().map(|it| it["environment"].clone()))
                .unwrap_or_default(),
            session: object(folder, SESSION)?.unwrap_or_default(),
            beside: object(folder, "beside.json")?,
            checklist: fs::read_to_string(folder.join("checklist.md")).unwrap_or_default(),
            folder: folder.to_owned(),
            lab,
            verdict,
            phases,
        })
    }

    pub(super) fn tables(&self) -> PathBuf {
        self.folder.join("tables")
    }

    /// The criteria that were judged.
    pub(super) fn criteria(&self) -> &[Value] {
        self.verdict.as_ref().and_then(|it| it["criteria"].as_array()).map_or(&[], Vec::as_slice)
    }

    /// What a criterion observed; none where it has nothing.
    pub(super) fn observed(&self, id: &str) -> Option<String> {
        let found = self.criteria().iter().find(|it| it["id"] == id)?;
        let is_known = found["result"] != "inconclusive" || !found["value"].is_null();
        Some(text(found, "observed")).filter(|it| is_known && !it.is_empty())
    }

    /// A query as it ran for the verdict.
    pub(super) fn session_query(&self, name: &str) -> impl Iterator<Item = &Value> {
        let all = self.session["queries"].as_array().map_or(&[][..], Vec::as_slice);
        all.iter().filter(move |it| it["name"] == name)
    }

    /// Tables of a list that the folder does not have.
    pub(super) fn missing<'a>(&self, names: &'a BTreeSet<String>) -> Vec<&'a str> {
        let tables = self.tables();
        names.iter().filter(|it| !database::has(&tables, it)).map(String::as_str).collect()
    }
}

/// The role of the first row of any table that has one: before the first request there are only lines and samples.
fn app_name(folder: &Path) -> String {
    let first = |table: &str| jsonl::first::<Value>(&folder.join("tables").join(table).with_extension("jsonl")).ok()?;
    let rows = ["requests", "performanceCounters", "traces"].into_iter().filter_map(first);
    rows.map(|it| text(&it, "cloud_RoleName")).find(|it| !it.is_empty()).unwrap_or_default()
}

/// A field's text; empty where it has none.
pub(super) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// A file of JSON; none where there is no such file.
fn object(folder: &Path, name: &str) -> Result<Option<Value>, ReportError> {
    let path = folder.join(name);
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = fs::read(&path).map_err(|source| ReportError::Read { path: path.clone(), source })?;
    serde_json::from_slice(&bytes).map(Some).map_err(|source| ReportError::NotJson { path, source })
}

/// The newest run beside this one that it is to be read against: of the same lab and scale, a control if this is none, and none if this
/// is one.
pub fn beside(folder: &Path) -> Option<Value> {
    let folder = folder.canonicalize().ok()?;
    let own = object(&folder, VERDICT).ok()??;
    let siblings = fs::read_dir(folder.parent()?).ok()?.filter_map(|it| Some(it.ok()?.path()));
    let mut others: Vec<PathBuf> = siblings.filter(|it| *it != folder && it.is_dir() && !it.is_symlink()).collect();
    others.sort();
    let is_control = |it: &Value| it["control"].as_bool().unwrap_or(false);
    let fits = |it: &Value| {
        ["lab", "scale", "origin"].iter().all(|field| it[*field] == own[*field]) && is_control(it) != is_control(&own)
    };
    let read = |it: &PathBuf| object(it, VERDICT).ok().flatten();
    let other = others.iter().rev().filter_map(read).find(fits)?;
    let criteria = other["criteria"].as_array().cloned().unwrap_or_default();
    let criterion = |it: &Value| json!({"id": it["id"], "observed": it["observed"], "result": it["result"]});
    Some(json!({
        "run": other["run"], "verdict": other["verdict"], "control": is_control(&other), "scale": other["scale"],
        "criteria": criteria.iter().map(criterion).collect::<Vec<_>>(), "tables": {},
    }))
}
