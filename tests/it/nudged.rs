//! `lab load oom` beside a listener that loses blobs, as the real one does on development storage.

use std::{fs, process::Stdio, time::Duration};

use lab::machine::storage::Storage;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::{process::Command, time::sleep};

use crate::{
    harness::{LAB, StorageFixture},
    tidy::root,
};

/// Small blobs alone, two a second.
const SCENARIO: &str = r#"
seed = 7
[control]
blob_mib = 1
per_second = 2
[[phase]]
name = "baseline"
blob_mib = 1
limit_share = 0.001
bursts = 1
every_s = 1
length_s = 5
"#;

/// Lists as often as two blobs come, and takes those alone that are newer than the newest second seen (recorded rule).
async fn listen(storage: &Storage) {
    let mut newest = OffsetDateTime::UNIX_EPOCH;
    loop {
        let seen = storage.list("input", "", false).await.unwrap();
        for blob in seen.iter().filter(|it| it.last_modified.unwrap() > newest) {
            storage.put("results", &format!("{}.json", blob.name), "{}", None).await.unwrap();
        }
        newest = seen.iter().filter_map(|it| it.last_modified).fold(newest, Ord::max);
        sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn a_blob_that_the_host_never_saw_is_touched_counted_and_explained() {
    let fixture = StorageFixture::start().await;
    let folder = tempfile::tempdir_in(root().join("target")).unwrap();
    let (scenario, evidence) = (folder.path().join("scenario.toml"), folder.path().join("load"));
    fs::write(&scenario, SCENARIO).unwrap();
    let mut command = Command::new(&*LAB);
    command.args(["load", "oom", "--scale", "1/8", "--settle-s", "3", "--scenario"]).arg(&scenario);
    command.arg("--out").arg(&evidence).stderr(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command.env("AzureWebJobsStorage", fixture.storage.account().connection_string().unwrap());
    let ended = tokio::select! {
        ended = command.output() => ended.unwrap(),
        () = listen(&fixture.storage) => unreachable!("it listens for ever"),
    };
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{told}");
    let phase: Value = serde_json::from_str(&fs::read_to_string(evidence.join("phases.jsonl")).unwrap()).unwrap();
    let nudged = phase["nudged"].as_array().unwrap();
    assert!(!nudged.is_empty() && phase["unsettled"] == Value::Array(Vec::new()), "{phase:#}");
    assert!(told.contains(&format!("baseline: {} blobs nudged", nudged.len())), "{told}");
    assert!(told.contains("newer than the newest second it has seen"), "{told}");
}
