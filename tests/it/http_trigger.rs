//! HTTP triggers: what the handler is sent, and what the caller sees, as recorded.

use std::{fs, time::Duration};

use custom_handler::wire;
use lab::{
    app::ScriptRoot,
    emulator::{
        host::{HostLog, HostOptions, Identity},
        http_trigger::HttpFunctions,
        task_hub::Instance,
    },
    evidence::table_writer::{Table, Tables},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    golden_conversations::{Sent, stand_in_with_hub},
    golden_requests::without_time,
    stand_in::{golden, golden_of, placeholder},
};

/// A request as text, from what the host made of it.
fn raw(request: &Value) -> Vec<u8> {
    let (_, path) = request["Url"].as_str().unwrap().split_once("://").unwrap().1.split_once('/').unwrap();
    let mut text = format!("{} /{path} HTTP/1.1\r\n", request["Method"].as_str().unwrap());
    text += "Connection: close\r\n";
    for (name, values) in request["Headers"].as_object().unwrap().iter().filter(|it| it.0 != "Connection") {
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

/// What its handler was sent, what the caller saw, and the instances and request rows that were there then.
struct Exchanged {
    sent: Sent,
    answer: String,
    instances: Vec<Instance>,
    rows: Vec<Value>,
}

/// Declares a function and sends it a request.
async fn exchange(function: &str, bindings: Value, request: &[u8], reply: &Value) -> Exchanged {
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
    let (sent, answer) = tokio::select! {
        exchanged = exchanged => exchanged,
        _ = async { axum::serve(listener, router).await } => unreachable!(),
    };
    let instances = hub.instances().await.unwrap();
    stand_in.host.shutdown().await;
    hub.stop().await;
    let rows = stand_in.rows(Table::Requests);
    Exchanged { sent, answer, instances, rows }
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
    // Compared by itself.
    if body["Data"].get("client").is_some() {
        body["Data"]["client"] = json!("a client");
    }
    without_time(&body.to_string())
}

/// What a durable client is told, member by member, without what is another machine's. There is no gRPC listener and no key here.
fn client_of(body: &str) -> Option<Vec<(String, Value)>> {
    let body: Value = serde_json::from_str(body).unwrap();
    let client: Value = serde_json::from_str(&wire::text(body["Data"].get("client")?).unwrap()).unwrap();
    let members = client.as_object().unwrap().clone().into_iter().map(|(name, value)| {
        let value = match name.as_str() {
            "taskHubName" | "rpcBaseUrl" | "requiredQueryStringParameters" => Value::Null,
            "httpBaseUrl" => {
                let (_, path) = value.as_str().unwrap().rsplit_once(':').unwrap();
                json!(path.trim_start_matches(|it: char| it.is_ascii_digit()))
            }
            _ => value,
        };
        (name, value)
    });
    Some(members.collect())
}

/// The first that cannot be started ends it: those after it were not under way.
#[tokio::test]
async fn an_output_binding_starts_one_instance_after_the_other() {
    let start = |name: &str, id: &str| json!({ "FunctionName": name, "InstanceId": id, "Input": { "n": 1 } });
    let request = b"GET /api/begin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let bindings = json!([
        { "type": "durableClient", "direction": "out", "name": "client" },
        { "type": "httpTrigger", "direction": "in", "name": "req", "route": "begin" },
        { "type": "http", "direction": "out", "name": "res" },
    ]);
    let whole = [start("orch", "z"), start("orch", "y"), json!(start("orch", "x").to_string())];
    let broken = [start("orch", "z"), start("nope", "y"), start("orch", "x")];
    for (starts, code, ids) in [(&whole, 202, ["z", "y", "x"].as_slice()), (&broken, 500, &["z"])] {
        let outputs = json!({ "Outputs": { "client": starts, "res": { "statusCode": 202, "body": "accepted" } } });
        let reply = json!({ "type": "application/json", "body": outputs.to_string() });
        let mut seen = exchange("begin", bindings.clone(), request, &reply).await;
        assert!(seen.answer.starts_with(&format!("HTTP/1.1 {code} ")), "{}", seen.answer);
        let row = seen.rows.iter().find(|it| it["name"] == "begin").unwrap();
        assert_eq!(
            row["success"],
            if code == 202 { "True" } else { "False" },
            "what cannot be started fails the invocation: {row}"
        );
        seen.instances.sort_by_key(|it| it.created);
        let began: Vec<&str> = seen.instances.iter().map(|it| it.instance_id.as_str()).collect();
        assert_eq!(began, ids);
    }
}

#[tokio::test]
async fn a_request_reaches_the_handler_as_recorded() {
    let files = [
        "host/http-json-requests",
        "durable-3/durable-start-by-output-binding",
        "durable-3/durableclient-input-request",
    ];
    let recordings = files.map(golden_of);
    let requests = recordings.iter().flat_map(|it| {
        let list = it.get("requests").or_else(|| it.get("httpTriggerRequestAndReply")).unwrap();
        list.as_array().unwrap().iter().map(|it| it.get("request").unwrap_or(it))
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
        let sent = exchange(function, bindings, &raw(&body["Data"]["req"]), &reply).await.sent;
        assert_eq!(comparable(&sent.body), comparable(text));
        assert_eq!(client_of(&sent.body), client_of(text));
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
        let answer = exchange("ping", http("ping"), request, reply).await.answer;
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
