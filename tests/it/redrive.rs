//! `lab redrive` on every storage that a host can use, as a command.

use std::process::{Command, Output};

use incident_labs::blob::{EMULATOR_ACCOUNT, EMULATOR_KEY, StorageAccount};
use lab::{
    app::blob_message::{BlobMessage, POISON_QUEUE, TRIGGER_QUEUES},
    machine::storage::Storage,
};
use serde_json::Value;

use crate::{
    fault_proxy::FaultProxy,
    harness::{LAB, Scratch, StorageFixture},
};

const WEEK_S: i64 = 7 * 24 * 3600;

fn redrive(environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let scratch = Scratch::new();
    let mut command = Command::new(&*LAB);
    command.arg("redrive").args(arguments).env_remove("AzureWebJobsStorage").envs(environment.iter().copied());
    command.current_dir(scratch.path()).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn poison(storage: &Storage, names: &[&str]) {
    let queue = storage.queue(POISON_QUEUE).await.unwrap();
    for name in names {
        let text = BlobMessage::new("Host.Functions.BlobBufferProcessor", "input", name, "\"1\"").encode();
        queue.send(&text).await.unwrap();
    }
}

/// Names of the blobs in a queue.
async fn blobs(storage: &Storage, queue: &str) -> Vec<String> {
    let texts = storage.queue(queue).await.unwrap().peek().await.unwrap();
    texts.iter().map(|it| BlobMessage::decode(it).unwrap().blob_name).collect()
}

#[tokio::test]
async fn it_reaches_local_storage_by_a_connection_string_a_url_and_an_app() {
    let fixture = StorageFixture::start().await;
    let storage = &fixture.storage;
    let account = storage.account();
    let connection = account.connection_string().unwrap();
    let queue = format!("{TRIGGER_QUEUES}vm-1104365091");
    storage.queue(&queue).await.unwrap();
    let app = Scratch::new();
    std::fs::write(app.path().join("host.json"), r#"{"version": "2.0"}"#).unwrap();
    let settings = serde_json::json!({"IsEncrypted": false, "Values": {"AzureWebJobsStorage": connection}});
    std::fs::write(app.path().join("local.settings.json"), settings.to_string()).unwrap();
    let root = app.path().display().to_string();
    let url = account.blob_endpoint.to_string();
    let in_environment = [("AzureWebJobsStorage", connection.as_str())];
    let ways = [
        (&in_environment[..], vec![]),
        // Azurite of these tests has its ports where they are free: the connection string knows the queue's.
        (&in_environment[..], vec!["--storage-url", &url]),
        (&[], vec!["--script-root", &root]),
    ];
    for (environment, arguments) in ways {
        poison(storage, &["a", "ä b"]).await;
        let run = redrive(environment, &arguments);
        let text = said(&run);
        assert!(run.status.success(), "{arguments:?}: {text}");
        assert!(text.starts_with(&format!("2 messages moved from {POISON_QUEUE} to {queue}\n")), "{text}");
        assert!(text.contains("expire") && text.contains("UTC") && text.contains("60 s"), "{text}");
        assert!(!text.contains("AccountKey"), "{text}");
        assert_eq!(blobs(storage, &queue).await, ["a", "ä b"]);
        assert!(blobs(storage, POISON_QUEUE).await.is_empty());
        let target = storage.queue(&queue).await.unwrap();
        for message in target.receive(32, std::time::Duration::from_secs(30)).await.unwrap() {
            let lives = message.expires.unwrap() - message.inserted.unwrap();
            assert_eq!(lives.whole_seconds(), WEEK_S, "as the storage extension's messages");
            target.delete(&message).await.unwrap();
        }
    }
    poison(storage, &["x"]).await;
    let run = redrive(&in_environment, &["--json"]);
    let line: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((&line["moved"], &line["queue"], &line["blobs"]), (&1.into(), &queue.into(), &serde_json::json!(["x"])));
    assert!(line["earliestExpiry"].is_string() && line["poisonExpiry"].is_string(), "{line}");
    fixture.azurite.stop().await;
}

#[tokio::test]
async fn of_several_trigger_queues_one_is_chosen_and_a_queue_that_is_not_there_takes_nothing() {
    let fixture = StorageFixture::start().await;
    let storage = &fixture.storage;
    let connection = storage.account().connection_string().unwrap();
    let environment = [("AzureWebJobsStorage", connection.as_str())];
    poison(storage, &["a"]).await;
    let run = redrive(&environment, &[]);
    assert!(run.status.code() == Some(3) && said(&run).contains("no trigger queue"), "{}", said(&run));
    let [one, other] = ["one", "other"].map(|it| format!("{TRIGGER_QUEUES}{it}"));
    for queue in [&one, &other] {
        storage.queue(queue).await.unwrap();
    }
    for arguments in [&[][..], &["--queue", "azure-webjobs-blobtrigger-on"], &["--queue", POISON_QUEUE]] {
        let run = redrive(&environment, arguments);
        let text = said(&run);
        assert!(run.status.code() == Some(3) && text.contains(&one) && text.contains(&other), "{arguments:?}: {text}");
        assert_eq!(blobs(storage, POISON_QUEUE).await, ["a"], "{arguments:?}");
    }
    assert!(redrive(&environment, &["--queue", &other]).status.success());
    assert_eq!((blobs(storage, &one).await, blobs(storage, &other).await), (vec![], vec!["a".to_owned()]));
    fixture.azurite.stop().await;
}

#[tokio::test]
async fn a_storage_that_fails_half_way_loses_nothing_and_the_rest_can_be_moved_later() {
    let fixture = StorageFixture::start().await;
    let storage = &fixture.storage;
    let names: Vec<String> = (0..40).map(|it| format!("b{it}")).collect();
    poison(storage, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let queue = format!("{TRIGGER_QUEUES}app");
    storage.queue(&queue).await.unwrap();
    let target = storage.queue(&queue).await.unwrap();
    let moved = lab::app::redrive::redrive(storage, &queue);
    // Cut off in the middle, as by Ctrl-C.
    let brief = std::time::Duration::from_millis(60);
    let cut = tokio::time::timeout(brief, moved).await.is_err();
    let there = target.messages().await.unwrap().unwrap();
    let left = storage.queue(POISON_QUEUE).await.unwrap().messages().await.unwrap().unwrap();
    assert!(there + left >= 40, "cut: {cut}, {there} moved, {left} left");
    fixture.azurite.stop().await;
}

#[test]
fn plain_http_elsewhere_and_what_cannot_be_used_is_refused_without_its_secret() {
    let key = "aHVudGVyMg==";
    let away =
        format!("AccountName=a;AccountKey={key};BlobEndpoint=http://192.0.2.1:1/a;QueueEndpoint=http://127.0.0.1:2/a");
    for (environment, arguments, says) in [
        ("", &["--storage-url", "http://192.0.2.1:10000/devstoreaccount1"][..], "must use https"),
        ("", &["--storage-url", "http://localhost.example.com:10000/devstoreaccount1"], "must use https"),
        ("", &["--storage-url", "http://127.0.0.1:10000"], "devstoreaccount1"),
        ("", &["--storage-url", "http://127.0.0.1:65535/devstoreaccount1"], "devstoreaccount1"),
        ("", &["--storage-url", "http://127.0.0.1:10000/devstoreaccount1?sig=aHVudGVyMg"], "az login"),
        (&away, &[], "must use https"),
        ("AccountName=a;AccountKey=aHVudGVyMg!", &[], "cannot be used: it has an AccountKey that is not base64"),
        ("", &["--folder", "x", "--queue", "q"], "--queue"),
        ("", &["--queue", "q"], "--queue is for an account"),
    ] {
        let run = redrive(&[("AzureWebJobsStorage", environment)], arguments);
        let text = said(&run);
        assert!(run.status.code() == Some(64) && text.contains(says), "{environment} {arguments:?}: {text}");
        assert!(!text.contains("aHVudGVyMg"), "{text}");
    }
}

#[tokio::test]
async fn a_send_that_fails_leaves_its_message_where_it_was_and_the_error_says_so() {
    let fixture = StorageFixture::start().await;
    let storage = &fixture.storage;
    poison(storage, &["a", "b"]).await;
    storage.queue(&format!("{TRIGGER_QUEUES}app")).await.unwrap();
    // The proxy stands before one endpoint: here it is the queues'.
    let account = storage.account();
    let queues = account.queue_endpoint.to_string();
    let both = format!(
        "AccountName={EMULATOR_ACCOUNT};AccountKey={EMULATOR_KEY};BlobEndpoint={queues};QueueEndpoint={queues}"
    );
    let proxy = FaultProxy::start(&StorageAccount::from_connection_string(&both).unwrap()).await;
    proxy.refuse("POST", "azure-webjobs-blobtrigger-app/messages", 403, "AuthorizationFailure");
    let connection = format!(
        "AccountName={EMULATOR_ACCOUNT};AccountKey={EMULATOR_KEY};BlobEndpoint={};QueueEndpoint={}",
        account.blob_endpoint,
        proxy.account().blob_endpoint
    );
    let run = tokio::task::spawn_blocking(move || redrive(&[("AzureWebJobsStorage", &connection)], &[])).await.unwrap();
    let text = said(&run);
    assert_eq!(run.status.code(), Some(3), "{text}");
    assert!(text.contains("0 of 2 messages moved, the others are still in webjobs-blobtrigger-poison"), "{text}");
    assert!(text.contains("403") && !text.contains(EMULATOR_KEY), "{text}");
    assert_eq!(storage.queue(POISON_QUEUE).await.unwrap().messages().await.unwrap(), Some(2));
    fixture.azurite.stop().await;
}
