//! `SHA256SUMS`: a line for each file, whose hash covers the line before, so that no line can be changed alone.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::machine::{log, own_folder::MARKER};

/// Name of the file.
pub const FILE: &str = "SHA256SUMS";
/// Files of the lab's own that are no evidence: the folder's marker, and the log that goes on when the bundle is closed.
const BESIDE: [&str; 3] = [MARKER, log::FILE, FILE];

/// A line and the file it is about.
struct Line {
    text: String,
    hash: String,
    file: String,
}

/// What differs from the sums.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Differences {
    pub changed: Vec<String>,
    pub missing: Vec<String>,
    pub added: Vec<String>,
}

/// Writes the sums of all files of a bundle, and gives the last hash, which covers all of them.
///
/// # Errors
/// When a file cannot be read, or the sums cannot be written.
pub fn write(folder: &Path) -> io::Result<String> {
    let (mut text, mut before, mut last) = (String::new(), String::new(), String::new());
    for file in files(folder)? {
        last = hash(&before, &folder.join(&file))?;
        before = format!("{last}  {file}\n");
        text += &before;
    }
    fs::write(folder.join(FILE), text)?;
    Ok(last)
}

/// Compares a bundle's files with its sums; gives the last hash, too.
///
/// # Errors
/// When a file cannot be read.
pub fn compare(folder: &Path) -> io::Result<(Differences, String)> {
    let lines = read(&fs::read_to_string(folder.join(FILE))?);
    let mut differences = Differences::default();
    let mut there: BTreeMap<String, bool> = files(folder)?.into_iter().map(|it| (it, false)).collect();
    let mut before = String::new();
    for line in &lines {
        match there.get_mut(&line.file) {
            None => differences.missing.push(line.file.clone()),
            Some(is_listed) => {
                *is_listed = true;
                if hash(&before, &folder.join(&line.file))? != line.hash {
                    differences.changed.push(line.file.clone());
                }
            }
        }
        before = format!("{}\n", line.text);
    }
    differences.added = there.into_iter().filter(|it| !it.1).map(|it| it.0).collect();
    Ok((differences, lines.last().map(|it| it.hash.clone()).unwrap_or_default()))
}

fn read(text: &str) -> Vec<Line> {
    let line = |text: &str| {
        let (hash, file) = text.split_once("  ").unwrap_or(("", text));
        Line { text: text.to_owned(), hash: hash.to_owned(), file: file.to_owned() }
    };
    text.lines().filter(|it| !it.is_empty()).map(line).collect()
}

/// All files of a bundle in order, by path from its folder.
fn files(folder: &Path) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        let entry = entry?;
        let name = entry.path().strip_prefix(folder).unwrap_or(entry.path()).to_string_lossy().into_owned();
        let is_beside = BESIDE.iter().any(|it| *it == name);
        if !entry.file_type().is_dir() && !is_beside {
            files.push(name);
        }
    }
    files.sort();
    Ok(files)
}

/// SHA-256 over the line before and the file.
fn hash(before: &str, path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(before.as_bytes());
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.write_all(&buffer[..read])?;
    }
    Ok(hasher.finalize().iter().map(|it| format!("{it:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tables")).unwrap();
        for (file, text) in [("a.json", "1"), ("tables/t.jsonl", "2"), ("z.csv", "3")] {
            fs::write(folder.path().join(file), text).unwrap();
        }
        write(folder.path()).unwrap();
        folder
    }

    fn compared(folder: &Path) -> (Vec<String>, Vec<String>, Vec<String>) {
        let Differences { changed, missing, added } = compare(folder).unwrap().0;
        (changed, missing, added)
    }

    #[test]
    fn a_changed_missing_or_added_file_is_named() {
        let names = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let folder = bundle();
        assert_eq!(compared(folder.path()), (vec![], vec![], vec![]));
        fs::write(folder.path().join(log::FILE), "later").unwrap();
        assert_eq!(compared(folder.path()), (vec![], vec![], vec![]));
        fs::write(folder.path().join("tables/t.jsonl"), "4").unwrap();
        fs::write(folder.path().join("tables/new.jsonl"), "").unwrap();
        fs::write(folder.path().join(".hidden"), "").unwrap();
        fs::remove_file(folder.path().join("a.json")).unwrap();
        let wanted = (names(&["tables/t.jsonl"]), names(&["a.json"]), names(&[".hidden", "tables/new.jsonl"]));
        assert_eq!(compared(folder.path()), wanted);
    }

    #[test]
    fn a_line_that_is_made_to_fit_its_file_does_not_fit_the_next() {
        let folder = bundle();
        fs::write(folder.path().join("a.json"), "forged").unwrap();
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        let (old, _) = text.split_once("  ").unwrap();
        let forged = text.replacen(old, &hash("", &folder.path().join("a.json")).unwrap(), 1);
        fs::write(folder.path().join(FILE), forged).unwrap();
        assert_eq!(compared(folder.path()).0, ["tables/t.jsonl"]);
    }
}
