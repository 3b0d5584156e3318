//! Whose folder it is: a command fills or empties a folder only where the lab made it, or found it empty.
//!
//! - A folder of ours holds a marker, written before anything else. Without a marker a folder that is not empty is another's.
//! - Of a staged app the marker lists each file, so that what was added by hand outlives the next staging.
//! - Nothing is looked for, removed or written behind a link inside the folder. The folder itself may be reached by one.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt, fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

/// Name of the marker. No host reads it, and no package has it.
pub const MARKER: &str = ".incident-lab";
/// The marker while it is written: it appears whole or not at all.
const NEW_MARKER: &str = ".incident-lab.new";
/// Names quoted of what is in another's folder.
const QUOTED: usize = 3;
/// A work folder that stages an app has it here.
const STAGE: &str = "stage";

/// What a folder is for. One that was made for something else is refused.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Storage, task hub, tables and logs.
    Work,
    /// A script root.
    Stage,
    /// Rows of runs and loads; they are only added to.
    Evidence,
    /// The OOM lab's load as files.
    Load,
    Packages,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Work => "a work folder",
            Self::Stage => "a staged app",
            Self::Evidence => "a folder of evidence",
            Self::Load => "a folder of load files",
            Self::Packages => "a folder of packages",
        })
    }
}

/// Why a command leaves a folder alone.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error(
        "{} holds what the lab did not make ({holds}): choose an empty folder or a new one, or move that away yourself",
        path.display()
    )]
    Foreign { path: PathBuf, holds: String },
    #[error("{} is {has}, and {wanted} is needed: choose another folder", path.display())]
    OtherPurpose { path: PathBuf, has: Purpose, wanted: Purpose },
    #[error("{} is not a folder: choose another path", path.display())]
    NotAFolder { path: PathBuf },
    #[error("prepare the folder {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// What the marker says.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Marker {
    made_by: String,
    purpose: Purpose,
    /// Files of a staged app, as paths below the folder.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    files: BTreeSet<PathBuf>,
}

impl Marker {
    fn new(purpose: Purpose) -> Self {
        Self { made_by: format!("lab {}", env!("CARGO_PKG_VERSION")), purpose, files: BTreeSet::new() }
    }
}

/// A folder that is ours.
#[derive(Clone, Debug)]
pub struct OwnFolder {
    path: PathBuf,
    marker: Marker,
}

/// Refuses what [`OwnFolder::take`] would refuse, and writes nothing.
///
/// # Errors
/// Whose it is, or what is in it.
pub fn check(path: &Path, purpose: Purpose) -> Result<(), FolderError> {
    owner(path, purpose).map(drop)
}

/// What a folder was made for, by its marker; nothing where it has none, or is reached by a link.
///
/// # Errors
/// When the marker is there and cannot be read.
pub fn purpose_of(path: &Path) -> Result<Option<Purpose>, FolderError> {
    let is_folder = path.symlink_metadata().is_ok_and(|it| it.is_dir());
    if !is_folder {
        return Ok(None);
    }
    Ok(marker_of(path)?.map(|it| it.purpose))
}

impl OwnFolder {
    /// Creates a folder, or takes one that is empty or ours.
    ///
    /// # Errors
    /// When it is another's, was made for something else, or cannot be written.
    pub fn take(path: &Path, purpose: Purpose) -> Result<Self, FolderError> {
        if owner(path, purpose)?.is_none() {
            fs::create_dir_all(named(path)).map_err(|source| io_error(path, source))?;
        }
        // Looked at again: another lab may have taken it in between.
        let known = owner(path, purpose)?;
        let is_marked = known.is_some() && marker_of(path)?.is_some();
        let marker = known.unwrap_or_else(|| Marker::new(purpose));
        let folder = Self { path: named(path).to_owned(), marker };
        if !is_marked {
            folder.close_to_others(purpose)?;
            folder.save()?;
        }
        Ok(folder)
    }

    /// Storage, logs and rows are their owner's alone.
    fn close_to_others(&self, purpose: Purpose) -> Result<(), FolderError> {
        if matches!(purpose, Purpose::Work | Purpose::Evidence) {
            let owner_alone = fs::Permissions::from_mode(0o700);
            fs::set_permissions(&self.path, owner_alone).map_err(|source| io_error(&self.path, source))?;
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the files noted before, and notes those that are to be written in their place.
    ///
    /// # Errors
    /// When one of the new ones is there and another's; then nothing is removed.
    pub fn replace<'a>(&mut self, files: impl IntoIterator<Item = &'a Path>) -> Result<(), FolderError> {
        let new: BTreeSet<PathBuf> = files.into_iter().map(Path::to_owned).collect();
        self.refuse_others(&new)?;
        let old = self.marker.files.clone();
        // First the union: however this ends, what is there is noted.
        self.marker.files.extend(new.iter().cloned());
        self.save()?;
        for file in old.iter().filter(|it| self.is_reached_without_links(it)) {
            let path = self.path.join(file);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&path, error)),
                _ => {}
            }
            // A function's folder goes with its file, unless something else is in it.
            let parent = file.parent().filter(|it| !it.as_os_str().is_empty());
            parent.map(|it| fs::remove_dir(self.path.join(it)));
        }
        self.marker.files = new;
        self.save()
    }

    /// Notes one more file that is to be written.
    ///
    /// # Errors
    /// When it is there and another's.
    pub fn add(&mut self, file: &Path) -> Result<(), FolderError> {
        self.refuse_others(&BTreeSet::from([file.to_owned()]))?;
        self.marker.files.insert(file.to_owned());
        self.save()
    }

    fn refuse_others(&self, files: &BTreeSet<PathBuf>) -> Result<(), FolderError> {
        let is_others = |file: &&PathBuf| {
            let is_there = self.path.join(file).symlink_metadata().is_ok();
            !self.is_reached_without_links(file) || is_there && !self.marker.files.contains(*file)
        };
        let others: Vec<OsString> = files.iter().filter(is_others).map(|it| it.as_os_str().to_owned()).collect();
        if others.is_empty() { Ok(()) } else { Err(foreign(&self.path, &others)) }
    }

    /// Whether a file lies below the folder, and every folder on the way to it is none of a link's.
    fn is_reached_without_links(&self, file: &Path) -> bool {
        let is_below = file.components().all(|it| matches!(it, Component::Normal(_)));
        let ways = file.ancestors().skip(1).filter(|it| !it.as_os_str().is_empty());
        is_below && ways.map(|it| self.path.join(it).symlink_metadata()).all(|it| it.map_or(true, |it| it.is_dir()))
    }

    fn save(&self) -> Result<(), FolderError> {
        let (new, path) = (self.path.join(NEW_MARKER), self.path.join(MARKER));
        let text = serde_json::to_vec(&self.marker).unwrap_or_default();
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
        written.map_err(|source| {
            let _ = fs::remove_file(&new);
            io_error(&path, source)
        })
    }
}

/// An empty path is the current folder, as it is to whatever joins a name to it.
fn named(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// What a folder's marker says, or nothing where the folder is absent or empty.
fn owner(path: &Path, purpose: Purpose) -> Result<Option<Marker>, FolderError> {
    let path = named(path);
    let not_a_folder = || FolderError::NotAFolder { path: path.to_owned() };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>().map_err(|source| io_error(path, source))?,
        // Once it was made, `new/..` would be a folder that is there already, and may be anybody's.
        Err(error) if error.kind() == io::ErrorKind::NotFound && leads_back(path) => return Err(not_a_folder()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(not_a_folder()),
        Err(source) => return Err(io_error(path, source)),
    };
    if let Some(marker) = marker_of(path)? {
        if marker.purpose == purpose {
            return Ok(Some(marker));
        }
        return Err(FolderError::OtherPurpose { path: path.to_owned(), has: marker.purpose, wanted: purpose });
    }
    let counts = |it: &fs::DirEntry| it.file_name() != NEW_MARKER && !is_own_output(it);
    let mut names: Vec<OsString> = entries.iter().filter(|it| counts(it)).map(fs::DirEntry::file_name).collect();
    names.sort();
    if names.is_empty() {
        return Ok(None);
    }
    unmarked(path, purpose, &names).map(Some).ok_or_else(|| foreign(path, &names))
}

/// Whether a path goes into a folder that is not there, and out of it again.
fn leads_back(path: &Path) -> bool {
    let mut way = PathBuf::new();
    path.components().any(|it| {
        let is_back = it == Component::ParentDir && !named(&way).is_dir();
        way.push(it);
        is_back
    })
}

/// A marker that cannot be understood marks nothing.
fn marker_of(path: &Path) -> Result<Option<Marker>, FolderError> {
    let file = path.join(MARKER);
    if !file.symlink_metadata().is_ok_and(|it| it.is_file()) {
        return Ok(None);
    }
    let text = fs::read(&file).map_err(|source| io_error(&file, source))?;
    Ok(serde_json::from_slice(&text).ok())
}

/// `lab start --folder run > run/lab.log` writes into the folder before the lab looks at it.
fn is_own_output(entry: &fs::DirEntry) -> bool {
    let is_same = |output: rustix::io::Result<rustix::fs::Stat>| {
        let metadata = entry.metadata();
        output.is_ok_and(|one| metadata.is_ok_and(|it| (it.dev(), it.ino()) == (one.st_dev, one.st_ino)))
    };
    is_same(rustix::fs::fstat(io::stdout())) || is_same(rustix::fs::fstat(io::stderr()))
}

/// Recognises a folder that the lab made before it left markers: whatever is in it must be of the lab's making.
fn unmarked(path: &Path, purpose: Purpose, names: &[OsString]) -> Option<Marker> {
    let all = |known: &[&str]| names.iter().all(|it| known.iter().any(|known| it == known));
    let is_folder = |name: &str| path.join(name).symlink_metadata().is_ok_and(|it| it.is_dir());
    let is_ours = match purpose {
        Purpose::Work => {
            let kept = [".lock", "lab.json", "processed.jsonl", "task-hub.db", "task-hub.db-wal", "task-hub.db-shm"];
            let folders = ["azurite", "tables", "logs"];
            let known = [&kept[..], &folders, &[STAGE, "load"]].concat();
            path.join(".lock").is_file() && folders.into_iter().all(is_folder) && all(&known)
        }
        Purpose::Evidence => {
            all(&["oom", "replay", "load"]) || all(&["manifest.jsonl", "phases.jsonl", "instances.jsonl"])
        }
        Purpose::Load => all(&["phase1", "phase2", "phase3", "manifest.jsonl"]),
        Purpose::Packages => names.iter().all(|it| it.to_string_lossy().ends_with("-app.zip")),
        Purpose::Stage => return unmarked_stage(path),
    };
    is_ours.then(|| Marker::new(purpose))
}

/// An app that an earlier lab staged into its work folder. Elsewhere it looks like anybody's app.
fn unmarked_stage(path: &Path) -> Option<Marker> {
    let path = path.canonicalize().ok()?;
    let work = marker_of(path.parent()?).ok()??;
    if work.purpose != Purpose::Work || path.file_name()? != STAGE {
        return None;
    }
    let mut marker = Marker::new(Purpose::Stage);
    for entry in WalkDir::new(&path) {
        let entry = entry.ok()?;
        let file = entry.path().strip_prefix(&path).ok()?;
        let is_known = match entry.depth() {
            0 => continue,
            1 if entry.file_type().is_dir() => continue,
            1 => ["handler", "host.json", "local.settings.json"].iter().any(|it| file == Path::new(it)),
            _ => entry.depth() == 2 && file.ends_with("function.json"),
        };
        if !is_known || !entry.file_type().is_file() {
            return None;
        }
        marker.files.insert(file.to_owned());
    }
    Some(marker)
}

fn foreign(path: &Path, names: &[OsString]) -> FolderError {
    let quoted: Vec<_> = names.iter().take(QUOTED).map(|it| it.to_string_lossy().escape_debug().to_string()).collect();
    let rest = names.len().saturating_sub(QUOTED);
    let holds = quoted.join(", ") + &if rest == 0 { String::new() } else { format!(" and {rest} more") };
    FolderError::Foreign { path: path.to_owned(), holds }
}

fn io_error(path: &Path, source: io::Error) -> FolderError {
    FolderError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const ALL: [Purpose; 5] = [Purpose::Work, Purpose::Stage, Purpose::Evidence, Purpose::Load, Purpose::Packages];

    fn told(path: &Path, purpose: Purpose) -> String {
        OwnFolder::take(path, purpose).unwrap_err().to_string()
    }

    #[test]
    fn a_new_or_empty_folder_is_taken_and_known_again_by_its_purpose_alone() {
        for purpose in ALL {
            let scratch = tempfile::tempdir().unwrap();
            for folder in [scratch.path().to_owned(), scratch.path().join("new/below")] {
                check(&folder, purpose).unwrap();
                OwnFolder::take(&folder, purpose).unwrap();
                fs::write(folder.join("anything"), "").unwrap();
                OwnFolder::take(&folder, purpose).unwrap();
                for other in ALL.into_iter().filter(|it| *it != purpose) {
                    let told = told(&folder, other);
                    assert!(told.contains(&format!("is {purpose}, and {other} is needed")), "{told}");
                }
                fs::remove_file(folder.join("anything")).unwrap();
                fs::remove_file(folder.join(MARKER)).unwrap();
            }
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_name_what_is_in_it_and_the_way_out_and_left_as_it_is() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("mine");
        fs::create_dir_all(folder.join("logs")).unwrap();
        for name in ["host.json", "tables", "z1", "z2", ".lock"] {
            fs::write(folder.join(name), "").unwrap();
        }
        symlink(&folder, scratch.path().join("link")).unwrap();
        fs::write(folder.join("host.json"), "{}").unwrap();
        for purpose in ALL {
            for path in [folder.clone(), scratch.path().join("link")] {
                let told = told(&path, purpose);
                for part in
                    [&*path.display().to_string(), ".lock, host.json, logs and 3 more", "choose an empty folder"]
                {
                    assert!(told.contains(part), "{part}: {told}");
                }
            }
        }
        assert!(told(&folder.join("logs/../../mine"), Purpose::Work).contains("holds what the lab did not make"));
        assert!(told(&folder.join("new/.."), Purpose::Work).contains("new/.. is not a folder"));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 6, "nothing was added either");
        check(&folder.join("logs/../../other"), Purpose::Work).unwrap();
        assert!(told(&folder.join("z1"), Purpose::Work).contains("is not a folder"));
        symlink(scratch.path().join("nowhere"), scratch.path().join("dangling")).unwrap();
        assert!(told(&scratch.path().join("dangling"), Purpose::Stage).contains("prepare the folder"));
        assert!(!scratch.path().join("nowhere").exists());
    }

    #[test]
    fn a_marker_that_is_a_link_or_no_marker_marks_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let (ours, other) = (scratch.path().join("ours"), scratch.path().join("other"));
        OwnFolder::take(&ours, Purpose::Work).unwrap();
        fs::create_dir(&other).unwrap();
        symlink(ours.join(MARKER), other.join(MARKER)).unwrap();
        assert!(matches!(OwnFolder::take(&other, Purpose::Work), Err(FolderError::Foreign { .. })));
        fs::remove_file(other.join(MARKER)).unwrap();
        fs::write(other.join(MARKER), "?").unwrap();
        assert!(matches!(OwnFolder::take(&other, Purpose::Work), Err(FolderError::Foreign { .. })));
    }

    #[test]
    fn work_and_evidence_are_closed_to_others() {
        let scratch = tempfile::tempdir().unwrap();
        for purpose in ALL {
            let folder = scratch.path().join(format!("{purpose:?}"));
            OwnFolder::take(&folder, purpose).unwrap();
            let is_closed = fs::metadata(&folder).unwrap().permissions().mode() & 0o077 == 0;
            assert_eq!(is_closed, matches!(purpose, Purpose::Work | Purpose::Evidence), "{purpose}");
        }
    }

    #[test]
    fn files_are_replaced_and_what_was_added_by_hand_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("out");
        let file = |name: &str| {
            let path = out.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        };
        let mut folder = OwnFolder::take(&out, Purpose::Stage).unwrap();
        folder.replace(["host.json", "one/function.json", "two/function.json"].map(Path::new)).unwrap();
        for name in ["host.json", "one/function.json", "two/function.json", "two/notes.txt", "thesis.txt"] {
            file(name);
        }

        let mut folder = OwnFolder::take(&out, Purpose::Stage).unwrap();
        folder.replace(["host.json"].map(Path::new)).unwrap();
        let left = |name: &str| out.join(name).exists();
        assert!(left("thesis.txt") && left("two/notes.txt"));
        assert!(!left("host.json") && !left("one") && !left("two/function.json"));

        let refused = folder.replace(["thesis.txt", "host.json"].map(Path::new)).unwrap_err().to_string();
        assert!(refused.contains("(thesis.txt)"), "{refused}");
        assert!(folder.add(Path::new("thesis.txt")).is_err() && left("thesis.txt"));
    }

    #[test]
    fn nothing_is_removed_or_written_behind_a_link() {
        let scratch = tempfile::tempdir().unwrap();
        let (out, elsewhere) = (scratch.path().join("out"), scratch.path().join("elsewhere"));
        let mut folder = OwnFolder::take(&out, Purpose::Stage).unwrap();
        folder.replace(["one/function.json"].map(Path::new)).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("function.json"), "mine").unwrap();
        symlink(&elsewhere, out.join("one")).unwrap();
        assert!(folder.replace(["one/function.json"].map(Path::new)).is_err());
        folder.replace(["host.json"].map(Path::new)).unwrap();
        assert_eq!(fs::read_to_string(elsewhere.join("function.json")).unwrap(), "mine");
        assert!(folder.replace(["../up"].map(Path::new)).is_err());
    }

    #[test]
    fn folders_of_a_lab_without_markers_are_recognised_by_all_that_is_in_them() {
        let scratch = tempfile::tempdir().unwrap();
        let work = scratch.path().join("work");
        for name in ["azurite", "tables", "logs", "stage/one"] {
            fs::create_dir_all(work.join(name)).unwrap();
        }
        for name in [".lock", "lab.json", "stage/host.json", "stage/handler", "stage/one/function.json"] {
            fs::write(work.join(name), "").unwrap();
        }
        fs::write(work.join("thesis.txt"), "").unwrap();
        assert!(matches!(OwnFolder::take(&work, Purpose::Work), Err(FolderError::Foreign { .. })));
        fs::remove_file(work.join("thesis.txt")).unwrap();
        assert!(OwnFolder::take(&work.join("stage"), Purpose::Stage).is_err(), "not before its work folder is ours");
        OwnFolder::take(&work, Purpose::Work).unwrap();
        OwnFolder::take(&work.join("stage"), Purpose::Stage).unwrap().replace([]).unwrap();
        assert!(!work.join("stage/host.json").exists() && !work.join("stage/one").exists());

        let evidence = scratch.path().join("evidence");
        fs::create_dir_all(evidence.join("oom")).unwrap();
        OwnFolder::take(&evidence, Purpose::Evidence).unwrap();
    }
}
