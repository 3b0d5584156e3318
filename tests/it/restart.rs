//! What `lab start` keeps: after Ctrl-C nothing runs on, after `kill -9` nothing is lost and nothing is done twice.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use lab::machine::{
    azurite::{Azurite, Ports},
    storage::Storage,
    workspace::{Workspace, processes_of},
};
use sha2::{Digest, Sha256};

use crate::harness::{LabProcess, Scratch, eventually};

const BLOBS: usize = 200;

#[tokio::test]
async fn after_a_kill_every_blob_is_processed_exactly_once() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("run");
    let content = |n: usize| vec![n as u8; 50_000 + n];
    {
        let folder = Workspace::open(&folder).await.unwrap();
        let azurite = Azurite::start(&folder, Ports::Free).await.unwrap();
        let storage = Storage::open(azurite.account()).unwrap();
        storage.ensure_container("input").await.unwrap();
        for n in 0..BLOBS {
            storage.put("input", &format!("sub dir/ä #{n}%.bin"), content(n), None).await.unwrap();
        }
        azurite.stop().await;
    }
    // Killed twice in the middle of the work: once while messages are being made, once later.
    for done in [10, BLOBS / 2] {
        let lab = LabProcess::start(&folder, &["--preset", "streaming"]).await;
        let rows = async || Some(lab.rows("requests").len()).filter(|it| *it > done);
        let rows = eventually(Duration::from_secs(90), rows).await;
        assert!(rows < BLOBS, "all was done before the kill");
        lab.kill();
    }

    let lab = LabProcess::start(&folder, &["--preset", "streaming"]).await;
    for n in 0..BLOBS {
        // Longer than a message lease, which the killed lab took with it.
        let record = lab.result(&format!("sub dir/ä #{n}%.bin"), Duration::from_secs(90)).await;
        assert_eq!(record["sha256"], format!("{:x}", Sha256::digest(content(n))));
    }
    let successes = async || {
        let blobs = lab.rows("dispatches").into_iter();
        let blobs: HashMap<String, String> =
            blobs.map(|it| (it["operation_Id"].to_string(), it["blob"].to_string())).collect();
        let mut successes = BTreeMap::<String, usize>::new();
        for row in lab.rows("requests").iter().filter(|it| it["success"] == "True") {
            *successes.entry(blobs[&row["operation_Id"].to_string()].clone()).or_default() += 1;
        }
        (successes.len() == BLOBS).then_some(successes)
    };
    let successes = eventually(Duration::from_secs(60), successes).await;
    assert!(successes.values().all(|it| *it == 1), "{successes:?}");
    assert!(lab.interrupt().await.success());
}

#[tokio::test]
async fn ctrl_c_leaves_nothing_running_and_a_restart_repeats_nothing() {
    let scratch = Scratch::new();
    let folder = scratch.path().canonicalize().unwrap().join("run");
    let lab = LabProcess::start(&folder, &[]).await;
    lab.storage.put("input", "one", "1", None).await.unwrap();
    lab.result("one", Duration::from_secs(30)).await;
    assert!(lab.interrupt().await.success());
    assert_eq!(processes_of(&folder), [] as [u32; 0]);

    let lab = LabProcess::start(&folder, &[]).await;
    lab.storage.put("input", "two", "2", None).await.unwrap();
    lab.result("two", Duration::from_secs(30)).await;
    let rows = lab.rows_of("requests", |_| true, 2).await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(lab.interrupt().await.success());
}
