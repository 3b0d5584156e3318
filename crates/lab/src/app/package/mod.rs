//! Packages: zips a Functions app can be deployed from, equal to the last byte whenever their content is.

mod check;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Cursor, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use custom_handler::files::HostJson;
use serde_json::json;
use sha2::{Digest, Sha256};
use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

pub use check::{Finding, check};

use super::{
    AppSource,
    stage::{StageError, stage_some},
};
use crate::machine::own_folder::MARKER;
use incident_labs::{
    blob::Variant,
    functions::{self, Lab},
};

/// A zip that is deployed.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    pub file: &'static str,
    /// Whose functions are in it.
    pub lab: Lab,
    /// What the blob function does when no setting says otherwise.
    pub variant: Option<Variant>,
}

/// The guide's three packages.
pub const PACKAGES: [Package; 3] = [
    Package { file: "oom-buffering-app.zip", lab: Lab::Oom, variant: Some(Variant::Buffering) },
    Package { file: "oom-streaming-app.zip", lab: Lab::Oom, variant: Some(Variant::Streaming) },
    Package { file: "replay-app.zip", lab: Lab::Replay, variant: None },
];

/// A package that was written.
#[derive(Clone, Debug)]
pub struct Written {
    pub path: PathBuf,
    pub bytes: u64,
    /// SHA-256 of the zip, in hex.
    pub sha256: String,
}

/// Why a package could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The app is not one the host would run.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The file system refused.
    #[error("package {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The zip library refused.
    #[error("write the zip")]
    Zip(#[from] zip::result::ZipError),
}

/// Makes a package of an app with a handler, in the folder `out`.
///
/// # Errors
/// When the app is refused, or something cannot be written.
pub fn package(package: &Package, app: &AppSource, handler: &Path, out: &Path) -> Result<Written, PackageError> {
    let scratch = tempfile::tempdir().map_err(io_error(out))?;
    let stage = scratch.path().join("stage");
    stage_some(app, handler, &stage, &functions::names(), &functions::names_of(package.lab))?;
    if let Some(variant) = package.variant {
        add_arguments(&stage.join("host.json"), variant)?;
    }
    let bytes = zip_of(&stage)?;
    let path = out.join(package.file);
    fs::create_dir_all(out).map_err(io_error(out))?;
    // Beside it first: neither a full disk nor a link of that name costs anything but the new zip.
    let new = path.with_extension("zip.new");
    fs::write(&new, &bytes).and_then(|()| fs::rename(&new, &path)).map_err(io_error(&path))?;
    let sha256 = format!("{:x}", Sha256::digest(&bytes));
    Ok(Written { path, bytes: bytes.len() as u64, sha256 })
}

/// Overrides the arguments in host.json, in whatever case it names them.
const ARGUMENTS: &str = "AzureFunctionsJobHost__customHandler__description__arguments";

/// The variant is an argument of the executable: app settings still win over it.
fn add_arguments(host_json: &Path, variant: Variant) -> Result<(), PackageError> {
    let text = fs::read(host_json).map_err(io_error(host_json))?;
    let read = HostJson::of(host_json, &text).map_err(|error| io_error(host_json)(io::Error::other(error)))?;
    let arguments = json!(["--variant", variant.name()]).to_string();
    let host = read.overridden([(ARGUMENTS, arguments.as_str())]).value().clone();
    let text = serde_json::to_string_pretty(&host).unwrap_or_default() + "\n";
    fs::write(host_json, text).map_err(io_error(host_json))
}

/// Sorted entries, one time for all, the staged modes: nothing in it depends on when or where it is made.
fn zip_of(stage: &Path) -> Result<Vec<u8>, PackageError> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, path) in files(stage)? {
        let mode = fs::metadata(&path).map_err(io_error(&path))?.permissions().mode() & 0o777;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(mode);
        zip.start_file(name, options)?;
        let content = fs::read(&path).map_err(io_error(&path))?;
        zip.write_all(&content).map_err(io_error(&path))?;
    }
    Ok(zip.finish()?.into_inner())
}

fn files(stage: &Path) -> Result<BTreeMap<String, PathBuf>, PackageError> {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(stage) {
        let entry = entry.map_err(|error| io_error(stage)(error.into()))?;
        let name = entry.path().strip_prefix(stage).ok().and_then(Path::to_str).unwrap_or_default().to_owned();
        if entry.file_type().is_file() && name != MARKER {
            files.insert(name, entry.into_path());
        }
    }
    Ok(files)
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> PackageError {
    let path = path.to_owned();
    move |source| PackageError::Io { path, source }
}
