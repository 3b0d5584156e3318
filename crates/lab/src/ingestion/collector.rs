//! The endpoint that exporters of Application Insights send to: `POST /v2/track` and `/v2.1/track` on loopback.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    body::{BodyError, LONGEST_BYTES, Unpacked, unpack},
    counts::Counts,
    envelope::{Envelope, Refusal},
    history::ClockHistory,
    items::each_item,
    rows::rows_of,
    sink::Sink,
};
use crate::evidence::moment::{MONOTONIC, Moment};
use custom_handler::serve_connections;

/// No exporter needs a real one: nothing is billed here.
const INSTRUMENTATION_KEY: &str = "00000000-0000-0000-0000-000000000000";
/// Bodies read at once. Others wait in their connections.
const BODIES: usize = 4;
/// How long a body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);
/// How long calls under way have when the collector stops.
const GRACE: Duration = Duration::from_secs(5);
/// Pause between two readings of the clocks.
const READINGS: Duration = Duration::from_millis(100);
/// Age from which Application Insights refuses an envelope.
const LATE: time::Duration = time::Duration::hours(48);
/// Refused items that an answer lists. More are counted.
const LISTED: usize = 10_000;

/// The port is not to be had.
#[derive(Debug, thiserror::Error)]
#[error("listen for telemetry on 127.0.0.1:{port}: choose another port; 0 is any that is free")]
pub struct ListenError {
    port: u16,
    source: std::io::Error,
}

/// An endpoint in operation.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    sink: Sink,
    counts: Mutex<Counts>,
    clocks: Mutex<ClockHistory>,
    bodies: Semaphore,
    tasks: TaskTracker,
}

impl Collector {
    /// Listens on a port of loopback; 0 is any that is free.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(port: u16, sink: Sink) -> Result<Self, ListenError> {
        let taken = |source| ListenError { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared {
            sink,
            counts: Mutex::default(),
            clocks: Mutex::new(ClockHistory::new(Moment::now())),
            bodies: Semaphore::new(BODIES),
            tasks: tasks.clone(),
        });
        let (watched, until) = (shared.clone(), closing.clone());
        tasks.spawn(async move { until.run_until_cancelled(watched.watch_clocks()).await });
        let (router, closed) = (router(shared.clone()), closing.clone());
        tasks.spawn(async move {
            if let Err(error) = serve_connections(listener, router, closed.cancelled()).await {
                tracing::error!("the telemetry endpoint ended: {error}");
            }
        });
        Ok(Self { address, shared, closing, tasks })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What `APPLICATIONINSIGHTS_CONNECTION_STRING` must be for an app to send its telemetry here.
    pub fn connection_string(&self) -> String {
        format!("InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={}/", self.url())
    }

    /// What has arrived so far.
    pub fn counts(&self) -> Counts {
        self.shared.counts().clone()
    }

    /// Takes no more connections, finishes the calls under way and says what has arrived.
    pub async fn stop(&self) -> Counts {
        self.closing.cancel();
        self.tasks.close();
        let _ = timeout(GRACE, self.tasks.wait()).await;
        self.counts()
    }
}

/// Profiles and live metrics, which SDKs ask for as well, are not here: 404.
fn router(shared: Arc<Shared>) -> Router {
    let paths = Router::new().route("/v2/track", post(track)).route("/v2.1/track", post(track));
    paths.layer(DefaultBodyLimit::max(LONGEST_BYTES)).with_state(shared)
}

async fn track(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let Ok(_turn) = shared.bodies.acquire().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let header = request.headers().get(header::CONTENT_ENCODING);
    let encoding = header.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned()).unwrap_or_default();
    let too_long = BodyError::TooLong.to_string();
    if declared_bytes(&request).is_some_and(|it| it > LONGEST_BYTES) {
        return shared.refuse(StatusCode::PAYLOAD_TOO_LARGE, too_long);
    }
    let body = match timeout(ARRIVAL, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return shared.refuse(StatusCode::PAYLOAD_TOO_LARGE, too_long);
        }
        Ok(Err(rejection)) => return shared.refuse(StatusCode::BAD_REQUEST, rejection.body_text()),
        Err(_) => return shared.refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".to_owned()),
    };
    let worker = shared.clone();
    let taken = shared.tasks.spawn_blocking(move || worker.take(&encoding, body)).await;
    taken.unwrap_or_else(|error| {
        shared.refuse(StatusCode::INTERNAL_SERVER_ERROR, format!("its items panicked: {error}"))
    })
}

fn declared_bytes(request: &Request) -> Option<usize> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What became of the items of one body.
#[derive(Default)]
struct Tally {
    received: usize,
    accepted: usize,
    errors: Vec<Value>,
    asks_for_another_try: bool,
}

impl Tally {
    fn refuse(&mut self, refusal: &Refusal) {
        self.asks_for_another_try |= refusal.status() == 503;
        if self.errors.len() < LISTED {
            let index = self.received;
            self.errors.push(json!({"index": index, "statusCode": refusal.status(), "message": refusal.to_string()}));
        }
    }

    fn status(&self) -> StatusCode {
        match self.accepted {
            accepted if accepted == self.received => StatusCode::OK,
            0 if self.asks_for_another_try => StatusCode::SERVICE_UNAVAILABLE,
            0 => StatusCode::BAD_REQUEST,
            _ => StatusCode::PARTIAL_CONTENT,
        }
    }

    fn answer(self) -> Response {
        let status = self.status();
        let Self { received, accepted, errors, .. } = self;
        let answer = json!({"itemsReceived": received, "itemsAccepted": accepted, "errors": errors, "appId": null});
        (status, Json(answer)).into_response()
    }
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clocks(&self) -> MutexGuard<'_, ClockHistory> {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a body that is not read, and counts it as one item.
    fn refuse(&self, status: StatusCode, why: String) -> Response {
        let errors = [json!({"index": 0, "statusCode": status.as_u16(), "message": why})];
        self.counts().refuse("a body", &Refusal::Body(why));
        (status, Json(json!({"itemsReceived": 0, "itemsAccepted": 0, "errors": errors}))).into_response()
    }

    async fn watch_clocks(&self) {
        let mut turns = interval(READINGS);
        loop {
            turns.tick().await;
            self.read_clocks();
        }
    }

    fn read_clocks(&self) -> Moment {
        // Read under the lock: readings are added in the order they are made.
        let mut clocks = self.clocks();
        let now = Moment::now();
        clocks.note(now);
        now
    }

    fn take(&self, encoding: &str, body: Bytes) -> Response {
        let now = self.read_clocks();
        let Unpacked { text, cut } = match unpack(encoding, body) {
            Ok(unpacked) => unpacked,
            Err(error) => {
                let status = match error {
                    BodyError::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
                    BodyError::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                };
                return self.refuse(status, error.to_string());
            }
        };
        let mut tally = Tally::default();
        let mut is_last_cut = false;
        each_item(&text, |item| {
            is_last_cut = item.is_err();
            self.take_item(item, now, &mut tally);
        });
        if let Some(cut) = cut.filter(|_| !is_last_cut) {
            self.take_item(Err(Refusal::Cut(cut)), now, &mut tally);
        }
        tally.answer()
    }

    fn take_item(&self, item: Result<Value, Refusal>, now: Moment, tally: &mut Tally) {
        match item.and_then(|it| self.store(it, now)) {
            Ok((kind, tables, is_late)) => {
                let mut counts = self.counts();
                counts.accept(Some(&kind));
                counts.late += u64::from(is_late);
                tables.iter().for_each(|it| counts.row(it));
                tally.accepted += 1;
            }
            Err(refusal) => {
                self.counts().refuse(&format!("item {}", tally.received), &refusal);
                tally.refuse(&refusal);
            }
        }
        tally.received += 1;
    }

    /// Keeps an envelope and its rows; gives its kind, the tables, and whether it comes late.
    fn store(&self, item: Value, now: Moment) -> Result<(String, Vec<&'static str>, bool), Refusal> {
        if item.is_object() {
            self.sink.keep(&item)?;
        }
        let envelope = Envelope::read(item)?;
        let rows = rows_of(&envelope)?;
        let moment = Moment { at: envelope.time.at, monotonic: self.clocks().moment_of(envelope.time.at) };
        let tables = rows.iter().map(|it| it.table.name()).collect();
        for mut row in rows {
            row.columns.insert(MONOTONIC.to_owned(), json!(moment.monotonic_ms()));
            self.sink.append(row);
        }
        Ok((envelope.item.kind, tables, now.at - envelope.time.at > LATE))
    }
}
