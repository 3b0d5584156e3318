//! The front: what it answers, which lines it writes, and what it survives.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use incident_labs::blob::StorageAccount;
use rustix::process::Signal;
use serde_json::json;
use tokio::{process::Command, sync::Notify, time::Instant};

use crate::{
    fault_proxy::FaultProxy,
    handler::{Handler, Reply, free_port, give, is_alive, send_signal},
    harness::{HANDLER, StorageFixture, eventually},
};

/// An account that nobody serves.
async fn nowhere() -> StorageAccount {
    StorageAccount::emulator(free_port().await, free_port().await).unwrap()
}

/// `00:00:00.000` is what varies in the guide's lines.
fn without_times(lines: Vec<String>) -> Vec<String> {
    lines
        .into_iter()
        .map(|line| match line.split_once("Invocation failed after ") {
            Some((_, time)) if time.len() == 12 => "Invocation failed after <time>".to_owned(),
            _ => line,
        })
        .collect()
}

#[tokio::test]
async fn the_probe_is_answered_while_the_worker_is_not_up_yet() {
    let handler = Handler::start(&nowhere().await, &[]).await;
    let answer = handler.http.get(handler.url("")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(!answer.text().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_unknown_function_is_a_failure_that_names_it() {
    let handler = Handler::start(&nowhere().await, &[]).await;
    let reply = handler.post("NoSuchFunction", "{}".into()).await;
    assert_eq!(reply.status, 404);
    assert!(reply.body.contains("/NoSuchFunction") && reply.body.contains("BlobBufferProcessor"));
    handler.line("err", "no function at POST /NoSuchFunction").await;
}

#[tokio::test]
async fn a_malformed_envelope_is_refused_with_its_cause() {
    let handler = Handler::start(&nowhere().await, &[]).await;
    for (body, status, cause) in [
        ("", 400, "not an invocation"),
        ("nonsense", 400, "not an invocation"),
        ("[1]", 400, "not an invocation"),
        (r#"{"Data":{}"#, 400, "not an invocation"),
        (r#"{"Data":{},"Metadata":{}}"#, 500, "Metadata.Uri is missing"),
        (r#"{"Data":{},"Metadata":{"Uri":"\"http://h/elsewhere/input/a\""},"New":1}"#, 500, "not in the account"),
    ] {
        let Reply { status: got, body: text } = handler.post("BlobBufferProcessor", body.into()).await;
        assert_eq!(got, status, "{body}");
        assert!(text.contains(cause), "{body}: {text}");
    }
    let failed = handler.lines("err").iter().filter(|line| line.starts_with("Invocation failed after 00:00:0")).count();
    assert_eq!(failed, 6);
}

#[tokio::test]
async fn bad_settings_end_with_64_and_one_line_without_values() {
    let output = Command::new(HANDLER)
        .env_clear()
        .env("AzureWebJobsStorage", "AccountName=a;AccountKey=hunter2!")
        .env("BLOB_BATCH_SIZE", "hunter2")
        .output()
        .await
        .unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(line.lines().count(), 1, "{line}");
    for name in ["FUNCTIONS_CUSTOMHANDLER_PORT", "AzureWebJobsStorage", "BLOB_BATCH_SIZE"] {
        assert!(line.contains(name), "{line}");
    }
    assert!(!line.contains("hunter2"), "{line}");
}

#[tokio::test]
async fn a_worker_is_not_started_by_hand() {
    let mut command = Command::new(HANDLER);
    command.env_clear().arg("--worker").env("FUNCTIONS_CUSTOMHANDLER_PORT", "1");
    command.env("AzureWebJobsStorage", "UseDevelopmentStorage=true").stdin(std::process::Stdio::null());
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("fd 0 is not a front"), "{output:?}");
}

#[tokio::test]
async fn a_taken_port_ends_with_1_and_is_named() {
    let first = Handler::start(&nowhere().await, &[]).await;
    let output = Command::new(HANDLER)
        .env_clear()
        .env("FUNCTIONS_CUSTOMHANDLER_PORT", first.port.to_string())
        .env("AzureWebJobsStorage", "UseDevelopmentStorage=true")
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(line.contains(&format!("127.0.0.1:{}", first.port)) && line.lines().count() == 1, "{line}");
}

#[tokio::test]
async fn sigterm_drains_and_exits_200() {
    let storage = StorageFixture::start().await;
    give(&storage, "a", b"hello").await;
    let proxy = FaultProxy::start(storage.storage.account()).await;
    let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asks, goes_on) = (Arc::clone(&asked), Arc::clone(&go_on));
    proxy.before_each_get(move || {
        asks.notify_one();
        let goes_on = Arc::clone(&goes_on);
        async move { goes_on.notified().await }
    });
    let mut handler = Handler::start(proxy.account(), &[]).await;
    let worker = handler.worker_pid(1).await;
    let (reply, ()) = tokio::join!(handler.invoke("a"), async {
        asked.notified().await;
        handler.signal(Signal::TERM);
        handler.line("out", "stopping: ").await;
        go_on.notify_one();
    });
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(handler.exit_code().await, Some(200));
    eventually(Duration::from_secs(3), || async { (!is_alive(worker)).then_some(()) }).await;
}

#[tokio::test]
async fn kill_9_of_the_front_takes_the_worker_within_a_second() {
    let handler = Handler::start(&nowhere().await, &[]).await;
    let worker = handler.worker_pid(1).await;
    assert!(is_alive(worker));
    handler.signal(Signal::KILL);
    eventually(Duration::from_secs(1), || async { (!is_alive(worker)).then_some(()) }).await;
}

#[tokio::test]
async fn kill_9_of_the_worker_fails_what_it_had_and_the_next_call_waits_for_the_restart() {
    let storage = StorageFixture::start().await;
    give(&storage, "a", b"hello").await;
    let proxy = FaultProxy::start(storage.storage.account()).await;
    proxy.stall_bodies();
    let mut handler = Handler::observed(proxy.account(), &[]).await;
    let front = handler.child.id();
    let worker = handler.worker_pid(1).await;
    let (replies, ()) = tokio::join!(join_all([handler.invoke("a"), handler.invoke("a")]), async {
        eventually(Duration::from_secs(10), || async { (proxy.stalled() == 2).then_some(()) }).await;
        proxy.heal();
        send_signal(worker, Signal::KILL);
    });
    for reply in replies {
        assert_eq!((reply.status, reply.body.as_str()), (500, "worker exited 137"));
    }
    assert_eq!(handler.invoke("a").await.logs().len(), 2);
    handler.line("err", "warn: ").await;
    let mut lines = without_times(handler.lines("err"));
    lines.sort();
    let mut wanted = vec![
        "Worker process exited with code 137",
        "warn: Restarting worker process after unexpected exit",
        "BlobBufferProcessor could not process input/a: worker exited 137",
        "Invocation failed after <time>",
        "BlobBufferProcessor could not process input/a: worker exited 137",
        "Invocation failed after <time>",
    ];
    wanted.sort_unstable();
    assert_eq!(lines, wanted);
    assert_eq!(handler.lines("out").iter().filter(|line| *line == "Worker process started").count(), 2);
    handler.line("out", "killed, but not by the kernel for its memory").await;
    let lost = handler.calls().await;
    let lost: Vec<_> = lost.iter().filter(|row| row["resultCode"] == "worker exited 137").collect();
    assert_eq!(lost.len(), 2, "the calls under way are failed dependencies");
    assert!(lost.iter().all(|row| row["success"] == false && row["name"] == "GET input/a"));
    assert_eq!(handler.child.id(), front, "the front is the same process");
    assert!(handler.child.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn a_hung_worker_is_killed_after_10_s_and_is_not_called_an_exit() {
    let storage = StorageFixture::start().await;
    give(&storage, "a", b"hello").await;
    let handler = Handler::start(storage.storage.account(), &[]).await;
    send_signal(handler.worker_pid(1).await, Signal::STOP);
    let reply = handler.invoke("a").await;
    assert_eq!((reply.status, reply.body.as_str()), (500, "worker unresponsive"));
    handler.line("err", "worker unresponsive: ").await;
    assert!(handler.invoke("a").await.status == 200);
    assert!(!handler.lines("err").iter().any(|line| line.contains("Worker process exited")));
}

#[tokio::test]
async fn an_invocation_that_gets_no_answer_fails_at_its_deadline() {
    let storage = StorageFixture::start().await;
    give(&storage, "a", b"hello").await;
    let proxy = FaultProxy::start(storage.storage.account()).await;
    proxy.stall_bodies();
    let handler = Handler::start(proxy.account(), &[("AzureFunctionsJobHost__functionTimeout", "00:00:32")]).await;
    let started = Instant::now();
    let reply = handler.invoke("a").await;
    assert_eq!(reply.status, 500);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    proxy.heal();
    assert_eq!(handler.invoke("a").await.status, 200);
}

#[tokio::test]
async fn payload_in_the_envelope_is_skipped_reported_once_and_not_kept() {
    let storage = StorageFixture::start().await;
    give(&storage, "a", b"hello").await;
    let handler = Handler::start(storage.storage.account(), &[]).await;
    let uri = format!("{}/input/a", storage.storage.account().blob_endpoint);
    let private = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", handler.child.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap().to_owned();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let envelope = |megabytes: usize| {
        let head = "{\"Data\":{\"blob\":\"".to_owned();
        let tail = json!({ "Uri": format!("\"{uri}\"") });
        let pieces = std::iter::once(head)
            .chain(std::iter::repeat_n("QUJD".repeat(1 << 18), megabytes))
            .chain(std::iter::once(format!("\"}},\"Metadata\":{tail}}}")))
            .map(Ok::<_, std::io::Error>);
        reqwest::Body::wrap_stream(futures::stream::iter(pieces))
    };
    assert_eq!(handler.post("BlobBufferProcessor", envelope(1)).await.status, 200);
    let before = private();
    assert_eq!(handler.post("BlobBufferProcessor", envelope(64)).await.status, 200);
    let grown = private().saturating_sub(before);
    assert!(grown <= 1024, "the front grew by {grown} KiB");
    let told = handler.lines("err").iter().filter(|line| line.contains("sends the blob's bytes")).count();
    assert_eq!(told, 1);
}

#[tokio::test]
async fn without_a_cgroup_the_front_watches_and_kills() {
    let storage = StorageFixture::start().await;
    for name in ["a", "b", "c"] {
        give(&storage, name, &vec![7; 64 << 20]).await;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs none /sys/fs/cgroup && exec \"$0\"", HANDLER]);
    let settings = [("WORKER_MEMORY_LIMIT_MIB", "160"), ("BLOB_VARIANT", "buffering")];
    let handler = Handler::start_by(command, storage.storage.account(), &settings).await;
    handler.line("out", "enforced by the front watching at 20 Hz").await;
    let front = handler.child.id().unwrap();
    let names = ["a", "b", "c", "a", "b", "c"];
    let replies = join_all(names.map(|name| handler.invoke(name))).await;
    assert!(replies.iter().any(|reply| reply.body == "worker exited 137"), "{replies:?}");
    handler.line("err", "Worker process exited with code 137").await;
    for name in ["a", "b", "c"] {
        assert_eq!(handler.invoke(name).await.status, 200);
    }
    assert_eq!(handler.child.id(), Some(front));
}
