//! `host.json` below the app settings that override it, read by the name of a place.

use std::{
    collections::HashMap,
    fs, io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Map, Value};

use super::{
    json::{Document, field},
    setting,
};
use crate::framework::wire::timespan;

/// First part of the name of an override; the names on the way to a value follow (host: `HostJsonFileConfigurationSource` below
/// the environment).
const OVERRIDE: &str = "AzureFunctionsJobHost";

/// What in a file cannot be read: file, line and reason. No value is shown: it may be a key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}: {}", file.display(), problem(*line, reason))]
pub struct Unreadable {
    pub file: PathBuf,
    /// Counted from 1; `None` where no line is at fault.
    pub line: Option<usize>,
    pub reason: String,
}

impl Unreadable {
    pub fn new(file: &Path, line: Option<usize>, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, reason: reason.into() }
    }

    /// Line and reason, without the file.
    pub fn problem(&self) -> String {
        problem(self.line, &self.reason)
    }
}

fn problem(line: Option<usize>, reason: &str) -> String {
    line.map_or_else(|| reason.to_owned(), |line| format!("line {line}: {reason}"))
}

/// Reads a JSON file of an app, whose top is an object.
///
/// # Errors
/// The file, and the line where there is one.
pub fn document(file: &Path, text: &[u8]) -> Result<Document, Unreadable> {
    let read = Document::read(text).map_err(|error| Unreadable::new(file, Some(error.line), error.reason))?;
    if read.value.is_object() {
        Ok(read)
    } else {
        Err(Unreadable::new(file, Some(1), "the top of the file is no object"))
    }
}

/// An app's `host.json`.
///
/// - Values are text to .NET: `"48"` is as good as `48`.
/// - What is absent or `null` is `None`; what cannot be read is an error, never a default.
#[derive(Clone, Debug, Default)]
pub struct HostJson {
    file: PathBuf,
    document: Document,
    value: Value,
    /// Settings by the place they override, in the form that is compared.
    overrides: HashMap<String, String>,
}

impl HostJson {
    /// Reads the file's text.
    ///
    /// # Errors
    /// Where it is not JSON.
    pub fn of(file: &Path, text: &[u8]) -> Result<Self, Unreadable> {
        let document = document(file, text)?;
        Ok(Self { file: file.to_owned(), value: document.value.clone(), document, overrides: HashMap::new() })
    }

    /// Reads the file. Where there is none it says nothing, as to the host.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(file: &Path) -> Result<Self, Unreadable> {
        match fs::read(file) {
            Ok(text) => Self::of(file, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::of(file, b"{}"),
            Err(error) => Err(Unreadable::new(file, None, error.to_string())),
        }
    }

    /// Lets those of the settings that begin with `AzureFunctionsJobHost__` override it, the later the stronger.
    #[must_use]
    pub fn overridden<'a>(mut self, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.value = self.document.value.clone();
        self.overrides.clear();
        for (name, value) in settings {
            let place = name.replace("__", ":");
            let Some((prefix, place)) = place.split_once(':') else { continue };
            if prefix.eq_ignore_ascii_case(OVERRIDE) && !place.is_empty() {
                self.overrides.insert(setting::key(place), name.to_owned());
                set(&mut self.value, place, value);
            }
        }
        self
    }

    /// The whole, as the settings override it.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// An error about a place.
    pub fn unreadable(&self, path: &[&str], reason: impl std::fmt::Display) -> Unreadable {
        let name = path.join(".");
        let set_by = (1..=path.len()).rev().find_map(|it| self.overrides.get(&setting::key(&path[..it].join(":"))));
        match set_by {
            Some(setting) => Unreadable::new(&self.file, None, format!("{name}, set by {setting}, {reason}")),
            None => Unreadable::new(&self.file, self.document.line(path), format!("{name} {reason}")),
        }
    }

    /// What stands at a place.
    ///
    /// # Errors
    /// When something on the way there is no object.
    pub fn at(&self, path: &[&str]) -> Result<&Value, Unreadable> {
        let mut value = &self.value;
        for (depth, name) in path.iter().enumerate() {
            if !value.is_object() && !value.is_null() {
                return Err(self.unreadable(&path[..depth], "is no object"));
            }
            value = field(value, name);
        }
        Ok(value)
    }

    /// A text; a number or a flag is one too.
    ///
    /// # Errors
    /// When it is an object or an array.
    pub fn text(&self, path: &[&str]) -> Result<Option<String>, Unreadable> {
        match self.at(path)? {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(Some(value.to_string())),
            _ => Err(self.unreadable(path, "is no text")),
        }
    }

    /// Texts of an array, in a setting also as a JSON array.
    ///
    /// # Errors
    /// When it is none.
    pub fn list(&self, path: &[&str]) -> Result<Vec<String>, Unreadable> {
        let wrong = || self.unreadable(path, "is no array of texts");
        let items: Vec<&Value> = match self.at(path)? {
            Value::Null => Vec::new(),
            Value::Array(items) => items.iter().collect(),
            // One setting for each element.
            Value::Object(items) if items.keys().all(|it| it.parse::<usize>().is_ok()) => items.values().collect(),
            _ => return Err(wrong()),
        };
        let text = |item: &Value| match item {
            Value::String(text) => Ok(text.clone()),
            Value::Number(_) | Value::Bool(_) => Ok(item.to_string()),
            _ => Err(wrong()),
        };
        items.into_iter().map(text).collect()
    }

    /// `true` or `false`, in any case.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn flag(&self, path: &[&str]) -> Result<Option<bool>, Unreadable> {
        let Some(text) = self.text(path)? else { return Ok(None) };
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(self.unreadable(path, "is neither true nor false")),
        }
    }

    /// A whole number in a range.
    ///
    /// # Errors
    /// When it is none, or out of range.
    pub fn number(&self, path: &[&str], range: RangeInclusive<u64>) -> Result<Option<u64>, Unreadable> {
        let Some(text) = self.text(path)? else { return Ok(None) };
        let text = text.trim();
        // To .NET a whole number may be written as `4.0`.
        let whole = text.parse::<u64>().ok().or_else(|| text.strip_suffix(".0")?.parse().ok());
        whole.filter(|it| range.contains(it)).map(Some).ok_or_else(|| {
            self.unreadable(path, format_args!("is not a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// A length of time; no limit is [`Duration::MAX`].
    ///
    /// # Errors
    /// When it is none.
    pub fn time_span(&self, path: &[&str]) -> Result<Option<Duration>, Unreadable> {
        let Some(text) = self.text(path)? else { return Ok(None) };
        timespan::parse(&text).map(Some).map_err(|cause| self.unreadable(path, cause))
    }
}

/// Sets a value that a setting overrides. .NET keeps both where a setting names a whole object, or something below a value.
fn set(host: &mut Value, place: &str, value: &str) {
    let mut at = host;
    for name in place.split(':') {
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
        at = match at {
            Value::Object(object) => {
                let known = object.keys().find(|it| it.eq_ignore_ascii_case(name)).cloned();
                object.entry(known.unwrap_or_else(|| name.to_owned())).or_insert(Value::Null)
            }
            Value::Array(array) => {
                let Ok(number) = name.parse::<usize>() else { return };
                if number >= array.len() {
                    array.push(Value::Null);
                }
                let last = array.len() - 1;
                &mut array[number.min(last)]
            }
            _ => return,
        };
    }
    if !at.is_object() {
        *at = scalar(value);
    }
}

/// A setting's value: a number or a flag where it is written as one, an array where it is a JSON array, else text.
fn scalar(text: &str) -> Value {
    let read: Value = serde_json::from_str(text).unwrap_or_default();
    let written = read.to_string();
    if read.is_array() || (read.is_number() || read.is_boolean()) && written == text {
        return read;
    }
    Value::String(text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FILE: &str = "/app/host.json";

    fn host(text: &str, settings: &[(&str, &str)]) -> HostJson {
        HostJson::of(Path::new(FILE), text.as_bytes()).unwrap().overridden(settings.iter().copied())
    }

    #[test]
    fn values_are_found_in_any_case_and_as_text() {
        let host = host(
            "\u{feff}{ // one\n\"FunctionTimeout\": \"1.00:00:00\", \"extensions\": {\"BLOBS\": {\"n\": \"48\", \"m\": 4.0,}, \"f\": \"True\"} }",
            &[],
        );
        assert_eq!(host.time_span(&["functionTimeout"]).unwrap(), Some(Duration::from_secs(86_400)));
        assert_eq!(host.number(&["Extensions", "blobs", "N"], 1..=50).unwrap(), Some(48));
        assert_eq!(host.number(&["extensions", "blobs", "m"], 1..=50).unwrap(), Some(4));
        assert_eq!(host.flag(&["extensions", "f"]).unwrap(), Some(true));
        assert_eq!(host.text(&["extensions", "x", "y"]).unwrap(), None);
    }

    #[test]
    fn settings_override_in_any_case_element_by_element() {
        let settings = [
            ("azurefunctionsjobhost__FUNCTIONTIMEOUT", "-1"),
            ("AzureFunctionsJobHost:extensions:blobs:maxDegreeOfParallelism", "1"),
            ("AzureFunctionsJobHost__customHandler__description__arguments__1", "z"),
            ("AzureFunctionsJobHost__new__0", "a"),
            ("AzureFunctionsJobHost__extensions", "ignored"),
            ("AzureFunctionsJobHost__hubName", "0123"),
            ("AzureFunctionsJobHostX__a", "b"),
        ];
        let text = r#"{"functionTimeout":"00:10:00","extensions":{"blobs":{}},"customHandler":{"description":{"arguments":["x","y"]}}}"#;
        let host = host(text, &settings);
        let wanted = json!({
            "functionTimeout": -1,
            "extensions": { "blobs": { "maxDegreeOfParallelism": 1 } },
            "customHandler": { "description": { "arguments": ["x", "z"] } },
            "new": { "0": "a" },
            "hubName": "0123",
        });
        assert_eq!(*host.value(), wanted);
        assert_eq!(host.time_span(&["functionTimeout"]).unwrap(), Some(Duration::MAX));
        assert_eq!(host.list(&["new"]).unwrap(), ["a"]);
    }

    #[test]
    fn what_cannot_be_read_names_file_line_and_reason() {
        let text = "{\n \"a\": \"ten\",\n \"b\": {\n  \"c\": -5 },\n \"d\": [1, {}],\n \"e\": \"\" }";
        let read = host(text, &[("AzureFunctionsJobHost__f", "hunter2")]);
        let said = [
            read.time_span(&["A"]).unwrap_err(),
            read.number(&["b", "c"], 1..=9).unwrap_err(),
            read.text(&["b"]).unwrap_err(),
            read.text(&["a", "x", "y"]).unwrap_err(),
            read.list(&["d"]).unwrap_err(),
            read.time_span(&["e"]).unwrap_err(),
            read.flag(&["f"]).unwrap_err(),
        ];
        let wanted = [
            "line 2: A is no time span",
            "line 4: b.c is not a whole number from 1 to 9",
            "line 3: b is no text",
            "line 2: a is no object",
            "line 5: d is no array",
            "line 6: e is no time span",
            "f, set by AzureFunctionsJobHost__f, is neither",
        ];
        for (said, wanted) in said.iter().map(ToString::to_string).zip(wanted) {
            assert!(said.starts_with(&format!("{FILE}: {wanted}")) && !said.contains("hunter2"), "{said}");
        }
        let error = HostJson::of(Path::new(FILE), b"{\n \"a\" 1}").unwrap_err();
        assert_eq!(error.to_string(), "/app/host.json: line 2: a colon is missing after a name");
        assert!(HostJson::of(Path::new(FILE), b"[]").is_err());
        assert!(HostJson::read(Path::new("/")).is_err());
    }
}
