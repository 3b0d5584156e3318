//! HTTP triggers: what the handler is sent, and what the caller sees, as recorded.

use std::{fs, time::Duration};

use lab::{
    app::ScriptRoot,
    emulator::{
        host::{HostLog, HostOptions, Identity},
        http_trigger::HttpFunctions,
    },
    evidence::table_writer::Tables,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    golden_conversations::{Sent, stand_in_with_hub},
    golden_requests::without_time,
    stand_in::{golden, placeholder},
};

/// A request as text, from what the host made of it.
fn raw(request: &Value) -> Vec<u8> {
    let (_, path) = request["Url"].as_str().unwrap().split_once("://").unwrap().1.split_once('/').unwrap();
    let mut text = format!("{} /{path} HTTP/1.1\r\n", request["Method"].as_str().unwrap());
    if request["Headers"].get("Connection").is_none() {
        text += "Connection: close\r\n";
    }
    for (name, values) in request["Headers"].as_object().unwrap() {
        for value in values.as_array().unwrap() {
            text += &format!("{name}: {}\r\n", value.as_str().unwrap());
        }
    }
    let body = request["Body"].as_str().unwrap_or_default();
    let told = request["Headers"]["Content-Length"][0].as_str().and_then(|it| it.parse().ok()).unwrap_or(0_usize);
    // Of the bodies that are no text the note tells the bytes.
    let body = if body.len() == told && !body.contains('\u{fffd}') { body.as_bytes() } else { &[0, 1, 0xFF] };
    let is_chunked = request["Headers"].get("Transfer-Encoding").is_some();
    let body = if is_chunked { b"2\r\n{}\r\n0\r\n\r\n" } else { &body[..told] };
    [text.as_bytes(), b"\r\n", body].concat()
}

/// Declares a function, sends it a request, and gives what its handler was sent and what the caller saw.
async fn exchange(function: &str, bindings: Value, request: &[u8], reply: &Value) -> (Sent, String) {
    let (stand_in, hub) = stand_in_with_hub(HostOptions { telemetry_configured: true, ..placeholder() }).await;
    let root = stand_in.folder.path();
    fs::create_dir_all(root.join(function)).unwrap();
    fs::write(root.join(function).join("function.json"), json!({ "bindings": bindings }).to_string()).unwrap();
    let functions = HttpFunctions::new(&ScriptRoot::read(root).unwrap());
    let log = HostLog::new(Tables::open(&root.join("tables")).unwrap(), Identity::new("app"), None);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = functions.router(address, stand_in.host.clone(), log, Some(hub.clone()));
    let handler = async {
        let listener = TcpListener::bind(("127.0.0.1", stand_in.host.port())).await.unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let sent = Sent::read(&mut stream).await;
            let body = reply["body"].as_str().unwrap_or_default();
            let code = reply["code"].as_u64().or_else(|| reply["status"].as_u64()).unwrap_or(200);
            let media_type = reply["type"].as_str().map(|it| format!("Content-Type: {it}\r\n")).unwrap_or_default();
            let head = format!("HTTP/1.1 {code} Reason\r\n{media_type}Content-Length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            if !sent.line.starts_with("GET / ") {
                return sent;
            }
        }
    };
    let caller = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        // A caller that hangs is a failure that says so.
        tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    };
    let exchanged = async { tokio::join!(handler, caller) };
    let exchanged = tokio::select! {
        exchanged = exchanged => exchanged,
        _ = async { axum::serve(listener, router).await } => unreachable!(),
    };
    stand_in.host.shutdown().await;
    hub.stop().await;
    exchanged
}

fn http(route: &str) -> Value {
    json!([
        { "type": "httpTrigger", "direction": "in", "name": "req", "route": route },
        { "type": "http", "direction": "out", "name": "res" },
    ])
}

/// The connection of these tests ends with its answer.
fn comparable(body: &str) -> String {
    let mut body: Value = serde_json::from_str(body).unwrap();
    for place in ["/Data/req/Headers", "/Metadata/Headers"] {
        body.pointer_mut(place).unwrap().as_object_mut().unwrap().shift_remove("Connection");
    }
    // There is no gRPC listener and no key here.
    if let Some(client) = body["Data"]["client"].as_str() {
        let client = client.replace("code=<system key>", "").replace("\\\"http://localhost:4001\\\"", "null");
        body["Data"]["client"] = json!(client.replace("ProbeHub3", "TestHubName"));
    }
    without_time(&body.to_string())
}

#[tokio::test]
async fn a_request_reaches_the_handler_as_recorded() {
    let recordings =
        ["http-json-requests", "durable-start-by-output-binding", "durableclient-input-request"].map(golden);
    let requests = recordings.iter().flat_map(|it| {
        let list = it.get("requests").or_else(|| it.get("httpTriggerRequest")).unwrap();
        list.as_array().unwrap().iter()
    });
    let mut compared = 0;
    for recorded in requests {
        let text = recorded["body"].as_str().unwrap();
        let body: Value = serde_json::from_str(text).unwrap();
        let function = recorded["line"].as_str().unwrap().split(['/', ' ']).nth(2).unwrap();
        let mut bindings = http(if function == "ping" { "ping/{who?}" } else { function });
        if body["Data"].get("client").is_some() {
            bindings
                .as_array_mut()
                .unwrap()
                .push(json!({ "type": "durableClient", "direction": "in", "name": "client" }));
        }
        let reply = json!({ "type": "application/json", "body": "{\"Outputs\":{\"res\":{\"body\":\"x\"}}}" });
        let (sent, _) = exchange(function, bindings, &raw(&body["Data"]["req"]), &reply).await;
        assert_eq!(comparable(&sent.body), comparable(text));
        compared += 1;
    }
    assert!(compared >= 4, "{compared}");
}

#[tokio::test]
async fn the_caller_sees_what_was_recorded() {
    let cases = golden("http-reply-table")["cases"].as_object().unwrap().clone();
    let mut compared = 0;
    for (name, case) in cases {
        let reply = &case["handlerReply"];
        // Deaths of the handler and redirects are tested elsewhere; dates and big numbers are .NET's own way to print.
        if !reply["code"].is_number() || ["redirect", "r307", "slow1500", "datebody"].contains(&name.as_str()) {
            continue;
        }
        let request = b"GET /api/ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let (_, answer) = exchange("ping", http("ping"), request, reply).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let seen = &case["callerSees"];
        assert!(head.starts_with(&format!("HTTP/1.1 {} ", seen["status"])), "{name}: {head}");
        assert_eq!(body, seen["body"].as_str().unwrap(), "{name}");
        if let Some(media_type) = seen["headers"]["Content-Type"].as_str() {
            assert!(
                head.to_lowercase().contains(&format!("content-type: {}", media_type.to_lowercase())),
                "{name}: {head}"
            );
        }
        compared += 1;
    }
    assert!(compared >= 30, "{compared}");
}
