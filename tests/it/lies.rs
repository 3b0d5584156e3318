//! Storage that answers a range with something else: each lie ends in an error that names it, never in a wrong record.

use std::{sync::Arc, time::Duration};

use incident_labs::blob::{BlobName, BlobReader, CallObserver, Patience, ReadError};
use tokio::time::Instant;

use crate::{
    fault_proxy::{FaultProxy, Lie},
    faults::{assert_recorded, behind_proxy, bytes},
    handler::{give, record},
    harness::StorageFixture,
};

const MIB: usize = 1 << 20;

fn cause(lie: Lie) -> &'static str {
    match lie {
        Lie::IgnoresRange => "its status is 200, not 206 with bytes 100-1099/5000",
        Lie::IgnoresRangeAsPartial | Lie::NoContentRange => {
            "it has no Content-Range, which should be bytes 100-1099/5000"
        }
        Lie::OtherRange => "its Content-Range is bytes 101-1100/5000, not bytes 100-1099/5000",
        Lie::EndsEarly => "its Content-Range is bytes 100-1089/5000, not bytes 100-1099/5000",
        Lie::ShorterBody => "its Content-Length is 990, not 1000",
        Lie::LongerBody => "its Content-Length is 1010, not 1000",
        Lie::LongerBodyInPieces => "its body is longer than its range",
        Lie::OtherVersion => "its ETag is that of another version",
        Lie::NoVersion => "it has no ETag",
        Lie::OtherTotal => "its Content-Range is bytes 100-1099/5001, not bytes 100-1099/5000",
        Lie::Nonsense => "its Content-Range is bytes 0-18446744073709551615/*, not bytes 100-1099/5000",
    }
}

#[tokio::test]
async fn each_lie_about_a_range_is_an_error_that_names_it() {
    let fixture = StorageFixture::start().await;
    let content = bytes(5000, 7);
    give(&fixture, "a", &content).await;
    let proxy = FaultProxy::start(fixture.storage.account()).await;
    let service = Arc::new(proxy.account().blob_service().unwrap());
    let calls = CallObserver::new(|_| {});
    let reader = BlobReader::new(service, Patience::default(), calls, Instant::now() + Duration::from_secs(60));
    let blob = BlobName { container: "input".to_owned(), name: "a".to_owned() };
    let version = reader.head(&blob).await.unwrap();
    for (lies, lie) in (1..).zip(Lie::ALL) {
        proxy.lie(lie);
        let error = reader.read(&blob, &version, 100..1100, |_| {}).await.unwrap_err();
        assert!(matches!(error, ReadError::Refused { .. }), "{lie:?}: {error}");
        let wanted = "could not read bytes 100-1100 of input/a: the answer is not what was asked for: ".to_owned();
        assert_eq!(error.to_string(), wanted + cause(lie));
        assert_eq!(proxy.gets(), lies, "{lie:?} is asked for once");
    }
    proxy.heal();
    let mut read = Vec::new();
    reader.read(&blob, &version, 100..1100, |piece| read.extend_from_slice(piece)).await.unwrap();
    assert_eq!(read, content[100..1100]);
}

#[tokio::test]
async fn a_lying_store_fails_the_invocation_and_leaves_no_record() {
    let fixture = StorageFixture::start().await;
    give(&fixture, "a", &bytes(9 * MIB, 8)).await;
    let (streaming, handler) = behind_proxy(&fixture, "streaming").await;
    for lie in [Lie::IgnoresRange, Lie::LongerBodyInPieces, Lie::OtherVersion] {
        streaming.lie(lie);
        let reply = handler.invoke("a").await;
        assert!(
            reply.status == 500 && reply.body.contains("the answer is not what was asked for"),
            "{lie:?}: {reply:?}"
        );
        handler.line("err", "BlobBufferProcessor could not process input/a: could not read bytes").await;
    }
    assert!(handler.calls().await.iter().any(|it| it["resultCode"] == "wrong answer" && it["success"] == false));
    let (buffering, handler) = behind_proxy(&fixture, "buffering").await;
    for lie in [Lie::IgnoresRangeAsPartial, Lie::ShorterBody, Lie::OtherTotal] {
        buffering.lie(lie);
        let reply = handler.invoke("a").await;
        assert!(
            reply.status == 500 && reply.body.contains("the answer is not what was asked for"),
            "{lie:?}: {reply:?}"
        );
    }
    assert_eq!(record(&fixture, "a").await, None);
}

#[tokio::test]
async fn the_whole_blob_for_a_range_that_is_the_whole_blob_is_no_lie() {
    let fixture = StorageFixture::start().await;
    let content = bytes(3 * MIB, 9);
    give(&fixture, "a", &content).await;
    for variant in ["buffering", "streaming"] {
        let (proxy, handler) = behind_proxy(&fixture, variant).await;
        proxy.lie(Lie::IgnoresRange);
        assert_eq!(handler.invoke("a").await.logs().len(), 2);
        assert_recorded(&fixture, "a", &content).await;
    }
}
