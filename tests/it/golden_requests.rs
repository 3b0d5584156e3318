//! What the stand-in sends to the handler is what the real host was recorded to send.

use azure_storage_blob::models::BlobType;
use base64::{Engine, engine::general_purpose::STANDARD};
use lab::emulator::host::{
    Call, Host, HostOptions,
    binding_data::{BlobFacts, blob_trigger, whole_blob},
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use crate::{
    golden_blob::recording,
    golden_conversations::Sent,
    stand_in::{StandIn, golden, normal, placeholder, probe},
};

/// Serves the handler's port by hand: records `GET /` and the first invocation.
async fn record(port: u16) -> (Sent, Sent) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let probe = answer(listener.accept().await.unwrap().0, "text/plain").await;
    let invocation = answer(listener.accept().await.unwrap().0, "application/json").await;
    (probe, invocation)
}

async fn answer(mut stream: TcpStream, media_type: &str) -> Sent {
    let sent = Sent::read(&mut stream).await;
    let reply = format!("HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: 2\r\n\r\n{{}}");
    stream.write_all(reply.as_bytes()).await.unwrap();
    sent
}

/// Starts a host, plays its handler and has it make one call.
async fn record_call(options: HostOptions, call: Call) -> (Host, Sent, Sent) {
    let stand_in = StandIn::start(options).await;
    let (requests, outcome) = tokio::join!(record(stand_in.host.port()), stand_in.host.invoke(call));
    assert!(outcome.succeeded, "{outcome:?}");
    stand_in.host.shutdown().await;
    (stand_in.host.clone(), requests.0, requests.1)
}

/// The call a blob trigger makes for the blob of a recorded request.
fn call_for(recorded: &Value) -> Call {
    let body: Value = serde_json::from_str(recorded["body"].as_str().unwrap()).unwrap();
    let (metadata, properties) = (&body["Metadata"], &body["Metadata"]["Properties"]);
    let at = |name: &str| OffsetDateTime::parse(properties[name].as_str().unwrap(), &Rfc3339).unwrap();
    let text = |name: &str| properties[name].as_str().map(str::to_owned);
    let pairs = properties["Metadata"].as_object().unwrap();
    let metadata_pairs = pairs.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()));
    let blob_type = match properties["BlobType"].as_u64().unwrap() {
        0 => BlobType::BlockBlob,
        1 => BlobType::PageBlob,
        _ => BlobType::AppendBlob,
    };
    let facts = BlobFacts {
        blob_type,
        committed_blocks: properties["BlobCommittedBlockCount"].as_i64().unwrap() as i32,
        created_on: at("CreatedOn"),
        metadata: metadata_pairs.collect(),
        content_type: text("ContentType").unwrap(),
        content_md5: text("ContentHash"),
        access_tier: text("AccessTier"),
        access_tier_inferred: properties["AccessTierInferred"].as_bool().unwrap(),
        access_tier_changed_on: Some(at("AccessTierChangedOn")).filter(|it| it.year() > 1),
        ..BlobFacts::new(at("LastModified"), properties["ContentLength"].as_u64().unwrap())
    };
    let decoded = |name: &str| serde_json::from_str::<String>(metadata[name].as_str()?).ok();
    let uri = decoded("Uri").unwrap();
    let (container, blob) = uri.split_once("/devstoreaccount1/").unwrap().1.split_once('/').unwrap();
    let blob = &percent_decode_str(blob).decode_utf8().unwrap();
    let parameters: Vec<(String, String)> =
        ["name", "ext"].iter().filter_map(|name| Some(((*name).to_owned(), decoded(name)?))).collect();
    let (mut data, metadata) = blob_trigger("blob", "AzureWebJobsStorage", container, blob, &uri, &parameters, &facts);
    if let Some(content) = body["Data"]["blob"].as_str() {
        data.insert("blob".to_owned(), whole_blob(&STANDARD.decode(content).unwrap()));
    }
    let function = recorded["line"].as_str().unwrap().split(['/', ' ']).nth(2).unwrap().to_owned();
    Call { function, reason: "a test".to_owned(), data, metadata, ..Call::default() }
}

/// Takes the time of the call out of a body; ids go with [`normal`].
pub(crate) fn without_time(body: &str) -> String {
    let (before, after) = body.split_once("\"UtcNow\":\"").unwrap();
    let (time, rest) = after.split_once('"').unwrap();
    assert!(OffsetDateTime::parse(time, &Rfc3339).is_ok(), "{time}");
    normal(&format!("{before}\"UtcNow\":\"<time>\"{rest}"))
}

pub(crate) fn headers(recorded: &Value) -> Vec<String> {
    recorded["headers"].as_array().unwrap().iter().map(|it| header(it.as_str().unwrap())).collect()
}

/// A header without the port, the invocation id and the trace's ids.
pub(crate) fn header(text: &str) -> String {
    match text.split_once(": ").unwrap() {
        ("Host", value) => format!("Host: {}:<port>", value.split_once(':').unwrap().0),
        ("traceparent", value) => {
            let lengths: Vec<usize> = value.split('-').map(str::len).collect();
            assert_eq!(lengths, [2, 32, 16, 2], "{value}");
            format!("traceparent: {}-<trace>-<span>-{}", &value[..2], &value[53..])
        }
        _ => normal(text),
    }
}

#[tokio::test]
async fn a_blob_invocation_is_the_recorded_request_byte_for_byte() {
    let mut compared = 0;
    let (shim, real) = (golden("blob-trigger-requests"), recording("requests"));
    for recorded in [&shim, &real].into_iter().flat_map(|it| it["requests"].as_array().unwrap()) {
        let (_, _, sent) = record_call(placeholder(), call_for(recorded)).await;
        assert_eq!(sent.line, recorded["line"]);
        assert_eq!(sent.headers.iter().map(|it| header(it)).collect::<Vec<_>>(), headers(recorded));
        assert_eq!(without_time(&sent.body), without_time(recorded["body"].as_str().unwrap()));
        compared += 1;
    }
    assert!(compared > 16, "the recordings have requests with and without deferred binding: {compared}");
}

#[tokio::test]
async fn readiness_is_asked_for_as_recorded_and_telemetry_adds_one_header() {
    let golden_probe = golden("start-environment")["readinessProbe"].clone();
    let blob = golden("blob-trigger-requests")["requests"].as_array().unwrap().last().unwrap().clone();
    for (telemetry_configured, name) in [(true, "App Insights on"), (false, "App Insights off")] {
        let options = HostOptions { telemetry_configured, ..placeholder() };
        let (_, probe, invocation) = record_call(options, call_for(&blob)).await;
        let recorded = &golden_probe[name][0];
        assert_eq!(probe.line, recorded["line"]);
        assert_eq!(probe.headers.iter().map(|it| header(it)).collect::<Vec<_>>(), headers(recorded));

        // On invocations it was recorded between the headers of the transfer and those of the content.
        let mut expected = headers(&blob);
        if telemetry_configured {
            expected.insert(expected.len() - 1, "traceparent: 00-<trace>-<span>-00".to_owned());
        }
        assert_eq!(invocation.headers.iter().map(|it| header(it)).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn the_handlers_environment_is_the_recorded_one_and_a_restart_changes_only_the_worker_id() {
    let golden = golden("start-environment");
    let stand_in = StandIn::start(HostOptions {
        app_settings: vec![("FUNCTIONS_EXTRA".to_owned(), "an app setting".to_owned())],
        ..probe()
    })
    .await;
    let mut ids = Vec::new();
    for (restarts, name) in
        [(0, "variables set by the host (FUNCTIONS_* only)"), (1, "after a restart of the handler in the same host")]
    {
        stand_in
            .until("the handler's start", |lines| {
                lines.iter().filter(|(_, _, text)| text == "Worker process started and initialized.").count() > restarts
            })
            .await;
        assert!(stand_in.ping(json!({"environment": true})).await.succeeded);
        let log = stand_in.log();
        let said: Vec<&str> = log.iter().filter(|it| it.1 == "Function.ping.User").map(|it| it.2.as_str()).collect();
        let [.., variables, folder] = said.as_slice() else {
            panic!("the probe said nothing: {said:?}");
        };
        let mut variables: Value = serde_json::from_str(variables).unwrap();
        assert_eq!(variables.as_object_mut().unwrap().remove("FUNCTIONS_EXTRA"), Some(json!("an app setting")));
        let app = stand_in.folder.path().display().to_string();
        assert_eq!(*folder, app);
        for port in ["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"] {
            assert_eq!(variables[port], stand_in.host.port().to_string(), "{port}");
            variables[port] = golden[name][port].clone();
        }
        let id = variables["FUNCTIONS_CUSTOMHANDLER_WORKER_ID"].clone();
        assert_eq!(id, variables["FUNCTIONS_HTTPWORKER_ID"]);
        let known = golden[name]["FUNCTIONS_HTTPWORKER_ID"].as_str().unwrap();
        let expected = golden[name].to_string().replace("<app>", &app).replace(known, id.as_str().unwrap());
        assert_eq!(variables, serde_json::from_str::<Value>(&expected).unwrap());
        ids.push(id);
        stand_in.ping(json!({"exit": 200})).await;
    }
    assert_ne!(ids[0], ids[1]);
    stand_in.host.shutdown().await;
}
