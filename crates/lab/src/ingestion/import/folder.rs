//! The folder that an import fills: its own, and never that of a run.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::Imported;
use crate::{
    evidence::phases_file::PhasesFile,
    judgement::ADDED,
    machine::own_folder::{FolderError, OwnFolder, Purpose, check},
};

const TABLES: &str = "tables";
/// Tables while they are written: they appear whole or not at all.
const NEW_TABLES: &str = "tables.new";
/// What was imported. A folder that has it was filled by an import, and may be again.
pub const SUMMARY: &str = "import.json";
const NEW_SUMMARY: &str = "import.json.new";
const PHASES: &str = PhasesFile::NAME;

/// Why a folder is not filled.
#[derive(Debug, thiserror::Error)]
pub enum FolderRefusal {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{} has the evidence of a run: choose another folder", path.display())]
    Run { path: PathBuf },
    #[error("{} has been imported into: choose another folder, or replace that import with --replace", path.display())]
    Filled { path: PathBuf },
}

/// A file of the folder cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("write {}", path.display())]
pub struct WriteRefusal {
    path: PathBuf,
    source: io::Error,
}

/// A folder that may be filled.
#[derive(Debug)]
pub struct ImportFolder {
    path: PathBuf,
}

impl ImportFolder {
    /// Looks at a folder, and writes nothing.
    ///
    /// # Errors
    /// When it is another's, a run's, or has been imported into and is not to be replaced.
    pub fn check(path: &Path, replace: bool) -> Result<Self, FolderRefusal> {
        check(path, Purpose::Evidence)?;
        let folder = Self { path: path.to_owned() };
        if folder.path.join(SUMMARY).exists() {
            return if replace { Ok(folder) } else { Err(FolderRefusal::Filled { path: folder.path }) };
        }
        let is_left_over = |name: &str| name.starts_with('.') || [NEW_TABLES, NEW_SUMMARY].contains(&name);
        let holds_rows = fs::read_dir(path).is_ok_and(|mut entries| {
            entries.any(|it| it.is_ok_and(|it| !is_left_over(&it.file_name().to_string_lossy())))
        });
        if holds_rows { Err(FolderRefusal::Run { path: folder.path }) } else { Ok(folder) }
    }

    /// Makes the folder ours.
    ///
    /// # Errors
    /// When it is another's by now, or cannot be written.
    pub fn take(&self) -> Result<(), FolderError> {
        OwnFolder::take(&self.path, Purpose::Evidence).map(drop)
    }

    /// Writes the tables, a copy of the phases, and the summary, in place of those before.
    ///
    /// # Errors
    /// When the file system refuses. The tables before are there until the new ones are whole.
    pub fn fill(&self, imported: &Imported, phases: Option<&Path>, summary: &[u8]) -> Result<(), WriteRefusal> {
        let (new, tables) = (self.path.join(NEW_TABLES), self.path.join(TABLES));
        remove(&new)?;
        fs::create_dir_all(&new).map_err(named(&new))?;
        for (table, lines) in &imported.tables {
            let path = new.join(table.name()).with_extension("jsonl");
            let texts = lines.iter().map(|it| it.1.as_str());
            write_lines(&path, texts).map_err(named(&path))?;
        }
        // From here on an import that is cut off is known as one, and can be replaced.
        let (new_summary, path) = (self.path.join(NEW_SUMMARY), self.path.join(SUMMARY));
        remove(&new_summary)?;
        let written = fs::write(&new_summary, summary).and_then(|()| fs::rename(&new_summary, &path));
        written.map_err(named(&path))?;
        // What was judged is not what is there now.
        for judged in ADDED {
            remove(&self.path.join(judged))?;
        }
        let copy = self.path.join(PHASES);
        remove(&copy)?;
        if let Some(phases) = phases {
            fs::copy(phases, &copy).map_err(named(&copy))?;
        }
        remove(&tables)?;
        fs::rename(&new, &tables).map_err(named(&tables))
    }
}

fn named(path: &Path) -> impl Fn(io::Error) -> WriteRefusal {
    move |source| WriteRefusal { path: path.to_owned(), source }
}

fn remove(path: &Path) -> Result<(), WriteRefusal> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(named(path)(error)),
        _ => Ok(()),
    }
}

pub(super) fn write_lines<'a>(path: &Path, lines: impl Iterator<Item = &'a str>) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for line in lines {
        file.write_all(line.as_bytes())?;
        file.write_all(b"\n")?;
    }
    file.into_inner()?.sync_all()
}
