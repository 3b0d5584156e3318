//! An app: its functions by name, and the router the host calls them through.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use durable::{Activity, ActivityError, Context, Error, types};
use futures_util::future::{BoxFuture, FutureExt};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{task::JoinError, time::Instant};
use tokio_util::task::TaskTracker;

use super::{
    activity::{self, Logged},
    blob::{self, BlobTrigger, Failure},
    body::{Bodies, LONGEST_BYTES},
    console,
    http::{self, HttpRequest, HttpResponse},
    orchestrator::{self, Episode},
    wire::InvocationResult,
};

/// One call by the host, not read yet.
#[derive(Debug)]
pub struct Call {
    pub headers: HeaderMap,
    pub body: Body,
    /// When its head arrived.
    pub received: Instant,
}

type Function = Arc<dyn Fn(&App, Call) -> BoxFuture<'static, Response> + Send + Sync>;
type Observer = Arc<dyn Fn(&Episode, &HeaderMap) + Send + Sync>;

/// A Functions app: functions under the names of their folders.
///
/// ```no_run
/// use custom_handler::{Activity, ActivityError, App, Context, Error, HttpRequest, HttpResponse};
///
/// const RESERVE: Activity<String, u32> = Activity::new("Reserve");
///
/// async fn hello(request: HttpRequest) -> HttpResponse {
///     HttpResponse::text(format!("hello {}", request.parameter("who").unwrap_or("world")))
/// }
///
/// async fn fulfil(ctx: Context, order: String) -> Result<u32, Error> {
///     ctx.call(RESERVE, &order).await
/// }
///
/// async fn reserve(order: String) -> Result<u32, ActivityError> {
///     u32::try_from(order.len()).map_err(Into::into)
/// }
///
/// #[tokio::main]
/// async fn main() -> std::process::ExitCode {
///     App::new().http("hello", hello).orchestrator("Fulfil", fulfil).activity(RESERVE, reserve).serve().await
/// }
/// ```
#[derive(Clone)]
pub struct App {
    functions: BTreeMap<String, Function>,
    /// Functions the code has and this app leaves out.
    left_out: Vec<String>,
    observer: Observer,
    /// Calls go on when their connection breaks: to the host that is no cancellation.
    calls: TaskTracker,
    requests: Bodies,
    inputs: Bodies,
    histories: Bodies,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("functions", &self.functions.keys()).finish_non_exhaustive()
    }
}

impl Default for App {
    fn default() -> Self {
        Self {
            functions: BTreeMap::new(),
            left_out: Vec::new(),
            observer: Arc::new(|episode, _| episode.print()),
            calls: TaskTracker::new(),
            requests: Bodies::default(),
            inputs: Bodies::default(),
            histories: Bodies::default(),
        }
    }
}

impl App {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function with an HTTP trigger. Its HTTP output binding is called `res`.
    ///
    /// # Panics
    /// If the name is taken, as all registrations.
    #[must_use]
    pub fn http<F, Fut, R>(self, name: &str, function: F) -> Self
    where
        F: Fn(HttpRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: Into<HttpResponse> + Send + 'static,
    {
        let function = Arc::new(function);
        self.add(name, move |app, name, call| {
            let (function, bodies, calls) = (Arc::clone(&function), app.requests.clone(), app.calls.clone());
            let invoke = async move |request| function(request).await.into();
            async move { http::respond(&name, call, (&bodies, &calls), invoke).await }
        })
    }

    /// Adds a function with a blob trigger. The trigger should have `"supportsDeferredBinding": true`: then the host sends metadata
    /// alone; what else it sends is passed over. The logs and the failure's lines end with the time the invocation took.
    #[must_use]
    pub fn blob<F, Fut, R, E>(self, name: &str, function: F) -> Self
    where
        F: Fn(BlobTrigger) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Into<InvocationResult> + Send + 'static,
        E: Into<Failure> + Send + 'static,
    {
        let (function, reported) = (Arc::new(function), Arc::new(blob::PayloadReported::default()));
        self.add(name, move |app, name, call| {
            let (function, reported, calls) = (Arc::clone(&function), Arc::clone(&reported), app.calls.clone());
            let invoke = async move |blob: BlobTrigger| function(blob).await.map(Into::into).map_err(Into::into);
            async move { blob::respond(&name, call, &calls, &reported, invoke).await }
        })
    }

    /// Adds an orchestrator. An episode is always answered with 200: any other status ends the instance without saying why.
    #[must_use]
    pub fn orchestrator<F, Fut, I, O>(self, name: &str, function: F) -> Self
    where
        F: Fn(Context, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Error>>,
        I: DeserializeOwned,
        O: Serialize,
    {
        let function = Arc::new(function);
        self.add(name, move |app, name, call| {
            let (function, observer) = (Arc::clone(&function), Arc::clone(&app.observer));
            let bodies = app.histories.clone();
            async move {
                let play = move |body: &[u8]| orchestrator::answer(body, |context, input| function(context, input));
                let episode = match bodies.read(call.body).await {
                    Ok((body, share)) => orchestrator::play(body, share, play).await,
                    Err(why) => orchestrator::refuse(Error::new(types::BAD_REQUEST, why.to_string())),
                };
                // The instance must not fail because of what is told about it.
                if catch_unwind(AssertUnwindSafe(|| observer(&episode, &call.headers))).is_err() {
                    console::err(&format!("{name}: the observer panicked"));
                }
                if let Some(why) = episode.failure() {
                    console::err(&format!("{name} failed: {why}"));
                }
                axum::Json(episode.answer).into_response()
            }
        })
    }

    /// Adds an activity under its handle's name. Its error reaches the orchestrator with type, message and flag. A function of other
    /// types than the handle's does not compile:
    ///
    /// ```compile_fail
    /// # use custom_handler::{Activity, ActivityError, App};
    /// const RESERVE: Activity<String, u32> = Activity::new("Reserve");
    /// async fn reserve(order: String) -> Result<String, ActivityError> {
    ///     Ok(order)
    /// }
    /// let app = App::new().activity(RESERVE, reserve);
    /// ```
    #[must_use]
    pub fn activity<I, O, F, Fut, R, E>(self, handle: Activity<I, O>, function: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        F: Fn(I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Into<Logged<O>> + Send + 'static,
        E: Into<ActivityError> + Send + 'static,
    {
        let function = Arc::new(function);
        self.add(handle.name(), move |app, name, call| {
            let (function, bodies, calls) = (Arc::clone(&function), app.inputs.clone(), app.calls.clone());
            let invoke = async move |input: I| -> Result<Logged<O>, ActivityError> {
                function(input).await.map(Into::into).map_err(Into::into)
            };
            async move { activity::respond(&name, call, (&bodies, &calls), invoke).await }
        })
    }

    /// Says what becomes of the lines that orchestrators log. Without an observer they are printed.
    #[must_use]
    pub fn observe(mut self, observer: impl Fn(&Episode, &HeaderMap) + Send + Sync + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Names a function of the code that this app leaves out, so that a call of it can be told from a typing error.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.left_out.push(name.to_owned());
        self
    }

    /// The names of all functions.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }

    fn add<Fut>(mut self, name: &str, function: impl Fn(&Self, Arc<str>, Call) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Response> + Send + 'static,
    {
        let shown = Arc::<str>::from(name);
        let function: Function = Arc::new(move |app, call| function(app, Arc::clone(&shown), call).boxed());
        let before = self.functions.insert(name.to_owned(), function);
        assert!(before.is_none(), "two functions are called {name}");
        self
    }

    /// Leaves out what has no folder in the script root, and tells how code and folders differ. Neither keeps the app from starting.
    ///
    /// # Errors
    /// When the script root cannot be read.
    pub(super) fn fit(mut self, script_root: &Path) -> std::io::Result<Self> {
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(script_root)? {
            let folder = entry?.path();
            if folder.join("function.json").is_file() {
                folders.extend(folder.file_name().and_then(|it| it.to_str()).map(str::to_owned));
            }
        }
        let has_folder = |name: &str| folders.iter().any(|it| it == name);
        let known = |name: &String| self.functions.contains_key(name) || self.left_out.contains(name);
        for folder in folders.iter().filter(|it| !known(it)) {
            let names: Vec<&str> = self.functions().collect();
            console::err(&format!(
                "folder {folder} has a function.json and no function: this handler has {}",
                names.join(", ")
            ));
        }
        let absent: Vec<String> = self.functions.keys().filter(|it| !has_folder(it)).cloned().collect();
        for name in absent {
            console::out(&format!("function {name} is not in this app: the script root has no such folder"));
            self.functions.remove(&name);
            self.left_out.push(name);
        }
        Ok(self)
    }

    /// Calls a function as the host does, for tests: status and body of the answer.
    pub async fn invoke(&self, function: &str, body: impl Into<Body>) -> (StatusCode, String) {
        let response = self.call(function, HeaderMap::new(), body.into()).await;
        let (head, body) = response.into_parts();
        let body = to_bytes(body, LONGEST_BYTES).await.unwrap_or_default();
        (head.status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn call(&self, name: &str, headers: HeaderMap, body: Body) -> Response {
        if let Some(function) = self.functions.get(name) {
            return function(self, Call { headers, body, received: Instant::now() }).await;
        }
        if self.left_out.iter().any(|it| it == name) {
            return not_found(&format!("{name} is not in this app: the script root has no such folder"));
        }
        let names: Vec<&str> = self.functions().collect();
        not_found(&format!("no function at POST /{name}: this handler serves {}", names.join(", ")))
    }

    /// The routes: `GET /` for the host's probe, `POST /<function>` for each function.
    pub fn router(self) -> Router {
        Router::new().route("/", get(async || "handler is listening\n")).fallback(dispatch).with_state(Arc::new(self))
    }
}

async fn dispatch(State(app): State<Arc<App>>, method: Method, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    if method == Method::POST {
        return app.call(uri.path().trim_start_matches('/'), headers, body).await;
    }
    not_found(&format!("no function at {method} {}: the host calls functions with POST", uri.path()))
}

/// A function that is not here is an error of the deployment: the host is told, and so is the reader of its log.
fn not_found(line: &str) -> Response {
    console::err(line);
    (StatusCode::NOT_FOUND, line.to_owned()).into_response()
}

/// What a function said when it panicked.
pub(super) fn panic_text(error: JoinError) -> String {
    let panic = match error.try_into_panic() {
        Ok(panic) => panic,
        Err(error) => return error.to_string(),
    };
    let text = panic.downcast_ref::<&str>().map(|it| (*it).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}
