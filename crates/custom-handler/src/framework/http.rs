//! An HTTP trigger's call: `Data.req` in, `Outputs.res` and starts of orchestrations out.

use std::{fmt, future::Future};

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use tokio_util::task::TaskTracker;

use super::{
    app::{Call, panic_text},
    body::Bodies,
    client::{ClientError, DurableClient},
    console,
    invocation::operation_id,
    start::Start,
    wire::{Envelope, InvocationResult, header},
};

/// Name of the HTTP output binding.
const RESPONSE: &str = "res";

/// A request to a function with an HTTP trigger.
#[derive(Clone)]
pub struct HttpRequest {
    /// The host's id of the invocation.
    pub invocation_id: String,
    /// Trace id of the host's request row; empty when the host sends none.
    pub operation_id: String,
    /// The trigger's value.
    request: Value,
    envelope: Envelope,
}

/// Without URL, headers and bindings: keys are in them.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("HttpRequest");
        shown.field("invocation_id", &self.invocation_id).field("method", &self.method()).finish_non_exhaustive()
    }
}

impl HttpRequest {
    /// Reads the envelope. The trigger's binding is the one that is a request, wherever its name sorts; else the first of the data.
    pub fn new(envelope: Envelope, invocation_id: &str, operation_id: &str) -> Self {
        let data = &envelope.data;
        let request = data.values().find(|it| it["Method"].is_string()).or_else(|| data.values().next());
        let request = request.cloned().unwrap_or_default();
        Self { invocation_id: invocation_id.to_owned(), operation_id: operation_id.to_owned(), request, envelope }
    }

    pub fn method(&self) -> &str {
        self.request["Method"].as_str().unwrap_or_default()
    }

    /// The whole URL, as the caller asked for it.
    pub fn url(&self) -> &str {
        self.request["Url"].as_str().unwrap_or_default()
    }

    /// A parameter of the route.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.request["Params"][name].as_str()
    }

    /// A query parameter, decoded. The host joins repeated ones with commas.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.request["Query"][name].as_str()
    }

    /// The first value of a header, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.request["Headers"].as_object()?;
        let (_, values) = headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name))?;
        values.get(0).unwrap_or(values).as_str()
    }

    /// The body's text; empty when there was none. Of a binary body the host makes base64.
    pub fn body(&self) -> &str {
        self.request["Body"].as_str().unwrap_or_default()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// An answer that says what is wrong: 400.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HttpResponse> {
        serde_json::from_str(self.body())
            .map_err(|error| HttpResponse::refusal(400, &format!("the body is not what is expected: {error}")))
    }

    /// The value of another binding.
    pub fn binding(&self, name: &str) -> Option<&Value> {
        self.envelope.data.get(name)
    }

    /// The client of a `durableClient` input binding.
    ///
    /// # Errors
    /// When there is no such binding, or the extension gave it no value.
    pub fn durable_client(&self, binding: &str) -> Result<DurableClient, ClientError> {
        DurableClient::from_binding(self.binding(binding), None)
    }
}

/// An answer to the caller, with the orchestrations it starts.
#[derive(Clone, Debug)]
pub struct HttpResponse(Box<Parts>);

/// Boxed, so that a `Result` with a refusal in it stays small.
#[derive(Clone, Debug)]
struct Parts {
    status: u16,
    headers: Map<String, Value>,
    body: String,
    outputs: Map<String, Value>,
    lines: Vec<String>,
}

impl HttpResponse {
    pub fn new(status: u16) -> Self {
        let parts = Parts { status, headers: Map::new(), body: String::new(), outputs: Map::new(), lines: Vec::new() };
        Self(Box::new(parts))
    }

    /// 200 with a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(200).header("Content-Type", "text/plain; charset=utf-8").body(text)
    }

    /// A JSON body. It is handed over as text: the host would spread an object over many lines.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        match serde_json::to_string(body) {
            Ok(body) => Self::new(status).header("Content-Type", "application/json").body(body),
            Err(error) => Self::refusal(500, &format!("the answer cannot be written as JSON: {error}")),
        }
    }

    /// `{"error": why}`.
    pub fn refusal(status: u16, why: &str) -> Self {
        Self::json(status, &json!({ "error": why }))
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.0.body = body.into();
        self
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.0.headers.insert(name.to_owned(), value.into());
        self
    }

    /// Sets any other output binding.
    #[must_use]
    pub fn output(mut self, binding: &str, value: Value) -> Self {
        self.0.outputs.insert(binding.to_owned(), value);
        self
    }

    /// Starts orchestrations through a `durableClient` output binding: neither key nor address is needed. The host starts one after
    /// the other and answers the caller when all are; where one cannot be started, the caller gets an empty 500, which tells of none.
    /// [`DurableClient::start_all`] starts them side by side, and tells of each.
    #[must_use]
    pub fn start(self, binding: &str, starts: impl IntoIterator<Item = Start>) -> Self {
        self.output(binding, starts.into_iter().map(Start::into_output).collect())
    }

    /// Adds a line for the log, at Information.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.0.lines.push(line.into());
        self
    }
}

impl From<&str> for HttpResponse {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for HttpResponse {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

/// So that `?` may end a function with [`HttpRequest::json`]'s answer.
impl<T: Into<Self>> From<Result<T, Self>> for HttpResponse {
    fn from(result: Result<T, Self>) -> Self {
        result.map_or_else(|refusal| refusal, Into::into)
    }
}

/// 409 for an id that is live, 502 for all else.
impl From<ClientError> for HttpResponse {
    fn from(error: ClientError) -> Self {
        let status = if matches!(error, ClientError::Live) { 409 } else { 502 };
        Self::refusal(status, &error.to_string())
    }
}

impl From<HttpResponse> for InvocationResult {
    fn from(response: HttpResponse) -> Self {
        let Parts { status, headers, body, mut outputs, lines } = *response.0;
        outputs.insert(RESPONSE.to_owned(), json!({ "statusCode": status, "headers": headers, "body": body }));
        Self { outputs, logs: lines, ..Default::default() }
    }
}

pub(super) async fn respond<F, Fut>(
    name: &str,
    call: Call,
    (bodies, calls): (&Bodies, &TaskTracker),
    invoke: F,
) -> Response
where
    F: FnOnce(HttpRequest) -> Fut + Send + 'static,
    Fut: Future<Output = HttpResponse> + Send + 'static,
{
    let text = |name: &str| call.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let (invocation_id, operation_id) =
        (text(header::INVOCATION_ID).to_owned(), operation_id(&call.headers).to_owned());
    let (envelope, _share) = match bodies.envelope(call.body).await {
        Ok(read) => read,
        Err(why) => {
            console::err(&format!("{name}: {why}"));
            return (StatusCode::BAD_REQUEST, why.to_string()).into_response();
        }
    };
    let request = HttpRequest::new(envelope, &invocation_id, &operation_id);
    match calls.spawn(async move { invoke(request).await }).await {
        Ok(response) => Json(InvocationResult::from(response)).into_response(),
        Err(error) => {
            console::err(&format!("{name} panicked: {}", panic_text(error)));
            (StatusCode::INTERNAL_SERVER_ERROR, "the function panicked").into_response()
        }
    }
}
