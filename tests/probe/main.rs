//! A handler that does what each request tells it: how the tests make the host stand-in see deaths, silence and odd
//! answers from a real process.
//!
//! A request's `Data` is the script, or the whole blob or the HTTP body in it: `stdout` and `stderr` (lines to print), then
//! one of `reply` (`code`, `type`, `body`), `exit` (a code), `kill`, `hang`, `environment`. Started with `silent`, it never
//! listens.

use std::{collections::BTreeMap, io::Write};

use axum::{
    Json, Router,
    body::Body,
    http::{Response, StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    if std::env::args().any(|it| it == "silent") {
        std::future::pending::<()>().await;
    }
    let router = Router::new().route("/", get(|| async { StatusCode::OK })).fallback(invoke);
    axum::serve(tokio::net::TcpListener::bind(("127.0.0.1", port())).await?, router).await
}

fn port() -> u16 {
    variables().get("FUNCTIONS_CUSTOMHANDLER_PORT").and_then(|it| it.parse().ok()).unwrap_or_default()
}

fn variables() -> BTreeMap<String, String> {
    std::env::vars().filter(|(name, _)| name.starts_with("FUNCTIONS_")).collect()
}

async fn invoke(Json(envelope): Json<Value>) -> Response<Body> {
    let script = &script(&envelope["Data"]);
    for line in script["stdout"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        println!("{line}");
    }
    for line in script["stderr"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        eprintln!("{line}");
    }
    let _ = std::io::stdout().flush();
    if let Some(code) = script["exit"].as_i64() {
        std::process::exit(i32::try_from(code).unwrap_or(1));
    }
    if script["kill"] == true {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    if script["hang"] == true || script["kill"] == true {
        std::future::pending::<()>().await;
    }
    if script["environment"] == true {
        let here = std::env::current_dir().unwrap_or_default();
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let mut logs = vec![json!(variables()).to_string(), here.display().to_string()];
        logs.extend(arguments);
        return reply(&json!({"code": 200, "type": "application/json", "body": json!({"Logs": logs}).to_string()}));
    }
    reply(&script["reply"])
}

fn script(data: &Value) -> Value {
    let blob = data["blob"].as_str().and_then(|it| STANDARD.decode(it).ok());
    let body = data["req"]["Body"].as_str().map(|it| it.as_bytes().to_vec());
    let text = blob.or(body);
    text.map_or_else(|| data.clone(), |it| serde_json::from_slice(&it).unwrap_or_default())
}

fn reply(reply: &Value) -> Response<Body> {
    let code = reply["code"].as_u64().and_then(|it| u16::try_from(it).ok()).unwrap_or(500);
    let mut response = Response::builder().status(code);
    if let Some(media_type) = reply["type"].as_str() {
        response = response.header(CONTENT_TYPE, media_type);
    }
    let body = Body::from(reply["body"].as_str().unwrap_or_default().to_owned());
    response.body(body).unwrap_or_default()
}
