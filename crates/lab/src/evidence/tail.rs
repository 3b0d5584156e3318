//! Tables that are read while they are written.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
};

use serde_json::Value;

use super::jsonl;

/// The unread end of a file that grows.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    at: u64,
}

impl Tail {
    /// Reads `path` from its beginning; the file may not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, at: 0 }
    }

    /// Rows that were completed since the last call.
    pub fn rows(&mut self) -> Vec<Value> {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.at))?;
            file.read_to_end(&mut bytes)
        });
        // Not written yet: the next look finds more.
        if read.is_err() {
            return Vec::new();
        }
        let lines = jsonl::complete(&bytes);
        self.at += lines.len() as u64;
        jsonl::values(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_once_as_they_come() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        let mut tail = Tail::new(path.clone());
        assert!(tail.rows().is_empty());
        std::fs::write(&path, "{\"n\":1}\n{\"n\"").unwrap();
        assert_eq!(tail.rows().len(), 1);
        std::fs::write(&path, "{\"n\":1}\n{\"n\":2}\n").unwrap();
        assert_eq!(tail.rows(), [serde_json::json!({"n": 2})]);
        std::fs::write(&path, b"{\"n\":1}\n{\"n\":2}\n{\"cut\":\"\xc3\n{\"n\":3}\n{\"cut\":\"\xc3").unwrap();
        assert_eq!(tail.rows(), [serde_json::json!({"n": 3})]);
    }
}
