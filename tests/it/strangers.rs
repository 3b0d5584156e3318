//! Who must not be served, and what must not be known: web pages, other names, other processes' variables.

use std::fs;

use incident_labs::blob::StorageAccount;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    handler::{Handler, free_port},
    harness::Scratch,
    task_hub::ReplayLab,
};

/// Headers a page of another site comes with, or one under a name that its owner let point here.
const FOREIGN: [&str; 5] = [
    "Host: evil.example",
    "Host: localhost\r\nOrigin: https://evil.example",
    "Host: localhost\r\nOrigin: null",
    "Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site",
    "Host: 127.0.0.1.evil.example",
];
const OWN: [&str; 4] = [
    "Host: localhost",
    "Host: 127.0.0.1:1",
    "Host: [::1]:80\r\nOrigin: http://localhost:3000",
    "Host: LOCALHOST\r\nSec-Fetch-Site: same-origin",
];

/// Status and body of an answer to a request whose headers are given.
async fn ask(port: u16, line: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!("{line} HTTP/1.1\r\n{headers}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn port_of(lab: &ReplayLab) -> u16 {
    lab.base.rsplit(':').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_web_page_cannot_start_list_or_purge() {
    let scratch = Scratch::new();
    let lab = ReplayLab::start(&scratch.path().join("run"), &ReplayLab::stage(&scratch)).await;
    let port = port_of(&lab);
    let calls = [
        ("POST /api/durable/start-replay-lab", r#"{"iterations":1}"#),
        ("POST /runtime/webhooks/durabletask/orchestrators/replay_storm_orchestrator", r#"{"iterations":1}"#),
        ("GET /runtime/webhooks/durabletask/instances", ""),
        ("DELETE /runtime/webhooks/durabletask/instances?createdTimeFrom=2000-01-01T00:00:00Z", ""),
        ("GET /", ""),
    ];
    for headers in FOREIGN {
        for (line, body) in calls {
            let (status, text) = ask(port, line, headers, body).await;
            assert!(
                status == 403 && text.contains("localhost, 127.0.0.1 or [::1]"),
                "{headers} {line}: {status} {text}"
            );
        }
    }
    let (_, listed) = ask(port, calls[2].0, "Host: localhost", "").await;
    assert_eq!(listed, "[]", "nothing was started");
    for headers in OWN {
        let (status, text) = ask(port, calls[2].0, headers, "").await;
        assert_eq!(status, 200, "{headers}: {text}");
    }
}

#[tokio::test]
async fn the_handler_asks_the_listener_whatever_the_caller_calls_it() {
    let scratch = Scratch::new();
    let lab = ReplayLab::start(&scratch.path().join("run"), &ReplayLab::stage(&scratch)).await;
    // `replay_status` asks the webhook at the client binding's base address: on the port that the caller names there is nothing.
    let nothing = format!("Host: localhost:{}", free_port().await);
    let (status, started) =
        ask(port_of(&lab), "POST /api/durable/start-replay-lab", &nothing, r#"{"iterations":1}"#).await;
    let started: Value = serde_json::from_str(&started).unwrap();
    assert_eq!((status, &started["started"]), (202, &json!(1)));
    let line = format!("GET /api/durable/status/{}", started["instanceIds"][0].as_str().unwrap());
    let (status, text) = ask(port_of(&lab), &line, &nothing, "").await;
    assert_eq!(status, 200, "{text}");
}

#[tokio::test]
async fn a_body_may_be_as_long_as_the_host_allows() {
    let scratch = Scratch::new();
    let lab = ReplayLab::start(&scratch.path().join("run"), &ReplayLab::stage(&scratch)).await;
    let line = "POST /runtime/webhooks/durabletask/orchestrators/replay_storm_orchestrator/long";
    let body = format!(r#"{{"iterations":1,"note":"{}"}}"#, "x".repeat(5 << 20));
    let (status, text) = ask(port_of(&lab), line, "Host: localhost\r\nContent-Type: application/json", &body).await;
    assert_eq!(status, 202, "{text}");
}

#[tokio::test]
async fn the_handler_answers_the_host_alone() {
    let account = StorageAccount::emulator(free_port().await, free_port().await).unwrap();
    let handler = Handler::start(&account, &[]).await;
    for headers in FOREIGN {
        for (line, body) in [("GET /", ""), ("POST /BlobBufferProcessor", "{}"), ("POST /replay_lab_activity", "{}")] {
            let (status, text) = ask(handler.port, line, headers, body).await;
            assert_eq!(status, 403, "{headers} {line}: {text}");
        }
    }
    assert_eq!(ask(handler.port, "GET /", "Host: 127.0.0.1", "").await.0, 200);
}

#[tokio::test]
async fn the_worker_knows_its_settings_and_none_of_the_machines_secrets() {
    let account = StorageAccount::emulator(free_port().await, free_port().await).unwrap();
    let settings = [
        ("GITHUB_TOKEN", "not-for-the-worker"),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", "not-for-the-worker"),
        ("applicationinsights_authentication_string", "not-for-the-worker"),
        ("BLOB_BATCH_SIZE", "3"),
        ("https_proxy", "http://127.0.0.1:1"),
    ];
    let handler = Handler::start(&account, &settings).await;
    let environment = fs::read(format!("/proc/{}/environ", handler.worker_pid(1).await)).unwrap();
    let environment = String::from_utf8(environment).unwrap();
    assert!(!environment.contains("not-for-the-worker"), "{environment}");
    for needed in ["BLOB_BATCH_SIZE=3", "AzureWebJobsStorage=", "https_proxy=", "PATH="] {
        assert!(environment.split('\0').any(|it| it.starts_with(needed)), "{needed}");
    }
}
