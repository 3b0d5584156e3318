//! Faults between a client and real storage: a proxy that passes everything on until it is told not to.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use incident_labs::blob::StorageAccount;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// What happens to the body of a GET, or to any request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The connection is closed after this many bytes of each body.
    CutAfter(usize),
    /// Bodies stop after their head and never end.
    Stall,
    /// The next so many requests are answered 503.
    Busy(usize),
}

type Hook = Box<dyn FnOnce() -> futures::future::BoxFuture<'static, ()> + Send>;

/// The proxy; it ends with the runtime of its test.
#[derive(Clone)]
pub(crate) struct FaultProxy {
    account: StorageAccount,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    fault: Mutex<Fault>,
    stalled: AtomicUsize,
    gets: AtomicUsize,
    /// Run before the second GET is passed on.
    before_second_get: Mutex<Option<Hook>>,
    http: reqwest::Client,
}

impl FaultProxy {
    /// A proxy in front of the account's blob service.
    pub(crate) async fn start(target: &StorageAccount) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let queue_port = target.queue_endpoint.port().unwrap();
        let account = StorageAccount::emulator(listener.local_addr().unwrap().port(), queue_port).unwrap();
        let shared = Arc::new(Shared {
            target: target.blob_endpoint.origin().ascii_serialization(),
            fault: Mutex::new(Fault::None),
            stalled: AtomicUsize::new(0),
            gets: AtomicUsize::new(0),
            before_second_get: Mutex::new(None),
            http: crate::handler::http_client(),
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        TaskTracker::new().spawn(async { axum::serve(listener, router).await });
        Self { account, shared }
    }

    /// The account as reached through the proxy.
    pub(crate) fn account(&self) -> &StorageAccount {
        &self.account
    }

    pub(crate) fn cut_bodies_after(&self, bytes: usize) {
        self.set(Fault::CutAfter(bytes));
    }

    pub(crate) fn stall_bodies(&self) {
        self.set(Fault::Stall);
    }

    pub(crate) fn answer_503(&self, times: usize) {
        self.set(Fault::Busy(times));
    }

    pub(crate) fn heal(&self) {
        self.set(Fault::None);
    }

    /// Bodies that were stalled.
    pub(crate) fn stalled(&self) -> usize {
        self.shared.stalled.load(Ordering::SeqCst)
    }

    /// GETs that were passed on.
    pub(crate) fn gets(&self) -> usize {
        self.shared.gets.load(Ordering::SeqCst)
    }

    /// Does something after the first GET and before the second.
    pub(crate) fn before_second_get<F: Future<Output = ()> + Send + 'static>(
        &self,
        hook: impl FnOnce() -> F + Send + 'static,
    ) {
        *self.shared.before_second_get.lock().unwrap() = Some(Box::new(|| Box::pin(hook())));
    }

    fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }
}

impl Shared {
    fn fault(&self) -> Fault {
        let mut fault = self.fault.lock().unwrap();
        let now = *fault;
        if let Fault::Busy(times) = now {
            *fault = if times > 1 { Fault::Busy(times - 1) } else { Fault::None };
        }
        now
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let fault = shared.fault();
    if matches!(fault, Fault::Busy(_)) {
        return (StatusCode::SERVICE_UNAVAILABLE, [("x-ms-error-code", "ServerBusy")]).into_response();
    }
    let (parts, body) = request.into_parts();
    let is_get = parts.method == Method::GET;
    if is_get && shared.gets.fetch_add(1, Ordering::SeqCst) == 1 {
        let hook = shared.before_second_get.lock().unwrap().take();
        if let Some(hook) = hook {
            hook().await;
        }
    }
    let url = format!("{}{}", shared.target, parts.uri.path_and_query().unwrap());
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let passed = shared.http.request(parts.method, url).headers(parts.headers).body(body).send().await.unwrap();
    let mut response = Response::builder().status(passed.status());
    *response.headers_mut().unwrap() = passed.headers().clone();
    let body = match fault {
        Fault::CutAfter(bytes) if is_get => Body::from_stream(cut(passed, bytes)),
        Fault::Stall if is_get => {
            shared.stalled.fetch_add(1, Ordering::SeqCst);
            Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>())
        }
        _ => Body::from_stream(passed.bytes_stream()),
    };
    response.body(body).unwrap()
}

/// The first `limit` bytes, then an error, which makes the server drop the connection.
fn cut(response: reqwest::Response, limit: usize) -> impl stream::Stream<Item = std::io::Result<Vec<u8>>> {
    let mut left = limit;
    let bytes = response.bytes_stream().map(move |piece| {
        let piece = piece.map_err(std::io::Error::other)?;
        let piece = &piece[..piece.len().min(left)];
        left -= piece.len();
        Ok(piece.to_vec())
    });
    let mut sent = 0;
    bytes.flat_map(move |piece| {
        sent += piece.as_ref().map_or(0, Vec::len);
        let end = (sent >= limit).then(|| Err(std::io::Error::other("cut")));
        // What was written before the cut should be read before it is noticed.
        stream::iter([Some(piece), end].into_iter().flatten()).then(|item| async {
            if item.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            item
        })
    })
}
