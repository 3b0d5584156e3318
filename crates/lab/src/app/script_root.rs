//! A Functions app as the host finds it in a folder: `host.json`, every `function.json` and `local.settings.json`, read once.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use custom_handler::files::{
    HostJson, field,
    host_json::document,
    setting::{self, Unresolved},
};
use serde_json::Value;

use super::{
    AppError, HostSettings,
    function_json::{FunctionJson, bindings},
};
use incident_labs::settings::process_environment;

/// The way out of a file that is not JSON.
const MEND_JSON: &str = "make it valid JSON (comments and trailing commas are)";
const MEND_HOST_JSON: &str = "write a value that the host reads: docs/limits.md has them";

/// An app's files and its settings.
///
/// - No other code reads `host.json`, `function.json` or `local.settings.json` of a served app.
/// - [`ScriptRoot::host`] shows `host.json` as the settings override it.
/// - Names of settings are compared without regard to case, and of two with one name the later counts.
/// - A function that the settings switch off, or that `functions` of `host.json` leaves out, is none of its functions.
#[derive(Clone, Debug)]
pub struct ScriptRoot {
    path: PathBuf,
    /// As their files are written.
    declared: Vec<FunctionJson>,
    functions: Vec<FunctionJson>,
    disabled: Vec<String>,
    host: HostJson,
    settings: Vec<(String, String)>,
}

impl ScriptRoot {
    /// Reads a script root. Its settings are the `Values` of `local.settings.json`, which need not be there; what the environment
    /// says about the host wins over them, as under Core Tools.
    ///
    /// # Errors
    /// When a file cannot be read or is not JSON.
    pub fn read(root: &Path) -> Result<Self, AppError> {
        let way_out = "give --script-root a folder with host.json and a folder for each function";
        let path = root.canonicalize().map_err(|error| AppError::new(root, error, way_out))?;
        let file = path.join("host.json");
        let text = fs::read(&file).map_err(|error| AppError::new(&file, error, way_out))?;
        let host = HostJson::of(&file, &text).map_err(|error| AppError::unreadable(&error, MEND_JSON))?;
        let declared = functions(&path)?;
        let mut settings = local_settings(&path.join("local.settings.json"))?;
        settings.extend(process_environment().into_iter().filter(|it| setting::key(&it.0).starts_with(OVERRIDES)));
        Ok(Self { path, declared, functions: Vec::new(), disabled: Vec::new(), host, settings }.overridden())
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
        self.settings = last_of_each(self.settings);
        self.host = self.host.overridden(self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let (functions, disabled): (Vec<_>, Vec<_>) =
            self.declared.iter().cloned().partition(|it| self.is_enabled(&it.name));
        self.functions = functions;
        self.disabled = disabled.into_iter().map(|it| it.name).collect();
        self
    }

    /// Whether the host would start a function's listener (WebJobs SDK: `HostListenerFactory`; host: `functions` of host.json).
    fn is_enabled(&self, function: &str) -> bool {
        let names = [format!("AzureWebJobs.{function}.Disabled"), format!("AzureWebJobs_{function}_Disabled")];
        let is_off = names.iter().filter_map(|it| self.setting(it)).any(setting::is_on);
        // What cannot be read is told where the host's options are.
        let chosen = self.host.list(&["functions"]).unwrap_or_default();
        !is_off && (chosen.is_empty() || chosen.iter().any(|it| it.eq_ignore_ascii_case(function)))
    }

    /// Fills in each `%NAME%` in its bindings, as the host does when it reads them.
    ///
    /// # Errors
    /// The function, the property and the name, where a name is no setting.
    pub fn resolved(mut self) -> Result<Self, AppError> {
        let mut functions = std::mem::take(&mut self.functions);
        for function in &mut functions {
            for binding in &mut function.bindings {
                self.resolve_in(binding, "").map_err(|(place, cause)| {
                    let problem = format!("{} in {place} of a binding {}", cause.text, cause.reason);
                    AppError::new(&function.file, problem, way_out(&cause))
                })?;
            }
        }
        self.functions = functions;
        Ok(self)
    }

    fn resolve_in(&self, value: &mut Value, place: &str) -> Result<(), (String, Unresolved)> {
        match value {
            Value::String(text) => {
                *text = self.resolve(text).map_err(|cause| (place.to_owned(), cause))?;
                Ok(())
            }
            Value::Array(items) => items.iter_mut().try_for_each(|it| self.resolve_in(it, place)),
            Value::Object(fields) => fields.iter_mut().try_for_each(|(name, it)| {
                let inside = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                self.resolve_in(it, &inside)
            }),
            _ => Ok(()),
        }
    }

    /// The folder itself, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn host(&self) -> &HostJson {
        &self.host
    }

    /// What `host.json` says, typed, with the names in the hub's name filled in.
    ///
    /// # Errors
    /// What in it cannot be read.
    pub fn host_settings(&self) -> Result<HostSettings, AppError> {
        let mut settings =
            HostSettings::read(&self.host).map_err(|error| AppError::unreadable(&error, MEND_HOST_JSON))?;
        settings.hub_name = self.hub_name(&settings.hub_name)?;
        Ok(settings)
    }

    fn hub_name(&self, written: &str) -> Result<String, AppError> {
        self.resolve(written).map_err(|cause| {
            let place = ["extensions", "durableTask", "hubName"];
            let problem = self.host.unreadable(&place, format_args!("has {}, which {}", cause.text, cause.reason));
            AppError::unreadable(&problem, way_out(&cause))
        })
    }

    /// An error about `host.json`.
    pub(crate) fn host_error(&self, problem: impl std::fmt::Display, way_out: &str) -> AppError {
        AppError::new(&self.path.join("host.json"), problem, way_out)
    }

    /// The functions that run, by name.
    pub fn functions(&self) -> &[FunctionJson] {
        &self.functions
    }

    /// Names of those that are switched off.
    pub fn disabled(&self) -> &[String] {
        &self.disabled
    }

    /// App settings in order, each name once.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().rev().find(|it| setting::is_same(&it.0, name)).map(|it| it.1.as_str())
    }

    /// Whether settings stand below a name, as `NAME__accountName` does.
    pub(crate) fn has_section(&self, name: &str) -> bool {
        let section = setting::key(name) + ":";
        self.settings.iter().any(|it| setting::key(&it.0).starts_with(&section))
    }

    /// Replaces each `%NAME%` by the setting of that name, or the variable of the environment (WebJobs SDK: `NameResolverExtensions`).
    ///
    /// # Errors
    /// A name that is neither, or a sign without a partner.
    pub(crate) fn resolve(&self, text: &str) -> Result<String, Unresolved> {
        setting::filled_in(text, |name| self.variable(name))
    }

    fn variable(&self, name: &str) -> Option<String> {
        let of_environment =
            || process_environment().into_iter().find(|it| setting::is_same(&it.0, name)).map(|it| it.1);
        self.setting(name).map(str::to_owned).or_else(of_environment)
    }
}

/// What to do about a `%NAME%` that cannot be filled in.
fn way_out(cause: &Unresolved) -> String {
    match &cause.name {
        Some(name) => format!("set {name} in local.settings.json or with --set"),
        None => "write %NAME%, with a sign on both sides".to_owned(),
    }
}

/// How the settings that override `host.json` begin, in the form that is compared.
const OVERRIDES: &str = "azurefunctionsjobhost:";

/// Of settings with one name the last, in the place of the last.
fn last_of_each(settings: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut seen = std::collections::HashSet::new();
    let mut kept: Vec<_> = settings.into_iter().rev().filter(|it| seen.insert(setting::key(&it.0))).collect();
    kept.reverse();
    kept
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
        let bindings = bindings(&file, &text).map_err(|error| AppError::unreadable(&error, MEND_JSON))?;
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
    let local = document(file, &text).map_err(|error| AppError::unreadable(&error, MEND_JSON))?;
    let is_encrypted = field(&local.value, "IsEncrypted");
    if is_encrypted == true || is_encrypted.as_str().is_some_and(setting::is_on) {
        return Err(AppError::new(file, "its values are encrypted", "decrypt it with `func settings decrypt`"));
    }
    let values = match field(&local.value, "Values") {
        Value::Object(values) => values,
        Value::Null => return Ok(Vec::new()),
        _ => return Err(AppError::new(file, "Values is no object", "write {\"NAME\": \"value\"}")),
    };
    let text = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Ok((name.clone(), text.clone())),
        Value::Number(_) | Value::Bool(_) => Ok((name.clone(), value.to_string())),
        _ => {
            let line = local.line(&["Values", name]).unwrap_or_default();
            Err(AppError::new(file, format!("line {line}: {name} in Values is not text"), "write the value in quotes"))
        }
    };
    values.iter().map(text).collect()
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
        assert_eq!(*read.host().value(), wanted);
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
        let cases: [(&[(&str, &str)], &str); 7] = [
            (&[], "host.json: No such file or directory (os error 2); give --script-root a folder with host.json"),
            (
                &[("host.json", "{\n")],
                "host.json: line 2: the text ends inside of what begins in line 1; make it valid JSON",
            ),
            (&[("host.json", "{}"), ("F/function.json", "?")], "F/function.json: line 1: a value is missing"),
            (&[("host.json", "[]")], "host.json: line 1: the top of the file is no object"),
            (
                &[("host.json", "{}"), ("F/function.json", "{\n\"bindings\": [\n5]}")],
                "F/function.json: line 3: a binding is no object",
            ),
            (
                &[("host.json", "{}"), ("local.settings.json", r#"{"IsEncrypted":true}"#)],
                "local.settings.json: its values are encrypted; decrypt it",
            ),
            (
                &[("host.json", "{}"), ("local.settings.json", r#"{"Values":{"A":{}}}"#)],
                "local.settings.json: line 1: A in Values is not text; write the value in quotes",
            ),
        ];
        for (files, wanted) in cases {
            let error = ScriptRoot::read(root(files).path()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn names_of_settings_are_compared_without_regard_to_case() {
        let local = "\u{feff}{ // of Core Tools\n\"values\": {\"My_Setting\": \"local\", \"Other\": \"x\",}, }";
        let root = root(&[("host.json", "{}"), ("local.settings.json", local)]);
        let read = ScriptRoot::read(root.path()).unwrap().with_settings(pairs(&[("MY_SETTING", "given")]));
        assert_eq!((read.setting("my_setting"), read.setting("OTHER")), (Some("given"), Some("x")));
        assert_eq!(read.settings().iter().filter(|it| it.0.eq_ignore_ascii_case("my_setting")).count(), 1);
    }

    #[test]
    fn a_function_is_disabled_by_a_setting_in_any_case_or_left_out_by_host_json() {
        let function = r#"{"bindings":[]}"#;
        let files = [("A/function.json", function), ("B/function.json", function), ("C/function.json", function)];
        let names = |host: &str, settings: &[(&str, &str)]| {
            let root = root(&[&[("host.json", host)][..], &files].concat());
            let read = ScriptRoot::read(root.path()).unwrap().with_settings(pairs(settings));
            (read.functions().iter().map(|it| it.name.clone()).collect::<String>(), read.disabled().concat())
        };
        for (host, settings, enabled, disabled) in [
            ("{}", &[][..], "ABC", ""),
            ("{}", &[("azurewebjobs.b.DISABLED", "True")], "AC", "B"),
            ("{}", &[("AzureWebJobs.A.Disabled", "1"), ("AzureWebJobs_C_Disabled", "true")], "B", "AC"),
            ("{}", &[("AzureWebJobs.A.Disabled", "false"), ("AzureWebJobs.B.Disabled", "")], "ABC", ""),
            (r#"{"Functions":["a","C"]}"#, &[("AzureWebJobs.C.Disabled", "1")], "A", "BC"),
        ] {
            assert_eq!(names(host, settings), (enabled.to_owned(), disabled.to_owned()), "{host} {settings:?}");
        }
    }

    #[test]
    fn names_between_percent_signs_are_filled_in_wherever_a_binding_has_them() {
        let function = r#"{"bindings":[{"type":"queue","QueueName":"%Q%-%q%","properties":{"deep":["%Q%"]}}]}"#;
        let root = root(&[("host.json", "{}"), ("F/function.json", function)]);
        let read = ScriptRoot::read(root.path()).unwrap();
        let resolved = read.clone().with_settings(pairs(&[("q", "50%")])).resolved().unwrap();
        let binding = &resolved.functions()[0].bindings[0];
        assert_eq!((&binding["QueueName"], &binding["properties"]["deep"][0]), (&json!("50%-50%"), &json!("50%")));
        let error = read.resolved().unwrap_err().to_string();
        assert!(error.ends_with(
            "F/function.json: %Q% in QueueName of a binding is no app setting; set Q in local.settings.json or with --set"
        ));
        let host = r#"{"customHandler":{"description":{"defaultExecutablePath":"x"}},"extensions":{"durableTask":{"hubName":"%q%Hub"}}}"#;
        fs::write(root.path().join("host.json"), host).unwrap();
        let plain = ScriptRoot::read(root.path()).unwrap();
        assert_eq!(plain.clone().with_settings(pairs(&[("Q", "My")])).host_settings().unwrap().hub_name, "MyHub");
        assert!(
            plain.host_settings().unwrap_err().to_string().contains("line 1: extensions.durableTask.hubName has %q%")
        );
        assert_eq!(plain.resolve("50%").unwrap_err().reason, "has a % without a partner");
    }
}
