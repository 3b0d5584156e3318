//! Faults between a client and real storage: a proxy that passes everything on until it is told not to. It has the limit for names
//! that the service has and the emulator has not.

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
    http::{Method, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use incident_labs::blob::{LONGEST_NAME, StorageAccount};
use lab::machine::storage::Storage;
use percent_encoding::percent_decode_str;
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
    /// Requests of this method and path, `container/blob`, are answered so.
    Refuse {
        method: &'static str,
        path: &'static str,
        status: u16,
        code: &'static str,
    },
    /// Ranges are answered with something else.
    Lie(Lie),
}

/// Answers to a request for a range that are not that range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// 200 and the whole blob.
    IgnoresRange,
    /// 206, no Content-Range, the whole blob.
    IgnoresRangeAsPartial,
    /// The range one byte further, and says so.
    OtherRange,
    /// Ten bytes less, and says so in Content-Range.
    EndsEarly,
    /// Ten bytes less than Content-Range says.
    ShorterBody,
    /// Ten bytes more than Content-Range says.
    LongerBody,
    /// The same without a Content-Length.
    LongerBodyInPieces,
    /// The ETag of another version.
    OtherVersion,
    NoVersion,
    /// Another length of the whole blob.
    OtherTotal,
    NoContentRange,
    /// A Content-Range that no number holds.
    Nonsense,
}

impl Lie {
    pub(crate) const ALL: [Self; 12] = [
        Self::IgnoresRange,
        Self::IgnoresRangeAsPartial,
        Self::OtherRange,
        Self::EndsEarly,
        Self::ShorterBody,
        Self::LongerBody,
        Self::LongerBodyInPieces,
        Self::OtherVersion,
        Self::NoVersion,
        Self::OtherTotal,
        Self::NoContentRange,
        Self::Nonsense,
    ];

    fn answer(self, start: usize, end: usize, blob: &Bytes, etag: &str) -> Response {
        let total = blob.len();
        let range = format!("bytes {start}-{}/{total}", end - 1);
        let (body, range) = match self {
            Self::IgnoresRange | Self::IgnoresRangeAsPartial => (blob.clone(), None),
            Self::OtherRange => (blob.slice(start + 1..end + 1), Some(format!("bytes {}-{end}/{total}", start + 1))),
            Self::EndsEarly => (blob.slice(start..end - 10), Some(format!("bytes {start}-{}/{total}", end - 11))),
            Self::ShorterBody => (blob.slice(start..end - 10), Some(range)),
            Self::LongerBody | Self::LongerBodyInPieces => {
                (Bytes::from([&blob[start..end], &[0; 10]].concat()), Some(range))
            }
            Self::OtherTotal => (blob.slice(start..end), Some(format!("bytes {start}-{}/{}", end - 1, total + 1))),
            Self::NoContentRange => (blob.slice(start..end), None),
            Self::Nonsense => (blob.slice(start..end), Some("bytes 0-18446744073709551615/*".to_owned())),
            Self::OtherVersion | Self::NoVersion => (blob.slice(start..end), Some(range)),
        };
        let status = if self == Self::IgnoresRange { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
        let mut answer = Response::builder().status(status);
        if let Some(range) = range {
            answer = answer.header(header::CONTENT_RANGE, range);
        }
        answer = match self {
            Self::NoVersion => answer,
            Self::OtherVersion => answer.header(header::ETAG, "\"0x8000000000000001\""),
            _ => answer.header(header::ETAG, etag),
        };
        let pieces: Vec<_> = body.chunks(600).map(|it| Ok::<_, std::io::Error>(Bytes::copy_from_slice(it))).collect();
        let body =
            if self == Self::LongerBodyInPieces { Body::from_stream(stream::iter(pieces)) } else { Body::from(body) };
        answer.body(body).unwrap()
    }
}

type Hook = Box<dyn FnOnce() -> futures::future::BoxFuture<'static, ()> + Send>;
type Repeated = Arc<dyn Fn() -> futures::future::BoxFuture<'static, ()> + Send + Sync>;

/// The proxy; it ends with the runtime of its test.
#[derive(Clone)]
pub(crate) struct FaultProxy {
    account: StorageAccount,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    storage: Storage,
    fault: Mutex<Fault>,
    stalled: AtomicUsize,
    gets: AtomicUsize,
    /// Run before the second GET is passed on.
    before_second_get: Mutex<Option<Hook>>,
    before_each_get: Mutex<Option<Repeated>>,
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
            before_each_get: Mutex::new(None),
            storage: Storage::open(target).unwrap(),
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

    /// Refuses the requests of a method for `container/blob`; a container alone ends in a slash.
    pub(crate) fn refuse(&self, method: &'static str, path: &'static str, status: u16, code: &'static str) {
        self.set(Fault::Refuse { method, path, status, code });
    }

    pub(crate) fn lie(&self, lie: Lie) {
        self.set(Fault::Lie(lie));
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

    /// Does something before every GET.
    pub(crate) fn before_each_get<F: Future<Output = ()> + Send + 'static>(
        &self,
        hook: impl Fn() -> F + Send + Sync + 'static,
    ) {
        *self.shared.before_each_get.lock().unwrap() = Some(Arc::new(move || Box::pin(hook())));
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

    async fn before_get(&self) {
        if self.gets.fetch_add(1, Ordering::SeqCst) == 1 {
            let hook = self.before_second_get.lock().unwrap().take();
            if let Some(hook) = hook {
                hook().await;
            }
        }
        let repeated = self.before_each_get.lock().unwrap().clone();
        if let Some(repeated) = repeated {
            repeated().await;
        }
    }
}

/// Container and blob of a request; empty where it has none.
fn parts_of(uri: &Uri) -> (String, String) {
    let path = percent_decode_str(uri.path()).decode_utf8().unwrap();
    let mut parts = path.splitn(4, '/').skip(2).map(str::to_owned);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

fn refusal(status: u16, code: &'static str) -> Response {
    (StatusCode::from_u16(status).unwrap(), [("x-ms-error-code", code)]).into_response()
}

/// The true bytes in an untrue answer.
async fn lied(shared: &Shared, request: Parts, lie: Lie) -> Response {
    let (container, name) = parts_of(&request.uri);
    let blob = shared.storage.read(&container, &name).await.unwrap().unwrap();
    let etag = request.headers[header::IF_MATCH].to_str().unwrap();
    let range = request.headers[header::RANGE].to_str().unwrap().strip_prefix("bytes=").unwrap();
    let (first, last) = range.split_once('-').unwrap();
    lie.answer(first.parse().unwrap(), last.parse::<usize>().unwrap() + 1, &blob, etag)
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    // The handler deletes nothing but what is not there, to try its rights: no fault is spent on that.
    let fault = if request.method() == Method::DELETE { Fault::None } else { shared.fault() };
    let (container, name) = parts_of(request.uri());
    if name.encode_utf16().count() > LONGEST_NAME {
        return refusal(400, "OutOfRangeInput");
    }
    match fault {
        Fault::Busy(_) => return refusal(503, "ServerBusy"),
        Fault::Refuse { method, path, status, code }
            if request.method() == method && format!("{container}/{name}") == path =>
        {
            return refusal(status, code);
        }
        _ => {}
    }
    let is_get = request.method() == Method::GET;
    if is_get {
        shared.before_get().await;
    }
    let (parts, body) = request.into_parts();
    if let (Fault::Lie(lie), true) = (fault, is_get) {
        return lied(&shared, parts, lie).await;
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
