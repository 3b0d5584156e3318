//! How much memory the worker takes: the streaming bound, the buffering cost. Sizes are the real ones; contents are zeros,
//! because they are sent in no time.

use azure_core::http::RequestContent;
use azure_storage_blob::models::BlockLookupList;
use futures::future::join_all;
use lab::machine::storage::Storage;

use crate::{
    handler::{Handler, record},
    harness::StorageFixture,
};

const MIB: u64 = 1 << 20;
/// SHA-256 of 1 GiB and of 256 MiB of zeros (`head -c … /dev/zero | sha256sum`).
const ZEROS_1_GIB: &str = "49bc20df15e412a64472421e13fe86ff1c5165e18b2afccf160d4dc19fe68a14";
pub(crate) const ZEROS_256_MIB: &str = "a6d72ac7690f53be6ae46ba88506bd97302a093f7108472bd9efc3cefda06484";

const BLOCK_MIB: u64 = 8;

/// A blob of so many zeros: one block, sent once and listed as often as the blob has it.
pub(crate) async fn put_zeros(storage: &Storage, container: &str, name: &str, mebibytes: u64) {
    storage.ensure_container(container).await.unwrap();
    let blob = storage.blob(container, name).block_blob_client();
    let (id, length) = (b"zeros".to_vec(), BLOCK_MIB * MIB);
    blob.stage_block(&id, length, RequestContent::from(vec![0; length as usize]), None).await.unwrap();
    let latest = vec![id; (mebibytes / BLOCK_MIB) as usize];
    let list = BlockLookupList { latest: Some(latest), ..Default::default() };
    blob.commit_block_list(list.try_into().unwrap(), None).await.unwrap();
}

/// Calls the function for `name` so many times at once; gives the worker's peak of Private Bytes in MiB.
async fn peak_mebibytes(fixture: &StorageFixture, variant: &str, name: &str, times: usize, sha256: &str) -> u64 {
    let handler = Handler::observed(fixture.storage.account(), &[("BLOB_VARIANT", variant)]).await;
    for reply in join_all((0..times).map(|_| handler.invoke(name))).await {
        assert_eq!(reply.logs().len(), 2);
    }
    assert_eq!(record(fixture, name).await.unwrap()["sha256"], sha256);
    handler.peak_private_bytes().await / MIB
}

#[tokio::test]
async fn streaming_1_gib_stays_under_its_bound() {
    let fixture = StorageFixture::start().await;
    put_zeros(&fixture.storage, "input", "a", 1024).await;
    let peak = peak_mebibytes(&fixture, "streaming", "a", 1, ZEROS_1_GIB).await;
    println!("streaming one blob of 1 GiB: {peak} MiB Private Bytes");
    assert!((8..64 + 32).contains(&peak), "{peak} MiB");
}

#[tokio::test]
async fn streaming_12_blobs_of_256_mib_at_once_stays_under_the_same_bound() {
    let fixture = StorageFixture::start().await;
    put_zeros(&fixture.storage, "input", "a", 256).await;
    let peak = peak_mebibytes(&fixture, "streaming", "a", 12, ZEROS_256_MIB).await;
    println!("streaming twelve blobs of 256 MiB at once: {peak} MiB Private Bytes");
    assert!((64..64 + 32).contains(&peak), "{peak} MiB");
}

#[tokio::test]
async fn buffering_1_gib_takes_its_size_and_little_more() {
    let fixture = StorageFixture::start().await;
    put_zeros(&fixture.storage, "input", "a", 1024).await;
    let peak = peak_mebibytes(&fixture, "buffering", "a", 1, ZEROS_1_GIB).await;
    println!("buffering one blob of 1 GiB: {peak} MiB Private Bytes");
    assert!((1024..1024 * 105 / 100 + 32).contains(&peak), "{peak} MiB");
}
