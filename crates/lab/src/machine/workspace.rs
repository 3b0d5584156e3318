//! The work folder of one lab: storage data, tables and logs, and what must outlive a lab that was killed.
//!
//! Invariants:
//! - One lab per folder: an exclusive file lock, given back by the kernel however the lab ends.
//! - Every process a lab starts carries [`MARK`] in its environment, and so do its children. That is the ledger: it is
//!   complete from the first instruction of a process on, which no file written after `fork` can be, and a process id that
//!   was reused is never mistaken for one of ours.

use std::{
    collections::HashSet,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{
    own_folder::{FolderError, OwnFolder, Purpose},
    proc,
};

/// Environment variable that names the folder whose lab started a process.
pub const MARK: &str = "INCIDENT_LAB_FOLDER";
const FOLDERS: [&str; 3] = ["azurite", "tables", "logs"];
const LOCK: &str = ".lock";
const JOURNAL: &str = "processed.jsonl";
/// The task hub's file, with what SQLite keeps beside it.
const TASK_HUB: [&str; 3] = ["task-hub.db", "task-hub.db-wal", "task-hub.db-shm"];
/// How long leftovers may take to end after SIGTERM. Azurite keeps its index in memory and writes it out on SIGTERM.
const GRACE: Duration = Duration::from_secs(10);
/// How long to wait for a lock whose holder is about to let it go.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Why a folder could not be used.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// It is another's.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Another lab holds the lock.
    #[error("{} is in use by another lab: stop that one, or choose another folder", path.display())]
    InUse { path: PathBuf },
    /// The file system refused.
    #[error("prepare {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A process of the lab that used the folder before does not end.
    #[error("process {pid} of an earlier lab on this folder does not end: end it, then try again")]
    Leftover { pid: u32 },
}

/// A locked work folder. Its lock is given back with the last clone.
#[derive(Clone, Debug)]
pub struct Workspace {
    path: PathBuf,
    tables: PathBuf,
    /// Held for its lock.
    _lock: Arc<File>,
}

/// What `lab.json` keeps from one start to the next.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Kept {
    /// Azurite's blob, queue and table ports: kept, so that the addresses of blobs stay valid.
    ports: Option<[u16; 3]>,
}

impl Workspace {
    /// Creates or reopens a folder, takes its lock, and ends what a killed lab left running on it.
    ///
    /// # Errors
    /// When it is another's, another lab uses it, or it cannot be written.
    pub async fn open(path: &Path) -> Result<Self, WorkspaceError> {
        OwnFolder::take(path, Purpose::Work)?;
        make_folders(path)?;
        let fail = |source| WorkspaceError::Io { path: path.to_owned(), source };
        let path = path.canonicalize().map_err(fail)?;
        let lock = File::options().create(true).write(true).truncate(false).open(path.join(LOCK)).map_err(fail)?;
        let asked = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // A process that was just started still shares its parent's lock until its `exec` is over.
                Err(TryLockError::WouldBlock) if asked.elapsed() < LOCK_PATIENCE => sleep(LOCK_PATIENCE / 50).await,
                Err(TryLockError::WouldBlock) => return Err(WorkspaceError::InUse { path }),
                Err(TryLockError::Error(source)) => return Err(fail(source)),
            }
        }
        let folder = Self { tables: path.join("tables"), path, _lock: Arc::new(lock) };
        folder.end_leftovers().await?;
        Ok(folder)
    }

    /// The folder itself, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn azurite(&self) -> PathBuf {
        self.path.join("azurite")
    }

    /// The same folder with its tables elsewhere: evidence outlives the storage it is about.
    #[must_use]
    pub fn with_tables(self, tables: PathBuf) -> Self {
        Self { tables, ..self }
    }

    pub fn tables(&self) -> PathBuf {
        self.tables.clone()
    }

    /// Forgets what earlier runs stored and logged; ports and a staged app are kept.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear(&self) -> Result<(), WorkspaceError> {
        for name in FOLDERS.into_iter().chain([JOURNAL]).chain(TASK_HUB) {
            let path = self.path.join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(WorkspaceError::Io { path, source });
                }
                _ => {}
            }
        }
        make_folders(&self.path)
    }

    /// What remembers which blobs were processed.
    pub fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL)
    }

    /// The task hub's file.
    pub fn task_hub(&self) -> PathBuf {
        Self::task_hub_of(&self.path)
    }

    /// The same of a folder that another lab may have locked.
    pub fn task_hub_of(path: &Path) -> PathBuf {
        path.join(TASK_HUB[0])
    }

    /// Output of the processes the lab starts.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// The variable every process started for this folder must have.
    pub fn mark(&self) -> (String, String) {
        (MARK.to_owned(), self.path.display().to_string())
    }

    /// The ports used last time, if any.
    pub fn ports(&self) -> Option<[u16; 3]> {
        Self::ports_of(&self.path)
    }

    /// The same of a folder that another lab may have locked.
    pub fn ports_of(path: &Path) -> Option<[u16; 3]> {
        let text = fs::read(path.join("lab.json")).ok()?;
        serde_json::from_slice::<Kept>(&text).ok()?.ports
    }

    /// Keeps the ports for the next start.
    ///
    /// # Errors
    /// When `lab.json` cannot be written.
    pub fn keep_ports(&self, ports: [u16; 3]) -> Result<(), WorkspaceError> {
        let path = self.path.join("lab.json");
        let text = serde_json::to_vec_pretty(&Kept { ports: Some(ports) }).unwrap_or_default();
        // Beside the old one first: a full disk must not cost the ports.
        let new = path.with_extension("json.new");
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
        written.map_err(|source| WorkspaceError::Io { path, source })
    }

    /// Ends processes that a lab on this folder left. Each is told once: Azurite takes a second SIGTERM for the end, in the middle of writing.
    ///
    /// # Errors
    /// When a process does not end.
    pub async fn end_leftovers(&self) -> Result<(), WorkspaceError> {
        let asked = Instant::now();
        let mut signal = Signal::TERM;
        let mut told = HashSet::new();
        while let Some(&first) = processes_of(&self.path).first() {
            match asked.elapsed() {
                late if late > 2 * GRACE => return Err(WorkspaceError::Leftover { pid: first }),
                late if late > GRACE && signal == Signal::TERM => {
                    signal = Signal::KILL;
                    told.clear();
                }
                _ => {}
            }
            for pid in processes_of(&self.path).into_iter().filter(|pid| told.insert(*pid)) {
                // Gone in the meantime is as good.
                let _ = Pid::from_raw(pid.cast_signed()).map(|pid| kill_process(pid, signal));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// Whether a lab has a folder's lock at this moment. Nothing is written, and a lab that starts meanwhile waits for this look.
///
/// # Errors
/// When there is a lock file that cannot be looked at.
pub fn is_in_use(path: &Path) -> io::Result<bool> {
    let lock = match File::open(path.join(LOCK)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn make_folders(path: &Path) -> Result<(), WorkspaceError> {
    FOLDERS.into_iter().try_for_each(|sub| {
        let path = path.join(sub);
        fs::create_dir_all(&path).map_err(|source| WorkspaceError::Io { path, source })
    })
}

/// Kills everything started for a folder (an absolute path) at once.
pub fn kill_processes_of(folder: &Path) {
    for pid in processes_of(folder) {
        let _ = Pid::from_raw(pid.cast_signed()).map(|pid| kill_process(pid, Signal::KILL));
    }
}

/// Processes started for a folder (an absolute path), as `/proc` shows them.
pub fn processes_of(folder: &Path) -> Vec<u32> {
    proc::with_variable(&format!("{MARK}={}", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_folder_serves_one_lab_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_in_use(dir.path()).unwrap());
        let first = Workspace::open(dir.path()).await.unwrap();
        assert!(is_in_use(dir.path()).unwrap());
        assert!(matches!(Workspace::open(dir.path()).await, Err(WorkspaceError::InUse { .. })));
        drop(first);
        assert!(!is_in_use(dir.path()).unwrap());
        Workspace::open(dir.path()).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_killed_lab_left_running_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Workspace::open(dir.path()).await.unwrap();
        let mut ours = Command::new("sleep").arg("600").envs([folder.mark()]).spawn().unwrap();
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        // The kernel shows a new program's environment a moment after its start has been reported.
        while !processes_of(folder.path()).contains(&ours.id()) {
            sleep(Duration::from_millis(1)).await;
        }
        drop(folder);

        Workspace::open(dir.path()).await.unwrap();

        assert!(!ours.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none(), "a foreign process was ended");
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[tokio::test]
    async fn a_link_is_removed_and_nothing_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let mine = dir.path().join("mine");
        fs::create_dir(&mine).unwrap();
        fs::write(mine.join("diary"), "today").unwrap();
        let folder = Workspace::open(&dir.path().join("run")).await.unwrap();
        fs::remove_dir(folder.logs()).unwrap();
        std::os::unix::fs::symlink(&mine, folder.logs()).unwrap();
        folder.clear().unwrap();
        assert!(folder.logs().symlink_metadata().unwrap().is_dir());
        assert_eq!(fs::read_to_string(mine.join("diary")).unwrap(), "today");
    }

    #[tokio::test]
    async fn ports_are_kept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Workspace::open(dir.path()).await.unwrap();
        assert_eq!(folder.ports(), None);
        folder.keep_ports([1, 2, 3]).unwrap();
        fs::write(folder.azurite().join("data"), "x").unwrap();
        folder.clear().unwrap();
        assert_eq!(folder.ports(), Some([1, 2, 3]));
        assert_eq!(fs::read_dir(folder.azurite()).unwrap().count(), 0);
    }
}
