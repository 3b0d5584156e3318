//! Azure's REST endpoints as Microsoft's specifications have them, on this machine. None of the answers was recorded: nobody here has
//! a subscription. Each fixture names the page that it was written from.
//!
//! A request to `https://HOST/PATH` comes in as `/HOST/PATH`. Rules are asked from the newest to the oldest.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse, Response},
};
use custom_handler::clock;
use http::{HeaderMap, Method, StatusCode, Uri};
use lab::azure::{Azure, PlannedCall};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::tidy::root;

pub(crate) const SUBSCRIPTION: &str = "5ab5c21b-0000-4000-8000-0000000ab5c2";
pub(crate) const TENANT: &str = "7e4a4700-0000-4000-8000-0000007e4a47";
/// First part of every token.
pub(crate) const TOKEN: &str = "eyJ0b2tlbi1vZi1hLXRlc3Qi";

/// A request as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Under `https://`, with the subscription's id.
    pub(crate) url: String,
    /// JSON, or null.
    pub(crate) body: Value,
    pub(crate) bytes: usize,
    pub(crate) token: Option<String>,
}

/// An answer of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn new(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// An error as Resource Manager writes them (learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors).
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::new(status, json!({"error": {"code": code, "message": message}}))
    }

    /// `tests/it/azure/<name>.json`: `{"page": …, "status": …, "headers": {…}, "body": …}`, with the subscription's id filled in.
    pub(crate) fn fixture(name: &str) -> Self {
        let path = root().join("tests/it/azure").join(format!("{name}.json"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let text = text.replace("{subscriptionId}", SUBSCRIPTION).replace("{tenantId}", TENANT);
        let fixture: Value = serde_json::from_str(&text).unwrap();
        assert!(fixture["page"].as_str().is_some_and(|it| it.starts_with("https://")), "{name} names no page");
        let headers = fixture["headers"].as_object().into_iter().flatten();
        let headers = headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        let status = fixture["status"].as_u64().unwrap_or(200).try_into().unwrap();
        Self { status, headers, body: fixture["body"].clone() }
    }
}

type Rule = Box<dyn FnMut(&Asked) -> Option<Reply> + Send>;

#[derive(Default)]
struct Shared {
    rules: Mutex<Vec<Rule>>,
    asked: Mutex<Vec<Asked>>,
    tokens: Mutex<u64>,
    /// Seconds that a token is valid.
    lifetime: Mutex<i64>,
}

/// The endpoints, on a free port of this machine.
#[derive(Clone)]
pub(crate) struct ScriptedAzure {
    /// For `INCIDENT_LAB_AZURE`.
    pub(crate) url: String,
    shared: Arc<Shared>,
}

impl ScriptedAzure {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared { lifetime: Mutex::new(3600), ..Shared::default() });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&shared));
        TaskTracker::new().spawn(async { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// A client that asks these endpoints.
    pub(crate) fn client(&self) -> Azure {
        Azure::detoured(Url::parse(&self.url).unwrap(), Some(SUBSCRIPTION.to_owned()))
    }

    /// Answers what `rule` has an answer for.
    pub(crate) fn rule(&self, rule: impl FnMut(&Asked) -> Option<Reply> + Send + 'static) {
        self.shared.rules.lock().unwrap().push(Box::new(rule));
    }

    /// Answers a method and the URLs that contain `part`.
    pub(crate) fn on(&self, method: Method, part: &str, reply: Reply) {
        let part = part.to_owned();
        self.rule(move |it| (it.method == method.as_str() && it.url.contains(&part)).then(|| reply.clone()));
    }

    /// The same for the next such request alone.
    pub(crate) fn once(&self, method: Method, part: &str, reply: Reply) {
        let (part, mut reply) = (part.to_owned(), Some(reply));
        self.rule(move |it| if it.method == method.as_str() && it.url.contains(&part) { reply.take() } else { None });
    }

    /// Tokens that are given from now on are valid for so many seconds.
    pub(crate) fn tokens_live(&self, seconds: i64) {
        *self.shared.lifetime.lock().unwrap() = seconds;
    }

    /// All requests but those for tokens, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub(crate) fn tokens_given(&self) -> u64 {
        *self.shared.tokens.lock().unwrap()
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if uri.path() == "/token" {
        let mut tokens = shared.tokens.lock().unwrap();
        *tokens += 1;
        let expires = clock::utc_now().unix_timestamp() + *shared.lifetime.lock().unwrap();
        let token = format!("{TOKEN}.{tokens}");
        return axum::Json(json!({"access_token": token, "expires_on": expires})).into_response();
    }
    let token = headers.get("authorization").and_then(|it| it.to_str().ok()?.strip_prefix("Bearer "));
    let asked = Asked {
        method: method.to_string(),
        url: format!("https:/{}", uri.path_and_query().unwrap()),
        body: serde_json::from_slice(&body).unwrap_or_default(),
        bytes: body.len(),
        token: token.map(str::to_owned),
    };
    shared.asked.lock().unwrap().push(asked.clone());
    let found = shared.rules.lock().unwrap().iter_mut().rev().find_map(|rule| rule(&asked));
    let reply = found.unwrap_or_else(|| Reply::error(404, "ResourceNotFound", &format!("no rule for {}", asked.url)));
    let mut response = (StatusCode::from_u16(reply.status).unwrap(), axum::Json(reply.body)).into_response();
    for (name, value) in reply.headers {
        response.headers_mut().insert(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    }
    response
}

/// Holds what was asked against a plan: the same requests in the same order, those that repeat any number of times. Texts in braces
/// stand for anything.
pub(crate) fn assert_follows(plan: &[PlannedCall], asked: &[Asked]) {
    let mut rest = asked;
    for (number, call) in (1..).zip(plan) {
        // What repeats ends where the next step begins: its URL may stand for any.
        let is_next = |it: &Asked| call.repeats && plan.get(number).is_some_and(|next| is(next, it));
        let count = rest.iter().take_while(|it| is(call, it) && !is_next(it)).count();
        assert!(count > 0 || call.repeats, "step {number} of the plan is {call:?}, and next came {:?}", rest.first());
        rest = &rest[if call.repeats { count } else { 1 }..];
    }
    assert!(rest.is_empty(), "not in the plan: {rest:?}");
}

fn is(call: &PlannedCall, asked: &Asked) -> bool {
    call.method == asked.method
        && covers(&call.url, &asked.url)
        && call.body.as_ref().is_none_or(|it| it.is_string() || covers_json(it, &asked.body))
}

fn covers_json(planned: &Value, asked: &Value) -> bool {
    match (planned, asked) {
        (Value::Object(planned), Value::Object(asked)) => planned
            .iter()
            .all(|(name, value)| name.contains('{') || asked.get(name).is_some_and(|it| covers_json(value, it))),
        (Value::Array(planned), Value::Array(asked)) => {
            planned.len() == asked.len()
                && planned.iter().zip(asked).all(|(planned, asked)| covers_json(planned, asked))
        }
        (Value::String(planned), asked) if planned.contains('{') => asked.as_str().is_none_or(|it| covers(planned, it)),
        (planned, asked) => planned == asked,
    }
}

/// Whether a text is the planned one, in which `{…}` stands for any text.
fn covers(planned: &str, text: &str) -> bool {
    let Some((before, rest)) = planned.split_once('{') else { return planned == text };
    let Some((_, after)) = rest.split_once('}') else { return planned == text };
    let Some(text) = text.strip_prefix(before) else { return false };
    text.char_indices().map(|it| it.0).chain([text.len()]).any(|at| covers(after, &text[at..]))
}

#[test]
fn braces_of_a_plan_stand_for_any_text() {
    assert!(covers("https://a/{x}/b/{y}", "https://a/1/2/b/"));
    assert!(!covers("https://a/{x}/b", "https://a/1/c"));
    assert!(covers("{the operation's URL}", "https://anything"));
    let planned = json!({"properties": {"{as read}": "{its value}", "A": "8"}});
    assert!(covers_json(&planned, &json!({"properties": {"A": "8", "B": "9"}})));
    assert!(!covers_json(&planned, &json!({"properties": {"A": "9"}})));
}
