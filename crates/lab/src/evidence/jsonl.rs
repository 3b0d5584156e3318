//! JSON lines: one value a line, each appended in one write, and read back without a last line that is not complete. What cannot be
//! read is passed over by readers and counted by [`unreadable`].

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::row_file::RowFile;

/// A file of evidence that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("write {}", path.display())]
pub struct WriteError {
    pub path: PathBuf,
    pub source: io::Error,
}

/// A file of JSON lines, open for writing: a [`RowFile`] that knows its path.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: RowFile,
}

impl JsonLines {
    /// Opens a file to add to. The file and its folder are created if need be.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn append(path: &Path) -> Result<Self, WriteError> {
        Self::open(path, RowFile::append)
    }

    /// Opens a file to fill from its beginning, in place of what it had.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn replace(path: &Path) -> Result<Self, WriteError> {
        Self::open(path, RowFile::replace)
    }

    fn open(path: &Path, open: fn(&Path) -> io::Result<RowFile>) -> Result<Self, WriteError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let opened = fs::create_dir_all(folder).and_then(|()| open(path));
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
        self.file.write(value).map_err(|source| WriteError { path: self.path.clone(), source })
    }
}

/// Reads the values of a file; one that was never written has none.
///
/// # Errors
/// When the file cannot be read.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    Ok(values(complete(&bytes(path)?)))
}

/// Reads the first value of a file, and no more of it; none where the file has no complete line, or its first is cut.
///
/// # Errors
/// When the file cannot be read.
pub fn first<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => drop(BufReader::new(opened?).read_until(b'\n', &mut line)?),
    }
    Ok(values(complete(&line)).into_iter().next())
}

/// Whether a file has a line with its end that is more than blank: without one it has no rows, whatever its length.
///
/// # Errors
/// When the file cannot be read.
pub fn has_rows(path: &Path) -> io::Result<bool> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => BufReader::new(opened?),
    };
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line)? > 0 {
        if line.ends_with(b"\n") && !line.trim_ascii().is_empty() {
            return Ok(true);
        }
        line.clear();
    }
    Ok(false)
}

/// Lines of the files in a run's folder and its tables that nobody can read, by file, where there are any.
///
/// # Errors
/// When a file cannot be read.
pub fn unreadable(folder: &Path) -> io::Result<BTreeMap<String, usize>> {
    let stem = |it: &str| Path::new(it).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let counted = counted(folder)?.into_iter().filter(|it| it.1.unreadable > 0);
    Ok(counted.map(|(file, lines)| (stem(&file), lines.unreadable)).collect())
}

/// Lines of a file that are more than nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lines {
    pub rows: usize,
    /// Those that are no JSON. The writers are done: a last line without an end is cut.
    pub unreadable: usize,
}

/// Lines of each file in a run's folder and its tables, by path from the folder.
///
/// # Errors
/// When a file cannot be read.
pub fn counted(folder: &Path) -> io::Result<BTreeMap<String, Lines>> {
    let counted = files(folder)?.into_iter().map(|(path, bytes)| {
        let lines = || bytes.split(|it| *it == b'\n').filter(|it| !it.is_empty());
        let unreadable = lines().filter(|it| serde_json::from_slice::<IgnoredAny>(it).is_err()).count();
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        (name, Lines { rows: lines().count(), unreadable })
    });
    Ok(counted.collect())
}

/// All files of lines in a run's folder and its tables, with their bytes, in order of their names.
///
/// # Errors
/// When a file cannot be read.
pub fn files(folder: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    for place in [folder.to_owned(), folder.join("tables")] {
        let entries = match fs::read_dir(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == "jsonl") {
                found.push((path.clone(), bytes(&path)?));
            }
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// The lines that have their end: the last one may be cut, by a kill or because its writer is at work.
pub(super) fn complete(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1)]
}

/// The values of complete lines. A line may be cut inside a character, so they are bytes.
pub(super) fn values<T: DeserializeOwned>(lines: &[u8]) -> Vec<T> {
    lines.split(|it| *it == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write};

    use super::*;

    #[test]
    fn lines_cut_inside_a_character_cost_themselves_alone_and_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tables")).unwrap();
        let path = folder.path().join("tables/t.jsonl");
        fs::write(&path, b"{\"n\":1}\n\n{\"text\":\"\xc3\n{\"n\":2}\n{\"text\":\"\xe2\x82").unwrap();
        let read: Vec<serde_json::Value> = read(&path).unwrap();
        assert_eq!(read.iter().map(|it| it["n"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
        fs::write(folder.path().join("whole.jsonl"), "{}\n").unwrap();
        fs::write(folder.path().join("other.txt"), "{").unwrap();
        assert_eq!(unreadable(folder.path()).unwrap(), BTreeMap::from([("t".to_owned(), 2)]));
        assert!(unreadable(&folder.path().join("nowhere")).unwrap().is_empty());
    }

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
        assert_eq!(first::<u8>(&path).unwrap(), Some(3));
        assert_eq!(first::<u8>(&folder.path().join("absent")).unwrap(), None);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = JsonLines::append(Path::new("/proc/no/such.jsonl")).unwrap_err();
        assert_eq!(error.to_string(), "write /proc/no/such.jsonl");
    }
}
