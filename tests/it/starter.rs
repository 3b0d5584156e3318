//! `start_replay_lab` in the real handler: what it asks of the webhook, and what it tells of starts that fail.

use axum::{
    Json, Router,
    body::Bytes,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use custom_handler::wire::WEBHOOK_PATH;
use incident_labs::functions::{ORCHESTRATOR_FUNCTION, START_FUNCTION};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    durable_functions::handler,
    handler::{Handler, free_port},
    harness::Scratch,
};

/// Calls the starter beside a webhook that refuses the instances of these indices; gives the answer's code and body, and what the
/// webhook was asked.
async fn start(
    handler: &Handler,
    body: &Value,
    refused: &'static [u64],
) -> (Value, Value, Vec<(Method, String, Value)>) {
    let (asked, mut questions) = mpsc::unbounded_channel();
    let answer = async move |method: Method, uri: Uri, body: Bytes| {
        let input: Value = serde_json::from_slice(&body).unwrap();
        let id = uri.path().rsplit('/').next().unwrap().to_owned();
        let is_refused = refused.contains(&input["instanceIndex"].as_u64().unwrap());
        asked.send((method, uri.to_string(), input)).unwrap();
        if is_refused { refusal(&uri) } else { (StatusCode::ACCEPTED, Json(json!({ "id": id }))).into_response() }
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = format!("http://{}{WEBHOOK_PATH}", listener.local_addr().unwrap());
    let reply = tokio::select! {
        reply = handler.post(START_FUNCTION, envelope(&base, body).into()) => reply,
        _ = async { axum::serve(listener, Router::new().fallback(answer)).await } => unreachable!(),
    };
    let reply: Value = serde_json::from_str(&reply.body).unwrap();
    let res = &reply["Outputs"]["res"];
    let asked = std::iter::from_fn(|| questions.try_recv().ok()).collect();
    (res["statusCode"].clone(), serde_json::from_str(res["body"].as_str().unwrap()).unwrap(), asked)
}

fn refusal(uri: &Uri) -> Response {
    (StatusCode::TOO_MANY_REQUESTS, format!("{uri} is busy")).into_response()
}

/// As the host posts it, the client's value a text in a text.
fn envelope(base: &str, body: &Value) -> String {
    let client = json!({
        "taskHubName": "ReplayLab", "connectionName": null, "requiredQueryStringParameters": "code=hush",
        "rpcBaseUrl": null, "httpBaseUrl": base,
    });
    let client = json!(client.to_string()).to_string();
    let request = json!({ "Method": "POST", "Url": "http://localhost/", "Body": body.to_string() });
    json!({ "Data": { "req": request, "client": client }, "Metadata": {} }).to_string()
}

fn assert_no_key(handler: &Handler, told: &Value) {
    let lines = [handler.lines("out"), handler.lines("err"), vec![told.to_string()]].concat();
    assert!(!lines.join("\n").contains("hush"), "{lines:?}");
}

#[tokio::test]
async fn the_starter_starts_twenty_instances_by_the_webhook_under_ids_of_its_own() {
    let app = Scratch::new();
    let handler = handler(&app).await;
    let wanted = json!({ "iterations": 50, "continueAsNewEvery": 10, "instances": 20 });
    let (code, told, mut asked) = start(&handler, &wanted, &[]).await;
    assert_eq!((code, &told["started"]), (json!(202), &json!(20)));
    assert_eq!(told.as_object().unwrap().len(), 2, "{told}");
    let ids: Vec<&str> = told["instanceIds"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert!(ids.iter().all(|it| it.len() == 32 && it.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))));

    // The ids are told in the order of the instances' indices.
    asked.sort_by_key(|(_, _, input)| input["instanceIndex"].as_u64());
    let expected = ids.iter().zip(0..).map(|(id, index)| {
        let orchestrator = ORCHESTRATOR_FUNCTION.replace('_', "%5F");
        let uri = format!("{WEBHOOK_PATH}/orchestrators/{orchestrator}/{id}?taskHub=ReplayLab&code=hush");
        let input = json!({ "iterations": 50, "continueAsNewEvery": 10, "batchIndex": 0, "instanceIndex": index });
        (Method::POST, uri, input)
    });
    assert_eq!(asked, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn starts_that_fail_are_named_and_the_others_are_kept() {
    let app = Scratch::new();
    let handler = handler(&app).await;
    let (code, told, asked) = start(&handler, &json!({ "iterations": 1, "instances": 5 }), &[1, 3]).await;
    assert_eq!((code, asked.len(), &told["started"]), (json!(502), 5, &json!(3)), "{told}");
    assert_eq!(told["error"], "2 of 5 instances were not started");
    let id_of = |index: u64| {
        let (_, uri, _) = asked.iter().find(|(_, _, input)| input["instanceIndex"] == index).unwrap();
        uri.split_once('?').unwrap().0.rsplit('/').next().unwrap().to_owned()
    };
    assert_eq!(told["instanceIds"], json!([id_of(0), id_of(2), id_of(4)]));
    for (failed, index) in told["failed"].as_array().unwrap().iter().zip([1, 3]) {
        assert_eq!(failed["instanceId"], id_of(index));
        let error = failed["error"].as_str().unwrap();
        assert!(error.starts_with("the durable webhook answered 429") && error.ends_with(" is busy"), "{error}");
    }
    // One line for all; the key is in none, though the refusal quotes the address.
    let line = handler.line("err", "2 of 5 instances were not started; instance ").await;
    assert!(line.contains(&id_of(1)) && line.contains("429"), "{line}");
    assert_no_key(&handler, &told);
}

#[tokio::test]
async fn without_a_webhook_every_start_is_told_as_failed() {
    let app = Scratch::new();
    let handler = handler(&app).await;
    let away = format!("http://127.0.0.1:{}{WEBHOOK_PATH}", free_port().await);
    let reply = handler.post(START_FUNCTION, envelope(&away, &json!({ "instances": 2 })).into()).await;
    let reply: Value = serde_json::from_str(&reply.body).unwrap();
    let res = &reply["Outputs"]["res"];
    let told: Value = serde_json::from_str(res["body"].as_str().unwrap()).unwrap();
    assert_eq!((&res["statusCode"], &told["started"]), (&json!(502), &json!(0)), "{told}");
    assert!(told["failed"][1]["error"].as_str().unwrap().starts_with("the durable webhook does not answer"), "{told}");
    assert_no_key(&handler, &told);
}
