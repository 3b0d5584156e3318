//! Staging: the flat script root a Functions host wants, made from an allow-list, and refused when the host would
//! silently ignore or misread a part of it.

mod rules;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::preset::preset;
use incident_labs::settings::Variant;

/// Name of the executable in the script root and in `host.json`.
pub const HANDLER: &str = "handler";

/// Why an app was not staged.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The host would ignore or misread it.
    #[error("refused to stage, the host would not run this as written:\n  {}", .0.join("\n  "))]
    Refused(Vec<String>),
    /// The target holds something else.
    #[error("{} is not empty and not a staged app: choose another folder with --out", .0.display())]
    Occupied(PathBuf),
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

#[derive(Debug)]
struct Entry {
    content: Vec<u8>,
    mode: u32,
}

/// Flattens `source` (`host.json`, `functions/*/function.json`) and the handler into `out`. `known` are the functions
/// the handler has code for. Equal input gives equal output, file modes included.
///
/// # Errors
/// All that the host would ignore, or what the file system refused.
pub fn stage(source: &Path, handler: &Path, out: &Path, known: &[&str]) -> Result<(), StageError> {
    stage_some(source, handler, out, known, known)
}

/// The same, with only those of the functions in `out` that are wanted: a package of its own.
///
/// # Errors
/// As [`stage`].
pub fn stage_some(
    source: &Path,
    handler: &Path,
    out: &Path,
    known: &[&str],
    wanted: &[&str],
) -> Result<(), StageError> {
    let mut entries = entries(source, handler)?;
    let problems = rules::problems(&entries, known);
    if !problems.is_empty() {
        return Err(StageError::Refused(problems));
    }
    let folder = |path: &Path| path.parent().and_then(Path::to_str).unwrap_or_default().to_owned();
    entries.retain(|path, _| matches!(folder(path).as_str(), "") || wanted.contains(&folder(path).as_str()));
    clear(out)?;
    for (path, entry) in &entries {
        write(&out.join(path), &entry.content, entry.mode)?;
    }
    Ok(())
}

/// Adds `local.settings.json` for `func start`, which reads its settings and storage connection from there.
///
/// # Errors
/// When it cannot be written.
pub fn write_local_settings(out: &Path, variant: Variant) -> Result<(), StageError> {
    let mut values = serde_json::Map::new();
    values.insert("FUNCTIONS_WORKER_RUNTIME".into(), "custom".into());
    values.insert("AzureWebJobsStorage".into(), "UseDevelopmentStorage=true".into());
    values.extend(preset(variant).into_iter().map(|(name, value)| (name, Value::from(value))));
    let text = serde_json::to_vec_pretty(&json!({"IsEncrypted": false, "Values": values})).unwrap_or_default();
    write(&out.join("local.settings.json"), &text, 0o644)
}

/// The allow-list: nothing else is ever shipped.
fn entries(source: &Path, handler: &Path) -> Result<BTreeMap<PathBuf, Entry>, StageError> {
    let mut entries = BTreeMap::new();
    let mut add = |from: &Path, to: PathBuf, mode| {
        let content = fs::read(from).map_err(io_error(from))?;
        entries.insert(to, Entry { content, mode });
        Ok::<_, StageError>(())
    };
    add(handler, HANDLER.into(), 0o755)?;
    add(&source.join("host.json"), "host.json".into(), 0o644)?;
    let functions = source.join("functions");
    for entry in fs::read_dir(&functions).map_err(io_error(&functions))? {
        let folder = entry.map_err(io_error(&functions))?;
        if folder.path().is_dir() {
            add(&folder.path().join("function.json"), Path::new(&folder.file_name()).join("function.json"), 0o644)?;
        }
    }
    Ok(entries)
}

fn clear(out: &Path) -> Result<(), StageError> {
    let is_empty = fs::read_dir(out).map(|mut it| it.next().is_none()).unwrap_or(true);
    if !is_empty && !out.join("host.json").is_file() {
        return Err(StageError::Occupied(out.to_owned()));
    }
    match fs::remove_dir_all(out) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(out)(error)),
        _ => fs::create_dir_all(out).map_err(io_error(out)),
    }
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), StageError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io_error(parent))?;
    }
    fs::write(path, content).map_err(io_error(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io_error(path))
}
