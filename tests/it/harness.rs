//! What the integration tests share: real storage on free ports, and waiting for facts.

use std::{future::Future, path::PathBuf, time::Duration};

use incident_labs::lab::{
    azurite::{Azurite, Ports},
    folder::Folder,
    storage::Storage,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// The handler under test.
pub(crate) const HANDLER: &str = env!("CARGO_BIN_EXE_handler");
/// The lab under test.
pub(crate) const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// A folder that is removed when the test passes, and kept and named when it fails.
#[derive(Debug)]
pub(crate) struct Scratch(Option<TempDir>);

impl Scratch {
    /// A new empty folder.
    pub(crate) fn new() -> Self {
        Self(Some(tempfile::Builder::new().prefix("lab-test-").tempdir().unwrap()))
    }

    /// Where it is.
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

/// Azurite on free ports in a folder of its own.
#[derive(Debug)]
pub(crate) struct StorageFixture {
    pub(crate) azurite: Azurite,
    pub(crate) storage: Storage,
    pub(crate) folder: Folder,
    pub(crate) scratch: Scratch,
}

impl StorageFixture {
    /// Starts it. Fails with what to install where node or npm is missing.
    pub(crate) async fn start() -> Self {
        let scratch = Scratch::new();
        let folder = Folder::open(&scratch.path().join("run")).await.unwrap();
        let azurite = Azurite::start(&folder, Ports::Free).await.unwrap_or_else(|error| panic!("no storage: {error}"));
        let storage = Storage::open(azurite.account()).unwrap();
        Self { azurite, storage, folder, scratch }
    }
}

/// Waits until `fact` gives something, asking every 50 ms.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(deadline: Duration, mut fact: impl FnMut() -> F) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = fact().await {
            return found;
        }
        assert!(started.elapsed() < deadline, "not so within {deadline:?}");
        sleep(Duration::from_millis(50)).await;
    }
}
