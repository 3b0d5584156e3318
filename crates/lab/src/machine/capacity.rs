//! Whether a run fits on this machine, asked before anything is written.

use std::{io, path::Path};

use super::proc;
use incident_labs::{blob::MIB, worker::group};

#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    #[error("{what} needs {needed_mib} MiB of memory and {available_mib} MiB are available: take a smaller --scale")]
    Memory {
        what: &'static str,
        needed_mib: u64,
        /// How much there is.
        available_mib: u64,
    },
    #[error(
        "{what} needs {needed_mib} MiB of disk and {available_mib} MiB are free under {path}: \
         take a smaller --scale, or make room"
    )]
    Disk {
        what: &'static str,
        needed_mib: u64,
        /// How much there is.
        available_mib: u64,
        path: String,
    },
    /// The system does not tell.
    #[error("find out how much room there is under {path}")]
    Unknown {
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Bytes of memory that a process here could still get.
///
/// # Errors
/// [`RoomError::Unknown`].
pub fn free_memory() -> Result<u64, RoomError> {
    let unknown = |source| RoomError::Unknown { path: proc::MEMINFO.to_owned(), source };
    let free = proc::memory_bytes("MemAvailable").map_err(unknown)?.unwrap_or(u64::MAX);
    // A container's group may allow less than the machine has.
    Ok(free.min(group::available(Path::new("/")).bytes))
}

/// Bytes that are free on the disk of a folder, which need not exist yet.
///
/// # Errors
/// [`RoomError::Unknown`].
pub fn free_disk(path: &Path) -> Result<u64, RoomError> {
    let there = existing(path);
    let unknown = |error: rustix::io::Errno| RoomError::Unknown { path: shown(there), source: error.into() };
    let facts = rustix::fs::statvfs(there).map_err(unknown)?;
    Ok(facts.f_bavail * facts.f_frsize)
}

/// Refuses what would not fit into available memory.
///
/// # Errors
/// [`RoomError::Memory`], with the numbers.
pub fn ensure_memory(what: &'static str, needed_bytes: u64) -> Result<(), RoomError> {
    let available = free_memory()?;
    if available >= needed_bytes {
        return Ok(());
    }
    Err(RoomError::Memory { what, needed_mib: needed_bytes / MIB, available_mib: available / MIB })
}

/// Refuses what would not fit on the disk of a folder, which need not exist yet.
///
/// # Errors
/// [`RoomError::Disk`], with the numbers.
pub fn ensure_disk(what: &'static str, path: &Path, needed_bytes: u64) -> Result<(), RoomError> {
    let free = free_disk(path)?;
    if free >= needed_bytes {
        return Ok(());
    }
    let path = shown(existing(path));
    Err(RoomError::Disk { what, needed_mib: needed_bytes / MIB, available_mib: free / MIB, path })
}

fn existing(path: &Path) -> &Path {
    path.ancestors().find(|it| it.is_dir()).unwrap_or(Path::new("."))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_the_numbers() {
        ensure_memory("a test", MIB).unwrap();
        ensure_disk("a test", Path::new("/tmp/not/there/yet"), 1).unwrap();
        let memory = ensure_memory("a test", 1 << 50).unwrap_err().to_string();
        assert!(memory.contains("a test needs 1073741824 MiB of memory and "), "{memory}");
        let disk = ensure_disk("a test", Path::new("/"), 1 << 60).unwrap_err().to_string();
        assert!(disk.contains("MiB are free under /: take a smaller --scale"), "{disk}");
    }
}
