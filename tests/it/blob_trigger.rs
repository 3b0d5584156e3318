//! The blob trigger on real storage: receipts, versions, outages, poison and redrive.

use std::{
    fs::File,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use azure_core::http::RequestContent;
use azure_storage_blob::{BlobClient, BlobClientOptions};
use incident_labs::{blob::record_name, functions};
use lab::{
    app::{
        AppSource, ScriptRoot,
        blob_message::{BlobMessage, HOSTS_CONTAINER, POISON_QUEUE, TRIGGER_QUEUES, trigger_queue},
        own,
        pace::{Pace, Waits},
        redrive::{only_trigger_queue, redrive},
        stage::stage,
    },
    emulator::{
        host::{Echo, LogLine},
        session::{Blobs, Session, SessionOptions},
    },
    machine::{
        azurite::{Azurite, Ports},
        workspace::Workspace,
    },
};
use serde_json::Value;

use crate::{
    harness::{HANDLER, LAB, LabProcess, Scratch, StorageFixture, eventually, finished},
    tidy::holds_block,
};

const SOON: Duration = Duration::from_secs(30);

async fn session(scratch: &Scratch) -> Session {
    session_with(scratch, None).await
}

async fn session_with(scratch: &Scratch, echo: Echo) -> Session {
    let script_root = scratch.path().join("stage");
    stage(&AppSource::carried(), HANDLER.as_ref(), &script_root, &functions::names()).unwrap();
    let folder = Workspace::open(&scratch.path().join("run")).await.unwrap();
    let script_root = ScriptRoot::read(&script_root).unwrap();
    let options = SessionOptions {
        folder,
        script_root: script_root.with_settings([("BLOB_VARIANT".into(), "streaming".into())]),
        containers: own::containers(),
        port: Default::default(),
        pace: Pace::Quick,
        echo,
        withheld: None,
    };
    Session::start(options).await.unwrap()
}

async fn result(session: &Session, name: &str) -> Value {
    let read = async || session.blobs().unwrap().storage.read("results", &record_name(name)).await.ok().flatten();
    serde_json::from_slice(&eventually(SOON, read).await).unwrap()
}

#[tokio::test]
async fn each_version_of_a_blob_gets_a_receipt_and_a_run() {
    let scratch = Scratch::new();
    let session = session(&scratch).await;
    session.blobs().unwrap().storage.put("input", "a/b c.txt", "first", None).await.unwrap();
    assert_eq!(result(&session, "a/b c.txt").await["size_bytes"], 5);
    session.blobs().unwrap().storage.put("input", "a/b c.txt", "second", None).await.unwrap();
    eventually(SOON, async || (result(&session, "a/b c.txt").await["size_bytes"] == 6).then_some(())).await;

    let prefix = "blobreceipts/incidentlab/Host.Functions.BlobBufferProcessor/";
    let receipts = session.blobs().unwrap().storage.list(HOSTS_CONTAINER, prefix, true).await.unwrap();
    assert_eq!(receipts.len(), 2, "{receipts:?}");
    for receipt in receipts {
        assert!(receipt.metadata.is_empty(), "the receipt is still incomplete: {receipt:?}");
        let (etag, blob) = receipt.name.strip_prefix(prefix).unwrap().split_once('/').unwrap();
        assert!(etag.starts_with("\"0x") && etag.ends_with('"'), "{etag}");
        assert_eq!(blob, "input/a/b c.txt");
    }
    session.stop(SOON).await;
}

/// Writes a blob by a URL that is taken as it is.
async fn put_at(session: &Session, path: &str, content: &'static [u8]) {
    let account = session.blobs().unwrap().storage.account().clone();
    let url = format!("{}/{path}", account.blob_endpoint).parse().unwrap();
    let options = BlobClientOptions { client_options: account.client_options(), ..Default::default() };
    let blob = BlobClient::new(url, None, Some(options)).unwrap();
    blob.upload(RequestContent::from(content.to_vec()), None).await.unwrap();
}

#[tokio::test]
async fn a_name_that_no_url_carries_ends_in_the_poison_queue_with_a_line() {
    let scratch = Scratch::new();
    let session = session(&scratch).await;
    let storage = &session.blobs().unwrap().storage;
    storage.ensure_container("secret").await.unwrap();
    for path in ["secret/p.txt", "input/ab", "input/q.txt"] {
        put_at(&session, path, b"another blob").await;
    }
    let refused = ["../secret/p.txt", "x/../q.txt", "./q.txt", "a\tb", "a\nb", "a\rb"];
    let paths = ["..%2Fsecret%2Fp.txt", "x%2F..%2Fq.txt", ".%2Fq.txt", "a%09b", "a%0Ab", "a%0Db"];
    for path in paths {
        put_at(&session, &format!("input/{path}"), b"refused").await;
    }
    for name in ["ab", "q.txt"] {
        assert_eq!(result(&session, name).await["size_bytes"], "another blob".len());
    }
    let poison = storage.queue(POISON_QUEUE).await.unwrap();
    let poisoned = eventually(SOON, async || {
        let texts = poison.peek().await.unwrap();
        let mut names: Vec<String> = texts.iter().map(|it| BlobMessage::decode(it).unwrap().blob_name).collect();
        names.sort();
        (names.len() >= refused.len()).then_some(names)
    })
    .await;
    let mut wanted = refused.map(str::to_owned);
    wanted.sort();
    assert_eq!(poisoned, wanted);
    let mut records: Vec<String> =
        storage.list("results", "", false).await.unwrap().into_iter().map(|it| it.name).collect();
    records.sort();
    assert_eq!(records, ["ab.json", "q.txt.json"]);
    let traces = std::fs::read_to_string(session.folder.tables().join("traces.jsonl")).unwrap();
    for name in ["../secret/p.txt", r"a\\tb"] {
        // The row has it twice: as its message, and as that message's format.
        let line = format!("\"message\":\"BlobBufferProcessor refuses a blob by its name: input/{name}: ");
        assert_eq!(traces.matches(&line).count(), 5, "{line}");
    }
    session.stop(SOON).await;
}

#[tokio::test]
async fn white_space_around_a_name_belongs_to_it() {
    let scratch = Scratch::new();
    let session = session(&scratch).await;
    for (path, name) in [("input/%20a", " a"), ("input/a%20", "a "), ("input/%20", " "), ("input/b%20/%20c", "b / c")] {
        put_at(&session, path, b"five!").await;
        assert_eq!(result(&session, name).await["name"], name);
    }
    session.stop(SOON).await;
}

#[tokio::test]
async fn a_blob_whose_work_item_panics_is_given_back_and_processed() {
    let scratch = Scratch::new();
    // The host's log is echoed inside of the work item.
    let (panicked, at) = (AtomicBool::new(false), "Executing 'Functions.BlobBufferProcessor'");
    let echo = move |line: &LogLine| {
        assert!(!line.message.starts_with(at) || panicked.swap(true, Ordering::Relaxed), "panics, as asked for");
    };
    let session = session_with(&scratch, Some(Box::new(echo))).await;
    session.blobs().unwrap().storage.put("input", "a", "first", None).await.unwrap();
    let read = async || session.blobs().unwrap().storage.read("results", "a.json").await.ok().flatten();
    // Less than the message's lease: it did not wait for that.
    eventually(Duration::from_secs(20), read).await;
    session.stop(SOON).await;
}

#[tokio::test]
async fn messages_without_a_blob_or_of_an_old_version_are_dropped() {
    let scratch = Scratch::new();
    let session = session(&scratch).await;
    session.blobs().unwrap().storage.put("input", "present", "x", None).await.unwrap();
    result(&session, "present").await;
    let queue = session.blobs().unwrap().storage.queue(&trigger_queue()).await.unwrap();
    let id = "Host.Functions.BlobBufferProcessor";
    for (name, etag, id) in
        [("gone", "\"0x1\"", id), ("present", "\"0x2\"", id), ("present", "\"0x3\"", "Host.Functions.X")]
    {
        queue.send(&BlobMessage::new(id, "input", name, etag).encode()).await.unwrap();
    }
    eventually(SOON, async || queue.is_empty().await.unwrap().then_some(())).await;
    let requests = std::fs::read_to_string(session.folder.tables().join("requests.jsonl")).unwrap();
    assert_eq!(requests.lines().count(), 1, "{requests}");
    session.stop(SOON).await;
}

#[tokio::test]
async fn a_storage_outage_is_survived() {
    let scratch = Scratch::new();
    let mut session = session(&scratch).await;
    session.blobs().unwrap().storage.put("input", "before", "1", None).await.unwrap();
    result(&session, "before").await;

    let traces = session.folder.tables().join("traces.jsonl");
    let Blobs { azurite, storage, trigger, inputs, outputs } = session.blobs.take().unwrap();
    azurite.stop().await;
    let noticed = async || std::fs::read_to_string(&traces).unwrap().contains("blob listing fails").then_some(());
    eventually(SOON, noticed).await;
    let azurite = Azurite::start(&session.folder, Ports::Free).await.unwrap();
    session.blobs = Some(Blobs { azurite, storage, trigger, inputs, outputs });

    session.blobs().unwrap().storage.put("input", "after", "22", None).await.unwrap();
    assert_eq!(result(&session, "after").await["size_bytes"], 2);
    session.stop(SOON).await;
}

#[tokio::test]
async fn poison_goes_back_to_the_one_app_of_an_account() {
    let fixture = StorageFixture::start().await;
    let storage = &fixture.storage;
    let poison = storage.queue(POISON_QUEUE).await.unwrap();
    assert!(only_trigger_queue(storage).await.unwrap_err().to_string().contains("has no trigger queue"));
    let queue = format!("{TRIGGER_QUEUES}app-of-somebody");
    let target = storage.queue(&queue).await.unwrap();
    for n in 0..40 {
        let text = BlobMessage::new("Host.Functions.BlobBufferProcessor", "input", &format!("b{n}"), "\"1\"").encode();
        poison.send(&text).await.unwrap();
    }
    assert_eq!(only_trigger_queue(storage).await.unwrap(), queue);
    assert_eq!(redrive(storage, &queue).await.unwrap().names.len(), 40);
    assert!(poison.peek().await.unwrap().is_empty());
    let message = target.receive(1, SOON).await.unwrap().remove(0);
    assert_eq!(BlobMessage::decode(&message.text).unwrap().blob_name, "b0");

    storage.queue(&format!("{TRIGGER_QUEUES}another")).await.unwrap();
    let error = only_trigger_queue(storage).await.unwrap_err().to_string();
    assert!(error.contains("--queue") && error.contains("app-of-somebody") && error.contains("another"), "{error}");
    fixture.azurite.stop().await;
}

#[tokio::test]
async fn a_blob_that_fails_five_times_is_poisoned_and_can_be_redriven() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("run");
    let file = scratch.path().join("large");
    File::create(&file).unwrap().set_len(150 << 20).unwrap();

    // A buffer for this blob does not fit into one and a half times the limit.
    let small = ["--preset", "buffering", "--set", "WORKER_MEMORY_LIMIT_MIB=64"];
    let lab = LabProcess::start(&folder, &small).await;
    lab.storage.upload("input", "large", &file).await.unwrap();
    let poison = lab.storage.queue(POISON_QUEUE).await.unwrap();
    let text = eventually(Duration::from_secs(90), async || poison.peek().await.unwrap().pop()).await;
    assert_eq!(BlobMessage::decode(&text).unwrap().blob_name, "large");
    let failed = lab.rows_of("requests", |it| it["success"] == "False", 5).await;
    assert_eq!(failed.len(), 5, "{failed:?}");
    let warning = format!("Message has reached MaxDequeueCount of 5. Moving message to queue '{POISON_QUEUE}'.");
    assert_eq!(lab.rows_of("traces", |it| it["message"] == warning.as_str(), 1).await.len(), 1);
    assert!(lab.interrupt().await.success());

    let lab = LabProcess::start(&folder, &["--preset", "streaming"]).await;
    let run = Command::new(&*LAB).arg("redrive").arg("--folder").arg(&folder).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    assert!(String::from_utf8_lossy(&run.stdout).starts_with("1 message moved"), "{run:?}");
    assert_eq!(lab.result("large", SOON).await["size_bytes"], 150 << 20);
    assert!(lab.interrupt().await.success());
}

const START: &str = "<!-- pace: written by `UPDATE=1 cargo test pace` -->\n";
const END: &str = "<!-- /pace -->";
/// How a wait is written.
type Shown<'a> = &'a dyn Fn(&Waits) -> String;

#[test]
fn the_page_has_every_wait_of_each_pace() {
    let (quick, real) = (Pace::Quick.waits(), Pace::Real.waits());
    let shown = |wait: Duration| match wait.as_secs_f64() {
        0.0 => "at once".to_owned(),
        seconds => format!("{seconds} s"),
    };
    let stopped =
        |waits: &Waits| waits.released_at_stop.map_or_else(|| format!("up to {}", shown(waits.message_lease)), shown);
    let locked = |waits: &Waits| waits.listener_lock.map_or_else(|| "no lock".to_owned(), shown);
    let rows: [(&str, Shown<'_>); 7] = [
        ("from the end of a listing of the containers to the next", &|it| shown(it.listing)),
        ("longest wait between two looks at an idle trigger queue", &|it| shown(it.poll_max)),
        ("a message under way at a kill comes back after up to", &|it| shown(it.message_lease)),
        ("a message under way at a stop comes back after", &stopped),
        ("discovery after a kill waits for the lock", &locked),
        ("an orchestrator's call under way at a stop or kill comes back after", &|it| shown(it.orchestrator_again)),
        ("an activity's call under way at a stop or kill comes back after", &|it| shown(it.activity_again)),
    ];
    let rows = rows.map(|(what, of)| format!("| {what} | {} | {} |\n", of(&quick), of(&real)));
    let table = format!("| wait | quick | real |\n|---|---|---|\n{}", rows.concat());
    holds_block("docs/stand-in.md", (START, END), &table, "pace");
}

#[tokio::test]
async fn the_real_pace_processes_blobs_too_and_says_that_it_is_on() {
    let scratch = Scratch::new();
    let lab = LabProcess::start(&scratch.path().join("run"), &["--pace", "real", "--preset", "streaming"]).await;
    assert!(lab.printed().contains("pace     real: "), "{}", lab.printed());
    // An idle queue would be asked for it in up to a minute: a new blob ends the wait.
    tokio::time::sleep(Duration::from_secs(8)).await;
    lab.storage.put("input", "one", "1", None).await.unwrap();
    lab.result("one", Duration::from_secs(8)).await;
    assert!(lab.interrupt().await.success());
}

#[tokio::test]
async fn load_that_the_host_never_sees_is_marked_and_not_waited_for() {
    let fixture = StorageFixture::start().await;
    let out = fixture.scratch.path().join("load");
    let mut command = Command::new(&*LAB);
    command.args(["load", "oom", "--run", "/r", "--phases", "baseline", "--scale", "1/8", "--out"]).arg(&out);
    command.env("AzureWebJobsStorage", fixture.storage.account().connection_string().unwrap());
    let output = finished(command).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("these are counted as not seen"), "{told}");
    let manifest = std::fs::read_to_string(out.join("manifest.jsonl")).unwrap();
    let rows: Vec<Value> = manifest.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert!(!rows.is_empty() && rows.iter().all(|it| it["unseen"] == true), "{manifest}");
    let phases = std::fs::read_to_string(out.join("phases.jsonl")).unwrap();
    let phase: Value = serde_json::from_str(phases.trim()).unwrap();
    assert_eq!(phase["unsettled"], serde_json::json!([]));
}
