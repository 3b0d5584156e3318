//! The blob trigger beside what Storage.Blobs 5.3.10 was recorded to do on host 4.1037: payload, failure path, names and kinds.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use azure_core::http::{RequestContent, StatusCode};
use azure_storage_blob::{
    BlobClient, BlobClientOptions,
    models::{AccessTier, BlobClientUploadOptions},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use incident_labs::{blob::StorageAccount, functions};
use lab::{
    app::{
        AppSource, ScriptRoot,
        blob_message::{HOSTS_CONTAINER, LISTENER_LOCK, POISON_QUEUE, trigger_queue},
        blob_trigger::BlobFunction,
        pace::{Pace, Waits},
        stage::stage,
    },
    emulator::{
        blob_trigger::{BlobTrigger, TriggerParts, TriggerSettings},
        host::{Host, HostLog, HostOptions, Identity, LogLine},
    },
    evidence::table_writer::Tables,
    machine::storage::Storage,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::Instant,
};
use tokio_util::task::TaskTracker;
use url::Url;

use crate::{
    golden_conversations::Sent,
    golden_requests::{header, headers},
    harness::{HANDLER, StorageFixture, UNDER_WAY, eventually},
    stand_in::{normal, placeholder},
};

const SOON: Duration = Duration::from_secs(30);
/// Long enough for several listings and looks at the queue at the quick pace.
const A_WHILE: Duration = Duration::from_secs(2);

pub(crate) fn recording(name: &str) -> Value {
    let path = format!("{}/tests/it/golden/blob-5.3/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).expect("a recording is JSON")
}

/// The trigger on real storage, with a handler that records its calls: `fail…` it answers 500, all else 200, and `slow…` only
/// when it is let go.
struct Recorder {
    storage: Storage,
    trigger: BlobTrigger,
    host: Host,
    requests: Arc<Mutex<Vec<Sent>>>,
    lines: Arc<Mutex<Vec<LogLine>>>,
    go: watch::Sender<bool>,
}

impl Recorder {
    async fn start(fixture: &StorageFixture, waits: Waits) -> Self {
        let (lines, requests) = (Arc::<Mutex<Vec<LogLine>>>::default(), Arc::<Mutex<Vec<Sent>>>::default());
        let folder = fixture.scratch.path();
        let root = folder.join("stage");
        if !root.exists() {
            stage(&AppSource::carried(), HANDLER.as_ref(), &root, &functions::names()).unwrap();
        }
        let (told, tables) = (lines.clone(), Tables::open(&folder.join("tables")).unwrap());
        let echo = move |line: &LogLine| told.lock().unwrap().push(line.clone());
        let log = HostLog::new(tables, Identity::new("app"), Some(Box::new(echo)));
        let options = HostOptions { script_root: root.clone(), working_directory: root.clone(), ..placeholder() };
        let host = Host::start(options, log.clone()).await.unwrap();
        let go = watch::Sender::new(false);
        TaskTracker::new().spawn(serve(host.port(), requests.clone(), go.subscribe()));
        let storage = fixture.storage.clone();
        storage.ensure_container("input").await.unwrap();
        let parts = TriggerParts {
            functions: BlobFunction::all(&ScriptRoot::read(&root).unwrap()).unwrap(),
            storage: storage.clone(),
            host: host.clone(),
            log,
            journal: folder.join("processed.jsonl"),
        };
        let settings = TriggerSettings { waits, parallelism: 48, poison_threshold: 5 };
        Self { storage, trigger: BlobTrigger::start(parts, settings).unwrap(), host, requests, lines, go }
    }

    async fn stop(self) {
        self.trigger.stop(Duration::ZERO).await;
        self.host.shutdown().await;
    }

    fn calls(&self) -> Vec<Sent> {
        self.requests.lock().unwrap().clone()
    }

    /// How often each blob was run.
    fn runs(&self) -> BTreeMap<String, usize> {
        let mut runs = BTreeMap::new();
        self.calls().iter().for_each(|it| *runs.entry(name_of(it)).or_default() += 1);
        runs
    }

    async fn until_run(&self, name: &str, times: usize) {
        eventually(SOON, async || (self.runs().get(name).copied().unwrap_or_default() >= times).then_some(())).await;
    }

    fn said(&self, text: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().map(|it| it.message.clone()).filter(|it| it.contains(text)).collect()
    }

    fn blob(&self, name: &str) -> BlobClient {
        self.storage.blob("input", name)
    }

    async fn put(&self, name: &str, content: &'static str) {
        self.storage.put("input", name, content, None).await.unwrap();
    }

    /// Writes a blob by a URL that is taken as it is.
    async fn put_at(&self, path: &str) {
        let account = self.storage.account();
        let url = format!("{}/input/{path}", account.blob_endpoint).parse().unwrap();
        let options = BlobClientOptions { client_options: account.client_options(), ..Default::default() };
        let blob = BlobClient::new(url, None, Some(options)).unwrap();
        blob.upload(RequestContent::from(b"x".to_vec()), None).await.unwrap();
    }

    async fn append(&self, name: &str, content: &'static str) {
        let blob = self.blob(name).append_blob_client();
        if self.blob(name).get_properties(None).await.is_err() {
            blob.create(None).await.unwrap();
        }
        let body = RequestContent::from(content.as_bytes().to_vec());
        blob.append_block(body, content.len() as u64, None).await.unwrap();
    }

    /// Waits until the trigger queue has so many messages, taken ones included.
    async fn until_queued(&self, messages: i64) {
        let queue = self.storage.queue(&trigger_queue()).await.unwrap();
        eventually(SOON, async || (queue.messages().await.unwrap() == Some(messages)).then_some(())).await;
    }
}

async fn serve(port: u16, requests: Arc<Mutex<Vec<Sent>>>, go: watch::Receiver<bool>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        TaskTracker::new().spawn(answer(stream, requests.clone(), go.clone()));
    }
}

async fn answer(mut stream: TcpStream, requests: Arc<Mutex<Vec<Sent>>>, mut go: watch::Receiver<bool>) {
    let sent = Sent::read(&mut stream).await;
    let mut status = "200 OK";
    if sent.line.starts_with("POST") {
        let name = name_of(&sent);
        requests.lock().unwrap().push(sent);
        if name.starts_with("slow") {
            go.wait_for(|it| *it).await.unwrap();
        }
        if name.starts_with("fail") {
            status = "500 Internal Server Error";
        }
    }
    let reply = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}");
    let _ = stream.write_all(reply.as_bytes()).await;
}

/// The same account by a way that writes a metadata's key in another case: Rust's HTTP clients write header names in lower case.
async fn with_case(storage: &Storage, key: &'static str, cased: &'static str) -> Storage {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = |url: &Url| url.port().unwrap();
    let (blob_port, queue_port) = (port(&storage.account().blob_endpoint), port(&storage.account().queue_endpoint));
    let account = StorageAccount::emulator(listener.local_addr().unwrap().port(), queue_port).unwrap();
    TaskTracker::new().spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(("127.0.0.1", blob_port)).await.unwrap();
        let mut sent = vec![0; 64 << 10];
        let length = near.read(&mut sent).await.unwrap();
        // The signature is about names in lower case either way.
        let text = String::from_utf8(sent[..length].to_vec()).unwrap();
        let text = text.replace(&format!("x-ms-meta-{key}:"), &format!("x-ms-meta-{cased}:"));
        far.write_all(text.as_bytes()).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    Storage::open(&account).unwrap()
}

fn body(sent: &Sent) -> Value {
    serde_json::from_str(&sent.body).unwrap()
}

fn decoded(value: &Value) -> String {
    serde_json::from_str(value.as_str().unwrap()).unwrap()
}

fn name_of(sent: &Sent) -> String {
    decoded(&body(sent)["Metadata"]["name"])
}

/// A body without what differs from run to run: times, ids, port, and the hash of a content that was not recorded.
fn comparable(mut body: Value) -> Value {
    let metadata = &mut body["Metadata"];
    let uri = decoded(&metadata["Uri"]);
    metadata["Uri"] = json!(uri.split_once("/devstoreaccount1/").unwrap().1);
    for name in ["LastModified", "CreatedOn", "AccessTierChangedOn", "ContentHash"] {
        let at = &mut metadata["Properties"][name];
        if let Some(text) = at.as_str() {
            *at = json!(text.len());
        }
    }
    metadata["sys"] = metadata["sys"].as_object().unwrap().keys().cloned().collect();
    body
}

#[tokio::test]
async fn a_blob_of_each_kind_is_announced_as_recorded() {
    let fixture = StorageFixture::start().await;
    let recorder = Recorder::start(&fixture, Pace::Quick.waits()).await;
    recorder.put("sub dir/ü #1.json", "hello").await;
    recorder.put("empty.bin", "").await;
    for name in ["a#b?c.txt", "quo\"te'.txt", "x+y%41.txt", "日本.txt"] {
        recorder.put(name, "x").await;
    }
    let options = BlobClientUploadOptions {
        metadata: Some([("owner".to_owned(), "x".to_owned()), ("Zed".to_owned(), "z".to_owned())].into()),
        blob_content_type: Some("application/json".to_owned()),
        blob_content_encoding: Some("identity".to_owned()),
        blob_content_disposition: Some("attachment".to_owned()),
        blob_content_language: Some("de".to_owned()),
        blob_cache_control: Some("no-cache".to_owned()),
        ..Default::default()
    };
    let upright = with_case(&recorder.storage, "zed", "Zed").await;
    let content = RequestContent::from(b"{\"a\":1}".to_vec());
    upright.blob("input", "one.json").upload(content, Some(options)).await.unwrap();
    // What is written in two calls is seen once.
    recorder.trigger.pause();
    recorder.put("cool.txt", "x").await;
    recorder.blob("cool.txt").set_tier(AccessTier::Cool, None).await.unwrap();
    recorder.append("append.log", "hello").await;
    recorder.trigger.resume();
    recorder.blob("page.vhd").page_blob_client().create(512, None).await.unwrap();
    recorder.until_run("append.log", 1).await;
    recorder.append("append.log", "more").await;
    recorder.until_run("append.log", 2).await;

    let mut compared = 0;
    for recorded in recording("requests")["requests"].as_array().unwrap() {
        let theirs: Value = serde_json::from_str(recorded["body"].as_str().unwrap()).unwrap();
        let name = decoded(&theirs["Metadata"]["name"]);
        // 20 MiB of a content that was not recorded.
        if name == "big.bin" {
            continue;
        }
        recorder.until_run(&name, 1).await;
        let blocks = &theirs["Metadata"]["Properties"]["BlobCommittedBlockCount"];
        let is_it =
            |it: &Sent| name_of(it) == name && body(it)["Metadata"]["Properties"]["BlobCommittedBlockCount"] == *blocks;
        let ours = recorder.calls().into_iter().find(is_it).unwrap();
        assert_eq!(comparable(body(&ours)), comparable(theirs), "{name}");
        assert_eq!(ours.line, recorded["line"]);
        assert_eq!(ours.headers.iter().map(|it| header(it)).collect::<Vec<_>>(), headers(recorded));
        compared += 1;
    }
    assert_eq!(compared, 11);
    recorder.stop().await;
}

/// Level, category and text of a recorded or own line, as far as it is about the function or its message.
fn told(level: &str, category: &str, text: &str) -> Option<String> {
    let is_told = category.starts_with("Function.") || category.contains("Queues");
    let text = normal(text);
    let text = text.split_once("Trigger Details: ").map_or(text.clone(), |(_, details)| details_shape(details));
    is_told.then(|| format!("{level} {category}: {text}"))
}

/// Trigger details with their dates' digits hidden.
fn details_shape(details: &str) -> String {
    let (start, dates) = details.split_once("InsertedOn").unwrap();
    let dates: String = dates.chars().map(|it| if it.is_ascii_digit() { '0' } else { it }).collect();
    format!("{start}InsertedOn{dates}")
}

#[tokio::test]
async fn a_blob_that_fails_leaves_the_recorded_lines_and_message() {
    let golden = recording("failure");
    let fixture = StorageFixture::start().await;
    let recorder = Recorder::start(&fixture, Pace::Quick.waits()).await;
    recorder.put("fail ä.txt", "hello").await;
    let poison = recorder.storage.queue(POISON_QUEUE).await.unwrap();
    let text = eventually(SOON, async || poison.peek().await.unwrap().pop()).await;

    let theirs: Vec<String> = golden["traces"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| {
            let text = |name: &str| it[name].as_str().unwrap().to_owned();
            told(&text("level"), &text("category"), &text("message"))
        })
        .collect();
    let ours: Vec<String> = recorder
        .lines
        .lock()
        .unwrap()
        .iter()
        .filter_map(|it| told(&format!("{:?}", it.level), &it.category, &it.message))
        .collect();
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 16);

    let message = |text: &str| String::from_utf8(STANDARD.decode(text).unwrap()).unwrap();
    let without_etag = |text: String| {
        let (start, etag) = text.split_once("\"ETag\": \"\\\"0x").unwrap();
        format!("{start}{}", etag.trim_start_matches(|it: char| it.is_ascii_hexdigit()))
    };
    let recorded = golden["poison"]["messageText"].as_str().unwrap();
    assert_eq!(without_etag(message(&text)), without_etag(message(recorded)));
    recorder.stop().await;
}

/// Seconds that the first visible message of a queue lives.
async fn life_of_first(storage: &Storage, queue: &str) -> Option<i64> {
    let message = storage.queue(queue).await.unwrap().receive(1, Duration::from_secs(1)).await.unwrap().pop()?;
    Some((message.expires? - message.inserted?).whole_seconds())
}

#[tokio::test]
async fn messages_name_the_type_of_their_blob_and_live_seven_days() {
    let fixture = StorageFixture::start().await;
    let recorder = Recorder::start(&fixture, Pace::Quick.waits()).await;
    recorder.trigger.pause();
    recorder.blob("fail.log").append_blob_client().create(None).await.unwrap();
    recorder.blob("fail.vhd").page_blob_client().create(512, None).await.unwrap();
    recorder.until_queued(2).await;
    let queue = recorder.storage.queue(&trigger_queue()).await.unwrap();
    let types = |texts: Vec<String>| {
        let mut types: Vec<String> = texts
            .iter()
            .map(|it| {
                let message: Value = serde_json::from_slice(&STANDARD.decode(it).unwrap()).unwrap();
                format!("{} {}", message["BlobName"], message["BlobType"])
            })
            .collect();
        types.sort();
        types
    };
    let want = ["\"fail.log\" \"AppendBlob\"", "\"fail.vhd\" \"PageBlob\""];
    assert_eq!(types(queue.peek().await.unwrap()), want);
    assert_eq!(life_of_first(&recorder.storage, &trigger_queue()).await, Some(7 * 24 * 3600));
    recorder.trigger.resume();
    let poison = recorder.storage.queue(POISON_QUEUE).await.unwrap();
    eventually(SOON, async || (poison.peek().await.unwrap().len() == 2).then_some(())).await;
    assert_eq!(types(poison.peek().await.unwrap()), want);
    assert_eq!(life_of_first(&recorder.storage, POISON_QUEUE).await, Some(7 * 24 * 3600));
    recorder.stop().await;
}

#[tokio::test]
async fn the_recorded_names_are_run_under_their_own_uri() {
    let fixture = StorageFixture::start().await;
    let recorder = Recorder::start(&fixture, Pace::Quick.waits()).await;
    let long = ["n".repeat(1000), "ü".repeat(200)];
    let names = [
        "a b.txt",
        "ä.txt",
        "日本.txt",
        "x+y%41.txt",
        "a/b/c.txt",
        "dir/..hidden",
        "a#b?c.txt",
        "%2F.txt",
        "a%20b.txt",
        "emoji😀.txt",
        "e\u{301}",
        "CAPS.TXT",
        "a//b",
        "trail.",
        "{name}",
        "quo\"te'.txt",
        "semi;colon,&=@:$!*()[]{}<>|^`~.txt",
        &long[0],
        &long[1],
    ];
    for name in names {
        recorder.put(name, "").await;
    }
    for name in names {
        recorder.until_run(name, 1).await;
    }
    assert_eq!(recorder.runs(), names.map(|it| (it.to_owned(), 1)).into());
    for sent in recorder.calls() {
        let name = name_of(&sent);
        let uri = decoded(&body(&sent)["Metadata"]["Uri"]);
        let path = uri.split_once("/devstoreaccount1/input/").unwrap().1;
        assert_eq!(percent_encoding::percent_decode_str(path).decode_utf8().unwrap(), name);
    }
    recorder.stop().await;
}

#[tokio::test]
async fn a_name_with_a_slash_at_either_end_is_never_run_and_is_warned_of_once() {
    let fixture = StorageFixture::start().await;
    let recorder = Recorder::start(&fixture, Pace::Quick.waits()).await;
    let unseen = ["%2Flead.txt", "dirslash%2F", "%2F%2Fx", "a%2F", "%2F", "%2F%C3%A4%2F"];
    for path in unseen.into_iter().chain(["a%2F%2Fb", "lead.txt"]) {
        recorder.put_at(path).await;
    }
    recorder.until_run("a//b", 1).await;
    recorder.until_run("lead.txt", 1).await;
    // Written again, it is another version of a blob that was told of.
    recorder.put_at("%2Flead.txt").await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(recorder.runs().into_keys().collect::<Vec<_>>(), ["a//b", "lead.txt"]);
    let warnings = recorder.said("is never processed");
    assert_eq!(warnings.len(), unseen.len(), "{warnings:#?}");
    for name in ["/lead.txt", "dirslash/", "//x", "a/", "/", "/ä/"] {
        let start = format!("input/{name} is never processed: the host loses a slash");
        assert_eq!(warnings.iter().filter(|it| it.starts_with(&start)).count(), 1, "{name}: {warnings:#?}");
    }
    let poison = recorder.storage.queue(POISON_QUEUE).await.unwrap();
    assert!(poison.is_empty().await.unwrap());
    recorder.stop().await;
}

#[tokio::test]
async fn what_becomes_of_a_blob_meanwhile_is_as_recorded() {
    let fixture = StorageFixture::start().await;
    let recorder = Recorder::start(&fixture, Pace::Quick.waits()).await;
    // While it runs.
    for name in ["slow overwritten", "slow deleted", "slow described"] {
        recorder.put(name, "old").await;
        recorder.until_run(name, 1).await;
    }
    recorder.put("slow overwritten", "newer").await;
    recorder.blob("slow deleted").delete(None).await.unwrap();
    let metadata = [("Key".to_owned(), "value".to_owned())].into();
    let upright = with_case(&recorder.storage, "key", "Key").await;
    upright.blob("input", "slow described").set_metadata(&metadata, None).await.unwrap();
    recorder.until_run("slow overwritten", 2).await;
    recorder.until_run("slow described", 2).await;
    recorder.go.send_replace(true);
    // While its message waits.
    eventually(SOON, async || {
        recorder.storage.queue(&trigger_queue()).await.unwrap().is_empty().await.unwrap().then_some(())
    })
    .await;
    recorder.trigger.pause();
    recorder.put("waits, deleted", "old").await;
    recorder.put("waits, overwritten", "old").await;
    recorder.until_queued(2).await;
    recorder.blob("waits, deleted").delete(None).await.unwrap();
    recorder.put("waits, overwritten", "newer").await;
    recorder.until_queued(3).await;
    recorder.trigger.resume();
    recorder.until_run("waits, overwritten", 1).await;
    // What is no blob of the container.
    recorder.put("kept", "1").await;
    recorder.until_run("kept", 1).await;
    recorder.blob("kept").create_snapshot(None).await.unwrap();
    for container in ["other", "$root"] {
        recorder.storage.ensure_container(container).await.unwrap();
        recorder.storage.put(container, "elsewhere", "1", None).await.unwrap();
    }
    tokio::time::sleep(A_WHILE).await;
    let runs: Vec<(String, usize)> = recorder.runs().into_iter().collect();
    let want =
        [("kept", 1), ("slow deleted", 1), ("slow described", 2), ("slow overwritten", 2), ("waits, overwritten", 1)];
    assert_eq!(runs, want.map(|(name, times)| (name.to_owned(), times)));
    let sizes: Vec<Value> = recorder
        .calls()
        .iter()
        .filter(|it| name_of(it).ends_with("overwritten"))
        .map(|it| body(it)["Metadata"]["Properties"]["ContentLength"].clone())
        .collect();
    assert_eq!(sizes, [3, 5, 5]);
    let described = recorder.calls().into_iter().rfind(|it| name_of(it) == "slow described").unwrap();
    assert_eq!(body(&described)["Metadata"]["Metadata"], json!({"Key": "value"}));
    recorder.stop().await;
}

#[tokio::test]
async fn nothing_written_at_once_is_lost_and_discovery_takes_one_blob_after_the_other() {
    const BLOBS: usize = 100;
    let fixture = StorageFixture::start().await;
    let recorder = Recorder::start(&fixture, Pace::Quick.waits()).await;
    let (storage, prefix) = (&recorder.storage, "blobreceipts/");
    let puts = (0..BLOBS).map(|n| async move { storage.put("input", &format!("{n:03}"), "x", None).await.unwrap() });
    let incomplete = async {
        let mut most = 0;
        while recorder.runs().len() < BLOBS {
            let receipts = storage.list(HOSTS_CONTAINER, prefix, true).await.unwrap();
            most = most.max(receipts.iter().filter(|it| !it.metadata.is_empty()).count());
        }
        most
    };
    let (_, most) = tokio::join!(futures::future::join_all(puts), tokio::time::timeout(UNDER_WAY, incomplete));
    assert!(most.unwrap() <= 1, "receipts under way at once");
    assert!(recorder.runs().values().all(|it| *it == 1));
    recorder.stop().await;
}

#[tokio::test]
async fn a_stop_ends_a_blob_without_a_line_and_leaves_its_message_to_its_lease() {
    for (pace, visible) in [(Pace::Quick, true), (Pace::Real, false)] {
        let fixture = StorageFixture::start().await;
        let waits = Waits { listing: Duration::from_millis(200), listener_lock: None, ..pace.waits() };
        let recorder = Recorder::start(&fixture, waits).await;
        recorder.put("slow", "x").await;
        recorder.until_run("slow", 1).await;
        recorder.trigger.stop(Duration::from_millis(500)).await;
        recorder.host.shutdown().await;
        let queue = recorder.storage.queue(&trigger_queue()).await.unwrap();
        assert_eq!(queue.messages().await.unwrap(), Some(1));
        assert_eq!(queue.peek().await.unwrap().len() == 1, visible, "{pace:?}");
        assert_eq!(recorder.said("Executing ").len(), 1);
        assert_eq!(recorder.said("Executed "), [""; 0], "{pace:?}");
        assert_eq!(recorder.runs()["slow"], 1);
    }
}

/// The shortest lease that storage gives.
const LEASE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn discovery_waits_for_the_lock_of_a_killed_host_and_not_for_that_of_a_stopped_one() {
    let fixture = StorageFixture::start().await;
    let waits = Waits { listener_lock: Some(LEASE), ..Pace::Quick.waits() };
    let first = Recorder::start(&fixture, waits).await;
    first.put("one", "1").await;
    first.until_run("one", 1).await;
    let lock = first.storage.blob(HOSTS_CONTAINER, LISTENER_LOCK);
    let is_held =
        async || lock.acquire_lease(15, None).await.is_err_and(|it| it.http_status() == Some(StatusCode::Conflict));
    assert!(is_held().await);
    first.stop().await;

    let second = Recorder::start(&fixture, waits).await;
    second.put("two", "2").await;
    let started = Instant::now();
    second.until_run("two", 1).await;
    assert!(started.elapsed() < LEASE / 2, "the lock was released at the stop");
    second.stop().await;

    // Somebody who will not release it, as a killed host does not.
    lock.acquire_lease(15, None).await.unwrap();
    let third = Recorder::start(&fixture, waits).await;
    third.put("three", "3").await;
    tokio::time::sleep(A_WHILE).await;
    assert!(!third.runs().contains_key("three"), "another host has the lock");
    third.until_run("three", 1).await;
    third.stop().await;
}
