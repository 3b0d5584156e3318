//! An app before it is staged: read from a folder, or carried by the lab itself.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Component, Path, PathBuf},
};

use custom_handler::files::{HostJson, Unreadable};

use super::AppError;
use incident_labs::functions;

const HOST_JSON: &str = include_str!("../../../../host.json");
/// `(function, function.json)` of each folder in `functions/`.
const CARRIED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/functions.rs"));
const WAY_OUT: &str =
    "give --script-root a folder with host.json, and a folder for each function beside it or in functions/";

/// The files an app is staged from.
#[derive(Clone, Debug)]
pub struct AppSource {
    /// The folder it was read from; the carried app has none.
    folder: Option<PathBuf>,
    /// Whether the functions stand beside host.json: the host can run the folder as it is.
    is_flat: bool,
    pub(super) host_json: Vec<u8>,
    pub(super) functions: BTreeMap<String, Vec<u8>>,
}

impl AppSource {
    /// Reads `host.json` of a folder, and the functions in `functions/` or beside it.
    ///
    /// # Errors
    /// When a file is missing or cannot be read.
    pub fn read(folder: &Path) -> Result<Self, AppError> {
        let file = folder.join("host.json");
        let host_json = fs::read(&file).map_err(|error| AppError::new(&file, error, WAY_OUT))?;
        HostJson::of(&file, &host_json).map_err(|error| AppError::unreadable(&error, "make it valid JSON"))?;
        let nested = folder.join("functions");
        let is_flat = !nested.is_dir();
        let functions = if is_flat { read_functions(folder, false)? } else { read_functions(&nested, true)? };
        Ok(Self { folder: Some(folder.to_owned()), is_flat, host_json, functions })
    }

    /// The project's own app, as it was when the lab was built.
    pub fn carried() -> Self {
        let functions = CARRIED.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
        Self { folder: None, is_flat: false, host_json: HOST_JSON.into(), functions: functions.collect() }
    }

    /// The app in the nearest of the folders above `here` that has `host.json` beside `functions/` and is acceptable.
    ///
    /// # Errors
    /// When such an app cannot be read.
    pub fn above(here: &Path, is_acceptable: impl Fn(&Self) -> bool) -> Result<Option<Self>, AppError> {
        for folder in here.ancestors() {
            if folder.join("host.json").is_file() && folder.join("functions").is_dir() {
                let found = Self::read(folder)?;
                if is_acceptable(&found) {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// Whether it has functions of ours.
    pub fn is_own(&self) -> bool {
        self.functions.keys().any(|it| functions::names().contains(&it.as_str()))
    }

    /// The folder, if the host can run it as it is.
    pub fn script_root(&self) -> Option<&Path> {
        self.folder.as_deref().filter(|_| self.is_flat)
    }

    /// Names of its functions.
    pub fn functions(&self) -> Vec<&str> {
        self.functions.keys().map(String::as_str).collect()
    }

    /// Where what `host.json` starts is, and where it starts it, below the folder.
    ///
    /// # Errors
    /// When it does not say.
    pub(super) fn start(&self) -> Result<Start, Unreadable> {
        let folder = self.folder.as_deref().unwrap_or(Path::new(""));
        Start::of(&HostJson::of(&folder.join("host.json"), &self.host_json)?)
    }

    /// The executable of this app, where `host.json` has it.
    ///
    /// # Errors
    /// When it is not there.
    pub fn handler(&self) -> Result<PathBuf, AppError> {
        let folder = self.folder.as_deref().unwrap_or(Path::new(""));
        let way_out = "build the handler there, or give it with --handler";
        let start = self.start().map_err(|error| AppError::unreadable(&error, way_out))?;
        let file = folder.join(&start.executable);
        if is_inside(&start.executable) && file.is_file() {
            return Ok(file);
        }
        let problem = format!("it starts {:?}, and there is no such file in {}", start.executable, folder.display());
        Err(AppError::new(&folder.join("host.json"), problem, way_out))
    }

    /// Its `local.settings.json`, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn local_settings(&self) -> Result<Option<Vec<u8>>, AppError> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let file = folder.join("local.settings.json");
        match fs::read(&file) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(AppError::new(&file, error, "make it readable for this user, or remove it")),
        }
    }
}

/// How a handler is started, as `host.json` says it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Start {
    /// Where the executable is: relative to the script root, if it is shipped with the app.
    pub executable: PathBuf,
    /// Folder it is started in; empty for the script root.
    pub working_directory: PathBuf,
    /// The executable without `workerDirectory`: looked up on `PATH` where there is no such file.
    pub as_written: PathBuf,
}

impl Start {
    /// Reads `customHandler.description`. A relative executable is looked for in `workerDirectory`, never in `workingDirectory`.
    ///
    /// # Errors
    /// When a value is no text, or there is no executable.
    pub(crate) fn of(host: &HostJson) -> Result<Self, Unreadable> {
        let text = |name: &str| host.text(&["customHandler", "description", name]).map(Option::unwrap_or_default);
        let executable = text("defaultExecutablePath")?;
        if executable.is_empty() {
            let place = ["customHandler", "description", "defaultExecutablePath"];
            let reason = format!("missing field {}, which names the handler", place.join("."));
            return Err(Unreadable { reason, ..host.unreadable(&place, "") });
        }
        let inside = Path::new(&text("workerDirectory")?).join(&executable);
        let working_directory = plain(Path::new(&text("workingDirectory")?));
        Ok(Self { executable: plain(&inside), working_directory, as_written: executable.into() })
    }
}

/// The path without `.`: `./bin//handler` is `bin/handler`.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|it| *it != Component::CurDir).collect()
}

/// Whether a path names a file below the folder it is joined to.
pub(super) fn is_inside(path: &Path) -> bool {
    path.components().next().is_some() && path.components().all(|it| matches!(it, Component::Normal(_)))
}

/// `function.json` by folder. In `functions/` each folder must have one; beside host.json others are no functions.
fn read_functions(folder: &Path, is_required: bool) -> Result<BTreeMap<String, Vec<u8>>, AppError> {
    let unreadable = |error: io::Error| AppError::new(folder, error, WAY_OUT);
    let mut functions = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let file = path.join("function.json");
        if !path.is_dir() || !is_required && !file.is_file() {
            continue;
        }
        let text = fs::read(&file).map_err(|error| AppError::new(&file, error, "write it, or remove its folder"))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        functions.insert(name, text);
    }
    Ok(functions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carried_app_is_the_one_in_the_tree() {
        let root = Path::new("../..");
        let (carried, read) = (AppSource::carried(), AppSource::read(root).unwrap());
        assert_eq!((carried.host_json, &carried.functions), (read.host_json, &read.functions));
        let mut known = functions::names();
        known.sort_unstable();
        assert_eq!(carried.functions.keys().collect::<Vec<_>>(), known);
    }

    #[test]
    fn what_is_started_is_found_wherever_host_json_names_it() {
        for (description, executable, folder) in [
            (r#""defaultExecutablePath": "handler""#, "handler", ""),
            (r#""DEFAULTExecutablePath": "./handler", "workingDirectory": "./data/""#, "handler", "data"),
            (r#""defaultExecutablePath": "bin/handler", "workingDirectory": "bin""#, "bin/handler", "bin"),
            (r#""defaultExecutablePath": "handler", "workerDirectory": "bin""#, "bin/handler", ""),
        ] {
            let text = format!("{{\"customHandler\": {{\"Description\": {{{description}}} }} }}");
            let start = Start::of(&HostJson::of(Path::new("host.json"), text.as_bytes()).unwrap()).unwrap();
            let found = (start.executable.to_str(), start.working_directory.to_str());
            assert_eq!(found, (Some(executable), Some(folder)), "{description}");
        }
        assert!(Start::of(&HostJson::default()).is_err());
    }

    #[test]
    fn a_path_is_inside_if_every_part_of_it_is_a_name() {
        for (path, wanted) in [("handler", true), ("bin/app", true), ("", false), ("/bin/sh", false), ("../app", false)]
        {
            assert_eq!(is_inside(Path::new(path)), wanted, "{path:?}");
        }
    }
}
