//! The stage as `func start` runs it: no lab, storage on its usual ports, and nothing but what Core Tools does.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use futures::future::join_all;
use incident_labs::blob::StorageAccount;
use lab::machine::storage::Storage;
use rustix::process::Signal;
use serde_json::Value;
use tokio::process;

use crate::{
    handler::{Handler, SOON, send_signal},
    harness::{HANDLER, LAB, Scratch, WELL_KNOWN_PORTS, eventually},
    memory::{ZEROS_256_MIB, put_zeros},
};

/// More whole blobs at once than 896 MiB can hold.
const BLOBS: usize = 7;
/// The host's `maxDequeueCount`.
const TRIES: usize = 5;

/// `lab stage --local --preset buffering`.
fn stage(scratch: &Scratch) -> PathBuf {
    let root = scratch.path().join("stage");
    let mut command = Command::new(&*LAB);
    command.args(["stage", "--local", "--preset", "buffering", "--handler", HANDLER, "--out"]).arg(&root);
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
    root
}

/// `lab azurite`, and a client of it.
async fn azurite(scratch: &Scratch) -> (process::Child, StorageAccount, Storage) {
    let mut command = process::Command::new(&*LAB);
    command.args(["azurite", "--folder"]).arg(scratch.path().join("azurite"));
    let mut lab = command.stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let account = StorageAccount::from_connection_string("UseDevelopmentStorage=true").unwrap();
    let storage = Storage::open(&account).unwrap();
    let is_there = async || {
        assert_eq!(lab.try_wait().unwrap(), None, "storage on ports 10000 to 10002 has ended: its message is above");
        storage.ensure_container("input").await.ok()
    };
    eventually(Duration::from_secs(60), is_there).await;
    (lab, account, storage)
}

/// What Core Tools adds to the environment: the values of local.settings.json, and its own.
fn environment(root: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read(root.join("local.settings.json")).unwrap();
    let settings: Value = serde_json::from_slice(&text).unwrap();
    let values = settings["Values"].as_object().unwrap().iter();
    let mut environment: BTreeMap<String, String> =
        values.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
    for (name, value) in [
        ("AZURE_FUNCTIONS_ENVIRONMENT", "Development"),
        ("WEBSITE_HOSTNAME", "localhost:7071"),
        ("FUNCTIONS_APP_ROOT_PATH", root.to_str().unwrap()),
    ] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    environment
}

/// The executable host.json names, in the script root.
async fn func_start(root: &Path, account: &StorageAccount) -> Handler {
    let host: Value = serde_json::from_slice(&std::fs::read(root.join("host.json")).unwrap()).unwrap();
    let executable = host["customHandler"]["description"]["defaultExecutablePath"].as_str().unwrap();
    let mut command = process::Command::new(root.join(executable));
    command.current_dir(root);
    let environment = environment(root);
    let settings: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Handler::start_by(command, account, &settings).await
}

/// The host's tries of one message; whether one of them succeeded.
async fn tries(handler: &Handler, name: &str) -> bool {
    for _ in 0..TRIES {
        if handler.invoke(name).await.status == 200 {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn the_incident_happens_without_the_lab() {
    let _ports = WELL_KNOWN_PORTS.lock().await;
    let scratch = Scratch::new();
    let root = stage(&scratch);
    let (mut lab, account, storage) = azurite(&scratch).await;
    put_zeros(&storage, "input", "blob-0", 256).await;
    let names: Vec<String> = (0..BLOBS).map(|n| format!("blob-{n}")).collect();
    for name in &names[1..] {
        storage.copy(("input", "blob-0"), ("input", name)).await.unwrap();
    }
    let handler = func_start(&root, &account).await;
    let front = handler.child.id();
    handler.worker_pid(1).await;
    handler.line("out", "worker memory limit 896 MiB").await;

    let succeeded = join_all(names.iter().map(|name| tries(&handler, name))).await;
    for (name, succeeded) in names.iter().zip(&succeeded) {
        let record = storage.read("results", &format!("{name}.json")).await.unwrap();
        assert!(record.is_some() || !succeeded, "{name} is lost");
        if let Some(record) = record {
            assert_eq!(serde_json::from_slice::<Value>(&record).unwrap()["sha256"], ZEROS_256_MIB);
        }
    }
    let count = |stream: &str, line: &str| handler.lines(stream).iter().filter(|it| it.as_str() == line).count();
    let exits = count("err", "Worker process exited with code 137");
    let memory_errors = count("err", "MemoryError: cannot allocate bytes object");
    let kills = handler.lines("out").iter().filter(|it| it.contains("the kernel killed the worker")).count();
    println!("{exits} exits, {kills} by the kernel, {memory_errors} MemoryErrors, {succeeded:?}");
    assert!(
        exits >= 1 && kills == exits && memory_errors >= 1,
        "{exits} exits, {kills} kills, {memory_errors} MemoryErrors"
    );
    assert_eq!(count("err", "warn: Restarting worker process after unexpected exit"), exits);
    assert_eq!(handler.child.id(), front, "the host saw no death");

    send_signal(lab.id().unwrap().cast_signed(), Signal::INT);
    assert!(tokio::time::timeout(SOON, lab.wait()).await.unwrap().unwrap().success());
}
