//! The incident end to end: more whole blobs at once than the worker may hold, a real kernel kill, and nothing lost.

use std::time::Duration;

use futures::future::join_all;
use incident_labs::{blob::Variant, functions};
use lab::{
    app::{
        AppSource, ScriptRoot,
        blob_message::{BlobMessage, POISON_QUEUE, trigger_queue},
        own,
        pace::Pace,
        preset::preset,
        stage::stage,
    },
    emulator::session::{Session, SessionOptions},
    labs::{Lab, oom::OomLab},
    machine::workspace::Workspace,
};
use serde_json::Value;

use crate::{
    handler::{assert_no_secret, rows},
    harness::{HANDLER, Scratch, eventually},
    memory::put_zeros,
};

const BLOBS: usize = 7;
const MIB: u64 = 1 << 20;
const LIMIT_MIB: u64 = 896;
/// All tries of all blobs, restarts included.
const ALL_TRIES: Duration = Duration::from_secs(180);

async fn session(scratch: &Scratch) -> Session {
    let script_root = scratch.path().join("stage");
    stage(&AppSource::carried(), HANDLER.as_ref(), &script_root, &functions::names()).unwrap();
    let folder = Workspace::open(&scratch.path().join("run")).await.unwrap();
    let script_root = ScriptRoot::read(&script_root).unwrap();
    let options = SessionOptions {
        folder,
        script_root: script_root.with_settings(preset(Variant::Buffering)),
        containers: own::containers(),
        port: Default::default(),
        pace: Pace::Quick,
        echo: None,
        withheld: None,
    };
    Session::start(options).await.unwrap()
}

/// Seven blobs of 256 MiB, all queued before the first is taken.
async fn release_together(session: &Session) {
    session.blobs().unwrap().trigger.pause();
    put_zeros(&session.blobs().unwrap().storage, "staging", "blob", 256).await;
    let copies = (0..BLOBS).map(|n| async move {
        session.blobs().unwrap().storage.copy(("staging", "blob"), ("input", &format!("blob-{n}"))).await.unwrap();
    });
    join_all(copies).await;
    let queue = session.blobs().unwrap().storage.queue(&trigger_queue()).await.unwrap();
    eventually(ALL_TRIES, async || (queue.peek().await.unwrap().len() == BLOBS).then_some(())).await;
    session.blobs().unwrap().trigger.resume();
}

async fn is_recorded(session: &Session, n: usize) -> bool {
    session.blobs().unwrap().storage.read("results", &format!("blob-{n}.json")).await.unwrap().is_some()
}

#[tokio::test]
async fn seven_whole_blobs_at_once_are_killed_for_by_the_kernel_and_none_is_lost() {
    let scratch = Scratch::new();
    let session = session(&scratch).await;
    eventually(ALL_TRIES, async || session.host.pid()).await;
    let front = session.host.pid();
    release_together(&session).await;

    let poison = session.blobs().unwrap().storage.queue(POISON_QUEUE).await.unwrap();
    let (recorded, poisoned) = eventually(ALL_TRIES, async || {
        let recorded = join_all((0..BLOBS).map(|n| is_recorded(&session, n))).await;
        let poisoned: Vec<_> =
            poison.peek().await.unwrap().iter().map(|it| BlobMessage::decode(it).unwrap().blob_name).collect();
        let has_ended = |n: usize| recorded[n] || poisoned.contains(&format!("blob-{n}"));
        (0..BLOBS).all(has_ended).then(|| (recorded.iter().filter(|it| **it).count(), poisoned.len()))
    })
    .await;
    assert_eq!(session.host.pid(), front, "the front is the same process");

    // The handler's own lines come in batches, the host's at once.
    let kills = |traces: &[Value]| {
        let is_kill = |it: &&str| it.contains("the kernel killed the worker at its memory limit of 896 MiB");
        traces.iter().filter_map(|row| row["message"].as_str()).filter(is_kill).count()
    };
    let exits =
        |traces: &[Value]| traces.iter().filter(|row| row["message"] == "Worker process exited with code 137").count();
    let traces = eventually(ALL_TRIES, async || {
        let traces = rows(&session.folder.tables().join("traces.jsonl"));
        (kills(&traces) >= exits(&traces)).then_some(traces)
    })
    .await;
    let lines = |text: &str, severity: u64| {
        traces.iter().filter(|row| row["message"] == text && row["severityLevel"] == severity).count()
    };
    let exits = lines("Worker process exited with code 137", 3);
    let memory_errors = lines("MemoryError: cannot allocate bytes object", 3);
    let kernel_kills = kills(&traces);
    assert!(exits >= 1 && memory_errors >= 1, "{exits} exits, {memory_errors} MemoryErrors");
    assert_eq!(kernel_kills, exits, "each exit was the kernel's doing");
    assert_eq!(lines("warn: Restarting worker process after unexpected exit", 2), exits);
    assert!(lines("Worker process started", 1) >= 2);

    let requests = rows(&session.folder.tables().join("requests.jsonl"));
    let succeeded = requests.iter().filter(|row| row["success"] == "True").count();
    assert_eq!(succeeded, recorded);
    assert!(requests.iter().any(|row| row["success"] == "False"));
    let peak = rows(&session.folder.tables().join("performanceCounters.jsonl"))
        .iter()
        .map(|row| row["value"].as_f64().unwrap() as u64 / MIB)
        .max();
    let critical = OomLab::rules().unwrap().bands.start("critical").unwrap();
    assert!(peak.unwrap() as f64 >= critical * LIMIT_MIB as f64, "{peak:?} MiB");
    println!(
        "{exits} kernel kills, {memory_errors} MemoryErrors, peak {peak:?} MiB of {LIMIT_MIB}; \
         {recorded} recorded, {poisoned} poisoned, {} tries",
        requests.len()
    );
    let (tables, logs) = (session.folder.tables(), session.folder.logs());
    session.stop(Duration::from_secs(5)).await;
    assert_no_secret(&tables);
    assert_no_secret(&logs);
}
