//! A Functions app as the host finds it in a folder: `host.json`, every `function.json` and `local.settings.json`, read once.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{AppError, function_json::FunctionJson};

/// Prefix of an override; `__` stands between the names on the way to a value (host: `HostJsonFileConfigurationSource`
/// below the environment).
const OVERRIDE: &str = "AzureFunctionsJobHost__";

/// An app's files and its settings.
///
/// - No other code reads `host.json`, `function.json` or `local.settings.json` of a served app.
/// - [`ScriptRoot::host`] shows `host.json` as the settings override it.
/// - Of two settings with one name the later counts.
#[derive(Clone, Debug)]
pub struct ScriptRoot {
    path: PathBuf,
    functions: Vec<FunctionJson>,
    /// `host.json` as it is written.
    declared: Value,
    host: Value,
    settings: Vec<(String, String)>,
}

impl ScriptRoot {
    /// Reads a script root. Its settings are the `Values` of `local.settings.json`, which need not be there.
    ///
    /// # Errors
    /// When a file cannot be read or is not JSON.
    pub fn read(root: &Path) -> Result<Self, AppError> {
        let way_out = "give --script-root a folder with host.json and a folder for each function";
        let path = root.canonicalize().map_err(|error| AppError::new(root, error, way_out))?;
        let file = path.join("host.json");
        let text = fs::read(&file).map_err(|error| AppError::new(&file, error, way_out))?;
        let declared = parse(&file, &text)?;
        let functions = functions(&path)?;
        let settings = local_settings(&path.join("local.settings.json"))?;
        Ok(Self { path, functions, host: Value::Null, declared, settings }.overridden())
    }

    /// Adds settings below those the app has.
    #[must_use]
    pub fn with_defaults(mut self, settings: impl IntoIterator<Item = (String, String)>) -> Self {
        self.settings.splice(..0, settings);
        self.overridden()
    }

    /// Adds settings above those the app has.
    #[must_use]
    pub fn with_settings(mut self, settings: impl IntoIterator<Item = (String, String)>) -> Self {
        self.settings.extend(settings);
        self.overridden()
    }

    fn overridden(mut self) -> Self {
        self.host = self.declared.clone();
        for (name, value) in &self.settings {
            if let Some(place) = name.strip_prefix(OVERRIDE) {
                set(&mut self.host, place, value);
            }
        }
        self
    }

    /// The folder itself, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn host(&self) -> &Value {
        &self.host
    }

    /// An error about `host.json`.
    pub(crate) fn host_error(&self, problem: impl std::fmt::Display, way_out: &str) -> AppError {
        AppError::new(&self.path.join("host.json"), problem, way_out)
    }

    /// All functions, by name.
    pub fn functions(&self) -> &[FunctionJson] {
        &self.functions
    }

    /// App settings in order, repeated names included.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().rev().find(|it| it.0 == name).map(|it| it.1.as_str())
    }

    /// Replaces each `%NAME%` by the setting of that name.
    ///
    /// # Errors
    /// A name that is no setting.
    pub(super) fn resolve(&self, text: &str) -> Result<String, String> {
        let mut resolved = String::new();
        for (at, part) in text.split('%').enumerate() {
            // Every other part stands between two signs.
            resolved += if at % 2 == 0 { part } else { self.setting(part).ok_or_else(|| part.to_owned())? };
        }
        Ok(resolved)
    }
}

fn parse(file: &Path, text: &[u8]) -> Result<Value, AppError> {
    serde_json::from_slice(text).map_err(|error| AppError::new(file, error, "make it valid JSON, without comments"))
}

fn functions(root: &Path) -> Result<Vec<FunctionJson>, AppError> {
    let unreadable =
        |file: &Path, error: io::Error| AppError::new(file, error, "make it readable for this user, or remove it");
    let mut functions = Vec::new();
    for entry in fs::read_dir(root).map_err(|error| unreadable(root, error))? {
        let folder = entry.map_err(|error| unreadable(root, error))?.path();
        let file = folder.join("function.json");
        if !file.is_file() {
            continue;
        }
        let text = fs::read(&file).map_err(|error| unreadable(&file, error))?;
        let bindings = parse(&file, &text)?["bindings"].as_array().cloned().unwrap_or_default();
        let name = folder.file_name().and_then(|it| it.to_str()).unwrap_or_default().to_owned();
        functions.push(FunctionJson { name, bindings, file });
    }
    functions.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(functions)
}

/// The app settings Core Tools keeps for runs on one's own machine.
fn local_settings(file: &Path) -> Result<Vec<(String, String)>, AppError> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(AppError::new(file, error, "make it readable for this user, or remove it")),
    };
    let local = parse(file, &text)?;
    if local["IsEncrypted"] == true {
        return Err(AppError::new(file, "its values are encrypted", "decrypt it with `func settings decrypt`"));
    }
    let values = local["Values"].as_object().into_iter().flatten();
    let text = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Ok((name.clone(), text.clone())),
        Value::Number(_) | Value::Bool(_) => Ok((name.clone(), value.to_string())),
        _ => Err(AppError::new(file, format!("{name} in Values is not text"), "write the value in quotes")),
    };
    values.map(text).collect()
}

fn set(host: &mut Value, place: &str, value: &str) {
    let mut at = host;
    for name in place.split("__") {
        let Some(object) = at.as_object_mut() else { return };
        let known = object.keys().find(|it| it.eq_ignore_ascii_case(name)).cloned();
        at =
            object.entry(known.unwrap_or_else(|| name.to_owned())).or_insert_with(|| Value::Object(Default::default()));
    }
    // Configuration is text to the host; here a number or a flag has to look like one.
    *at = match serde_json::from_str(value) {
        Ok(scalar @ (Value::Number(_) | Value::Bool(_) | Value::Array(_))) => scalar,
        _ => Value::String(value.to_owned()),
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        root
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn app_settings_override_host_json() {
        let root = root(&[("host.json", r#"{"functionTimeout":"00:10:00","extensions":{"blobs":{}}}"#)]);
        let settings = pairs(&[
            ("AzureFunctionsJobHost__functiontimeout", "00:00:40"),
            ("AzureFunctionsJobHost__extensions__blobs__maxDegreeOfParallelism", "1"),
            ("FUNCTIONS_WORKER_RUNTIME", "custom"),
        ]);
        let read = ScriptRoot::read(root.path()).unwrap().with_settings(settings);
        let wanted =
            json!({ "functionTimeout": "00:00:40", "extensions": { "blobs": { "maxDegreeOfParallelism": 1 } } });
        assert_eq!(*read.host(), wanted);
    }

    #[test]
    fn settings_count_in_the_order_defaults_local_settings_given() {
        let local = r#"{"IsEncrypted":false,"Values":{"A":"local","B":"local","N":5}}"#;
        let root = root(&[("host.json", "{}"), ("local.settings.json", local)]);
        let read = ScriptRoot::read(root.path())
            .unwrap()
            .with_settings(pairs(&[("B", "given")]))
            .with_defaults(pairs(&[("A", "default"), ("B", "default"), ("C", "default")]));
        let found = ["A", "B", "C", "N", "D"].map(|it| read.setting(it));
        assert_eq!(found, [Some("local"), Some("given"), Some("default"), Some("5"), None]);
    }

    #[test]
    fn what_is_wrong_names_the_file_and_the_way_out() {
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[], "host.json: No such file or directory (os error 2); give --script-root a folder with host.json"),
            (&[("host.json", "{")], "host.json: EOF while parsing an object at line 1 column 1; make it valid JSON"),
            (&[("host.json", "{}"), ("F/function.json", "?")], "F/function.json: expected value"),
            (
                &[("host.json", "{}"), ("local.settings.json", r#"{"IsEncrypted":true}"#)],
                "local.settings.json: its values are encrypted; decrypt it",
            ),
            (
                &[("host.json", "{}"), ("local.settings.json", r#"{"Values":{"A":{}}}"#)],
                "local.settings.json: A in Values is not text; write the value in quotes",
            ),
        ];
        for (files, wanted) in cases {
            let error = ScriptRoot::read(root(files).path()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
