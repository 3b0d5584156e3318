//! The phases of a run that was not ours: when each began and ended, and which instances are its.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{
    Steady, jsonl,
    schema::{ReadTime, read_time},
};

/// Phases as their file has them.
#[derive(Clone, Debug, Default)]
pub struct PhasesFile {
    /// `cloud_RoleName` of the app; empty where its rows have none.
    pub app_name: String,
    pub phases: Vec<NamedPhase>,
}

#[derive(Clone, Debug)]
pub struct NamedPhase {
    pub name: String,
    pub start: ReadTime,
    pub end: ReadTime,
    /// Orchestrations that ran in it.
    pub instance_ids: Vec<String>,
}

/// Why a phases file is not used.
#[derive(Debug, thiserror::Error)]
pub enum PhasesError {
    #[error("read the phases of {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not JSON", path.display())]
    NotJson { path: PathBuf, source: serde_json::Error },
    #[error("{}: {place}: {problem}", path.display())]
    Field { path: PathBuf, place: String, problem: String },
}

/// A field and what is wrong with it.
type Problem = (String, String);

impl PhasesFile {
    /// The file's name beside a folder of tables.
    pub const NAME: &str = "phases.json";

    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, has a field that is not known, or a time that cannot be.
    pub fn read(path: &Path) -> Result<Self, PhasesError> {
        let text = fs::read(path).map_err(|source| PhasesError::Read { path: path.to_owned(), source })?;
        let value =
            serde_json::from_slice(&text).map_err(|source| PhasesError::NotJson { path: path.to_owned(), source })?;
        let named = |(place, problem)| PhasesError::Field { path: path.to_owned(), place, problem };
        Self::of(&value).map_err(named)
    }

    /// Reads the phases beside a folder of tables, where there are any.
    ///
    /// # Errors
    /// As [`PhasesFile::read`].
    pub fn beside(tables: &Path) -> Result<Option<Self>, PhasesError> {
        let path = tables.join("..").join(Self::NAME);
        if path.is_file() { Self::read(&path).map(Some) } else { Ok(None) }
    }

    /// The phases of a run of our own, under the names its guide has for them: each with the run's phases that it covers.
    ///
    /// # Errors
    /// When a file of the run cannot be read.
    pub fn of_run(folder: &Path, names: &[(&str, &[&str])]) -> io::Result<Self> {
        let mut rows: Vec<Value> = jsonl::read(&folder.join("phases.jsonl"))?;
        if let Some(steady) = Steady::of_run(folder)? {
            rows.iter_mut().for_each(|row| steady.correct(row));
        }
        let instances: Vec<Value> = jsonl::read(&folder.join("instances.jsonl"))?;
        let request: Option<Value> = jsonl::first(&folder.join("tables/requests.jsonl"))?;
        let app_name = request.as_ref().and_then(|it| it["cloud_RoleName"].as_str()).unwrap_or_default();
        let is_of = |row: &Value, parts: &[&str]| row["phase"].as_str().is_some_and(|it| parts.contains(&it));
        let time = |row: &Value, column: &str| row[column].as_str().and_then(read_time);
        let named = |(name, parts): &(&str, &[&str])| {
            let own = || rows.iter().filter(|it| is_of(it, parts));
            let start = own().filter_map(|it| time(it, "timestamp")).min_by_key(|it| it.at)?;
            let end = own().filter_map(|it| time(it, "end")).max_by_key(|it| it.at)?;
            let ids = instances.iter().filter(|it| is_of(it, parts)).filter_map(|it| it["instanceId"].as_str());
            Some(NamedPhase { name: (*name).to_owned(), start, end, instance_ids: ids.map(str::to_owned).collect() })
        };
        Ok(Self { app_name: app_name.to_owned(), phases: names.iter().filter_map(named).collect() })
    }

    /// The file's content.
    pub fn to_json(&self) -> Value {
        let phase = |it: &NamedPhase| json!({"name": it.name, "start": it.start.text, "end": it.end.text, "instanceIds": it.instance_ids});
        json!({"appName": self.app_name, "phases": self.phases.iter().map(phase).collect::<Vec<_>>()})
    }

    /// What a query may take from them: `appName`, for each phase `<phase>Start`, `<phase>End` and the `<phase>Id` of its first
    /// instance, and `runStart` and `runEnd` over all phases.
    pub fn parameters(&self) -> Vec<(String, String)> {
        let mut found = vec![("appName".to_owned(), self.app_name.clone())];
        for phase in &self.phases {
            let name = camel(&phase.name);
            found.push((format!("{name}Start"), phase.start.text.clone()));
            found.push((format!("{name}End"), phase.end.text.clone()));
            found.extend(phase.instance_ids.first().map(|it| (format!("{name}Id"), it.clone())));
        }
        let first = self.phases.iter().min_by_key(|it| it.start.at);
        let last = self.phases.iter().max_by_key(|it| it.end.at);
        found.extend(first.map(|it| ("runStart".to_owned(), it.start.text.clone())));
        found.extend(last.map(|it| ("runEnd".to_owned(), it.end.text.clone())));
        found
    }

    /// The phase of a name.
    pub fn phase(&self, name: &str) -> Option<&NamedPhase> {
        self.phases.iter().find(|it| it.name == name)
    }

    fn of(value: &Value) -> Result<Self, Problem> {
        let file = object(value, "the file", &["appName", "phases"])?;
        let app_name = optional_text(file, "appName", "appName")?;
        let Some(Value::Array(list)) = file.get("phases") else {
            return Err(("phases".to_owned(), "must be an array of phases".to_owned()));
        };
        let phases =
            list.iter().enumerate().map(|(index, it)| NamedPhase::of(index, it)).collect::<Result<Vec<_>, _>>()?;
        if phases.is_empty() {
            return Err(("phases".to_owned(), "has no phase".to_owned()));
        }
        let mut names = BTreeSet::new();
        match phases.iter().find(|it| !names.insert(it.name.as_str())) {
            None => Ok(Self { app_name, phases }),
            Some(twice) => Err((format!("phase {:?}", twice.name), "name stands twice".to_owned())),
        }
    }
}

impl NamedPhase {
    fn of(index: usize, value: &Value) -> Result<Self, Problem> {
        let numbered = format!("phase {}", index + 1);
        let fields = object(value, &numbered, &["name", "start", "end", "instanceIds"])?;
        let name = optional_text(fields, "name", &format!("{numbered}: name"))?;
        if name.is_empty() {
            return Err((format!("{numbered}: name"), "is missing".to_owned()));
        }
        let place = |field: &str| format!("phase {name:?}: {field}");
        let time = |field: &str| {
            let text = fields.get(field).and_then(Value::as_str);
            let problem = || (place(field), format!("{} is no time", shown(fields.get(field))));
            text.and_then(read_time).ok_or_else(problem)
        };
        let (start, end) = (time("start")?, time("end")?);
        if end.at < start.at {
            return Err((place("end"), format!("{} is before start, {}", end.text, start.text)));
        }
        let ids = match fields.get("instanceIds") {
            None => Some(Vec::new()),
            Some(Value::Array(ids)) => ids.iter().map(|it| it.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
        };
        let instance_ids = ids.ok_or_else(|| (place("instanceIds"), "must be an array of texts".to_owned()))?;
        Ok(Self { name, start, end, instance_ids })
    }
}

/// A phase's name as a part of a parameter's: `recovery-a` is `recoveryA`.
pub fn camel(name: &str) -> String {
    let mut parts = name.split(|it: char| !it.is_ascii_alphanumeric()).filter(|it| !it.is_empty());
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (first, rest) = part.split_at(1);
        text += &first.to_ascii_uppercase();
        text += rest;
    }
    text
}

fn object<'a>(value: &'a Value, place: &str, known: &[&str]) -> Result<&'a Map<String, Value>, Problem> {
    let Value::Object(fields) = value else { return Err((place.to_owned(), "must be a JSON object".to_owned())) };
    match fields.keys().find(|it| !known.contains(&it.as_str())) {
        None => Ok(fields),
        Some(unknown) => Err((place.to_owned(), format!("{unknown:?} is not known; there are {}", known.join(", ")))),
    }
}

fn optional_text(fields: &Map<String, Value>, field: &str, place: &str) -> Result<String, Problem> {
    match fields.get(field) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err((place.to_owned(), format!("{other} is no text"))),
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_has_its_window_and_its_instances() {
        let file = PhasesFile::of(&json!({"appName": "", "phases": [
            {"name": "baseline", "start": "2026-11-25T13:31:36.628Z", "end": "2026-11-25T13:32:02Z"},
            {"name": "incident", "start": "2026-11-25T14:32:19+01:00", "end": "2026-11-25T13:33:08Z", "instanceIds": ["a"]},
        ]}))
        .unwrap();
        let incident = file.phase("incident").unwrap();
        assert_eq!(
            (incident.start.text.as_str(), &incident.instance_ids[..]),
            ("2026-11-25T13:32:19.0000000Z", &["a".to_owned()][..])
        );
        assert_eq!((incident.end.at - incident.start.at).whole_seconds(), 49);
        assert!(file.phase("recovery").is_none());
    }

    #[test]
    fn what_is_wrong_is_named_with_file_phase_and_field() {
        let phase = json!({"name": "incident", "start": "2026-11-25T13:31:36Z", "end": "2026-11-25T13:32:02Z"});
        let with = |field: &str, value: Value| {
            let mut phase = phase.clone();
            phase[field] = value;
            json!({"phases": [phase]})
        };
        for (value, told) in [
            (json!([]), "the file: must be a JSON object"),
            (json!({"phases": [], "app": 1}), "the file: \"app\" is not known; there are appName, phases"),
            (json!({"phases": []}), "phases: has no phase"),
            (json!({}), "phases: must be an array of phases"),
            (json!({"appName": 1, "phases": []}), "appName: 1 is no text"),
            (json!({"phases": [{}]}), "phase 1: name: is missing"),
            (json!({"phases": [phase.clone(), phase.clone()]}), "phase \"incident\": name stands twice"),
            (with("note", json!(1)), "phase 1: \"note\" is not known; there are name, start, end, instanceIds"),
            (with("start", json!("then")), "phase \"incident\": start: \"then\" is no time"),
            (with("end", json!(null)), "phase \"incident\": end: null is no time"),
            (
                with("end", json!("2026-11-25T13:31:35Z")),
                "phase \"incident\": end: 2026-11-25T13:31:35Z is before start, 2026-11-25T13:31:36Z",
            ),
            (with("instanceIds", json!("a")), "phase \"incident\": instanceIds: must be an array of texts"),
            (with("instanceIds", json!([1])), "phase \"incident\": instanceIds: must be an array of texts"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("p.json");
            fs::write(&path, value.to_string()).unwrap();
            let error = PhasesFile::read(&path).unwrap_err().to_string();
            assert_eq!(error, format!("{}: {told}", path.display()));
        }
    }
}
