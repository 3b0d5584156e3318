//! Episodes in an app: whatever an orchestrator does, it is answered, and keeps nobody else from an answer.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use custom_handler::{App, Context, Error};
use durable::{
    RetryPolicy, all,
    protocol::{
        ActionType, CompleteOrchestration, EventType, ExecutionStarted, HistoryEvent, Nothing, OrchestratorRequest,
        OrchestratorResponse, TaskCompleted, TaskScheduled,
    },
};
use prost::Message;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};

/// The trigger's value: a start, and then these.
fn context(events: impl IntoIterator<Item = (i32, EventType)>) -> String {
    let started = ExecutionStarted::with(|set| set.name = "Fulfil".to_owned());
    let begin = [EventType::OrchestratorStarted(Nothing::default()), EventType::ExecutionStarted(Box::new(started))];
    let begin = begin.map(|it| (-1, it));
    let request = OrchestratorRequest::with(|set| {
        set.instance_id = "i".to_owned();
        set.new_events =
            begin.into_iter().chain(events).map(|(id, it)| HistoryEvent::new(id, None, Some(it))).collect();
    });
    json!(STANDARD.encode(request.encode_to_vec())).to_string()
}

async fn actions(app: &App, body: &Value) -> Vec<ActionType> {
    let (status, answer) = app.invoke("Fulfil", body.to_string()).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let bytes = STANDARD.decode(answer["ReturnValue"].as_str().unwrap()).unwrap();
    assert_eq!(status, 200);
    let response = OrchestratorResponse::decode(bytes.as_slice()).unwrap();
    response.actions.into_iter().map(|it| it.action_type.unwrap()).collect()
}

fn body(value: &str) -> Value {
    json!({ "Data": { "context": value }, "Metadata": {} })
}

/// How it ended: the output, or why it failed.
async fn end(app: &App, body: &Value) -> String {
    match actions(app, body).await.pop() {
        Some(ActionType::CompleteOrchestration(CompleteOrchestration { result, failure_details, .. })) => {
            result.or_else(|| failure_details.map(|it| format!("{}: {}", it.error_type, it.error_message))).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_trigger_is_found_beside_other_bindings_whatever_their_names() {
    let app = App::new().orchestrator("Fulfil", async |ctx: Context, (): ()| Ok::<_, Error>(ctx.instance_id()));
    let value = context([]);
    let client = json!({ "taskHubName": "h", "creationUrls": { "createNewInstancePostUri": "http://127.0.0.1/x" } });
    for name in ["client", "zclient"] {
        for client in [json!(client.to_string()), client.clone(), json!("plain"), json!(7), Value::Null, json!("")] {
            let body = json!({ "Data": { name: client, "context": value }, "Metadata": {} });
            assert_eq!(end(&app, &body).await, "\"i\"", "{name} {client}");
        }
    }
    let other = json!({ "Data": { "client": client.to_string(), "context": "{\"history\":[]}" } });
    assert!(end(&app, &other).await.contains("FUNCTIONS_WORKER_RUNTIME"));
    let none = json!({ "Data": { "client": client.to_string() } });
    assert!(end(&app, &none).await.contains("no trigger value"));
    // What follows the value must be an envelope, too.
    let cut = body(&value).to_string();
    for cut in [&cut[..cut.len() - 1], &cut[..cut.len() - 14], &format!("{cut}}}")] {
        let (_, answer) = app.invoke("Fulfil", cut.to_owned()).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let answer =
            String::from_utf8_lossy(&STANDARD.decode(answer["ReturnValue"].as_str().unwrap()).unwrap()).into_owned();
        assert!(answer.contains("not an invocation"), "{cut}: {answer}");
    }
}

/// More than a task of the runtime may do in one poll.
#[tokio::test]
async fn a_semaphore_limits_a_fan_out_of_any_size() {
    const COUNT: usize = 1_000;
    let app = App::new().orchestrator("Fulfil", async |ctx: Context, (): ()| {
        let limit = Arc::new(Semaphore::new(3));
        let copy = async |limit: Arc<Semaphore>, at: usize| {
            let _permit = limit.acquire().await.map_err(Error::from_error)?;
            ctx.activity::<usize>("Copy", &at).await
        };
        let copies = futures_util::future::join_all((0..COUNT).map(|at| copy(Arc::clone(&limit), at))).await;
        copies.into_iter().sum::<Result<usize, Error>>()
    });
    assert_eq!(actions(&app, &body(&context([]))).await.len(), 3);
    let copied = (0..COUNT).map(|at| {
        let id = i32::try_from(at).unwrap();
        let scheduled = EventType::TaskScheduled(TaskScheduled::new("Copy".to_owned(), None));
        [(id, scheduled), (-1, EventType::TaskCompleted(TaskCompleted::new(id, Some("1".to_owned()))))]
    });
    assert_eq!(end(&app, &body(&context(copied.flatten()))).await, COUNT.to_string());
}

#[tokio::test]
async fn branches_talk_over_the_runtimes_channels() {
    let app = App::new().orchestrator("Fulfil", async |ctx: Context, (): ()| {
        let (sender, receiver) = oneshot::channel();
        let tell = async {
            let _ = sender.send(ctx.activity::<u32>("Ask", &()).await?);
            Ok::<_, Error>(())
        };
        let (heard, told) = tokio::join!(async { receiver.await.map_err(Error::from_error) }, tell);
        told.and(heard)
    });
    let scheduled = EventType::TaskScheduled(TaskScheduled::new("Ask".to_owned(), None));
    let completed = EventType::TaskCompleted(TaskCompleted::new(0, Some("7".to_owned())));
    assert_eq!(end(&app, &body(&context([(0, scheduled), (-1, completed)]))).await, "7");
}

#[tokio::test]
async fn sleeps_and_other_waits_of_the_runtime_are_foreign() {
    let app = App::new().orchestrator("Fulfil", async |_: Context, (): ()| {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok::<_, Error>(())
    });
    assert!(end(&app, &body(&context([]))).await.starts_with("ForeignAwait"));
}

#[tokio::test]
async fn an_orchestrator_that_blocks_keeps_nobody_from_an_answer() {
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = Mutex::new(blocked);
    let app = App::new()
        .orchestrator("Fulfil", move |_: Context, (): ()| {
            let _ = blocked.lock().unwrap().recv();
            async { Ok::<_, Error>("released") }
        })
        .http("hello", async |_| "hello");
    let body = body(&context([]));
    let meanwhile = async {
        // The runtime of this test has one thread.
        assert_eq!(app.invoke("hello", r#"{"Data":{"req":{}}}"#).await.0, 200);
        drop(release);
    };
    let (ended, ()) = tokio::join!(end(&app, &body), meanwhile);
    assert_eq!(ended, "\"released\"");
}

#[tokio::test]
async fn a_panic_anywhere_in_an_episode_is_an_answer() {
    struct Fragile;
    impl Drop for Fragile {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "fell apart");
        }
    }
    let app = App::new().observe(|_, _| panic!("not told")).orchestrator("Fulfil", async |ctx: Context, (): ()| {
        let _fragile = Fragile;
        let policy = RetryPolicy::new(2, Duration::MAX).longest_pause(Duration::MAX);
        let tasks = [ctx.activity_with_retry::<Value>("Copy", &(), policy)?];
        all(tasks).await.remove(0)
    });
    assert_eq!(end(&app, &body(&context([]))).await, "Panic: the orchestrator panicked: fell apart");
}
