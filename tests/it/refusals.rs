//! Storage that refuses: which call it was and why stands in the line, and nothing is downloaded again for it.

use azure_storage_blob::models::AccessTier;

use crate::{
    faults::{behind_proxy, bytes},
    handler::{give, record},
    harness::StorageFixture,
};

#[tokio::test]
async fn a_lease_on_the_record_fails_at_once_and_after_one_download() {
    let fixture = StorageFixture::start().await;
    give(&fixture, "a", &bytes(100_000, 1)).await;
    fixture.storage.ensure_container("results").await.unwrap();
    fixture.storage.put("results", "a.json", "{}", None).await.unwrap();
    fixture.storage.blob("results", "a.json").acquire_lease(-1, None).await.unwrap();
    for variant in ["buffering", "streaming"] {
        let (proxy, handler) = behind_proxy(&fixture, variant).await;
        let reply = handler.invoke("a").await;
        assert_eq!((reply.status, proxy.gets()), (500, 1), "{reply:?}");
        assert_eq!(reply.body, "could not write the record results/a.json: 412 LeaseIdMissing");
        handler
            .line("err", "could not process input/a: could not write the record results/a.json: 412 LeaseIdMissing")
            .await;
        assert!(!handler.lines("out").iter().any(|line| line.contains("starting over")));
    }
}

#[tokio::test]
async fn an_archived_blob_is_said_to_be_archived() {
    let fixture = StorageFixture::start().await;
    give(&fixture, "a", &bytes(1000, 2)).await;
    fixture.storage.blob("input", "a").set_tier(AccessTier::Archive, None).await.unwrap();
    let (_, handler) = behind_proxy(&fixture, "streaming").await;
    let reply = handler.invoke("a").await;
    assert_eq!(reply.body, "could not read bytes 0-1000 of input/a: 409 BlobArchived");
}

#[tokio::test]
async fn each_refusal_names_the_call_the_status_and_the_code() {
    let fixture = StorageFixture::start().await;
    give(&fixture, "a", &bytes(1000, 3)).await;
    let (proxy, handler) = behind_proxy(&fixture, "streaming").await;
    let (head, get) = ("read the properties of input/a", "read bytes 0-1000 of input/a");
    let (put, create) = ("write the record results/a.json", "create the container results");
    for (method, path, status, code, call) in [
        ("HEAD", "input/a", 409, "ContainerBeingDeleted", head),
        ("HEAD", "input/a", 412, "ConditionNotMet", head),
        ("HEAD", "input/a", 403, "AuthorizationPermissionMismatch", head),
        ("HEAD", "input/a", 404, "AccountIsDisabled", head),
        ("GET", "input/a", 409, "BlobBeingRehydrated", get),
        ("GET", "input/a", 412, "LeaseIdMissing", get),
        ("PUT", "results/", 409, "ContainerBeingDeleted", create),
        ("PUT", "results/", 404, "ResourceNotFound", create),
        ("PUT", "results/a.json", 409, "BlobImmutableDueToPolicy", put),
        ("PUT", "results/a.json", 412, "ConditionNotMet", put),
        ("PUT", "results/a.json", 404, "BlobNotFound", put),
    ] {
        proxy.refuse(method, path, status, code);
        let reply = handler.invoke("a").await;
        assert_eq!((reply.status, reply.body), (500, format!("could not {call}: {status} {code}")));
    }
    let reads = handler.calls().await.iter().filter(|it| it["name"] == "GET input/a").count();
    assert_eq!(reads, 7, "one for each refusal behind the properties: nothing is read twice");
    assert_eq!(record(&fixture, "a").await, None);
    proxy.heal();
    assert_eq!(handler.invoke("a").await.status, 200);
}

#[tokio::test]
async fn a_blob_that_never_stops_changing_is_started_on_five_times() {
    let fixture = StorageFixture::start().await;
    give(&fixture, "a", &bytes(1000, 4)).await;
    let (proxy, handler) = behind_proxy(&fixture, "streaming").await;
    let storage = fixture.storage.clone();
    proxy.before_each_get(move || {
        let storage = storage.clone();
        async move { storage.put("input", "a", bytes(1000, 5), None).await.unwrap() }
    });
    let reply = handler.invoke("a").await;
    let said = "could not read input/a: 412 at each of 5 starts: it is overwritten while it is read";
    assert_eq!((reply.status, reply.body.as_str(), proxy.gets()), (500, said, 5));
    let again =
        handler.lines("out").iter().filter(|line| line.contains("changed while it was read; starting over")).count();
    assert_eq!((again, record(&fixture, "a").await), (4, None));
}
