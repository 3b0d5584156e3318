//! JSON lines: one value a line, each appended in one write, and read back without a last line that is not complete.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

/// A file of evidence that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("write {}", path.display())]
pub struct WriteError {
    pub path: PathBuf,
    pub source: io::Error,
}

/// A file of JSON lines, open for writing.
///
/// A value is one line and one write to a file opened for appending, so several processes may share a file and a kill cannot
/// cut a line.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    /// Opens a file to add to. The file and its folder are created if need be.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn append(path: &Path) -> Result<Self, WriteError> {
        Self::open(path, OpenOptions::new().create(true).append(true))
    }

    /// Opens a file to fill from its beginning, in place of what it had.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn replace(path: &Path) -> Result<Self, WriteError> {
        Self::open(path, OpenOptions::new().create(true).write(true).truncate(true))
    }

    fn open(path: &Path, options: &OpenOptions) -> Result<Self, WriteError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let opened = fs::create_dir_all(folder).and_then(|()| options.open(path));
        match opened {
            Ok(file) => Ok(Self { path: path.to_owned(), file }),
            Err(source) => Err(WriteError { path: path.to_owned(), source }),
        }
    }

    /// Adds a value as a line.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write(&mut self, value: &impl Serialize) -> Result<(), WriteError> {
        let written = serde_json::to_vec(value).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)
        });
        written.map_err(|source| WriteError { path: self.path.clone(), source })
    }
}

/// Reads the values of a file; one that was never written has none.
///
/// # Errors
/// When the file cannot be read.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    Ok(values(complete(&text)))
}

/// The lines of a text that have their end: the last one may be cut, by a kill or because its writer is at work.
pub(super) fn complete(text: &str) -> &str {
    &text[..text.rfind('\n').map_or(0, |it| it + 1)]
}

/// The values of complete lines.
pub(super) fn values<T: DeserializeOwned>(lines: &str) -> Vec<T> {
    lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_added_or_replaced_and_read_back_without_a_cut_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/there/yet.jsonl");
        assert_eq!(read::<u8>(&path).unwrap(), [0; 0]);
        JsonLines::append(&path).unwrap().write(&1).unwrap();
        JsonLines::append(&path).unwrap().write(&2).unwrap();
        assert_eq!(read::<u8>(&path).unwrap(), [1, 2]);
        JsonLines::replace(&path).unwrap().write(&3).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"4").unwrap();
        assert_eq!(read::<u8>(&path).unwrap(), [3]);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = JsonLines::append(Path::new("/proc/no/such.jsonl")).unwrap_err();
        assert_eq!(error.to_string(), "write /proc/no/such.jsonl");
    }
}
