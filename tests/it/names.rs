//! A blob is what its name says: name, URL and name again are the same, or the name is refused. Every legal name has a record.

use std::{collections::BTreeSet, fs, process::Command};

use custom_handler::error_chain;
use incident_labs::blob::{BlobName, StorageAccount, UriError, check_name, record_name, tls};
use lab::{app::blob_message::BlobMessage, machine::storage::Storage};
use percent_encoding::percent_decode_str;
use proptest::{prelude::*, sample::select};
use url::Url;

use crate::{
    faults::{assert_recorded, behind_proxy, bytes},
    handler::{Handler, give},
    harness::{LAB, StorageFixture},
};

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() }
}

/// What URLs, listings, logs and storage treat in ways of their own.
const PIECES: &[&str] = &[
    ".", "..", "/", "//", "\\", "%", "%2e", "%2E", "%252e", "%2F", "%5C", "%09", "\t", "\r", "\n", "\0", "\u{1}",
    "\u{7f}", "\u{85}", " ", "+", "?", "#", "&", "=", ":", "@", ";", "~", "'", "\"", "<", ">", "{", "}", "|", "^", "`",
    "[", "]", "a", "Z", "0", "é", "e\u{301}", "日", "😀", "\u{fffe}", "\u{ffff}", "\u{feff}", "\u{2028}", "http://",
    "C:", "$root", ".json",
];

/// Names of these, and of any other character.
fn names() -> impl Strategy<Value = String> {
    let piece = prop_oneof![6 => select(PIECES).prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)];
    prop::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat())
}

fn path_of(url: &Url) -> String {
    percent_decode_str(url.path()).decode_utf8().unwrap().into_owned()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_name_comes_back_from_its_url_or_is_refused(name in names()) {
        let account = StorageAccount::emulator(10_000, 10_001).unwrap();
        let uri = BlobMessage::new("f", "input", &name, "\"1\"").uri(&account.blob_endpoint);
        let read = BlobName::from_uri(&uri, &account.blob_endpoint);
        match check_name(&name) {
            Ok(()) => {
                let wanted = BlobName { container: "input".to_owned(), name: name.clone() };
                prop_assert_eq!(read.as_ref(), Ok(&wanted));
                // What any other reader of URLs makes of it.
                let path = format!("/devstoreaccount1/input/{name}");
                prop_assert_eq!(path_of(&Url::parse(&uri).unwrap()), path.as_str());
                tls::choose_provider();
                let service = account.blob_service().unwrap();
                prop_assert_eq!(path_of(service.blob_client("input", &name).url()), path);
                let record = record_name(&name);
                let path = format!("/devstoreaccount1/results/{record}");
                prop_assert_eq!(path_of(service.blob_client("results", &record).url()), path);
            }
            Err(cause) => prop_assert_eq!(read, Err(UriError::Name { container: "input".to_owned(), name, cause })),
        }
    }
}

#[tokio::test]
async fn a_uri_that_would_read_another_blob_is_refused_before_storage_is_asked() {
    let fixture = StorageFixture::start().await;
    for name in ["ab", "p.txt", "a/b", "secret/p.txt"] {
        give(&fixture, name, b"another blob").await;
    }
    fixture.storage.ensure_container("secret").await.unwrap();
    fixture.storage.put("secret", "p.txt", "secret", None).await.unwrap();
    let (proxy, handler) = behind_proxy(&fixture, "streaming").await;
    let endpoint = proxy.account().blob_endpoint.to_string();
    let paths = [
        "input/../secret/p.txt",
        "input/%2e%2e/secret/p.txt",
        "input/%2E./secret/p.txt",
        "input/..%2Fsecret%2Fp.txt",
        "input/x/../p.txt",
        "input/./p.txt",
        "input/%2e/p.txt",
        "input/..",
        "input/a%09b",
        "input/a%0Ab",
        "input/a%0Db",
        "input/a\tb",
        "input/a\nb",
        "input/a%5Cb",
        "input/a\\b",
        "secret/p.txt",
        "results/ab.json",
        "input/ab?snapshot=2026-01-01",
        "input/ab#x",
        "input/ab%00",
    ];
    for path in paths {
        let reply = handler.invoke_at(&format!("{endpoint}/{path}"), "p.txt").await;
        assert_eq!(reply.status, 500, "{path}: {reply:?}");
        let why = [
            "refuses a blob by its name: input/",
            "its trigger watches the container input",
            "cannot tell which blob is meant",
        ];
        assert!(why.iter().any(|it| reply.body.contains(it)) && !reply.body.contains('\n'), "{path}: {reply:?}");
        handler.line("err", &reply.body).await;
    }
    assert_eq!(handler.calls().await.len(), 0, "storage was not asked");
    assert!(fixture.storage.list("results", "", false).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_container_is_that_of_the_triggers_path() {
    let fixture = StorageFixture::start().await;
    give(&fixture, "a", b"of input").await;
    fixture.storage.ensure_container("uploads-1").await.unwrap();
    fixture.storage.put("uploads-1", "a", "of uploads", None).await.unwrap();
    let root = fixture.scratch.path().join("root");
    fs::create_dir_all(root.join("BlobBufferProcessor")).unwrap();
    let function =
        r#"{"bindings":[{"type":"blobTrigger","name":"blob","path":"uploads-%NUMBER%/{name}","direction":"in"}]}"#;
    fs::write(root.join("BlobBufferProcessor/function.json"), function).unwrap();
    let settings = [("FUNCTIONS_APP_ROOT_PATH", root.to_str().unwrap()), ("NUMBER", "1")];
    let handler = Handler::start(fixture.storage.account(), &settings).await;
    let endpoint = &fixture.storage.account().blob_endpoint;
    let refused = handler.invoke_at(&format!("{endpoint}/input/a"), "a").await;
    let why = "BlobBufferProcessor refuses input/a: its trigger watches the container uploads-1, not input";
    assert_eq!((refused.status, refused.body.as_str()), (500, why));
    assert_eq!(handler.invoke_at(&format!("{endpoint}/uploads-1/a"), "a").await.status, 200);
    assert_recorded(&fixture, "a", b"of uploads").await;
}

#[tokio::test]
async fn the_lab_writes_no_blob_under_another_name() {
    let storage = Storage::open(&StorageAccount::emulator(1, 1).unwrap()).unwrap();
    for name in ["a\tb", "a\nb", ".", ".."] {
        let error = storage.put("input", name, "x", None).await.unwrap_err();
        assert!(error_chain(&error).contains("a URL loses a part of its name"), "{name}: {error}");
        assert!(
            storage.read("input", name).await.is_err() && storage.copy(("input", name), ("input", "a")).await.is_err()
        );
    }
}

#[test]
fn load_whose_names_no_url_carries_is_refused() {
    for run in ["..", "a/./b", r"a\b", "a\nb"] {
        let mut command = Command::new(&*LAB);
        command.args(["load", "oom", "--run", run]).env("AzureWebJobsStorage", "UseDevelopmentStorage=true");
        let ended = command.output().unwrap();
        assert_eq!(ended.status.code(), Some(64), "{run}: {ended:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).contains("no blob can be named "), "{run}: {ended:?}");
    }
}

#[tokio::test]
async fn a_percent_sign_in_a_name_is_no_escape() {
    let fixture = StorageFixture::start().await;
    let handler = Handler::start(fixture.storage.account(), &[("BLOB_VARIANT", "streaming")]).await;
    for name in ["%2e%2e/secret/p.txt", "%2E", "%252e", "a%09b", "%2Fa", "a%5Cb", " a ", "dots..", "a//b", "/a", "a/"] {
        let content = bytes(100 + name.len(), 1);
        give(&fixture, name, &content).await;
        let uri = BlobMessage::new("f", "input", name, "\"1\"").uri(&fixture.storage.account().blob_endpoint);
        assert_eq!(handler.invoke_at(&uri, name).await.logs().len(), 2, "{name}");
        assert_recorded(&fixture, name, &content).await;
    }
}

#[tokio::test]
async fn a_name_of_full_length_has_a_record() {
    let fixture = StorageFixture::start().await;
    let (proxy, handler) = behind_proxy(&fixture, "streaming").await;
    let mut names: Vec<String> = (1018..=1024).map(|length| "n".repeat(length)).collect();
    names.extend([
        "ü".repeat(1024),
        "日本語日本語日/".repeat(128),
        "😀".repeat(512),
        format!("x{}", "😀".repeat(509)),
        "~ ".repeat(512),
    ]);
    names.push(record_name(&"n".repeat(1024)).strip_suffix(".json").unwrap().to_owned());
    let mut records = BTreeSet::new();
    for (seed, name) in (0..).zip(&names) {
        let content = bytes(50, seed);
        give(&fixture, name, &content).await;
        let uri = BlobMessage::new("f", "input", name, "\"1\"").uri(&proxy.account().blob_endpoint);
        assert_eq!(handler.invoke_at(&uri, name).await.logs().len(), 2, "{} bytes", name.len());
        assert_recorded(&fixture, name, &content).await;
        records.insert(record_name(name));
    }
    assert_eq!(records.len(), names.len());
    for (seed, name) in (0..).zip(&names) {
        assert_recorded(&fixture, name, &bytes(50, seed)).await;
    }
}
