//! The task hub's file: SQLite in WAL mode, one writer, as many readers as are needed.
//!
//! Writes are small and wait for the disk, so those that arrive together share a transaction, each in a savepoint of its own:
//! one that fails takes no other with it. An answer is given after the commit, never before.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

/// Writes that may share a transaction.
const LARGEST_BATCH: usize = 256;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS instances(
        instance_id TEXT PRIMARY KEY, execution_id TEXT NOT NULL, name TEXT NOT NULL, status INTEGER NOT NULL,
        finished INTEGER NOT NULL, input TEXT, output TEXT, custom_status TEXT, created INTEGER NOT NULL, updated INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS instances_created ON instances(created);
    CREATE TABLE IF NOT EXISTS generations(instance_id TEXT PRIMARY KEY, generation INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS history(
        instance_id TEXT NOT NULL, sequence INTEGER NOT NULL, event BLOB NOT NULL, PRIMARY KEY(instance_id, sequence)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS control(
        id INTEGER PRIMARY KEY AUTOINCREMENT, instance_id TEXT NOT NULL, execution_id TEXT, due INTEGER NOT NULL, event BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS control_instance ON control(instance_id, due);
    CREATE INDEX IF NOT EXISTS control_due ON control(due, instance_id);
    CREATE TABLE IF NOT EXISTS activities(
        id INTEGER PRIMARY KEY AUTOINCREMENT, instance_id TEXT NOT NULL, execution_id TEXT NOT NULL, task_id INTEGER NOT NULL,
        name TEXT NOT NULL, input TEXT
    );
";

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Durability {
    /// The system has it: what is committed outlives every death of the lab's processes, but not one of the machine's.
    #[default]
    Process,
    /// The disk has it.
    Machine,
}

/// Why the hub could not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("task hub: {0}")]
    Sqlite(Arc<rusqlite::Error>),
    /// What was to be done panicked; nothing of it was.
    #[error("task hub: what was to be written panicked")]
    Panicked,
    /// The writer is gone.
    #[error("the task hub is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

type Output = Box<dyn Any + Send>;
type Work = Box<dyn FnOnce(&Connection) -> rusqlite::Result<Output> + Send>;

struct Job {
    work: Work,
    answer: oneshot::Sender<Result<Output, StoreError>>,
}

#[derive(Clone)]
pub(super) struct Store {
    jobs: mpsc::Sender<Job>,
    readers: Arc<Readers>,
}

struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    tasks: TaskTracker,
}

impl Store {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// When it cannot be opened, or is something else.
    pub(super) fn open(path: &Path, durability: Durability) -> Result<Self, StoreError> {
        let writer = Connection::open(path)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        let synchronous = match durability {
            Durability::Process => "NORMAL",
            Durability::Machine => "FULL",
        };
        writer.pragma_update(None, "synchronous", synchronous)?;
        writer.execute_batch(SCHEMA)?;
        writer.set_prepared_statement_cache_capacity(64);
        let (jobs, inbox) = mpsc::channel();
        let spawned = std::thread::Builder::new().name("task-hub".to_owned()).spawn(move || write_all(writer, &inbox));
        spawned.map_err(|_| StoreError::Closed)?;
        let readers = Readers { path: path.to_owned(), idle: Mutex::default(), tasks: TaskTracker::new() };
        Ok(Self { jobs, readers: Arc::new(readers) })
    }

    /// Does something in a transaction; returns when it is committed.
    ///
    /// # Errors
    /// What SQLite refused; then nothing of it was done.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |connection| Ok(Box::new(work(connection)?)));
        self.jobs.send(Job { work, answer }).map_err(|_| StoreError::Closed)?;
        let output = answered.await.map_err(|_| StoreError::Closed)??;
        output.downcast().map(|it| *it).map_err(|_| StoreError::Closed)
    }

    /// Reads what is committed.
    ///
    /// # Errors
    /// What SQLite refused.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self.readers);
        let read = self.readers.tasks.spawn_blocking(move || {
            let connection = readers.take()?;
            let output = work(&connection)?;
            readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(output)
        });
        read.await.map_err(|_| StoreError::Closed)?
    }
}

impl Readers {
    fn take(&self) -> Result<Connection, StoreError> {
        if let Some(connection) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(connection);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Ok(Connection::open_with_flags(&self.path, flags)?)
    }
}

/// The writer's thread: it ends with the last [`Store`].
fn write_all(connection: Connection, inbox: &mpsc::Receiver<Job>) {
    while let Ok(first) = inbox.recv() {
        let jobs: Vec<Job> = std::iter::once(first).chain(inbox.try_iter().take(LARGEST_BATCH - 1)).collect();
        let (work, answers): (Vec<Work>, Vec<_>) = jobs.into_iter().map(|it| (it.work, it.answer)).unzip();
        let outputs = write_batch(&connection, work);
        for (output, answer) in outputs.into_iter().zip(answers) {
            // The caller may be gone.
            let _ = answer.send(output);
        }
    }
}

fn write_batch(connection: &Connection, work: Vec<Work>) -> Vec<Result<Output, StoreError>> {
    let count = work.len();
    let all = || -> rusqlite::Result<Vec<Result<Output, StoreError>>> {
        let transaction = connection.unchecked_transaction()?;
        let mut outputs = Vec::with_capacity(count);
        for work in work {
            transaction.execute_batch("SAVEPOINT job")?;
            // The thread serves all that is written, and outlives what panics.
            let output = catch_unwind(AssertUnwindSafe(|| work(&transaction)));
            let output = output.map_or(Err(StoreError::Panicked), |it| it.map_err(StoreError::from));
            let end = if output.is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
            transaction.execute_batch(end)?;
            outputs.push(output);
        }
        transaction.commit()?;
        Ok(outputs)
    };
    all().unwrap_or_else(|error| {
        let error = StoreError::from(error);
        (0..count).map(|_| Err(error.clone())).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_that_fails_takes_no_other_with_it_and_what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("hub.db"), Durability::Machine).unwrap();
        let insert = |id: &'static str, broken: bool| {
            store.write(move |connection| {
                connection.execute(
                    "INSERT INTO activities(instance_id, execution_id, task_id, name) VALUES(?1, 'e', 0, 'n')",
                    [id],
                )?;
                if broken { Err(rusqlite::Error::QueryReturnedNoRows) } else { Ok(()) }
            })
        };
        let (one, two, three) = tokio::join!(insert("a", false), insert("b", true), insert("c", false));
        assert!(one.is_ok() && two.is_err() && three.is_ok());
        let ids = store.read(|connection| {
            let mut rows = connection.prepare("SELECT instance_id FROM activities ORDER BY id")?;
            rows.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()
        });
        assert_eq!(ids.await.unwrap(), ["a", "c"]);
    }

    #[tokio::test]
    async fn a_write_that_panics_is_undone_and_the_next_one_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("hub.db"), Durability::Process).unwrap();
        let insert = "INSERT INTO activities(instance_id, execution_id, task_id, name) VALUES('i', 'e', 0, 'n')";
        let panicking = store.write(move |connection| -> rusqlite::Result<()> {
            connection.execute(insert, [])?;
            panic!("as asked for")
        });
        assert!(matches!(panicking.await, Err(StoreError::Panicked)));
        store.write(move |connection| connection.execute(insert, [])).await.unwrap();
        let count = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM activities", [], |row| row.get::<_, i64>(0))
        };
        assert_eq!(store.read(count).await.unwrap(), 1);
        assert!(store.read(|_| -> rusqlite::Result<()> { panic!("as asked for") }).await.is_err());
        assert_eq!(store.read(count).await.unwrap(), 1);
    }
}
