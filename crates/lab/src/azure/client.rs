//! Sends requests, or writes them down for a plan.

use std::{
    env,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use serde_json::Value;
use tokio::{
    process::Command,
    sync::OnceCell,
    time::{Instant, sleep},
};
use url::{Host, Url};

use super::{
    call::{Body, Call, STORAGE_SCOPE, SUBSCRIPTION},
    error::AzureError,
    plan::{Plan, PlannedCall},
    sign_in::SignIn,
};
use custom_handler::clock;
use incident_labs::blob::tls;

/// Sends every request to this URL of this machine instead, the host as the first part of the path. For tests.
pub const DETOUR: &str = "INCIDENT_LAB_AZURE";

const TIME: Duration = Duration::from_secs(60);
/// How often a request is sent that the service asks to be sent again.
const TRIES: u32 = 6;
/// First wait where the service names none; each next one is twice as long.
const BACKOFF: Duration = Duration::from_secs(1);
/// A service that asks for more is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Between two looks at something that takes time.
const POLL: Duration = Duration::from_secs(5);
const SCRIPTED_POLL: Duration = Duration::from_millis(50);
/// Version of the storage services: without one they refuse a token (Authorize with Microsoft Entra ID).
const STORAGE_VERSION: &str = "2021-12-02";
/// How long a service may work on one request.
const LONGEST_WORK: Duration = Duration::from_secs(45 * 60);

/// An answer of a service.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// Null where there is no JSON.
    pub body: Value,
    headers: HeaderMap,
}

/// Azure, as the signed-in developer may use it; or a plan of what would be asked.
#[derive(Debug)]
pub struct Azure {
    sign_in: SignIn,
    subscription: OnceCell<String>,
    http: reqwest::Client,
    detour: Option<Url>,
    plan: Option<Mutex<Plan>>,
}

impl Azure {
    /// Azure itself, for the subscription that is named, or the one `az` has chosen.
    ///
    /// # Errors
    /// When [`DETOUR`] is set and leads away from this machine.
    pub fn open(subscription: Option<String>) -> Result<Self, AzureError> {
        let subscription = subscription.filter(|it| !it.trim().is_empty());
        Ok(match detour()? {
            Some(detour) => Self::detoured(detour, subscription),
            None => Self::new(None, subscription),
        })
    }

    /// Endpoints on this machine in the place of Azure; see [`DETOUR`].
    pub fn detoured(detour: Url, subscription: Option<String>) -> Self {
        Self::new(Some(detour), subscription)
    }

    fn new(detour: Option<Url>, subscription: Option<String>) -> Self {
        Self {
            sign_in: SignIn::new(detour.clone()),
            subscription: OnceCell::new_with(subscription),
            // A redirect would carry the token to wherever it leads.
            http: tls::http_client()
                .timeout(TIME)
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap_or_default(),
            detour,
            plan: None,
        }
    }

    /// Sends nothing: each request is written down, and its planned answer is given.
    ///
    /// # Errors
    /// As [`Azure::open`].
    pub fn planning() -> Result<Self, AzureError> {
        Ok(Self { plan: Some(Mutex::default()), ..Self::open(Some(SUBSCRIPTION.to_owned()))? })
    }

    /// One of the two.
    ///
    /// # Errors
    /// As [`Azure::open`].
    pub fn open_or_plan(subscription: Option<String>, is_plan: bool) -> Result<Self, AzureError> {
        if is_plan { Self::planning() } else { Self::open(subscription) }
    }

    pub fn is_planning(&self) -> bool {
        self.plan.is_some()
    }

    /// What was written down.
    pub fn plan(&self) -> Plan {
        self.plan.as_ref().map(|it| it.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }

    /// Writes a request down that another client sends, where this is a plan.
    pub fn note(&self, call: PlannedCall) {
        if let Some(plan) = &self.plan {
            plan.lock().unwrap_or_else(PoisonError::into_inner).calls.push(call);
        }
    }

    /// Between two looks at something that takes time.
    pub fn poll_interval(&self) -> Duration {
        if self.detour.is_some() { SCRIPTED_POLL } else { POLL }
    }

    /// Where a URL of Azure is reached.
    pub fn locate(&self, url: &str) -> String {
        match &self.detour {
            None => url.to_owned(),
            Some(detour) => format!("{detour}{}", url.split_once("://").map_or(url, |it| it.1)),
        }
    }

    /// Sends a request and gives the answer, when it is a success.
    ///
    /// # Errors
    /// When the service is away or refuses, or nobody is signed in.
    pub async fn send(&self, call: &Call) -> Result<Answer, AzureError> {
        self.note(call.shown(false));
        if self.is_planning() {
            if call.is_long_running {
                self.note(operation(call).shown(true));
            }
            return Ok(Answer { status: StatusCode::OK, body: call.planned.clone(), headers: HeaderMap::new() });
        }
        let answer = self.sent(call).await?;
        if call.is_long_running { self.finished(call, answer).await } else { Ok(answer) }
    }

    /// Sends a request again and again until its answer is the one that is waited for, and gives that one. An answer that is an
    /// error is given to `is_done` as well.
    ///
    /// # Errors
    /// When it takes longer than `within`; as [`Azure::send`] where `is_done` takes no error for an answer.
    pub async fn wait(
        &self,
        call: &Call,
        within: Duration,
        mut is_done: impl FnMut(&Result<Answer, AzureError>) -> bool,
    ) -> Result<Answer, AzureError> {
        self.note(call.shown(true));
        if self.is_planning() {
            return Ok(Answer { status: StatusCode::OK, body: call.planned.clone(), headers: HeaderMap::new() });
        }
        let began = Instant::now();
        loop {
            let answer = self.sent(call).await;
            if is_done(&answer) {
                return answer;
            }
            if began.elapsed() > within {
                answer?;
                return Err(AzureError::TooLong { why: call.why.clone(), seconds: within.as_secs() });
            }
            sleep(self.poll_interval()).await;
        }
    }

    /// All pages of a listing: the elements of each `value` (or `Items`, as the price list has it).
    ///
    /// # Errors
    /// As [`Azure::send`].
    pub async fn list(&self, call: &Call) -> Result<Vec<Value>, AzureError> {
        let mut answer = self.send(call).await?;
        let next = Call {
            url: "{nextLink}".to_owned(),
            why: format!("{}: the next page", call.why),
            az: None,
            ..call.clone()
        };
        self.note(next.shown(true));
        let mut all = Vec::new();
        loop {
            let page = answer.body["value"].as_array().or(answer.body["Items"].as_array());
            all.extend(page.into_iter().flatten().cloned());
            let Some(next) = answer.body["nextLink"].as_str().or(answer.body["NextPageLink"].as_str()) else {
                return Ok(all);
            };
            answer = self.sent(&Call { url: next.to_owned(), ..call.clone() }).await?;
        }
    }

    /// A text without the subscription's id.
    pub fn scrubbed(&self, text: &str) -> String {
        match self.subscription.get().map(|it| it.to_lowercase()) {
            Some(id) if !id.is_empty() && id != SUBSCRIPTION.to_lowercase() => {
                let mut scrubbed = String::with_capacity(text.len());
                let (lower, mut from) = (text.to_ascii_lowercase(), 0);
                for (at, found) in lower.match_indices(&*id) {
                    scrubbed += &text[from..at];
                    scrubbed += SUBSCRIPTION;
                    from = at + found.len();
                }
                scrubbed + &text[from..]
            }
            _ => text.to_owned(),
        }
    }

    async fn sent(&self, call: &Call) -> Result<Answer, AzureError> {
        let (mut wait, mut is_renewed) = (BACKOFF, false);
        for attempt in 1.. {
            let answer = self.once(call).await?;
            let asked = retry_after(&answer.headers);
            let is_last = attempt == TRIES || asked.is_some_and(|it| it > LONGEST_WAIT);
            match answer.status {
                status if status.is_success() => return Ok(answer),
                StatusCode::UNAUTHORIZED if !is_renewed && call.scope.is_some() => {
                    is_renewed = true;
                    self.sign_in.forget(call.scope.unwrap_or_default());
                }
                status if is_worth_another(status) && !is_last => {
                    sleep(asked.unwrap_or(wait)).await;
                    wait *= 2;
                }
                _ => return Err(self.refused(call, &answer)),
            }
        }
        Err(AzureError::TooLong { why: call.why.clone(), seconds: 0 })
    }

    async fn once(&self, call: &Call) -> Result<Answer, AzureError> {
        let url = match call.url.contains(SUBSCRIPTION) {
            true => call.url.replace(SUBSCRIPTION, self.subscription().await?),
            false => call.url.clone(),
        };
        let host = host(&call.url).to_owned();
        let away = |source: reqwest::Error| {
            let (why, host) = (call.why.clone(), host.clone());
            AzureError::Away { why, host, source: source.without_url() }
        };
        let mut request = self.http.request(call.method.clone(), self.locate(&url));
        if let Some(scope) = call.scope {
            request = request.bearer_auth(self.sign_in.token(scope).await?.secret());
            if scope == STORAGE_SCOPE {
                request = request.header("x-ms-version", STORAGE_VERSION);
            }
        }
        request = match &call.body {
            Body::None if call.method == http::Method::POST || call.method == http::Method::PUT => {
                request.header(http::header::CONTENT_LENGTH, 0)
            }
            Body::None => request,
            Body::Json(value) => request.header(http::header::CONTENT_TYPE, "application/json").body(value.to_string()),
            Body::File(path) => {
                let read = tokio::fs::read(path).await;
                let path = path.display().to_string();
                request
                    .header(http::header::CONTENT_TYPE, "application/zip")
                    .timeout(LONGEST_WORK)
                    .body(read.map_err(|source| AzureError::File { path, source })?)
            }
        };
        let response = request.send().await.map_err(away)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.map_err(away)?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or_default(), headers })
    }

    /// Asks for the outcome of what a service goes on doing: `Azure-AsyncOperation`, else `Location` (ARM, asynchronous operations).
    async fn finished(&self, call: &Call, first: Answer) -> Result<Answer, AzureError> {
        let began = Instant::now();
        let header = |name: &str| first.headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
        let (operation_url, is_operation) = match (header("azure-asyncoperation"), header("location")) {
            (Some(url), _) => (url, true),
            (None, Some(url)) if first.status == StatusCode::ACCEPTED => (url, false),
            _ => return Ok(first),
        };
        let ask = Call { url: operation_url, ..operation(call) };
        loop {
            let answer = self.sent(&ask).await?;
            let state = answer.body["status"].as_str().unwrap_or_default().to_owned();
            match (is_operation, &*state) {
                (true, "Succeeded") => return Ok(answer),
                (true, "Failed" | "Canceled") => {
                    let (code, message) = self.said(&answer.body);
                    return Err(AzureError::Failed { why: call.why.clone(), state, code, message });
                }
                (false, _) if answer.status != StatusCode::ACCEPTED => return Ok(answer),
                _ if began.elapsed() > LONGEST_WORK => {
                    return Err(AzureError::TooLong { why: call.why.clone(), seconds: LONGEST_WORK.as_secs() });
                }
                _ => sleep(retry_after(&answer.headers).unwrap_or(self.poll_interval())).await,
            }
        }
    }

    fn refused(&self, call: &Call, answer: &Answer) -> AzureError {
        let (mut code, message) = self.said(&answer.body);
        // Storage writes XML, and names the code in a header as well.
        let header = answer.headers.get("x-ms-error-code").and_then(|it| it.to_str().ok());
        if let (true, Some(header)) = (code.is_empty(), header) {
            header.clone_into(&mut code);
        }
        let (method, status) = (call.method.to_string(), answer.status);
        AzureError::Refused { why: call.why.clone(), method, url: self.scrubbed(&call.url), status, code, message }
    }

    /// `error.code` and the first line of `error.message`. Services nest or flatten it: `{"error": {"code"}}`, `{"Code", "Message"}`.
    fn said(&self, body: &Value) -> (String, String) {
        let error = if body["error"].is_object() { &body["error"] } else { body };
        let text = |names: [&str; 2]| names.iter().find_map(|it| error[*it].as_str()).unwrap_or_default().to_owned();
        let message = text(["message", "Message"]);
        let line: String = message.lines().next().unwrap_or_default().chars().take(300).collect();
        (text(["code", "Code"]), self.scrubbed(&line))
    }

    async fn subscription(&self) -> Result<&str, AzureError> {
        let found = self.subscription.get_or_try_init(chosen_subscription).await?;
        Ok(found)
    }
}

/// Asks whether what a call began is done.
fn operation(call: &Call) -> Call {
    let (url, body) = ("{the operation's URL}".to_owned(), Body::None);
    let why = format!("{}: see whether it is done", call.why);
    Call { method: http::Method::GET, url, body, why, az: None, is_long_running: false, ..call.clone() }
}

/// The subscription of the environment, else the one `az` has chosen.
#[expect(clippy::disallowed_methods, reason = "az's own variable, as az reads it")]
async fn chosen_subscription() -> Result<String, AzureError> {
    if let Some(id) = env::var("AZURE_SUBSCRIPTION_ID").ok().filter(|it| !it.trim().is_empty()) {
        return Ok(id.trim().to_owned());
    }
    let asked = Command::new("az").args(["account", "show", "--query", "id", "--output", "tsv"]).output().await;
    let id =
        asked.ok().filter(|it| it.status.success()).map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
    id.filter(|it| !it.is_empty()).ok_or(AzureError::NoSubscription)
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
fn detour() -> Result<Option<Url>, AzureError> {
    let Some(text) = env::var(DETOUR).ok().filter(|it| !it.is_empty()) else { return Ok(None) };
    let url = Url::parse(&text).map_err(|_| AzureError::Detour)?;
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if is_here && url.scheme() == "http" && url.path() == "/" { Ok(Some(url)) } else { Err(AzureError::Detour) }
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |it| it.1);
    rest.split('/').next().unwrap_or_default()
}

fn is_worth_another(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// `Retry-After` in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = azure_core::time::parse_rfc7231(text).ok()?;
    Some((at - clock::utc_now()).try_into().unwrap_or_default())
}
