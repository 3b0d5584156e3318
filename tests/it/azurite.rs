//! Azurite: installed, started, stopped, and what is said when it cannot be.

use std::{net::TcpListener, process::Command, time::Duration};

use futures::join;
use lab::machine::{
    azurite::{Azurite, AzuriteError, Ports, WELL_KNOWN},
    storage::Storage,
    workspace::Workspace,
};

use crate::harness::{Scratch, StorageFixture, WELL_KNOWN_PORTS};

#[tokio::test]
async fn blobs_and_messages_survive_a_restart_on_the_same_ports() {
    let scratch = Scratch::new();
    let folder = Workspace::open(&scratch.path()).await.unwrap();
    let azurite = Azurite::start(&folder, Ports::Free).await.unwrap();
    let (first_ports, storage) = (azurite.ports(), Storage::open(azurite.account()).unwrap());
    storage.ensure_container("input").await.unwrap();
    storage.put("input", "a b/ä #1%.txt", "hello", None).await.unwrap();
    storage.queue("work").await.unwrap().send("one").await.unwrap();
    azurite.stop().await;

    let azurite = Azurite::start(&folder, Ports::Free).await.unwrap();
    assert_eq!(azurite.ports(), first_ports);
    let storage = Storage::open(azurite.account()).unwrap();
    assert_eq!(storage.read("input", "a b/ä #1%.txt").await.unwrap().unwrap(), "hello");
    assert_eq!(storage.list("input", "", false).await.unwrap()[0].name, "a b/ä #1%.txt");
    assert_eq!(storage.queue("work").await.unwrap().peek().await.unwrap(), ["one"]);
    azurite.stop().await;
}

#[tokio::test]
async fn copies_of_a_folder_that_start_together_have_storage_of_their_own() {
    let scratch = Scratch::new();
    let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
    let folder = Workspace::open(&one).await.unwrap();
    Azurite::start(&folder, Ports::Free).await.unwrap().stop().await;
    drop(folder);
    let copied = Command::new("cp").arg("-r").args([&one, &two]).status().unwrap();
    assert!(copied.success());

    let (one, two) = (Workspace::open(&one).await.unwrap(), Workspace::open(&two).await.unwrap());
    let started = join!(Azurite::start(&one, Ports::Free), Azurite::start(&two, Ports::Free));
    let (first, second) = (started.0.unwrap(), started.1.unwrap());
    assert!(first.ports().iter().all(|it| !second.ports().contains(it)), "{:?} {:?}", first.ports(), second.ports());
    for (azurite, name) in [(&first, "first"), (&second, "second")] {
        let storage = Storage::open(azurite.account()).unwrap();
        storage.ensure_container("input").await.unwrap();
        storage.put("input", name, "", None).await.unwrap();
    }
    for (azurite, name) in [(first, "first"), (second, "second")] {
        let listed = Storage::open(azurite.account()).unwrap().list("input", "", false).await.unwrap();
        assert_eq!(listed.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), [name]);
        azurite.stop().await;
    }
}

#[tokio::test]
async fn a_taken_well_known_port_is_named() {
    let _ports = WELL_KNOWN_PORTS.lock().await;
    let scratch = Scratch::new();
    let folder = Workspace::open(&scratch.path()).await.unwrap();
    let _holder = TcpListener::bind(("127.0.0.1", WELL_KNOWN[1]));
    let error = Azurite::start(&folder, Ports::WellKnown).await.unwrap_err();
    assert!(matches!(error, AzuriteError::PortTaken(port) if WELL_KNOWN.contains(&port)), "{error}");
    assert!(error.to_string().contains("lab start"), "{error}");
}

#[tokio::test]
async fn a_file_is_uploaded_in_blocks_and_hashed() {
    let fixture = StorageFixture::start().await;
    fixture.storage.ensure_container("input").await.unwrap();
    for (size, sha256) in [
        (0_usize, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (8 << 20, "2daeb1f36095b44b318410b3f4e8b5d989dcc7bb023d1426c492dab0a3053e74"),
        ((16 << 20) + 1, ""),
    ] {
        let file = fixture.scratch.path().join("file");
        std::fs::write(&file, vec![0_u8; size]).unwrap();
        let uploaded = fixture.storage.upload("input", "file", &file).await.unwrap();
        assert_eq!(uploaded.size_bytes, size as u64);
        assert!(sha256.is_empty() || uploaded.sha256 == sha256, "{}", uploaded.sha256);
        assert_eq!(fixture.storage.read("input", "file").await.unwrap().unwrap().len(), size);
    }
    fixture.azurite.stop().await;
}

#[tokio::test]
async fn a_leased_message_can_be_released_at_once() {
    let fixture = StorageFixture::start().await;
    let queue = fixture.storage.queue("work").await.unwrap();
    queue.send("<a & b>").await.unwrap();
    let lease = Duration::from_secs(30);
    let mut message = queue.receive(1, lease).await.unwrap().remove(0);
    assert_eq!((message.text.as_str(), message.dequeue_count), ("<a & b>", 1));
    assert!(queue.receive(1, lease).await.unwrap().is_empty());
    queue.renew(&mut message, Duration::ZERO).await.unwrap();
    let again = queue.receive(1, lease).await.unwrap().remove(0);
    assert_eq!(again.dequeue_count, 2);
    queue.delete(&again).await.unwrap();
    fixture.azurite.stop().await;
}
