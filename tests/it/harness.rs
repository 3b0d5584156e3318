//! What the integration tests share: real storage on free ports, and waiting for facts.

use std::sync::LazyLock;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output},
    time::Duration,
};

use incident_labs::blob::{StorageAccount, record_name};
use lab::machine::{
    azurite::{Azurite, Ports},
    storage::Storage,
    workspace::{Workspace, kill_processes_of},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

/// The handler under test.
pub(crate) const HANDLER: &str = env!("CARGO_BIN_EXE_handler");
/// The lab under test. Cargo names the executables of a test's own package alone; the lab's stands beside the handler's.
pub(crate) static LAB: LazyLock<PathBuf> = LazyLock::new(|| {
    let lab = Path::new(HANDLER).with_file_name("lab");
    assert!(lab.is_file(), "{} is missing: run `cargo test` for the whole workspace", lab.display());
    lab
});

/// Ports 10000 to 10002: whoever needs them, or needs them taken, holds this.
pub(crate) static WELL_KNOWN_PORTS: Mutex<()> = Mutex::const_new(());

/// A folder that is removed when the test passes, and kept and named when it fails.
#[derive(Debug)]
pub(crate) struct Scratch(Option<TempDir>);

impl Scratch {
    /// A new empty folder.
    pub(crate) fn new() -> Self {
        Self(Some(tempfile::Builder::new().prefix("lab-test-").tempdir().unwrap()))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.as_ref().unwrap().path().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = self.0.take()
        {
            eprintln!("kept for inspection: {}", dir.keep().display());
        }
    }
}

/// How long storage, handler and the first work of a run may take, on a machine that is busy with other tests.
pub(crate) const UNDER_WAY: Duration = Duration::from_secs(600);

/// The folders of `lab run`: work, evidence, and what a test puts beside them. Whatever runs in it ends with it.
#[derive(Debug)]
pub(crate) struct Bench {
    lab: &'static str,
    scratch: Scratch,
}

impl Bench {
    pub(crate) fn new(lab: &'static str) -> Self {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.path().join("work")).unwrap();
        Self { lab, scratch }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.path("work").canonicalize().unwrap()
    }

    /// Folder of the latest run.
    pub(crate) fn latest(&self) -> Option<PathBuf> {
        self.path("evidence").join(self.lab).join("latest").canonicalize().ok()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&*LAB);
        command.args(["run", self.lab, "--handler", HANDLER]).args(arguments);
        command.arg("--evidence").arg(self.path("evidence")).arg("--folder").arg(self.work());
        command
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        kill_processes_of(&self.work());
    }
}

/// Runs a command to its end, while the test's own servers answer it.
pub(crate) async fn finished(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Azurite on free ports in a folder of its own.
#[derive(Debug)]
pub(crate) struct StorageFixture {
    pub(crate) azurite: Azurite,
    pub(crate) storage: Storage,
    pub(crate) folder: Workspace,
    pub(crate) scratch: Scratch,
}

impl StorageFixture {
    /// Starts it. Fails with what to install where node or npm is missing.
    pub(crate) async fn start() -> Self {
        let scratch = Scratch::new();
        let folder = Workspace::open(&scratch.path().join("run")).await.unwrap();
        let azurite = Azurite::start(&folder, Ports::Free).await.unwrap_or_else(|error| panic!("no storage: {error}"));
        let storage = Storage::open(azurite.account()).unwrap();
        Self { azurite, storage, folder, scratch }
    }
}

/// Waits until `fact` gives something, asking every 50 ms.
pub(crate) async fn eventually<T>(deadline: Duration, mut fact: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = fact().await {
            return found;
        }
        assert!(started.elapsed() < deadline, "not so within {deadline:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// A real `lab start` on a folder. Dropped, it is killed with everything it started.
#[derive(Debug)]
pub(crate) struct LabProcess {
    child: Child,
    folder: PathBuf,
    /// Clients of its storage.
    pub(crate) storage: Storage,
}

impl LabProcess {
    /// Starts it with the handler under test and waits until it says that it runs.
    pub(crate) async fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::serve(folder, &[&["--handler", HANDLER], arguments].concat()).await
    }

    /// The same on any app.
    pub(crate) async fn serve(folder: &Path, arguments: &[&str]) -> Self {
        fs::create_dir_all(folder).unwrap();
        let folder = folder.canonicalize().unwrap();
        let log = folder.join("lab.log");
        let out = File::create(&log).unwrap();
        let mut child = Command::new(&*LAB)
            .args(["start", "--folder"])
            .arg(&folder)
            .args(arguments)
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        eventually(Duration::from_secs(60), async || {
            let text = fs::read_to_string(&log).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "lab start ended: {text}");
            text.contains("stop     Ctrl-C").then_some(())
        })
        .await;
        let [blob, queue, _] = Workspace::ports_of(&folder).unwrap();
        let storage = Storage::open(&StorageAccount::emulator(blob, queue).unwrap()).unwrap();
        Self { child, folder, storage }
    }

    /// Ends it as a crash of the machine's owner would: nothing is told, nothing is stopped.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::forget(self);
    }

    /// Ends it as Ctrl-C does.
    pub(crate) async fn interrupt(mut self) -> ExitStatus {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), Signal::INT).unwrap();
        eventually(Duration::from_secs(30), async || self.child.try_wait().unwrap()).await
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> String {
        fs::read_to_string(self.folder.join("lab.log")).unwrap()
    }

    /// Where its HTTP functions are.
    pub(crate) fn http_url(&self) -> String {
        let text = self.printed();
        let url = text.split_whitespace().find(|it| it.starts_with("http://") && it.contains("/api/")).unwrap();
        url.split("/api/").next().unwrap().to_owned()
    }

    /// Rows of a table of the folder.
    pub(crate) fn rows(&self, table: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join(format!("tables/{table}.jsonl"))).unwrap_or_default();
        text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
    }

    /// The rows of a table, once so many are of this kind. A row comes after what it tells of: after a record, after a message.
    pub(crate) async fn rows_of(&self, table: &str, is_wanted: impl Fn(&Value) -> bool, at_least: usize) -> Vec<Value> {
        let wanted = async || {
            let rows: Vec<Value> = self.rows(table).into_iter().filter(&is_wanted).collect();
            (rows.len() >= at_least).then_some(rows)
        };
        eventually(Duration::from_secs(60), wanted).await
    }

    /// The result record of a blob, once there is one.
    pub(crate) async fn result(&self, name: &str, deadline: Duration) -> Value {
        let read = async || self.storage.read("results", &record_name(name)).await.unwrap();
        serde_json::from_slice(&eventually(deadline, read).await).unwrap()
    }
}

impl Drop for LabProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        kill_processes_of(&self.folder);
    }
}
