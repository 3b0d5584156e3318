//! What a run leaves behind to be judged by: its folder, its tables, and the machine it ran on.

mod bands;
pub mod database;
mod doubts;
mod environment;
pub mod jsonl;
pub mod moment;
mod numbers;
pub mod phases_file;
pub mod render;
pub mod row_file;
pub mod schema;
mod steady;
pub mod table_writer;
mod tail;
pub mod workspace;

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;
use time::{OffsetDateTime, macros::format_description};

pub use bands::{Band, BandEdges, Bands};
pub use doubts::doubts;
pub use environment::Environment;
pub use moment::END_MONOTONIC;
pub use numbers::percentile;
pub use steady::Steady;
pub use tail::Tail;

use crate::machine::own_folder::{OwnFolder, Purpose, purpose_of};

/// The link beside the runs of a lab that leads to the newest.
pub const LATEST: &str = "latest";

/// Folder of one run's evidence: `evidence/<lab>/<UTC time>`. Until the last clone is dropped the run is under way, see
/// [`is_under_way`].
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Held for its lock. It is on the folder itself: a lock file would be a file of the bundle.
    _lock: Arc<File>,
}

impl RunFolder {
    /// Creates the folder of a run that starts at `now`, and points `latest` beside it to it.
    ///
    /// # Errors
    /// When `base` is another's, or the file system refuses.
    pub fn create(base: &Path, lab: &str, now: OffsetDateTime) -> io::Result<Self> {
        let format = format_description!("[year]-[month]-[day]T[hour]-[minute]-[second]Z");
        let name = now.format(&format).map_err(io::Error::other)?;
        own(base)?;
        let runs = base.join(lab);
        fs::create_dir_all(&runs)?;
        let path = unused(&runs, &name);
        own(&path)?;
        let lock = File::open(&path)?;
        lock.try_lock_shared()?;
        point_latest(&runs, &path)?;
        Ok(Self { path: path.canonicalize()?, _lock: Arc::new(lock) })
    }

    /// The folder itself, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn tables(&self) -> PathBuf {
        self.path.join("tables")
    }

    /// The folder of a part of the run.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn part(&self, name: &str) -> io::Result<Self> {
        let path = self.path.join(name);
        own(&path)?;
        fs::create_dir_all(path.join("tables"))?;
        Ok(Self { path, _lock: Arc::clone(&self._lock) })
    }

    /// Writes a value as indented JSON.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        fs::write(self.path.join(name), serde_json::to_vec_pretty(value)?)
    }
}

/// Takes a run's folder for oneself, to remove it; nothing while its run is under way.
///
/// # Errors
/// When it cannot be opened.
pub fn take_ended(folder: &Path) -> io::Result<Option<File>> {
    let lock = File::open(folder)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a run still writes into its folder.
///
/// # Errors
/// When it cannot be opened.
pub fn is_under_way(folder: &Path) -> io::Result<bool> {
    Ok(take_ended(folder)?.is_none())
}

/// Points `latest` to the newest run that is there, where it points to one that is not; removes it where none is.
///
/// # Errors
/// When the folder cannot be listed, or the link not be replaced.
pub fn mend_latest(runs: &Path) -> io::Result<()> {
    let latest = runs.join(LATEST);
    if !latest.symlink_metadata().is_ok_and(|it| it.is_symlink()) || latest.exists() {
        return Ok(());
    }
    let mut left = Vec::new();
    for entry in fs::read_dir(runs)? {
        let path = entry?.path();
        if matches!(purpose_of(&path), Ok(Some(Purpose::Evidence))) {
            left.push(path);
        }
    }
    // Names are times.
    match left.iter().max() {
        Some(newest) => point_latest(runs, newest),
        None => fs::remove_file(latest),
    }
}

fn own(folder: &Path) -> io::Result<OwnFolder> {
    OwnFolder::take(folder, Purpose::Evidence).map_err(io::Error::other)
}

/// Two runs may start within one second.
fn unused(runs: &Path, name: &str) -> PathBuf {
    let numbered = (2..).map(|n| runs.join(format!("{name}-{n}")));
    std::iter::once(runs.join(name)).chain(numbered).find(|it| !it.exists()).unwrap_or_else(|| runs.join(name))
}

fn point_latest(runs: &Path, path: &Path) -> io::Result<()> {
    let latest = runs.join(LATEST);
    match fs::symlink_metadata(&latest) {
        Ok(it) if it.is_symlink() => fs::remove_file(&latest)?,
        Ok(_) => {
            let text = format!("{} is not the lab's link: move it away yourself", latest.display());
            return Err(io::Error::other(text));
        }
        Err(_) => {}
    }
    symlink(path.file_name().unwrap_or(path.as_os_str()), latest)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn runs_of_one_second_have_folders_of_their_own_and_latest_is_the_last() {
        let base = tempfile::tempdir().unwrap();
        let now = datetime!(2026-04-05 01:30:00 UTC);
        let first = RunFolder::create(base.path(), "oom", now).unwrap();
        let second = RunFolder::create(base.path(), "oom", now).unwrap();
        assert!(first.path().ends_with("oom/2026-04-05T01-30-00Z"), "{first:?}");
        assert!(second.path().ends_with("oom/2026-04-05T01-30-00Z-2"), "{second:?}");
        let latest = base.path().join("oom/latest");
        assert_eq!(latest.canonicalize().unwrap(), second.path());

        assert!(is_under_way(second.path()).unwrap() && take_ended(second.path()).unwrap().is_none());
        let path = second.path().to_owned();
        drop(second);
        assert!(!is_under_way(&path).unwrap());
        fs::remove_dir_all(path).unwrap();
        mend_latest(latest.parent().unwrap()).unwrap();
        assert_eq!(latest.canonicalize().unwrap(), first.path());
        fs::remove_dir_all(first.path()).unwrap();
        mend_latest(latest.parent().unwrap()).unwrap();
        assert!(latest.symlink_metadata().is_err(), "a link to nothing");
    }
}
