//! An ingestion endpoint that does what a test tells it, and keeps what it was sent.

use std::{
    io::Read,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use flate2::read::GzDecoder;
use futures::stream;
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::{handler::SOON, harness::eventually};

/// What it does with a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Does {
    Take,
    /// Takes it after a pause, as an endpoint far away does.
    TakeLate(Duration),
    Answer(u16, String),
    /// 503 with a `Retry-After` of so many seconds.
    Busy(u64),
    Redirect(u16, String),
    /// Takes all but the first item, which it refuses with this status.
    RefuseFirst(u16),
    /// Never answers.
    Hang,
    /// Answers without an end.
    Flood,
    /// Takes it only from who has this token; 401 to all others.
    Ask(&'static str),
}

#[derive(Debug)]
struct Shared {
    does: Mutex<Does>,
    envelopes: Mutex<Vec<Value>>,
    asked: AtomicUsize,
}

/// The endpoint, on a free port of this machine.
#[derive(Clone, Debug)]
pub(crate) struct Ingestion {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

pub(crate) const INSTRUMENTATION_KEY: &str = "5ec2e700-0000-4000-8000-00000000c0de";

impl Ingestion {
    pub(crate) async fn start(does: Does) -> Self {
        let shared =
            Arc::new(Shared { does: Mutex::new(does), envelopes: Mutex::default(), asked: AtomicUsize::new(0) });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&shared));
        TaskTracker::new().spawn(async { axum::serve(listener, router).await });
        Self { url, shared }
    }

    pub(crate) fn connection_string(&self) -> String {
        format!("InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={}/;", self.url)
    }

    pub(crate) fn now(&self, does: Does) {
        *self.shared.does.lock().unwrap() = does;
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Envelopes it has taken, in their order.
    pub(crate) fn envelopes(&self) -> Vec<Value> {
        self.shared.envelopes.lock().unwrap().clone()
    }

    /// Envelopes of that kind of data.
    pub(crate) fn of(&self, base_type: &str) -> Vec<Value> {
        self.envelopes().into_iter().filter(|it| it["data"]["baseType"] == base_type).collect()
    }

    /// Values of a gauge.
    pub(crate) fn gauge(&self, name: &str) -> Vec<f64> {
        let metrics = self.of("MetricData").into_iter().map(|it| it["data"]["baseData"]["metrics"][0].clone());
        metrics.filter(|it| it["name"] == name).map(|it| it["value"].as_f64().unwrap()).collect()
    }

    /// Waits until there are so many of that kind.
    pub(crate) async fn eventually(&self, base_type: &str, at_least: usize) -> Vec<Value> {
        eventually(SOON, async || Some(self.of(base_type)).filter(|it| it.len() >= at_least)).await
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    shared.asked.fetch_add(1, Ordering::Relaxed);
    assert_eq!(uri.path(), "/v2/track");
    let mut text = String::new();
    GzDecoder::new(&*body).read_to_string(&mut text).unwrap();
    let mut items: Vec<Value> = serde_json::from_str(&text).unwrap();
    let count = items.len();
    let does = shared.does.lock().unwrap().clone();
    let taken = |items: Vec<Value>| {
        shared.envelopes.lock().unwrap().extend(items);
        axum::Json(json!({ "itemsReceived": count, "itemsAccepted": count, "errors": [] })).into_response()
    };
    match does {
        Does::Take => taken(items),
        Does::TakeLate(pause) => {
            tokio::time::sleep(pause).await;
            taken(items)
        }
        Does::Answer(status, body) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Does::Busy(seconds) => {
            (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", seconds.to_string())]).into_response()
        }
        Does::Redirect(status, to) => (StatusCode::from_u16(status).unwrap(), [("location", to)]).into_response(),
        Does::RefuseFirst(status) => {
            items.remove(0);
            let errors = json!([{ "index": 0, "statusCode": status, "message": "refused" }]);
            let answer = json!({ "itemsReceived": count, "itemsAccepted": count - 1, "errors": errors });
            taken(items);
            (StatusCode::PARTIAL_CONTENT, axum::Json(answer)).into_response()
        }
        Does::Hang => std::future::pending().await,
        Does::Flood => {
            let piece = || async { Some((Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 1 << 16])), ())) };
            Body::from_stream(stream::unfold((), move |()| piece())).into_response()
        }
        Does::Ask(token) => {
            let has_it = headers.get("authorization").is_some_and(|it| it == &format!("Bearer {token}"));
            if has_it { taken(items) } else { StatusCode::UNAUTHORIZED.into_response() }
        }
    }
}
