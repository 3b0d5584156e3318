//! The HTTP client under the exporter: the endpoint's scheme, the identity, time limits; and what became of each batch.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use custom_handler::clock;
use http::{
    HeaderMap, Request, Response, StatusCode, Uri,
    header::{AUTHORIZATION, RETRY_AFTER},
    uri::Scheme,
};
use opentelemetry_application_insights::HttpClient;
use reqwest::redirect::{Attempt, Policy};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    connection::{ConnectionError, Destination, is_this_machine},
    sign_in::SignIn,
};

/// From the first byte sent to the last received.
const TRY_TIME: Duration = Duration::from_secs(5);
/// Time after which a batch is not tried again, and the most tries.
const BATCH_TIME: Duration = Duration::from_secs(10);
const MOST_TRIES: u32 = 8;
/// Longest pause an endpoint may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A longer answer is not read to its end.
const LARGEST_ANSWER: usize = 1 << 20;
const MOST_REDIRECTS: usize = 5;
/// The exporter takes an unknown status for final.
const GIVEN_UP: u16 = 599;

/// The client. Clones share the batch that is under way.
#[derive(Clone)]
pub(super) struct Client(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    is_plain: bool,
    sign_in: Option<SignIn>,
    batch: Mutex<Batch>,
    stop: CancellationToken,
}

/// What is known of the batch under way.
#[derive(Debug)]
struct Batch {
    /// Items the endpoint has neither accepted nor refused for good.
    outstanding: u64,
    refused: u64,
    cause: String,
    since: Option<Instant>,
    tries: u32,
    /// The endpoint asked not to be tried before.
    not_before: Option<Instant>,
}

/// What an endpoint says of a batch it did not take as a whole.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Track {
    items_received: u64,
    items_accepted: u64,
    errors: Vec<TrackError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TrackError {
    index: u64,
    status_code: u16,
}

/// Why a try had no answer. Nothing of a request is in the text.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error("the ingestion endpoint did not answer within {} s", TRY_TIME.as_secs())]
    Slow,
    #[error("the ingestion endpoint cannot be reached")]
    Unreachable,
    #[error("the connection to the ingestion endpoint broke")]
    Broken,
    #[error("the answer of the ingestion endpoint is too long")]
    Endless,
    #[error("the identity cannot sign in for the ingestion endpoint")]
    SignIn,
    #[error("the request cannot be made")]
    Request,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// # Errors
    /// When there are no root certificates, for example.
    pub(super) fn new(
        destination: &Destination,
        sign_in: Option<SignIn>,
        stop: CancellationToken,
    ) -> Result<Self, ConnectionError> {
        #[expect(clippy::disallowed_methods, reason = "the handler's main has chosen a provider")]
        let builder = reqwest::Client::builder().timeout(TRY_TIME).redirect(Policy::custom(follow));
        let builder = if destination.is_loopback { builder.no_proxy() } else { builder };
        let http = builder.build().map_err(|_| ConnectionError::Client)?;
        let batch = Batch { outstanding: 0, refused: 0, cause: String::new(), since: None, tries: 0, not_before: None };
        Ok(Self(Arc::new(Inner { http, is_plain: destination.is_plain, sign_in, batch: Mutex::new(batch), stop })))
    }

    /// Begins a batch of so many items.
    pub(super) fn begin(&self, items: u64) {
        let mut batch = self.batch();
        *batch = Batch {
            outstanding: items,
            refused: 0,
            cause: "the ingestion endpoint refused rows".to_owned(),
            since: None,
            tries: 0,
            not_before: batch.not_before,
        };
    }

    /// How many items of the batch were lost, and why.
    pub(super) fn end(&self) -> (u64, String) {
        let mut batch = self.batch();
        (std::mem::take(&mut batch.outstanding) + std::mem::take(&mut batch.refused), batch.cause.clone())
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TryError> {
        let inner = &self.0;
        let (mut parts, body) = request.into_parts();
        if inner.is_plain {
            parts.uri = plain(parts.uri).ok_or(TryError::Request)?;
        }
        if let Some(sign_in) = &inner.sign_in {
            let bearer = sign_in.bearer().await.ok_or(TryError::SignIn)?;
            parts.headers.insert(AUTHORIZATION, bearer);
        }
        let call = inner.http.post(parts.uri.to_string()).headers(parts.headers).body(body);
        let mut answer = call.send().await.map_err(broken)?;
        let mut text = BytesMut::new();
        while let Some(piece) = answer.chunk().await.map_err(broken)? {
            if text.len() + piece.len() > LARGEST_ANSWER {
                return Err(TryError::Endless);
            }
            text.extend_from_slice(&piece);
        }
        let mut response = Response::new(text.freeze());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        Ok(response)
    }

    /// Waits as long as the endpoint asked for. False when the batch is given up.
    async fn may_try(&self) -> bool {
        let (pause, since, tries) = {
            let mut batch = self.batch();
            batch.tries += 1;
            let since = *batch.since.get_or_insert_with(Instant::now);
            (batch.not_before.take(), since, batch.tries)
        };
        let is_late = tries > MOST_TRIES || (pause.is_none() && since.elapsed() >= BATCH_TIME);
        if tries > 1 && (is_late || self.0.stop.is_cancelled()) {
            return false;
        }
        match pause {
            Some(until) => self.0.stop.run_until_cancelled(sleep_until(until)).await.is_some(),
            None => true,
        }
    }

    /// Notes what an answer says of the batch.
    fn note(&self, response: &Response<Bytes>) {
        let status = response.status();
        let mut batch = self.batch();
        if status == StatusCode::OK {
            batch.outstanding = 0;
            return;
        }
        batch.not_before = pause_asked_for(response.headers()).map(|it| Instant::now() + it);
        batch.cause = format!("the ingestion endpoint answered {}", status.as_u16());
        let is_about_items = status == StatusCode::PARTIAL_CONTENT || status == StatusCode::INTERNAL_SERVER_ERROR;
        let Some(track) = Some(response.body()).filter(|_| is_about_items).and_then(|it| Track::read(it)) else {
            return;
        };
        let retried = track.retried().min(batch.outstanding);
        let refused = track.items_received.saturating_sub(track.items_accepted).saturating_sub(retried);
        batch.refused += refused.min(batch.outstanding - retried);
        batch.outstanding = retried;
    }

    fn batch(&self) -> MutexGuard<'_, Batch> {
        self.0.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, opentelemetry_http::HttpError> {
        if !self.may_try().await {
            let mut given_up = Response::new(Bytes::new());
            *given_up.status_mut() = StatusCode::from_u16(GIVEN_UP)?;
            return Ok(given_up);
        }
        match self.send(request).await {
            Ok(response) => {
                if let (Some(sign_in), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =
                    (&self.0.sign_in, response.status())
                {
                    sign_in.forget();
                }
                self.note(&response);
                Ok(response)
            }
            Err(error) => {
                self.batch().cause = error.to_string();
                Err(error.into())
            }
        }
    }
}

impl Track {
    fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// Items the exporter sends again.
    fn retried(&self) -> u64 {
        let is_retried = |it: &&TrackError| matches!(it.status_code, 206 | 408 | 429 | 439 | 500 | 503);
        self.errors.iter().filter(is_retried).map(|it| it.index).collect::<HashSet<_>>().len() as u64
    }
}

/// Follows what keeps the method and the body, and what does not take telemetry off this machine or out of TLS.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let keeps_body = matches!(attempt.status().as_u16(), 307 | 308);
    let from = attempt.previous().last();
    let is_safe =
        attempt.url().scheme() == "https" || (is_this_machine(attempt.url()) && from.is_some_and(is_this_machine));
    if keeps_body && is_safe && attempt.previous().len() <= MOST_REDIRECTS { attempt.follow() } else { attempt.stop() }
}

fn broken(error: reqwest::Error) -> TryError {
    if error.is_timeout() {
        TryError::Slow
    } else if error.is_connect() {
        TryError::Unreachable
    } else {
        TryError::Broken
    }
}

fn plain(uri: Uri) -> Option<Uri> {
    let mut parts = uri.into_parts();
    parts.scheme = Some(Scheme::HTTP);
    Uri::from_parts(parts).ok()
}

/// The pause of a `Retry-After`, in seconds or as a date.
fn pause_asked_for(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse::<u64>().ok().map(Duration::from_secs);
    let until = || OffsetDateTime::parse(text, &Rfc2822).ok();
    let pause = seconds.or_else(|| Duration::try_from(until()? - clock::utc_now()).ok())?;
    Some(pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client() -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let destination = Destination::read("InstrumentationKey=k;IngestionEndpoint=http://127.0.0.1:9").unwrap();
        Client::new(&destination, None, CancellationToken::new()).unwrap()
    }

    fn answer(status: u16, body: &str) -> Response<Bytes> {
        Response::builder().status(status).body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    #[test]
    fn each_answer_says_what_is_lost() {
        let partial = |received: u32, accepted: u32, codes: &[(u32, u16)]| {
            let errors = codes.iter().map(|(index, code)| format!("{{\"index\":{index},\"statusCode\":{code}}}"));
            let errors = errors.collect::<Vec<_>>().join(",");
            format!("{{\"itemsReceived\":{received},\"itemsAccepted\":{accepted},\"errors\":[{errors}]}}")
        };
        for (answers, lost) in [
            (vec![answer(200, "garbage")], 0),
            (vec![answer(400, "{}")], 10),
            (vec![answer(206, "garbage")], 10),
            (vec![answer(206, &partial(10, 10, &[]))], 0),
            (vec![answer(206, &partial(10, 8, &[(0, 400), (3, 400)]))], 2),
            (vec![answer(206, &partial(10, 7, &[(0, 400), (3, 503), (4, 429)])), answer(200, "")], 1),
            (vec![answer(206, &partial(10, 7, &[(0, 400), (3, 503), (4, 429)])), answer(503, "")], 3),
            (vec![answer(206, &partial(10, 8, &[(3, 503), (3, 503)])), answer(200, "")], 1),
            (vec![answer(206, &partial(4_000_000_000, 0, &[]))], 10),
            (vec![answer(503, ""), answer(439, "")], 10),
        ] {
            let client = client();
            client.begin(10);
            answers.iter().for_each(|it| client.note(it));
            assert_eq!(client.end().0, lost, "{answers:?}");
        }
    }

    #[test]
    fn a_pause_is_read_as_seconds_or_as_a_date_and_has_an_end() {
        let pause =
            |text: &str| pause_asked_for(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]));
        assert_eq!(pause("3"), Some(Duration::from_secs(3)));
        assert_eq!(pause("99999999999"), Some(LONGEST_PAUSE));
        assert_eq!(pause("Fri, 31 Dec 9999 23:59:59 GMT"), Some(LONGEST_PAUSE));
        assert_eq!((pause("Wed, 21 Oct 2015 07:28:00 GMT"), pause("soon"), pause("-1")), (None, None, None));
    }

    #[test]
    fn the_scheme_of_this_machine_is_restored() {
        let uri = plain(Uri::from_static("https://127.0.0.1:9/v2/track")).unwrap();
        assert_eq!(uri.to_string(), "http://127.0.0.1:9/v2/track");
    }
}
