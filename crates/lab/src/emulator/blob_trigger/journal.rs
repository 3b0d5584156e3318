//! Which versions of blobs have been processed, on disk.
//!
//! A host that is killed between an invocation's success and the deletion of its message runs that invocation again, and
//! so it does for a message sent twice because the receipt was not completed in time. Both windows are as long as a call
//! to storage. The journal is written right after the success, in the same process, which leaves microseconds.

use std::{
    collections::HashSet,
    io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use crate::evidence::jsonl::{self, JsonLines, WriteError};

/// The processed versions, by the name of their receipts.
#[derive(Debug)]
pub(super) struct Journal {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: JsonLines,
    done: HashSet<String>,
}

impl Journal {
    /// Opens or creates the journal. A last line cut short by a full disk is ignored.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = JsonLines::append(path).map_err(|error| error.source)?;
        let done = jsonl::read(path)?.into_iter().collect();
        Ok(Self { inner: Mutex::new(Inner { file, done }) })
    }

    pub(super) fn contains(&self, receipt: &str) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).done.contains(receipt)
    }

    /// Notes a success.
    pub(super) fn add(&self, receipt: &str) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.done.insert(receipt.to_owned());
        inner.file.write(&receipt).map_err(|WriteError { source, .. }| source)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    #[test]
    fn what_was_processed_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("processed.jsonl");
        let journal = Journal::open(&path).unwrap();
        journal.add("a \"quoted\"\nname").unwrap();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\"cut").unwrap();
        let again = Journal::open(&path).unwrap();
        assert!(again.contains("a \"quoted\"\nname"));
        assert!(!again.contains("cut"));
    }
}
