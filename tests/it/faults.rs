//! What a blob and its storage can do to an invocation, and what becomes of it. Storage is real; the faults are a proxy's.

use std::{sync::Arc, time::Duration};

use incident_labs::blob::{BlobName, BlobReader, CallEvent, CallObserver, Patience};
use lab::machine::azurite::{Azurite, Ports};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::{
    fault_proxy::FaultProxy,
    handler::{Handler, assert_no_secret_in, give, record},
    harness::StorageFixture,
};

const MIB: usize = 1 << 20;
const VARIANTS: [&str; 2] = ["buffering", "streaming"];

/// Bytes without a period that a wrong order could hide in.
pub(crate) fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    std::iter::repeat_with(|| next().to_le_bytes()).flatten().take(length).collect()
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

pub(crate) async fn assert_recorded(fixture: &StorageFixture, name: &str, content: &[u8]) {
    let record = record(fixture, name).await.expect("there should be a record");
    assert_eq!(record["sha256"], sha256(content), "{record}");
    assert_eq!((&record["size_bytes"], &record["name"]), (&content.len().into(), &name.into()));
}

/// A handler of that variant behind a proxy.
pub(crate) async fn behind_proxy(fixture: &StorageFixture, variant: &str) -> (FaultProxy, Handler) {
    let proxy = FaultProxy::start(fixture.storage.account()).await;
    let handler = Handler::observed(proxy.account(), &[("BLOB_VARIANT", variant)]).await;
    (proxy, handler)
}

#[tokio::test]
async fn a_blob_deleted_before_the_read_is_a_success_that_says_so() {
    let fixture = StorageFixture::start().await;
    for variant in VARIANTS {
        let (_, handler) = behind_proxy(&fixture, variant).await;
        let logs = handler.invoke("gone").await.logs();
        assert_eq!(logs[1], "Blob input/gone was deleted before it was read");
        assert!(logs[2].starts_with("Invocation completed in 00:00:0"), "{logs:?}");
        assert_eq!(record(&fixture, "gone").await, None);
    }
}

#[tokio::test]
async fn a_blob_deleted_between_two_ranges_is_a_success_that_says_so() {
    let fixture = StorageFixture::start().await;
    give(&fixture, "a", &bytes(40 * MIB, 1)).await;
    let (proxy, handler) = behind_proxy(&fixture, "streaming").await;
    let blob = fixture.storage.blob("input", "a");
    proxy.before_second_get(|| async move { drop(blob.delete(None).await.unwrap()) });
    assert_eq!(handler.invoke("a").await.logs()[1], "Blob input/a was deleted before it was read");
    assert_eq!(record(&fixture, "a").await, None);
}

#[tokio::test]
async fn a_blob_overwritten_mid_read_is_started_over_with_its_new_version() {
    let fixture = StorageFixture::start().await;
    for variant in VARIANTS {
        let (old, new) = (bytes(20 * MIB, 1), bytes(19 * MIB + 3, 2));
        give(&fixture, "a", &old).await;
        let (proxy, handler) = behind_proxy(&fixture, variant).await;
        let storage = fixture.storage.clone();
        let content = new.clone();
        // A buffering handler asks a second time only when the first answer was cut.
        proxy.cut_bodies_after(if variant == "buffering" { 10 * MIB } else { usize::MAX });
        proxy.before_second_get(|| async move { storage.put("input", "a", content, None).await.unwrap() });
        assert_eq!(handler.invoke("a").await.logs().len(), 2);
        assert_recorded(&fixture, "a", &new).await;
        handler.line("out", "input/a changed while it was read; starting over").await;
        assert!(handler.calls().await.iter().any(|it| it["resultCode"] == "412" && it["success"] == false));
    }
}

#[tokio::test]
async fn a_body_cut_at_every_mebibyte_is_resumed_where_it_broke() {
    let fixture = StorageFixture::start().await;
    let content = bytes(10 * MIB + 5, 3);
    give(&fixture, "a", &content).await;
    for variant in VARIANTS {
        let (proxy, handler) = behind_proxy(&fixture, variant).await;
        proxy.cut_bodies_after(MIB);
        assert_eq!(handler.invoke("a").await.logs().len(), 2);
        assert_recorded(&fixture, "a", &content).await;
        let cut = handler.calls().await.iter().filter(|it| it["resultCode"] == "cut").count();
        assert!(cut >= 9, "{variant}: {cut} cuts");
    }
}

#[tokio::test]
async fn a_stalled_body_is_given_up_and_resumed() {
    let fixture = StorageFixture::start().await;
    let content = bytes(3 * MIB, 4);
    give(&fixture, "a", &content).await;
    let proxy = FaultProxy::start(fixture.storage.account()).await;
    proxy.stall_bodies();
    let patience = Patience { stall: Duration::from_millis(300), ..Patience::default() };
    let healing = proxy.clone();
    let calls = CallObserver::new(move |event| {
        if let CallEvent::Ended { result_code, .. } = event
            && result_code == "stalled"
        {
            healing.heal();
        }
    });
    let service = Arc::new(proxy.account().blob_service().unwrap());
    let reader = BlobReader::new(service, patience, calls, Instant::now() + Duration::from_secs(20));
    let blob = BlobName { container: "input".to_owned(), name: "a".to_owned() };
    let version = reader.head(&blob).await.unwrap();
    let mut read = Vec::new();
    reader.read(&blob, &version, 0..version.size_bytes, |piece| read.extend_from_slice(piece)).await.unwrap();
    assert_eq!((sha256(&read), proxy.stalled()), (sha256(&content), 1));
}

#[tokio::test]
async fn busy_storage_is_asked_again() {
    let fixture = StorageFixture::start().await;
    let content = bytes(9 * MIB, 5);
    give(&fixture, "a", &content).await;
    for variant in VARIANTS {
        let (proxy, handler) = behind_proxy(&fixture, variant).await;
        proxy.answer_503(4);
        assert_eq!(handler.invoke("a").await.logs().len(), 2);
        assert_recorded(&fixture, "a", &content).await;
        let busy = handler.calls().await.iter().filter(|it| it["resultCode"] == "503").count();
        assert_eq!(busy, 4, "{variant}");
    }
}

#[tokio::test]
async fn storage_that_is_down_fails_inside_the_deadline_and_the_next_try_succeeds() {
    let fixture = StorageFixture::start().await;
    give(&fixture, "a", b"hello").await;
    let timeout = [("AzureFunctionsJobHost__functionTimeout", "00:00:32")];
    let handler = Handler::start(fixture.storage.account(), &timeout).await;
    handler.worker_pid(1).await;
    let StorageFixture { azurite, storage, folder, scratch } = fixture;
    azurite.stop().await;
    let started = Instant::now();
    let reply = handler.invoke("a").await;
    assert_eq!(reply.status, 500);
    assert!(
        reply.body.starts_with("no time left to read the properties of input/a: storage cannot be reached"),
        "{reply:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    handler.line("err", "BlobBufferProcessor could not process input/a: no time left").await;
    let azurite = Azurite::start(&folder, Ports::Free).await.unwrap();
    let fixture = StorageFixture { azurite, storage, folder, scratch };
    assert_eq!(handler.invoke("a").await.status, 200);
    assert_recorded(&fixture, "a", b"hello").await;
}

#[tokio::test]
async fn an_empty_blob_is_a_valid_blob_and_is_never_asked_for_a_range() {
    let fixture = StorageFixture::start().await;
    give(&fixture, "empty", b"").await;
    for variant in VARIANTS {
        let (proxy, handler) = behind_proxy(&fixture, variant).await;
        assert_eq!(handler.invoke("empty").await.logs().len(), 2);
        assert_recorded(&fixture, "empty", b"").await;
        assert_eq!(proxy.gets(), 0);
    }
}

#[tokio::test]
async fn odd_names_keep_their_name() {
    let fixture = StorageFixture::start().await;
    let handler = Handler::start(fixture.storage.account(), &[("BLOB_VARIANT", "streaming")]).await;
    for name in ["a b", "100%", "50%25", "#1", "a+b", "ä/ö/ü", "a/b/c", "q?x=1&y", "'\"", "日本語.bin", "a;b,c=d@e:f"]
    {
        let content = bytes(1000, name.len() as u64);
        give(&fixture, name, &content).await;
        assert_eq!(handler.invoke(name).await.logs().len(), 2, "{name}");
        assert_recorded(&fixture, name, &content).await;
    }
}

#[tokio::test]
async fn no_secret_reaches_a_line_a_table_or_a_record() {
    let fixture = StorageFixture::start().await;
    give(&fixture, "a", &bytes(9 * MIB, 6)).await;
    let proxy = FaultProxy::start(fixture.storage.account()).await;
    let handler = Handler::observed(proxy.account(), &[("BLOB_VARIANT", "streaming")]).await;
    proxy.answer_503(2);
    assert_eq!(handler.invoke("a").await.status, 200);
    handler.invoke("gone").await;
    handler.post("BlobBufferProcessor", "{}".into()).await;
    let seen = format!("{:?}{:?}{:?}", handler.lines("out"), handler.lines("err"), record(&fixture, "a").await);
    assert!(seen.contains("Metadata.Uri is missing"), "there is something to search in");
    assert_no_secret_in("the lines or the record", seen.as_bytes());
    let calls = handler.calls().await;
    assert!(calls.len() > 3, "there is something to search in");
    assert_no_secret_in("the rows", format!("{calls:?}").as_bytes());
}
