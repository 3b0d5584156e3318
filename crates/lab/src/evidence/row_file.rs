//! Rows on disk: one JSON value a line, appended by several processes; and how many of them the disk did not take.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// An open file of rows.
///
/// A row is one write to a file opened for appending, so several processes may share a file and a kill cannot cut a line. A
/// full disk can: the next row, whoever writes it, begins a new line. Whether the last line is cut is asked under the file's
/// lock: a row that is just being written looks the same.
#[derive(Debug)]
pub struct RowFile {
    file: File,
    /// Whether this writer's last row was not written as a whole.
    has_failed: bool,
}

/// How often the lock is asked for, and how long is waited in between. Another writer has it for the time of one write.
const LOCK_TRIES: usize = 100;
const LOCK_PAUSE: Duration = Duration::from_micros(200);

impl RowFile {
    /// Opens a file to add to; it is created if need be.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn append(path: &Path) -> io::Result<Self> {
        Self::open(path, OpenOptions::new().append(true))
    }

    /// Opens a file to fill from its beginning, in place of what it had.
    ///
    /// # Errors
    /// As [`RowFile::append`].
    pub fn replace(path: &Path) -> io::Result<Self> {
        Self::open(path, OpenOptions::new().write(true).truncate(true))
    }

    fn open(path: &Path, options: &mut OpenOptions) -> io::Result<Self> {
        Ok(Self { file: options.read(true).create(true).open(path)?, has_failed: false })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When the disk does not take all of it. A part may be there.
    pub fn write(&mut self, row: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(row)?;
        line.push(b'\n');
        let is_locked = self.lock();
        // Where there is no lock to be had, this writer knows of its own rows alone.
        let is_cut = if is_locked { self.is_cut() } else { self.has_failed };
        if is_cut {
            line.insert(0, b'\n');
        }
        let written = self.file.write_all(&line);
        self.has_failed = written.is_err();
        if is_locked {
            let _ = self.file.unlock();
        }
        written
    }

    /// Takes the lock in time. A writer that was stopped while it had it must not stop all others.
    fn lock(&self) -> bool {
        for _ in 0..LOCK_TRIES {
            match self.file.try_lock() {
                Ok(()) => return true,
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(_)) => return false,
            }
        }
        false
    }

    /// Whether the last line has no end.
    fn is_cut(&self) -> bool {
        let length = self.file.metadata().map_or(0, |it| it.len());
        let mut last = [b'\n'];
        length > 0 && self.file.read_at(&mut last, length - 1).is_ok() && last != [b'\n']
    }
}

/// Rows of a folder of tables that were not written.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Lost {
    pub rows: u64,
    /// What the system said the first time.
    pub why: String,
    /// By table.
    pub tables: BTreeMap<String, u64>,
}

/// The count of lost rows, shared by all processes that write to a folder. Its file has its room from the start and is
/// overwritten in place, which a full disk allows.
#[derive(Debug)]
pub struct LostRows(Option<Mutex<File>>);

impl LostRows {
    /// Name of the file in the folder.
    pub const FILE: &str = "lost.json";
    const ROOM: usize = 1024;
    /// Characters kept of a reason.
    const LONGEST_REASON: usize = 200;

    /// Opens the count of a folder. Where it cannot have its room, nothing is counted.
    pub fn open(folder: &Path) -> Self {
        let open = || -> io::Result<File> {
            let path = folder.join(Self::FILE);
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            // Not every file system has locks. Without them two processes that count at once may count one row for two.
            let _ = file.lock();
            let reserved = if file.metadata()?.len() < Self::ROOM as u64 {
                file.write_all_at(&Self::padded(&Lost::default()), 0)
            } else {
                Ok(())
            };
            let _ = file.unlock();
            reserved.map(|()| file)
        };
        Self(open().ok().map(Mutex::new))
    }

    /// Counts a row that was not written. False where that cannot be counted either.
    pub fn add(&self, table: &str, why: &io::Error) -> bool {
        let Some(file) = &self.0 else { return false };
        let file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.lock();
        let counted = Self::of(&file).and_then(|lost| {
            let mut lost = lost.unwrap_or_default();
            lost.rows += 1;
            *lost.tables.entry(table.to_owned()).or_default() += 1;
            if lost.why.is_empty() {
                lost.why = why.to_string().chars().take(Self::LONGEST_REASON).collect();
            }
            file.write_all_at(&Self::padded(&lost), 0)
        });
        let _ = file.unlock();
        counted.is_ok()
    }

    /// Reads the count of a folder; nothing where rows were not counted.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(folder: &Path) -> io::Result<Option<Lost>> {
        match File::open(folder.join(Self::FILE)) {
            Ok(file) => Self::of(&file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn of(file: &File) -> io::Result<Option<Lost>> {
        let mut text = vec![0; Self::ROOM];
        let length = file.read_at(&mut text, 0)?;
        Ok(serde_json::from_slice(&text[..length]).ok())
    }

    fn padded(lost: &Lost) -> Vec<u8> {
        let mut text = serde_json::to_vec(lost).unwrap_or_default();
        text.resize(Self::ROOM - 1, b' ');
        text.push(b'\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_after_a_cut_line_begins_a_new_one_whoever_cut_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        let (mut one, mut other) = (RowFile::append(&path).unwrap(), RowFile::append(&path).unwrap());
        one.write(&json!({"n": 1})).unwrap();
        one.file.write_all("{\"text\":\"ä".as_bytes().split_last().unwrap().1).unwrap();
        other.write(&json!({"n": 2})).unwrap();
        one.write(&json!({"n": 3})).unwrap();
        let text = std::fs::read(&path).unwrap();
        let lines: Vec<&[u8]> = text.split(|it| *it == b'\n').collect();
        assert_eq!(lines.len(), 5);
        assert_eq!([lines[0], lines[2], lines[3], lines[4]], [&b"{\"n\":1}"[..], b"{\"n\":2}", b"{\"n\":3}", b""]);
    }

    #[test]
    fn rows_that_are_written_at_once_are_whole_and_have_no_empty_line_between_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        // Longer than a page: the system shows such a row while it is written.
        let row = json!({"text": "x".repeat(9000)});
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let mut file = RowFile::append(&path).unwrap();
                let row = &row;
                scope.spawn(move || (0..200).for_each(|_| file.write(row).unwrap()));
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 800);
        assert!(text.lines().all(|it| serde_json::from_str::<serde_json::Value>(it).unwrap() == row));
    }

    #[test]
    fn what_is_lost_is_counted_over_processes_and_starts_with_the_first_reason() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(LostRows::read(folder.path()).unwrap(), None);
        let (one, other) = (LostRows::open(folder.path()), LostRows::open(folder.path()));
        assert_eq!(LostRows::read(folder.path()).unwrap(), Some(Lost::default()));
        assert!(one.add("traces", &io::Error::other("full")));
        assert!(other.add("traces", &io::Error::other("broken")));
        assert!(LostRows::open(folder.path()).add("requests", &io::Error::other("x".repeat(9999))));
        let lost = LostRows::read(folder.path()).unwrap().unwrap();
        let tables = BTreeMap::from([("requests".to_owned(), 1), ("traces".to_owned(), 2)]);
        assert_eq!(lost, Lost { rows: 3, why: "full".to_owned(), tables });
        let length = std::fs::metadata(folder.path().join(LostRows::FILE)).unwrap().len();
        assert_eq!(length, LostRows::ROOM as u64, "its room stays the same");
        assert!(!LostRows::open(Path::new("/proc/nowhere")).add("t", &io::Error::other("")));
    }

    #[test]
    fn threads_that_lose_rows_at_once_count_each() {
        let folder = tempfile::tempdir().unwrap();
        let lost = LostRows::open(folder.path());
        std::thread::scope(|scope| {
            for table in ["a", "b", "c", "d"] {
                let lost = &lost;
                scope.spawn(move || (0..100).all(|_| lost.add(table, &io::Error::other("full"))));
            }
        });
        assert_eq!(LostRows::read(folder.path()).unwrap().unwrap().rows, 400);
    }
}
