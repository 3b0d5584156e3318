//! A proxy in front of an account that withholds the app's roles, one data plane at a time, as Azure does before a role is assigned.
//!
//! - Blob, queue and table requests go on to Azurite and come back as they are, bodies included.
//! - A plane that is withheld answers 403 `AuthorizationPermissionMismatch`, in the shape of its service. Who asks does not matter: the
//!   proxy knows one caller, the app.
//! - Azurite has no file service. The proxy stands in for one that is empty: it answers 404 `ShareNotFound` to whatever it is asked, and
//!   checks no signature.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, Method, StatusCode,
        header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TRANSFER_ENCODING},
    },
    response::{IntoResponse, Response},
};
use custom_handler::{clock, serve_connections};
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;
use uuid::Uuid;

use incident_labs::blob::{NO_ROLE, Plane, StorageAccount, tls};

/// The planes whose role the app does not have. Clones are the same set.
#[derive(Clone, Debug, Default)]
pub struct Withheld(Arc<Mutex<BTreeSet<Plane>>>);

impl Withheld {
    /// Takes the role of a plane away.
    pub fn withhold(&self, plane: Plane) {
        self.set().insert(plane);
    }

    /// Gives it back; the next request is answered as ever.
    pub fn grant(&self, plane: Plane) {
        self.set().remove(&plane);
    }

    fn has(&self, plane: Plane) -> bool {
        self.set().contains(&plane)
    }

    fn set(&self) -> std::sync::MutexGuard<'_, BTreeSet<Plane>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The proxy in operation, on four ports of loopback.
#[derive(Debug)]
pub struct StorageProxy {
    account: StorageAccount,
    closing: CancellationToken,
    tasks: TaskTracker,
}

/// One service behind its port.
#[derive(Clone)]
struct Service {
    plane: Plane,
    /// `http://127.0.0.1:<port>`; `None` for the service that the proxy stands in for.
    target: Option<String>,
    withheld: Withheld,
    http: reqwest::Client,
}

impl StorageProxy {
    /// Starts it in front of an account.
    ///
    /// # Errors
    /// When no port or no HTTP client is to be had.
    pub async fn start(target: &StorageAccount, withheld: Withheld) -> io::Result<Self> {
        let http = tls::http_client().no_proxy().redirect(reqwest::redirect::Policy::none());
        let http = http.build().map_err(io::Error::other)?;
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut endpoints: BTreeMap<Plane, Url> = BTreeMap::new();
        for plane in Plane::ALL {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let url = format!("http://{}/{}", listener.local_addr()?, target.name);
            endpoints.insert(plane, url.parse().map_err(io::Error::other)?);
            let target = target.endpoint(plane).map(|it| it.origin().ascii_serialization());
            let service = Service { plane, target, withheld: withheld.clone(), http: http.clone() };
            let (router, closed) = (Router::new().fallback(answer).with_state(service), closing.clone());
            tasks.spawn(async move {
                let ended = serve_connections(listener, router, closed.cancelled_owned()).await;
                if let Err(error) = ended {
                    tracing::error!("the storage proxy ended: {error}");
                }
            });
        }
        Ok(Self { account: target.clone().at(|plane| endpoints[&plane].clone()), closing, tasks })
    }

    /// The account as reached through the proxy.
    pub fn account(&self) -> &StorageAccount {
        &self.account
    }

    /// Takes no more requests.
    pub async fn stop(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn answer(State(service): State<Service>, request: Request) -> Response {
    let is_head = request.method() == Method::HEAD;
    if service.withheld.has(service.plane) {
        let message = "This request is not authorized to perform this operation using this permission.";
        return refusal(service.plane, StatusCode::FORBIDDEN, NO_ROLE, message, is_head);
    }
    match &service.target {
        None => refusal(
            service.plane,
            StatusCode::NOT_FOUND,
            "ShareNotFound",
            "The specified share does not exist.",
            is_head,
        ),
        Some(target) => pass(&service.http, target, request).await.unwrap_or_else(|error| {
            let cause = error.without_url().to_string();
            (StatusCode::BAD_GATEWAY, format!("the storage behind the proxy does not answer: {cause}")).into_response()
        }),
    }
}

/// Passes a request on, and its answer back, piece by piece.
async fn pass(http: &reqwest::Client, target: &str, request: Request) -> reqwest::Result<Response> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |it| it.as_str());
    let has_body = [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|it| parts.headers.contains_key(it));
    let mut passed =
        http.request(parts.method, format!("{target}{path}")).headers(end_to_end(parts.headers, &[HOST, EXPECT]));
    if has_body {
        passed = passed.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    let answer = passed.send().await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = end_to_end(answer.headers().clone(), &[]);
    *response.body_mut() = Body::from_stream(answer.bytes_stream());
    Ok(response)
}

/// Headers without those of the connection, and without `others`.
fn end_to_end(mut headers: HeaderMap, others: &[axum::http::HeaderName]) -> HeaderMap {
    for name in [CONNECTION, TRANSFER_ENCODING].iter().chain(others) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers
}

/// An error as its service writes it: XML, or JSON with the table service ("Status and error codes" of the storage reference,
/// <https://learn.microsoft.com/rest/api/storageservices/status-and-error-codes2>).
fn refusal(plane: Plane, status: StatusCode, code: &str, message: &str, is_head: bool) -> Response {
    let id = Uuid::new_v4().to_string();
    let now = clock::utc_now().format(&Rfc3339).unwrap_or_default();
    let message = format!("{message}\nRequestId:{id}\nTime:{now}");
    let (kind, body) = if plane == Plane::Table {
        let body = json!({"odata.error": {"code": code, "message": {"lang": "en-US", "value": message}}});
        ("application/json;odata=minimalmetadata;streaming=true;charset=utf-8", body.to_string())
    } else {
        let head = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>";
        ("application/xml", format!("{head}<Error><Code>{code}</Code><Message>{message}</Message></Error>"))
    };
    let headers = [("x-ms-error-code", code), ("x-ms-request-id", &id), ("x-ms-version", "2022-11-02")];
    let body = if is_head { Body::empty() } else { Body::from(body) };
    let mut response = (status, headers, body).into_response();
    response.headers_mut().insert(CONTENT_TYPE, axum::http::HeaderValue::from_static(kind));
    response
}
