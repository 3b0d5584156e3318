//! What the real handler sends to Application Insights, and that no fault of the endpoint reaches a request.

use std::{path::Path, time::Duration};

use axum::{Json, Router, http::HeaderMap, http::Uri, routing::get};
use base64::{Engine, engine::general_purpose::STANDARD};
use custom_handler::clock;
use durable::protocol::OrchestratorRequest;
use incident_labs::{
    blob::{EMULATOR_KEY, StorageAccount},
    functions::{self, BLOB_FUNCTION, Lab, ORCHESTRATOR_FUNCTION},
};
use lab::{
    app::{AppSource, stage::stage_some},
    bench::storm,
};
use prost::Message;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::task::TaskTracker;

use crate::{
    fault_proxy::FaultProxy,
    handler::{Handler, SOON, free_port, give, send_signal},
    harness::{HANDLER, Scratch, StorageFixture, eventually},
    scripted_ingestion::{Does, INSTRUMENTATION_KEY, Ingestion},
};

const CONNECTION_STRING: &str = "APPLICATIONINSIGHTS_CONNECTION_STRING";
const AUTHENTICATION_STRING: &str = "APPLICATIONINSIGHTS_AUTHENTICATION_STRING";
/// Trace id of every call these tests make.
const OPERATION: &str = "0af7651916cd43dd8448eb211c80319c";
const INVOCATION: &str = "1f0d0000-0000-0000-0000-000000000001";
const INSTANCE: &str = "7a21e8d1258a488bad8392f1bdfa36bf";
/// Time the process has after SIGTERM.
const END: Duration = Duration::from_secs(2);

async fn nowhere() -> StorageAccount {
    StorageAccount::emulator(free_port().await, free_port().await).unwrap()
}

/// A handler without the blob function, so without a worker: what it tells is what it is called for.
async fn replay_handler(app: &Scratch, settings: &[(&str, &str)]) -> Handler {
    let root = app.path().join("app");
    let (all, some) = (functions::names(), functions::names_of(Lab::Replay));
    stage_some(&AppSource::carried(), Path::new(HANDLER), &root, &all, &some).unwrap();
    let own = [("FUNCTIONS_APP_ROOT_PATH", root.to_str().unwrap()), ("AzureWebJobsStorage", "")];
    Handler::start(&nowhere().await, &[&own, settings].concat()).await
}

/// Calls the orchestrator for an episode at whose end it logs a line.
async fn episode(handler: &Handler) {
    let reply = handler.post(ORCHESTRATOR_FUNCTION, storm::body(50).into()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// The same for an instance of that id.
fn body_of(instance: &str) -> Vec<u8> {
    let mut body: Value = serde_json::from_slice(&storm::body(50)).unwrap();
    let text: String = serde_json::from_str(body["Data"]["context"].as_str().unwrap()).unwrap();
    let mut request = OrchestratorRequest::decode(STANDARD.decode(text).unwrap().as_slice()).unwrap();
    request.instance_id = instance.to_owned();
    body["Data"]["context"] = json!(json!(STANDARD.encode(request.encode_to_vec())).to_string());
    body.to_string().into_bytes()
}

fn messages(envelopes: &[Value]) -> Vec<&str> {
    envelopes.iter().map(|it| it["data"]["baseData"]["message"].as_str().unwrap()).collect()
}

/// Lines about lost telemetry.
fn told(handler: &Handler) -> Vec<String> {
    handler.lines("err").into_iter().filter(|it| it.contains("telemetry")).collect()
}

/// Ends the handler as the host does; the time it took is that of its exit alone.
async fn end(handler: &mut Handler) -> Duration {
    let asked = Instant::now();
    handler.signal(Signal::TERM);
    assert_eq!(handler.exit_code().await, Some(200));
    asked.elapsed()
}

#[tokio::test]
async fn a_blob_is_sent_as_dependencies_of_the_hosts_request() {
    let storage = StorageFixture::start().await;
    give(&storage, "sub dir/ü.bin", &[7; 9]).await;
    let sink = Ingestion::start(Does::Take).await;
    let connection = sink.connection_string();
    let settings = [
        (CONNECTION_STRING, connection.as_str()),
        ("WEBSITE_SITE_NAME", "labep1-func"),
        ("WEBSITE_INSTANCE_ID", "instance-0"),
        ("BLOB_VARIANT", "streaming"),
    ];
    let mut handler = Handler::start(storage.storage.account(), &settings).await;
    assert_eq!(handler.invoke("sub dir/ü.bin").await.logs().len(), 2);
    assert_eq!(handler.invoke("gone").await.logs().len(), 3);
    sink.eventually("RemoteDependencyData", 4).await;
    sink.eventually("MetricData", 4).await;
    assert!(end(&mut handler).await < END);

    let host = storage.storage.account().blob_endpoint.host_str().unwrap().to_owned();
    let tags = json!({
        "ai.cloud.role": "labep1-func", "ai.cloud.roleInstance": "instance-0", "ai.operation.id": OPERATION,
    });
    let calls = sink.of("RemoteDependencyData");
    for call in &calls {
        let (data, id) = (&call["data"]["baseData"], &call["data"]["baseData"]["id"]);
        assert_eq!(call["name"], "Microsoft.ApplicationInsights.RemoteDependency");
        assert_eq!((&call["iKey"], &call["tags"]), (&json!(INSTRUMENTATION_KEY), &tags));
        assert_eq!((&data["type"], &data["target"]), (&json!("Azure blob"), &json!(host)));
        assert_eq!(data["properties"]["InvocationId"], INVOCATION);
        assert!(data["properties"].as_object().unwrap().keys().all(|it| !it.starts_with("service.")), "{data}");
        assert!(id.as_str().unwrap().len() == 16 && data["duration"].as_str().unwrap().starts_with("0.00:00:0"));
        assert_eq!(data["success"], !["404", "409"].contains(&data["resultCode"].as_str().unwrap()), "{data}");
    }
    let found = |name: &str, code: &str| {
        let data: Vec<_> = calls.iter().map(|it| &it["data"]["baseData"]).collect();
        data.iter().any(|it| it["name"] == name && it["resultCode"] == code)
    };
    assert!(
        found("GET input/sub dir/ü.bin", "206") && calls.iter().any(|it| it["data"]["baseData"]["resultCode"] == "404"),
        "{calls:?}"
    );
    let ids: std::collections::BTreeSet<_> = calls.iter().map(|it| it["data"]["baseData"]["id"].to_string()).collect();
    assert_eq!(ids.len(), calls.len(), "each call has an id of its own");
    assert!(sink.of("RequestData").is_empty(), "requests are the host's");
}

#[tokio::test]
async fn the_workers_memory_is_one_row_a_second_and_none_when_it_is_gone() {
    let sink = Ingestion::start(Does::Take).await;
    let connection = sink.connection_string();
    let handler = Handler::start(&nowhere().await, &[(CONNECTION_STRING, &connection)]).await;
    let memory = |name: &str| {
        let rows = sink.of("MetricData").into_iter();
        let rows = rows.filter(|it| it["data"]["baseData"]["metrics"][0]["name"] == name);
        rows.map(|it| (it["time"].as_str().unwrap().to_owned(), it["data"]["baseData"]["metrics"][0].clone()))
            .collect::<Vec<_>>()
    };
    const PRIVATE_BYTES: &str = r"\Process(??APP_WIN32_PROC??)\Private Bytes";
    let rows = eventually(SOON, async || Some(memory(PRIVATE_BYTES)).filter(|it| it.len() >= 4)).await;
    assert!(rows.iter().all(|it| it.1["kind"] == "Measurement" && it.1["value"].as_f64().unwrap() > 100_000.0));
    for pair in rows.windows(2) {
        let at = |row: &str| time::OffsetDateTime::parse(row, &time::format_description::well_known::Rfc3339).unwrap();
        let apart = at(&pair[1].0) - at(&pair[0].0);
        // A second each, on a machine that may pause: never two of the same second.
        assert!(apart > time::Duration::milliseconds(700), "{rows:?}");
    }
    assert!(!memory("handler.front_rss").is_empty());
    // Both are of one moment; the last one of a worker that was killed is the last.
    let started = sink.of("MetricData").len();
    let messages_before = sink.of("MessageData");
    let up = messages_before.iter().find(|it| it["data"]["baseData"]["message"] == "worker is up").unwrap();
    let pid = up["data"]["baseData"]["properties"]["worker.pid"].as_str().unwrap().parse().unwrap();
    send_signal(pid, Signal::KILL);
    handler.line("err", "Worker process exited with code 137").await;
    eventually(SOON, async || (sink.of("MetricData").len() >= started + 4).then_some(())).await;
    let fronts = memory("handler.front_rss").len();
    assert!(fronts >= memory(PRIVATE_BYTES).len(), "no row of a worker without one of the front");
}

#[tokio::test]
async fn an_orchestration_is_filed_under_its_instance_and_leads_to_the_hosts_request() {
    let (app, sink) = (Scratch::new(), Ingestion::start(Does::Take).await);
    let connection = sink.connection_string();
    let settings = [(CONNECTION_STRING, connection.as_str()), ("WEBSITE_SITE_NAME", "app")];
    let mut handler = replay_handler(&app, &settings).await;
    episode(&handler).await;
    handler.post(ORCHESTRATOR_FUNCTION, body_of("my-instance").into()).await;
    let rows = sink.eventually("MessageData", 4).await;
    assert!(end(&mut handler).await < END);
    assert!(messages(&rows)[0].starts_with("ReplayIteration instance=0 batch=0 iteration=50/51 elapsed="), "{rows:?}");
    assert!(messages(&rows)[1].starts_with("Episode past=200 new=2 decode="), "{rows:?}");
    for (row, operation) in rows.iter().zip([INSTANCE, INSTANCE, OPERATION, OPERATION]) {
        assert_eq!(row["name"], "Microsoft.ApplicationInsights.Message");
        assert_eq!(
            (&row["tags"]["ai.operation.id"], &row["tags"]["ai.cloud.role"]),
            (&json!(operation), &json!("app"))
        );
        assert_eq!(row["data"]["baseData"]["severityLevel"], 1);
        let properties = &row["data"]["baseData"]["properties"];
        assert_eq!(properties["HostOperationId"], OPERATION);
        assert!(properties.get("service.name").is_none(), "{row}");
    }
    let properties = &rows[1]["data"]["baseData"]["properties"];
    assert_eq!((&properties["instanceId"], &properties["outcome"]), (&json!(INSTANCE), &json!("Waiting")));
    assert_eq!((&properties["past_events"], &properties["new_events"]), (&json!("200"), &json!("2")));
    for name in ["decode_ms", "replay_ms", "encode_ms"] {
        assert!(properties[name].as_str().unwrap().parse::<f64>().unwrap() >= 0.0, "{name}");
    }
    assert_eq!(rows[3]["data"]["baseData"]["properties"]["instanceId"], "my-instance");
    assert_eq!(
        sink.envelopes().len(),
        4,
        "no request rows: those are the host's; and none of the exporter's own calls"
    );
    assert_eq!(handler.lines("out"), ["stopping: no new invocations, those under way may end"]);
    assert!(handler.lines("err").is_empty(), "{:?}", handler.lines("err"));
}

#[tokio::test]
async fn with_the_exporter_each_line_is_in_one_place() {
    let storage = StorageFixture::start().await;
    let sink = Ingestion::start(Does::Take).await;
    let connection = sink.connection_string();
    let mut handler = Handler::start(storage.storage.account(), &[(CONNECTION_STRING, &connection)]).await;
    let is_up = |it: &Value| it["data"]["baseData"]["message"] == "worker is up";
    let up = eventually(SOON, async || sink.of("MessageData").into_iter().find(is_up)).await;
    let pid = up["data"]["baseData"]["properties"]["worker.pid"].as_str().unwrap().parse().unwrap();
    send_signal(pid, Signal::KILL);
    handler.line("err", "warn: Restarting").await;
    eventually(SOON, async || {
        let rows = sink.of("MessageData");
        messages(&rows).iter().filter(|it| **it == "worker is up").nth(1).map(|_| ())
    })
    .await;
    end(&mut handler).await;
    let out = handler.lines("out");
    assert_eq!(
        out,
        ["Worker process started", "Worker process started", "stopping: no new invocations, those under way may end"]
    );
    assert_eq!(
        handler.lines("err"),
        ["Worker process exited with code 137", "warn: Restarting worker process after unexpected exit"]
    );
    let rows = sink.of("MessageData");
    for line in out.iter().chain(&handler.lines("err")) {
        assert!(!messages(&rows).contains(&line.as_str()), "{line}");
    }
}

#[tokio::test]
async fn without_the_exporter_the_text_begins_the_line_and_no_episode_has_one() {
    let app = Scratch::new();
    for (level, episodes) in [("info", 0), ("DEBUG", 1)] {
        let handler = replay_handler(&app, &[("LOG_LEVEL", level)]).await;
        episode(&handler).await;
        let line = handler.line("out", "ReplayIteration").await;
        assert!(line.starts_with("ReplayIteration instance=0 batch=0 iteration=50/51 elapsed="), "{line}");
        let behind = format!("ms operation_id=\"{INSTANCE}\" host_operation_id=\"{OPERATION}\"");
        assert!(line.ends_with(&behind), "{line}");
        let all = handler.post("replay_lab_activity", "{}".into()).await;
        assert_eq!(all.status, 200);
        let found = handler.lines("out").into_iter().filter(|it| it.starts_with("Episode past=200 new=2 ")).count();
        assert_eq!(found, episodes, "{:?}", handler.lines("out"));
    }
}

#[tokio::test]
async fn a_connection_string_that_cannot_be_used_is_told_in_one_line_and_all_else_works() {
    let app = Scratch::new();
    let key = "InstrumentationKey=hunter2";
    for (connection, identity) in [
        ("hunter2".to_owned(), None),
        (format!("{key};Authorization=aad"), None),
        (format!("{key};IngestionEndpoint=http://hunter2.example.com/"), None),
        (format!("{key};IngestionEndpoint=hunter2"), None),
        (format!("{key};hunter2"), None),
        (format!("InstrumentationKey={}", "ü".repeat(30)), None),
        (key.to_owned(), Some("Authorization=hunter2")),
    ] {
        let mut settings = vec![(CONNECTION_STRING, connection.as_str())];
        settings.extend(identity.map(|it| (AUTHENTICATION_STRING, it)));
        let mut handler = replay_handler(&app, &settings).await;
        episode(&handler).await;
        handler.line("out", "ReplayIteration").await;
        assert!(end(&mut handler).await < END);
        let told = told(&handler);
        let setting = if identity.is_some() { AUTHENTICATION_STRING } else { CONNECTION_STRING };
        let beginning = format!("warn: running without telemetry: {setting} ");
        assert!(told.len() == 1 && told[0].starts_with(&beginning), "{told:?}");
        let lines = format!("{:?}{:?}", handler.lines("out"), handler.lines("err"));
        assert!(!lines.contains("hunter2") && !lines.contains('ü'), "{lines}");
    }
}

/// Medians of episodes, in turns, of a handler whose endpoint is healthy and of one whose endpoint is not.
async fn medians(healthy: &Handler, other: &Handler) -> (Duration, Duration) {
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        for (handler, took) in [(healthy, &mut one), (other, &mut two)] {
            let asked = Instant::now();
            episode(handler).await;
            took.push(asked.elapsed());
        }
    }
    one.sort();
    two.sort();
    (one[15], two[15])
}

#[tokio::test]
async fn no_fault_of_the_endpoint_slows_a_request_or_the_end() {
    let app = Scratch::new();
    let (good, away) = (Ingestion::start(Does::Take).await, Ingestion::start(Does::Take).await);
    let connection = good.connection_string();
    let healthy = replay_handler(&app, &[(CONNECTION_STRING, &connection)]).await;
    let text = String::new;
    for does in [
        Does::TakeLate(Duration::from_secs(1)),
        Does::Hang,
        Does::Flood,
        Does::Busy(30),
        Does::Answer(503, text()),
        Does::Answer(429, text()),
        Does::Answer(439, text()),
        Does::Answer(400, "{}".to_owned()),
        Does::Answer(206, "no JSON".to_owned()),
        Does::RefuseFirst(400),
        Does::Redirect(302, away.url.clone()),
        Does::Redirect(308, "http://example.invalid/v2/track".to_owned()),
    ] {
        let sink = Ingestion::start(does.clone()).await;
        let connection = sink.connection_string();
        let mut handler = replay_handler(&app, &[(CONNECTION_STRING, &connection)]).await;
        let (usual, with_fault) = medians(&healthy, &handler).await;
        assert!(with_fault < usual * 3, "{does:?}: {with_fault:?} against {usual:?}");
        eventually(SOON, async || (sink.asked() > 0).then_some(())).await;
        let took = end(&mut handler).await;
        assert!(took < END, "{does:?}: {took:?}");
        let told = told(&handler);
        if matches!(does, Does::TakeLate(_)) {
            assert!(told.len() <= 1, "{told:?}");
            continue;
        }
        // At most its beginning and its number.
        assert!((1..=2).contains(&told.len()) && told.iter().all(|it| it.starts_with("warn: ")), "{does:?}: {told:?}");
        let lost: usize = told.last().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let taken = sink.of("MessageData").len();
        assert_eq!(lost + taken, 60, "{does:?}: {told:?}");
    }
    assert!(away.envelopes().is_empty(), "no redirect that turns a POST into a GET is followed");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_costs_nothing_but_rows() {
    let app = Scratch::new();
    let connection = format!("InstrumentationKey=k;IngestionEndpoint=http://127.0.0.1:{}", free_port().await);
    let mut handler = replay_handler(&app, &[(CONNECTION_STRING, &connection)]).await;
    episode(&handler).await;
    assert!(end(&mut handler).await < END);
    assert_eq!(told(&handler).last().unwrap(), "warn: 2 rows of telemetry were lost");
}

fn resident_bytes(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn an_endpoint_that_hangs_takes_no_more_memory_than_the_queue_has() {
    let (app, sink) = (Scratch::new(), Ingestion::start(Does::Hang).await);
    let connection = sink.connection_string();
    let mut handler = replay_handler(&app, &[(CONNECTION_STRING, &connection)]).await;
    let pid = handler.child.id().unwrap();
    let body = body_of(&"ü".repeat(4_000));
    // Two rows of 8,000 bytes each: the queue is full after a thousand, and some thousand are on their way. What comes after that would be
    // 19 MB.
    let mut resident = Vec::new();
    for _ in 0..6 {
        for _ in 0..600 {
            let reply = handler.post(ORCHESTRATOR_FUNCTION, body.clone().into()).await;
            assert_eq!(reply.status, 200);
        }
        resident.push(resident_bytes(pid));
    }
    handler.line("err", "warn: telemetry is being lost: ").await;
    assert!(resident[5] < resident[3] + (8 << 20), "{resident:?}");
    assert!(end(&mut handler).await < END);
    let told = told(&handler);
    assert!(told.len() == 2 && told[1] == "warn: 7200 rows of telemetry were lost", "{told:?}");
}

#[tokio::test]
async fn a_redirect_that_keeps_the_body_is_followed_on_this_machine() {
    let (app, sink) = (Scratch::new(), Ingestion::start(Does::Take).await);
    let first = Ingestion::start(Does::Redirect(308, format!("{}/v2/track", sink.url))).await;
    let connection = first.connection_string();
    let handler = replay_handler(&app, &[(CONNECTION_STRING, &connection)]).await;
    episode(&handler).await;
    sink.eventually("MessageData", 2).await;
}

#[tokio::test]
async fn what_is_lost_is_told_once_when_it_begins_and_once_when_it_is_over() {
    let (app, sink) = (Scratch::new(), Ingestion::start(Does::Answer(400, "{}".to_owned())).await);
    let connection = sink.connection_string();
    let mut handler = replay_handler(&app, &[(CONNECTION_STRING, &connection)]).await;
    for _ in 0..3 {
        episode(&handler).await;
        let asked = sink.asked();
        eventually(SOON, async || (sink.asked() > asked).then_some(())).await;
    }
    handler.line("err", "warn: telemetry is being lost: the ingestion endpoint answered 400").await;
    sink.now(Does::Take);
    episode(&handler).await;
    sink.eventually("MessageData", 2).await;
    handler.line("err", "warn: telemetry is taken again; 6 rows were lost").await;
    end(&mut handler).await;
    assert_eq!(told(&handler).len(), 2, "{:?}", told(&handler));
}

#[tokio::test]
async fn what_an_endpoint_asks_for_again_is_sent_again_and_only_that() {
    let (app, sink) = (Scratch::new(), Ingestion::start(Does::RefuseFirst(503)).await);
    let connection = sink.connection_string();
    let mut handler = replay_handler(&app, &[(CONNECTION_STRING, &connection)]).await;
    episode(&handler).await;
    sink.eventually("MessageData", 1).await;
    sink.now(Does::Take);
    let rows = sink.eventually("MessageData", 2).await;
    assert!(
        messages(&rows)[0].starts_with("Episode ") && messages(&rows)[1].starts_with("ReplayIteration "),
        "{rows:?}"
    );
    end(&mut handler).await;
    assert!(told(&handler).is_empty(), "{:?}", told(&handler));
}

#[tokio::test]
async fn a_dead_workers_open_calls_are_failed_dependencies() {
    let (storage, sink) = (StorageFixture::start().await, Ingestion::start(Does::Take).await);
    give(&storage, "a", b"hello").await;
    let proxy = FaultProxy::start(storage.storage.account()).await;
    proxy.stall_bodies();
    let connection = sink.connection_string();
    let handler = Handler::start(proxy.account(), &[(CONNECTION_STRING, &connection)]).await;
    let is_up = |it: &Value| it["data"]["baseData"]["message"] == "worker is up";
    let up = eventually(SOON, async || sink.of("MessageData").into_iter().find(is_up)).await;
    let pid = up["data"]["baseData"]["properties"]["worker.pid"].as_str().unwrap().parse().unwrap();
    let (reply, ()) = tokio::join!(handler.invoke("a"), async {
        eventually(SOON, || async { (proxy.stalled() == 1).then_some(()) }).await;
        send_signal(pid, Signal::KILL);
    });
    assert_eq!((reply.status, reply.body.as_str()), (500, "worker exited 137"));
    let lost = eventually(SOON, async || {
        let mut calls = sink.of("RemoteDependencyData").into_iter().map(|it| it["data"]["baseData"].clone());
        calls.find(|it| it["resultCode"] == "worker exited 137")
    })
    .await;
    assert_eq!(
        (&lost["success"], &lost["name"], &lost["type"]),
        (&json!(false), &json!("GET input/a"), &json!("Azure blob"))
    );
}

#[tokio::test]
async fn long_texts_of_any_script_are_cut_and_kill_nothing() {
    let (app, sink) = (Scratch::new(), Ingestion::start(Does::Take).await);
    let (connection, role) = (sink.connection_string(), "日本".repeat(1_500));
    let settings = [(CONNECTION_STRING, connection.as_str()), ("WEBSITE_SITE_NAME", &role)];
    let mut handler = replay_handler(&app, &settings).await;
    for length in 8_180..8_200 {
        let instance = format!("{}{}", "x".repeat(length % 4), "ü".repeat(length));
        let reply = handler.post(ORCHESTRATOR_FUNCTION, body_of(&instance).into()).await;
        assert_eq!(reply.status, 200);
    }
    let rows = sink.eventually("MessageData", 40).await;
    for row in &rows {
        let id = row["data"]["baseData"]["properties"]["instanceId"].as_str().unwrap();
        assert!((7_990..8_192).contains(&id.len()) && id.trim_start_matches('x').chars().all(|it| it == 'ü'));
        assert!(role.starts_with(row["tags"]["ai.cloud.role"].as_str().unwrap()));
    }
    end(&mut handler).await;
    assert!(told(&handler).is_empty() && handler.lines("err").is_empty(), "{:?}", handler.lines("err"));
}

#[tokio::test]
async fn no_secret_is_in_an_envelope_or_a_line() {
    let (storage, sink) = (StorageFixture::start().await, Ingestion::start(Does::Take).await);
    give(&storage, "a", b"hello").await;
    let connection = sink.connection_string();
    let mut handler = Handler::start(storage.storage.account(), &[(CONNECTION_STRING, &connection)]).await;
    let mut signed = storage.storage.account().blob_endpoint.clone();
    signed.path_segments_mut().unwrap().extend(["input", "a"]);
    signed.set_query(Some("sv=2024-01-01&sig=c2lnbmF0dXJl&se=2030"));
    handler.invoke_at(signed.as_str(), "a").await;
    let instance = "see https://a.blob.core.windows.net/c/b?sv=1&sig=c2lnbmF0dXJl";
    let reply = handler.post(ORCHESTRATOR_FUNCTION, body_of(instance).into()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    sink.eventually("MessageData", 3).await;
    end(&mut handler).await;
    let mut envelopes = sink.envelopes();
    // The key is how the endpoint knows whose they are.
    envelopes.iter_mut().for_each(|it| it["iKey"] = json!(null));
    let all = format!("{envelopes:?}{:?}{:?}", handler.lines("out"), handler.lines("err"));
    for secret in ["c2lnbmF0dXJl", EMULATOR_KEY, INSTRUMENTATION_KEY, &connection, "AccountKey"] {
        assert!(!all.contains(secret), "{secret}");
    }
    assert!(all.contains("https://a.blob.core.windows.net/c/b"), "the rest of the URL stays");
}

const CLIENT_ID: &str = "11111111-2222-3333-4444-555555555555";
const TOKEN: &str = "eyJ0eXAiOiJKV1QifQ.c2VjcmV0.c2lnbmVk";
const HEADER: &str = "identity-header-of-this-test";

/// The platform's identity endpoint; `status` to everyone who asks properly.
async fn identity_endpoint(status: u16) -> String {
    let answer = move |headers: HeaderMap, uri: Uri| async move {
        let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let has = |name: &str, value: &str| query.into_iter().any(|pair| pair.0 == name && pair.1 == value);
        let asked_properly = headers.get("x-identity-header").is_some_and(|it| it == HEADER)
            && has("resource", "https://monitor.azure.com/")
            && has("client_id", CLIENT_ID);
        let status = if asked_properly { status } else { 403 };
        let expires_on = (clock::utc_now().unix_timestamp() + 3600).to_string();
        let answer = json!({
            "access_token": TOKEN, "expires_on": expires_on, "resource": "https://monitor.azure.com/",
            "token_type": "Bearer", "client_id": CLIENT_ID,
        });
        (http::StatusCode::from_u16(status).unwrap(), Json(answer))
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/msi/token", listener.local_addr().unwrap());
    let router = Router::new().route("/msi/token", get(answer));
    TaskTracker::new().spawn(async { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn telemetry_is_sent_with_the_identity_and_no_line_has_its_token() {
    let (app, sink) = (Scratch::new(), Ingestion::start(Does::Ask(TOKEN)).await);
    let connection = sink.connection_string();
    let identity = format!("Authorization=AAD;ClientId={CLIENT_ID}");
    for (status, rows) in [(200, 2), (400, 0)] {
        let endpoint = identity_endpoint(status).await;
        let settings = [
            (CONNECTION_STRING, connection.as_str()),
            (AUTHENTICATION_STRING, &identity),
            ("IDENTITY_ENDPOINT", &endpoint),
            ("IDENTITY_HEADER", HEADER),
        ];
        let before = sink.of("MessageData").len();
        let mut handler = replay_handler(&app, &settings).await;
        episode(&handler).await;
        if rows > 0 {
            sink.eventually("MessageData", before + rows).await;
        }
        assert!(end(&mut handler).await < END);
        assert_eq!(sink.of("MessageData").len() - before, rows);
        let lines = format!("{:?}{:?}", handler.lines("out"), handler.lines("err"));
        for secret in [TOKEN, HEADER, "Bearer", "eyJ"] {
            assert!(!lines.contains(secret), "{secret}: {lines}");
        }
        let told = told(&handler);
        let lost: &[&str] = if rows > 0 { &[] } else { &["warn: 2 rows of telemetry were lost"] };
        assert_eq!(told.last().map(String::as_str), lost.last().copied(), "{told:?}");
    }
    assert!(!format!("{:?}", sink.envelopes()).contains(TOKEN));
}

#[tokio::test]
async fn a_blob_call_is_answered_while_the_endpoint_hangs_and_the_worker_ends_in_time() {
    let (storage, sink) = (StorageFixture::start().await, Ingestion::start(Does::Hang).await);
    give(&storage, "a", b"hello").await;
    let connection = sink.connection_string();
    let mut handler = Handler::start(storage.storage.account(), &[(CONNECTION_STRING, &connection)]).await;
    eventually(SOON, async || (sink.asked() > 0).then_some(())).await;
    let reply = handler.post(BLOB_FUNCTION, "{}".into()).await;
    assert_eq!(reply.status, 500, "{reply:?}");
    assert_eq!(handler.invoke("a").await.logs().len(), 2);
    assert!(end(&mut handler).await < END);
    assert_eq!(told(&handler).len(), 1, "{:?}", told(&handler));
}
