//! The task hub's file: SQLite in WAL mode, one writer, as many readers as are needed.
//!
//! Writes are small and wait for the disk, so those that arrive together share a transaction, each in a savepoint of its own:
//! one that fails takes no other with it. An answer is given after the commit, never before.
//!
//! Rows that wait to be worked on are numbered as they are committed. How far the numbers go is published after each commit: whoever
//! reads on from the last number seen misses nothing, and nobody has to be told of a row by its writer.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_util::task::TaskTracker;

use super::rows;

/// Writes that may share a transaction.
const LARGEST_BATCH: usize = 256;
/// Reads at once. They wait for the processor rather than for the disk.
const READERS: usize = 8;
/// The writer's pages in memory, in KiB: those that many instances touch in turns.
const WRITER_CACHE_KIB: i64 = 32 << 10;
/// Pages in the log before they are copied into the file. What is written again meanwhile is copied once.
const LOG_PAGES: i64 = 4_000;
/// Statements that a connection keeps.
const STATEMENTS: usize = 64;

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS instances(
        instance_id TEXT PRIMARY KEY, execution_id TEXT NOT NULL, name TEXT NOT NULL, status INTEGER NOT NULL,
        finished INTEGER NOT NULL, input TEXT, output TEXT, custom_status TEXT, created INTEGER NOT NULL, updated INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS generations(instance_id TEXT PRIMARY KEY, generation INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS history(
        instance_id TEXT NOT NULL, sequence INTEGER NOT NULL, event BLOB NOT NULL, PRIMARY KEY(instance_id, sequence)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS control(
        id INTEGER PRIMARY KEY AUTOINCREMENT, instance_id TEXT NOT NULL, execution_id TEXT, due INTEGER NOT NULL, event BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS control_instance ON control(instance_id, due);
    CREATE INDEX IF NOT EXISTS control_timers ON control(due) WHERE due > 0;
    DROP INDEX IF EXISTS control_due;
    CREATE TABLE IF NOT EXISTS activities(
        id INTEGER PRIMARY KEY AUTOINCREMENT, instance_id TEXT NOT NULL, execution_id TEXT NOT NULL, task_id INTEGER NOT NULL,
        name TEXT NOT NULL, input TEXT
    );
    CREATE INDEX IF NOT EXISTS activities_instance ON activities(instance_id);
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
    posted: Posted,
}

/// The highest numbers that are committed.
#[derive(Clone)]
pub(super) struct Posted {
    pub messages: watch::Receiver<i64>,
    pub activities: watch::Receiver<i64>,
}

struct Readers {
    path: PathBuf,
    /// The last one used last.
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
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
        writer.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        writer.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        writer.execute_batch(SCHEMA)?;
        writer.set_prepared_statement_cache_capacity(STATEMENTS);
        let (jobs, inbox) = mpsc::channel();
        let (writer, posted) = Writer::new(writer)?;
        let spawned = std::thread::Builder::new().name("task-hub".to_owned()).spawn(move || writer.write_all(&inbox));
        spawned.map_err(|_| StoreError::Closed)?;
        let readers = Readers {
            path: path.to_owned(),
            idle: Mutex::default(),
            places: Arc::new(Semaphore::new(READERS)),
            tasks: TaskTracker::new(),
        };
        Ok(Self { jobs, readers: Arc::new(readers), posted })
    }

    /// How far the numbers of messages and activities go, now and after each commit.
    pub(super) fn posted(&self) -> Posted {
        self.posted.clone()
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

    /// Reads what is committed, all of it as it is at one moment.
    ///
    /// # Errors
    /// What SQLite refused.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self.readers);
        let place = Arc::clone(&readers.places).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let read = self.readers.tasks.spawn_blocking(move || {
            // Held until the connection is back: there are never more of them.
            let _place = place;
            let connection = readers.take()?;
            let snapshot = connection.unchecked_transaction()?;
            let output = work(&snapshot)?;
            snapshot.finish()?;
            readers.idle().push(connection);
            Ok(output)
        });
        read.await.map_err(|_| StoreError::Closed)?
    }

    /// Closes the readers that have nothing to do.
    pub(super) fn close_idle(&self) {
        self.readers.idle().clear();
    }
}

impl Readers {
    fn take(&self) -> Result<Connection, StoreError> {
        if let Some(connection) = self.idle().pop() {
            return Ok(connection);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one that writes, on a thread of its own, which ends with the last [`Store`].
struct Writer {
    connection: Connection,
    messages: watch::Sender<i64>,
    activities: watch::Sender<i64>,
}

impl Writer {
    fn new(connection: Connection) -> rusqlite::Result<(Self, Posted)> {
        let (messages, of_messages) = watch::channel(0);
        let (activities, of_activities) = watch::channel(0);
        let writer = Self { connection, messages, activities };
        writer.publish()?;
        Ok((writer, Posted { messages: of_messages, activities: of_activities }))
    }

    fn write_all(self, inbox: &mpsc::Receiver<Job>) {
        while let Ok(first) = inbox.recv() {
            let jobs: Vec<Job> = std::iter::once(first).chain(inbox.try_iter().take(LARGEST_BATCH - 1)).collect();
            let (work, answers): (Vec<Work>, Vec<_>) = jobs.into_iter().map(|it| (it.work, it.answer)).unzip();
            let outputs = write_batch(&self.connection, work);
            if let Err(error) = self.publish() {
                tracing::error!("cannot see what was posted: {error}; it is looked at after the next commit");
            }
            for (output, answer) in outputs.into_iter().zip(answers) {
                // The caller may be gone.
                let _ = answer.send(output);
            }
        }
    }

    fn publish(&self) -> rusqlite::Result<()> {
        for (table, published) in [("control", &self.messages), ("activities", &self.activities)] {
            let last = rows::last_id(&self.connection, table)?;
            published.send_if_modified(|it| std::mem::replace(it, last) != last);
        }
        Ok(())
    }
}

fn write_batch(connection: &Connection, work: Vec<Work>) -> Vec<Result<Output, StoreError>> {
    let count = work.len();
    let all = || -> rusqlite::Result<Vec<Result<Output, StoreError>>> {
        let transaction = connection.unchecked_transaction()?;
        let run = |sql: &str| transaction.prepare_cached(sql)?.execute([]).map(drop);
        let mut outputs = Vec::with_capacity(count);
        for work in work {
            run("SAVEPOINT job")?;
            // The thread serves all that is written, and outlives what panics.
            let output = catch_unwind(AssertUnwindSafe(|| work(&transaction)));
            let output = output.map_or(Err(StoreError::Panicked), |it| it.map_err(StoreError::from));
            if output.is_err() {
                run("ROLLBACK TO job")?;
            }
            run("RELEASE job")?;
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

    #[tokio::test]
    async fn a_read_sees_one_moment_whatever_is_written_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("hub.db"), Durability::Process).unwrap();
        let insert = "INSERT INTO activities(instance_id, execution_id, task_id, name) VALUES('i', 'e', 0, 'n')";
        let count = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM activities", [], |row| row.get::<_, i64>(0))
        };
        let (begun, is_begun) = oneshot::channel();
        let (written, is_written) = mpsc::channel();
        let read = store.read(move |connection| {
            let before = count(connection)?;
            begun.send(()).unwrap();
            is_written.recv().unwrap();
            Ok((before, count(connection)?))
        });
        let write = async {
            is_begun.await.unwrap();
            store.write(move |connection| connection.execute(insert, [])).await.unwrap();
            written.send(()).unwrap();
        };
        assert_eq!(tokio::join!(read, write).0.unwrap(), (0, 0));
        assert_eq!(store.read(count).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_is_posted_is_published_after_its_commit_and_what_failed_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("hub.db"), Durability::Process).unwrap();
        let post = "INSERT INTO control(instance_id, due, event) VALUES('i', 0, x'')";
        let posted = store.posted();
        let numbers = || (*posted.messages.borrow(), *posted.activities.borrow());
        assert_eq!(numbers(), (0, 0));
        store.write(move |connection| connection.execute(post, [])).await.unwrap();
        assert_eq!(numbers(), (1, 0));
        let failing = store.write(move |connection| {
            connection.execute(post, [])?;
            Err::<(), _>(rusqlite::Error::QueryReturnedNoRows)
        });
        assert!(failing.await.is_err());
        assert_eq!(numbers(), (1, 0));
        drop(store);
        let store = Store::open(&folder.path().join("hub.db"), Durability::Process).unwrap();
        assert_eq!(*store.posted().messages.borrow(), 1, "also of a file that was there");
    }

    #[tokio::test]
    async fn readers_are_few_and_closed_when_nothing_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("hub.db"), Durability::Process).unwrap();
        let reads = (0..200).map(|_| store.read(|connection| connection.query_row("SELECT 1", [], |_| Ok(()))));
        futures::future::try_join_all(reads).await.unwrap();
        let open = store.readers.idle().len();
        assert!((1..=READERS).contains(&open), "{open}");
        store.close_idle();
        assert_eq!(store.readers.idle().len(), 0);
    }
}
