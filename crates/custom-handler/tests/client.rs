//! The client of the webhook: many starts side by side, each told by itself, and a key that nobody gets to read.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use axum::{
    Json, Router,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use custom_handler::{ClientError, DurableClient, HttpRequest, HttpResponse, NotStarted, Start, wire::Envelope};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Barrier, task::JoinSet};

const HUB: &str = "/runtime/webhooks/durabletask";

/// Serves a webhook until the set is dropped; gives where it is.
async fn webhook<Fut>(answer: impl Fn(Uri) -> Fut + Clone + Send + Sync + 'static) -> (String, JoinSet<()>)
where
    Fut: Future<Output = Response> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = format!("http://{}{HUB}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    (base, serving)
}

/// The id a start asks for.
fn id_of(uri: &Uri) -> String {
    uri.path().rsplit('/').next().unwrap().to_owned()
}

fn accepted(uri: &Uri) -> Response {
    (StatusCode::ACCEPTED, Json(json!({ "id": id_of(uri) }))).into_response()
}

fn starts(count: usize) -> Vec<Start> {
    (0..count).map(|n| Start::new("Fulfil", &n).id(&format!("i{n}"))).collect()
}

fn cause(failure: &NotStarted) -> String {
    failure.source().unwrap().to_string()
}

#[tokio::test]
async fn as_many_starts_are_under_way_as_were_allowed_and_never_more() {
    for (asked, at_once) in [(None, 20), (Some(3), 3), (Some(0), 1)] {
        let (now, most, full) = (AtomicUsize::new(0), AtomicUsize::new(0), Barrier::new(at_once));
        let seen = Arc::new((now, most, full));
        let told = Arc::clone(&seen);
        let (base, _serving) = webhook(move |uri| {
            let told = Arc::clone(&told);
            async move {
                let (now, most, full) = &*told;
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                // None is answered before as many are here.
                full.wait().await;
                now.fetch_sub(1, SeqCst);
                accepted(&uri)
            }
        })
        .await;
        let client = DurableClient::new(&base, "");
        let client = asked.map_or(client.clone(), |it| client.at_once(it));
        let outcomes = client.start_all(starts(3 * at_once)).await;
        let ids: Vec<String> = outcomes.into_iter().map(Result::unwrap).collect();
        assert_eq!(ids, (0..3 * at_once).map(|n| format!("i{n}")).collect::<Vec<_>>(), "in the order of the starts");
        assert_eq!(seen.1.load(SeqCst), at_once);
    }
}

#[tokio::test]
async fn one_start_of_many_that_fails_is_named_and_the_others_are_started() {
    let (base, _serving) = webhook(async |uri| match id_of(&uri).as_str() {
        "i1" => (StatusCode::SERVICE_UNAVAILABLE, "the hub rests").into_response(),
        "i2" => (StatusCode::ACCEPTED, "no JSON").into_response(),
        _ => accepted(&uri),
    })
    .await;
    let outcomes = DurableClient::new(&base, "").start_all(starts(5)).await;
    let (started, failed): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(started.into_iter().map(Result::unwrap).collect::<Vec<_>>(), ["i0", "i3", "i4"]);
    let failed: Vec<NotStarted> = failed.into_iter().map(Result::unwrap_err).collect();
    assert_eq!(failed[0].to_string(), "instance i1 was not started");
    assert_eq!(cause(&failed[0]), "the durable webhook answered 503 Service Unavailable: the hub rests");
    assert_eq!((failed[1].id.as_deref(), cause(&failed[1])), (Some("i2"), ClientError::NotJson.to_string()));
}

#[tokio::test]
async fn a_live_id_is_told_as_such_whatever_the_extensions_version() {
    let (base, _serving) = webhook(async |uri| match id_of(&uri).as_str() {
        "i0" => {
            let body = json!({ "Message": "An Orchestration instance with the status Running already exists." });
            (StatusCode::CONFLICT, Json(body)).into_response()
        }
        "i1" => {
            let body = json!({
                "Message": "Something went wrong while processing your request",
                "ExceptionMessage": "An Orchestration instance with the status Running already exists.",
                "ExceptionType": "DurableTask.Core.Exceptions.OrchestrationAlreadyExistsException",
            });
            (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    })
    .await;
    let outcomes = DurableClient::new(&base, "").start_all(starts(3)).await;
    let errors: Vec<ClientError> = outcomes.into_iter().map(|it| it.unwrap_err().error).collect();
    let is_live: Vec<bool> = errors.iter().map(|it| matches!(it, ClientError::Live)).collect();
    assert_eq!(is_live, [true, true, false], "{errors:?}");
    let codes = errors.into_iter().map(|it| custom_handler::wire::InvocationResult::from(HttpResponse::from(it)));
    let codes: Vec<Value> = codes.map(|it| it.outputs["res"]["statusCode"].clone()).collect();
    assert_eq!(codes, [409, 409, 502]);
}

#[tokio::test]
async fn the_key_is_in_no_error_and_in_no_debug_text() {
    // A page of something between the app and the webhook may quote the address.
    let quoting = async |uri: Uri| (StatusCode::FORBIDDEN, format!("no entry: {uri} (hush+hush)")).into_response();
    let (base, serving) = webhook(quoting).await;
    let key = "code=hush%2Bhush";
    let client = DurableClient::new(&base, key);
    let request = json!({ "Method": "GET", "Url": "/" });
    let value = json!({ "httpBaseUrl": base, "requiredQueryStringParameters": key }).to_string();
    let data = json!({ "req": request, "client": value }).as_object().unwrap().clone();
    let request = HttpRequest::new(Envelope { data, ..Default::default() }, "", "");
    let mut told = vec![format!("{client:?} {request:?} {:?}", request.durable_client("client").unwrap())];
    let refused = client.start_all(starts(1)).await.remove(0).unwrap_err();
    assert!(cause(&refused).contains("403") && cause(&refused).contains("code=<key>"), "{}", cause(&refused));
    drop(serving);
    let nowhere = [base.as_str(), "http://127.0.0.1:1", "http://no such host", "nowhere", "https://127.0.0.1:1"];
    for base in nowhere {
        let away = DurableClient::new(base, key).start_all(starts(1)).await.remove(0).unwrap_err();
        assert!(matches!(away.error, ClientError::Away(_) | ClientError::Refused { .. }), "{base}: {away:?}");
        told.push(format!("{away} {away:?} {}", cause(&away)));
    }
    told.push(format!("{refused:?}"));
    assert!(told.iter().all(|it| !it.contains("hush")), "{told:?}");
}

#[tokio::test]
async fn a_bindings_hub_and_connection_go_with_every_request() {
    let (base, _serving) =
        webhook(async |uri| (StatusCode::OK, Json(json!({ "id": uri.query() }))).into_response()).await;
    for (hub, connection, query) in [
        (json!("ReplayLab"), Value::Null, "taskHub=ReplayLab&code=k%3D"),
        (json!("a&b"), json!("Other"), "taskHub=a%26b&connection=Other&code=k%3D"),
        (Value::Null, json!(""), "code=k%3D"),
    ] {
        let value = json!({
            "taskHubName": hub, "connectionName": connection, "rpcBaseUrl": null,
            "requiredQueryStringParameters": "code=k%3D", "httpBaseUrl": base,
        });
        // As the host hands it over: a text in a text.
        let value = json!(json!(value.to_string()).to_string());
        let client = DurableClient::from_binding(Some(&value), None).unwrap();
        assert_eq!(client.start("Fulfil", Some("i"), &()).await.unwrap(), query);
    }
}

#[test]
fn the_request_is_found_wherever_the_clients_name_sorts() {
    let request = json!({ "Method": "POST", "Url": "http://localhost/api/a", "Body": "b" });
    for data in [json!({ "client": "\"{}\"", "req": request }), json!({ "req": request, "starter": "\"{}\"" })] {
        let data = data.as_object().unwrap().clone();
        let read = HttpRequest::new(Envelope { data, ..Default::default() }, "", "");
        assert_eq!((read.method(), read.body()), ("POST", "b"));
    }
}
