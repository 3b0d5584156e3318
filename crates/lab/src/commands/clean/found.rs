//! What the lab keeps on this machine: found by its markers, measured, and removed.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer, ser::SerializeStruct};
use time::OffsetDateTime;
use walkdir::WalkDir;

use crate::{
    evidence::{LATEST, is_under_way, mend_latest, take_ended},
    machine::{
        azurite::Installation,
        own_folder::{MARKER, Purpose, purpose_of},
        workspace::{Workspace, WorkspaceError, is_in_use},
    },
};
use custom_handler::clock;
use incident_labs::blob::MIB;

/// Below the folder of temporary files: what `lab process` keeps when it fails.
const PROCESS: &str = "lab-process-";

#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Kind {
    /// Folders with the evidence of runs, loads and imports.
    Runs,
    /// Work folders: storage, task hub, logs.
    Work,
    /// Azurite, which the next lab with storage installs again.
    Caches,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Runs => "runs",
            Self::Work => "work",
            Self::Caches => "caches",
        })
    }
}

/// What becomes of a folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Listed,
    /// A lab has it at the moment.
    InUse,
    Removed,
    Failed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed => Ok(()),
            Self::InUse => f.write_str("in use: left alone"),
            Self::Removed => f.write_str("removed"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// A folder of the lab's.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
    /// Of the files that could be looked at.
    pub(super) bytes: u64,
    pub(super) is_readable: bool,
    pub(super) last_written: OffsetDateTime,
    pub(super) outcome: Outcome,
}

impl Found {
    fn look_at(kind: Kind, path: PathBuf, in_use: io::Result<bool>) -> Self {
        let outcome = match in_use {
            Ok(false) => Outcome::Listed,
            Ok(true) => Outcome::InUse,
            Err(error) => Outcome::Failed(format!("whether it is in use cannot be told: {error}")),
        };
        let (mut bytes, mut newest, mut is_readable) = (0, None, true);
        for entry in WalkDir::new(&path) {
            let Some(metadata) = entry.ok().and_then(|it| it.metadata().ok()) else {
                is_readable = false;
                continue;
            };
            bytes += if metadata.is_file() { metadata.len() } else { 0 };
            newest = newest.max(metadata.modified().ok());
        }
        let last_written = newest.map_or_else(clock::utc_now, OffsetDateTime::from);
        Self { kind, path, bytes, is_readable, last_written, outcome }
    }

    pub(super) fn is_free(&self) -> bool {
        self.outcome == Outcome::Listed
    }

    /// Its path on one line, whatever is in its name.
    pub(super) fn shown(&self) -> String {
        let path = self.path.to_string_lossy();
        path.chars().flat_map(|it| if it.is_control() { it.escape_debug().collect() } else { vec![it] }).collect()
    }

    pub(super) fn shown_size(&self) -> String {
        let least = if self.is_readable { "" } else { "at least " };
        format!("{least}{}", shown_mib(self.bytes))
    }
}

/// A size in whole MiB, none too small.
pub(super) fn shown_mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(MIB))
}

impl Serialize for Found {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut item = serializer.serialize_struct("Found", 6)?;
        item.serialize_field("kind", &self.kind.to_string())?;
        item.serialize_field("path", &self.path.to_string_lossy())?;
        item.serialize_field("bytes", &self.bytes)?;
        item.serialize_field("lastWritten", &clock::timestamp(self.last_written))?;
        let (state, why) = match &self.outcome {
            Outcome::Listed => ("listed", None),
            Outcome::InUse => ("inUse", None),
            Outcome::Removed => ("removed", None),
            Outcome::Failed(why) => ("failed", Some(why)),
        };
        item.serialize_field("state", state)?;
        item.serialize_field("why", &why)?;
        item.end()
    }
}

/// Finds folders of the wanted kinds. `on_folder` is told what is looked at.
pub(super) fn find(
    evidence: &Path,
    work: &Path,
    is_wanted: impl Fn(Kind) -> bool,
    mut on_folder: impl FnMut(&str),
) -> Vec<Found> {
    let mut folders = Vec::new();
    if is_wanted(Kind::Runs) {
        folders.extend(runs(evidence).into_iter().map(|it| (Kind::Runs, it)));
    }
    if is_wanted(Kind::Work) {
        let temporary = children(&std::env::temp_dir()).into_iter();
        let kept = temporary.filter(|it| it.file_name().is_some_and(|it| it.to_string_lossy().starts_with(PROCESS)));
        let own = children(work).into_iter().chain(kept).filter(|it| is_for(it, Purpose::Work));
        folders.extend(own.map(|it| (Kind::Work, it)));
    }
    if is_wanted(Kind::Caches) {
        folders.extend(azurite().map(|it| (Kind::Caches, it)));
    }
    let look = |(kind, path): (Kind, PathBuf)| {
        on_folder(&path.to_string_lossy());
        let in_use = match kind {
            Kind::Runs => is_under_way(&path),
            Kind::Work => is_in_use(&path),
            Kind::Caches => is_running(&path),
        };
        Found::look_at(kind, path, in_use)
    };
    folders.into_iter().map(look).collect()
}

/// Marked folders in the evidence, at most two levels below it: `evidence/mine`, `evidence/oom/2026-…`.
fn runs(evidence: &Path) -> Vec<PathBuf> {
    // It may be reached by a link; nothing in it may.
    let is_own = evidence.canonicalize().is_ok_and(|it| is_for(&it, Purpose::Evidence));
    if !is_own {
        return Vec::new();
    }
    // The folder of one run, whose parts are marked as well.
    if ["tables", "SHA256SUMS"].iter().any(|it| evidence.join(it).exists()) {
        return evidence.canonicalize().into_iter().collect();
    }
    let (own, groups): (Vec<_>, Vec<_>) = children(evidence).into_iter().partition(|it| is_for(it, Purpose::Evidence));
    let below = groups.iter().filter(|it| it.symlink_metadata().is_ok_and(|it| it.is_dir()));
    let below = below.flat_map(|it| children(it)).filter(|it| is_for(it, Purpose::Evidence));
    own.into_iter().chain(below).collect()
}

fn is_for(path: &Path, purpose: Purpose) -> bool {
    matches!(purpose_of(path), Ok(Some(found)) if found == purpose)
}

/// In the order of their names.
fn children(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path()).collect();
    paths.sort();
    paths
}

/// What npm has installed, where the lab asked for it.
fn azurite() -> Option<PathBuf> {
    let modules = Installation::find().ok()?.home.join("node_modules");
    let is_npms = modules.join(".package-lock.json").is_file() && modules.join("azurite").is_dir();
    (modules.symlink_metadata().is_ok_and(|it| it.is_dir()) && is_npms).then_some(modules)
}

/// Whether a process was started with a file of this folder.
fn is_running(folder: &Path) -> io::Result<bool> {
    let folder = folder.canonicalize()?;
    let folder = folder.to_string_lossy();
    let processes = fs::read_dir("/proc")?.flatten().map(|it| it.path().join("cmdline"));
    let mut commands = processes.filter_map(|it| fs::read(it).ok());
    Ok(commands.any(|it| String::from_utf8_lossy(&it).split('\0').any(|it| it.starts_with(&*folder))))
}

/// Removes a folder, unless a lab has taken it since it was listed.
///
/// # Errors
/// When part of it cannot be removed.
pub(super) async fn remove(found: &Found) -> io::Result<Outcome> {
    let path = &found.path;
    match found.kind {
        Kind::Runs => {
            let Some(_lock) = take_ended(path)? else { return Ok(Outcome::InUse) };
            remove_tree(path)?;
            let runs = path.parent().filter(|it| it.join(LATEST).symlink_metadata().is_ok());
            runs.map_or(Ok(()), mend_latest)?;
        }
        Kind::Work => {
            // Its lock, and the end of what a killed lab left running on it.
            let _lock = match Workspace::open(path).await {
                Ok(lock) => lock,
                Err(WorkspaceError::InUse { .. }) => return Ok(Outcome::InUse),
                Err(error) => return Err(io::Error::other(error)),
            };
            remove_tree(path)?;
        }
        Kind::Caches if is_running(path)? => return Ok(Outcome::InUse),
        Kind::Caches => remove_tree(path)?,
    }
    Ok(Outcome::Removed)
}

/// The marker goes last: what could not be removed is still known as the lab's the next time.
fn remove_tree(path: &Path) -> io::Result<()> {
    let named = |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    for entry in fs::read_dir(path).map_err(|it| named(path, it))? {
        let entry = entry.map_err(|it| named(path, it))?;
        let below = entry.path();
        if entry.file_name() == MARKER {
            continue;
        }
        let is_folder = entry.file_type().is_ok_and(|it| it.is_dir());
        let removed = if is_folder { fs::remove_dir_all(&below) } else { fs::remove_file(&below) };
        removed.map_err(|it| named(&below, it))?;
    }
    fs::remove_dir_all(path).map_err(|it| named(path, it))
}
