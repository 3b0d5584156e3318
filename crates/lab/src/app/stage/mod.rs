//! Staging: the flat script root a Functions host wants, made from an allow-list, and refused when the host would
//! silently ignore or misread a part of it.

pub(in crate::app) mod rules;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{AppSource, source::is_inside};
use crate::machine::own_folder::{FolderError, OwnFolder, Purpose};

/// Name of the executable in the script root and in `host.json`.
pub const HANDLER: &str = "handler";

/// Why an app was not staged.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The host would ignore or misread it.
    #[error("refused to stage, the host would not run this as written:\n  {}", .0.join("\n  "))]
    Refused(Vec<String>),
    /// The target is another's, or holds what is.
    #[error(transparent)]
    Occupied(#[from] FolderError),
    /// The file system refused.
    #[error("stage {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StageError {
    let path = path.to_owned();
    move |source| StageError::Io { path, source }
}

/// A file of a script root.
#[derive(Debug)]
pub(in crate::app) struct Entry {
    pub content: Vec<u8>,
    pub mode: u32,
}

/// Flattens an app and its handler into `out`. `known` are the functions the handler has code for. Equal input gives equal
/// output, file modes included.
///
/// # Errors
/// All that the host would ignore, or what the file system refused.
pub fn stage(app: &AppSource, handler: &Path, out: &Path, known: &[&str]) -> Result<(), StageError> {
    stage_some(app, handler, out, known, known)
}

/// The same, with only those of the functions in `out` that are wanted: a package of its own.
///
/// # Errors
/// As [`stage`].
pub fn stage_some(
    app: &AppSource,
    handler: &Path,
    out: &Path,
    known: &[&str],
    wanted: &[&str],
) -> Result<(), StageError> {
    let start = app.start().unwrap_or_default();
    let place = if app.is_own() { HANDLER.into() } else { start.executable };
    let mut entries = entries(app, handler, &place)?;
    let problems = rules::problems(&entries, &place, known);
    if !problems.is_empty() {
        return Err(StageError::Refused(problems));
    }
    entries.retain(|path, _| !path.ends_with("function.json") || wanted.iter().any(|it| path.starts_with(it)));
    OwnFolder::take(out, Purpose::Stage)?.replace(entries.keys().map(PathBuf::as_path))?;
    for (path, entry) in &entries {
        write(&out.join(path), &entry.content, entry.mode)?;
    }
    // The host does not start a handler in a folder that is not there.
    if is_inside(&start.working_directory) {
        fs::create_dir_all(out.join(&start.working_directory)).map_err(io_error(out))?;
    }
    Ok(())
}

/// Adds `local.settings.json` for `func start`, which reads its settings and storage connection from there.
///
/// # Errors
/// When it cannot be written.
pub fn write_local_settings(out: &Path, settings: Vec<(String, String)>) -> Result<(), StageError> {
    let mut values = serde_json::Map::new();
    values.insert("FUNCTIONS_WORKER_RUNTIME".into(), "custom".into());
    values.insert("AzureWebJobsStorage".into(), "UseDevelopmentStorage=true".into());
    values.extend(settings.into_iter().map(|(name, value)| (name, Value::from(value))));
    let text = serde_json::to_vec_pretty(&json!({"IsEncrypted": false, "Values": values})).unwrap_or_default();
    copy_local_settings(out, &text)
}

/// Adds an app's own `local.settings.json`, for `lab start`. It is never deployed.
///
/// # Errors
/// When it cannot be written.
pub fn copy_local_settings(out: &Path, text: &[u8]) -> Result<(), StageError> {
    let file = Path::new("local.settings.json");
    OwnFolder::take(out, Purpose::Stage)?.add(file)?;
    write(&out.join(file), text, 0o644)
}

/// The allow-list: nothing else is ever shipped.
fn entries(app: &AppSource, handler: &Path, place: &Path) -> Result<BTreeMap<PathBuf, Entry>, StageError> {
    let content = fs::read(handler).map_err(io_error(handler))?;
    let mut entries = BTreeMap::from([
        (place.to_owned(), Entry { content, mode: 0o755 }),
        ("host.json".into(), Entry { content: app.host_json.clone(), mode: 0o644 }),
    ]);
    for (name, text) in &app.functions {
        entries.insert(Path::new(name).join("function.json"), Entry { content: text.clone(), mode: 0o644 });
    }
    Ok(entries)
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), StageError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io_error(parent))?;
    }
    fs::write(path, content).map_err(io_error(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io_error(path))
}
