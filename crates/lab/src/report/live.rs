//! The page while the run is under way: served on the loopback interface alone, computed at most every two seconds however many look.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{
    net::TcpListener,
    sync::Mutex,
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};
use tokio_util::task::TaskTracker;

use super::{
    ReportError,
    page::{self, Content},
};

const PACE: Duration = Duration::from_secs(2);

/// A page that is being served. Dropped, it goes on until the program ends.
#[derive(Debug)]
pub struct LivePage {
    address: SocketAddr,
    server: JoinHandle<()>,
}

/// The run, and what was last read of it.
#[derive(Debug)]
struct Watched {
    folder: PathBuf,
    lab: String,
    /// When it was read, the page, and its data.
    last: Mutex<Option<(Instant, Arc<Answer>)>>,
}

#[derive(Debug)]
struct Answer {
    page: String,
    data: String,
}

impl LivePage {
    /// Serves the page of a run that writes into this folder, `evidence/<lab>/<time>`, on a free port.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(folder: PathBuf) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let lab = folder.parent().and_then(|it| it.file_name()).unwrap_or_default().to_string_lossy().into_owned();
        let watched = Arc::new(Watched { folder, lab, last: Mutex::new(None) });
        let app = Router::new()
            .route("/", get(document))
            .route("/data.json", get(data))
            .layer(middleware::from_fn(loopback_alone))
            .with_state(watched);
        let server = TaskTracker::new().spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::warn!("the live page ended: {error}");
            }
        });
        Ok(Self { address, server })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Ends it.
    pub fn stop(self) {
        self.server.abort();
    }
}

/// Refuses requests by another name: a page from elsewhere could have its name resolve to this machine.
async fn loopback_alone(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or_default();
    if is_loopback(host) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "this page answers to 127.0.0.1 and localhost alone\n").into_response()
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost") || matches!(name, "127.0.0.1" | "[::1]")
}

async fn document(State(watched): State<Arc<Watched>>) -> Response {
    match watched.answer().await {
        Ok(answer) => (no_store("text/html; charset=utf-8"), answer.page.clone()).into_response(),
        Err(error) => failed(&error),
    }
}

async fn data(State(watched): State<Arc<Watched>>) -> Response {
    match watched.answer().await {
        Ok(answer) => (no_store("application/json"), answer.data.clone()).into_response(),
        Err(error) => failed(&error),
    }
}

fn no_store(kind: &'static str) -> HeaderMap {
    let value = header::HeaderValue::from_static;
    HeaderMap::from_iter([(header::CONTENT_TYPE, value(kind)), (header::CACHE_CONTROL, value("no-store"))])
}

fn failed(error: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
}

impl Watched {
    /// What was last read; read again where that is older than the pace. Those who ask meanwhile wait for it.
    async fn answer(self: &Arc<Self>) -> Result<Arc<Answer>, String> {
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < PACE
        {
            return Ok(answer.clone());
        }
        let own = self.clone();
        let read = spawn_blocking(move || own.read()).await;
        let answer = Arc::new(read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?);
        *last = Some((Instant::now(), answer.clone()));
        Ok(answer)
    }

    fn read(&self) -> Result<Answer, ReportError> {
        // Before its verdict a run is under way; a verdict that is being written is none yet.
        let content = match Content::read(&self.folder) {
            Ok(content) => content,
            Err(_) => Content::under_way(&self.folder, &self.lab)?,
        };
        Ok(Answer { page: page::live(&content), data: content.data().to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_names_of_this_machine_are_served() {
        for host in ["127.0.0.1", "127.0.0.1:80", "localhost:8080", "LOCALHOST", "[::1]:1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "example.com:80",
            "127.0.0.1.example.com",
            "localhost.example.com:1",
            "127.0.0.1:x",
            "[::1]x",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
