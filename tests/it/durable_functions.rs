//! The durable functions in the real handler, called as a host calls them.

use std::{path::Path, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};
use durable::protocol::{ActionType, OrchestratorResponse};
use incident_labs::functions::{
    self, ACTIVITY_FUNCTION, BLOB_FUNCTION, Lab, ORCHESTRATOR_FUNCTION, START_FUNCTION, STATUS_FUNCTION,
};
use lab::{
    app::{AppSource, stage::stage_some},
    bench::storm,
};
use prost::Message;
use serde_json::{Value, json};

use crate::{
    handler::{Handler, Reply, free_port},
    harness::{HANDLER, LAB, Scratch},
};

/// A handler in the replay lab's package: nothing but the host's environment, no storage.
pub(crate) async fn handler(app: &Scratch) -> Handler {
    let root = app.path().join("app");
    stage_some(
        &AppSource::carried(),
        Path::new(HANDLER),
        &root,
        &functions::names(),
        &functions::names_of(Lab::Replay),
    )
    .unwrap();
    let account = incident_labs::blob::StorageAccount::emulator(free_port().await, free_port().await).unwrap();
    let settings = [("FUNCTIONS_APP_ROOT_PATH", root.to_str().unwrap()), ("AzureWebJobsStorage", "")];
    Handler::observed(&account, &settings).await
}

/// The one action of an answer.
fn action(reply: &Reply) -> ActionType {
    assert_eq!(reply.status, 200, "{reply:?}");
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    let bytes = STANDARD.decode(body["ReturnValue"].as_str().unwrap()).unwrap();
    let response = OrchestratorResponse::decode(bytes.as_slice()).unwrap();
    assert!(!response.instance_id.is_empty());
    response.actions.into_iter().next().unwrap().action_type.unwrap()
}

#[tokio::test]
async fn an_app_without_the_blob_function_starts_no_worker() {
    let app = Scratch::new();
    let handler = handler(&app).await;
    let reply = handler.post(BLOB_FUNCTION, "{}".into()).await;
    assert!(reply.status == 404 && reply.body.contains("not in this app"), "{reply:?}");
    let children = format!("/proc/{0}/task/{0}/children", handler.child.id().unwrap());
    assert_eq!(std::fs::read_to_string(children).unwrap(), "", "no process beside the front");
}

#[test]
fn a_benchmark_names_the_peer_that_does_not_answer() {
    let arguments = ["bench", "replay", "--handler", HANDLER, "--dotnet-peer", "/bin/false"];
    let run = Command::new(&*LAB).args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(3), "{told}");
    assert!(told.contains("/bin/false ended with exit status: 1 before it answered"), "{told}");
}

#[tokio::test]
async fn an_episode_is_answered_with_the_next_action_and_told_under_the_instance() {
    let app = Scratch::new();
    let handler = handler(&app).await;
    let reply = handler.post(ORCHESTRATOR_FUNCTION, storm::body(2000).into()).await;
    let ActionType::ScheduleTask(scheduled) = action(&reply) else { panic!("{reply:?}") };
    assert_eq!(
        (scheduled.name.as_str(), scheduled.input.as_deref()),
        (ACTIVITY_FUNCTION, Some(r#"{"index":2000,"instanceIndex":0}"#))
    );
    for text in ["ReplayIteration instance=0 batch=0 iteration=2000/2001 elapsed=", "Episode past=8000 new=2 "] {
        let line = handler.line("out", text).await;
        assert!(line.starts_with(text) && line.contains(" instanceId=7a21e8d1258a488bad8392f1bdfa36bf"), "{line}");
    }
}

#[tokio::test]
async fn whatever_an_orchestrator_is_sent_is_answered_with_200_and_a_cause() {
    let app = Scratch::new();
    let handler = handler(&app).await;
    let context = |value: &str| json!({ "Data": { "context": value }, "Metadata": {} }).to_string();
    for (body, cause) in [
        (String::new(), "not an invocation"),
        ("nonsense".to_owned(), "not an invocation"),
        ("[".repeat(100_000), "not an invocation"),
        (r#"{"Data":{},"Metadata":{}}"#.to_owned(), "no trigger value"),
        (r#"{"Data":{"context":7}}"#.to_owned(), "no trigger value"),
        (context("\"%%%\""), "not base64"),
        (context("\"/////w==\""), "OrchestratorRequest"),
        (context(r#"{"history":[],"instanceId":"i"}"#), "FUNCTIONS_WORKER_RUNTIME"),
        (context(""), "no executionStarted"),
    ] {
        let reply = handler.post(ORCHESTRATOR_FUNCTION, body.into()).await;
        let ActionType::CompleteOrchestration(complete) = action(&reply) else { panic!("{reply:?}") };
        let details = complete.failure_details.unwrap();
        assert!(details.error_message.contains(cause), "{cause}: {}", details.error_message);
        handler.line("err", cause).await;
    }
}

#[tokio::test]
async fn the_other_functions_say_what_is_wrong_with_a_request() {
    let app = Scratch::new();
    let handler = handler(&app).await;
    let reply = handler.post(ACTIVITY_FUNCTION, r#"{"Data":{"input":"\"{}\""}}"#.into()).await;
    // To the host a failed activity: a text whose cause the orchestrator reads.
    let failure: Value = serde_json::from_str(&reply.body).unwrap();
    let failure = &failure["activityFailure"];
    assert!(reply.status == 200 && failure["errorMessage"].as_str().unwrap().contains("index"), "{reply:?}");
    assert_eq!((&failure["errorType"], &failure["isNonRetriable"]), (&json!("DecodeError"), &json!(true)));
    for function in [START_FUNCTION, STATUS_FUNCTION] {
        assert_eq!(handler.post(function, "nonsense".into()).await.status, 400, "{function}");
    }
    // The webhook's address is not there, and then nobody answers at it.
    let ask = |client: Value| {
        json!({ "Data": { "req": { "Params": { "instanceId": "i" } }, "client": client.to_string() } }).to_string()
    };
    let away = format!("http://127.0.0.1:{}/runtime", free_port().await);
    let cases = [
        (Value::Null, "binding"),
        (json!({ "httpBaseUrl": away, "requiredQueryStringParameters": "code=hush" }), "answer"),
    ];
    for (client, cause) in cases {
        let reply = handler.post(STATUS_FUNCTION, ask(client).into()).await;
        let body: Value = serde_json::from_str(&reply.body).unwrap();
        let answer = &body["Outputs"]["res"];
        assert_eq!((reply.status, &answer["statusCode"]), (200, &json!(502)), "{reply:?}");
        let said = answer["body"].as_str().unwrap();
        assert!(said.contains(cause) && !said.contains("hush"), "{said}");
    }
}
