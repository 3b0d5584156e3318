//! One episode of an orchestrator function: from the host's body to the answer, and what is told about it.

use std::{borrow::Cow, collections::BTreeMap, future::Future, time::Duration};

use memchr::memchr;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use tokio::time::Instant;

use super::{console, wire::InvocationResult};
use durable::{Context, Error, Level, Turn, envelope, replay_encoded, types};

/// What an episode came to.
#[derive(Debug)]
pub struct Episode {
    pub answer: InvocationResult,
    turn: Turn,
    timing: Timing,
}

/// Answers the body of an invocation. Whatever is wrong with it, the answer is one the extension understands: anything else would
/// fail the instance for good without saying why.
pub fn answer<F, Fut, I, O>(body: &[u8], orchestrator: F) -> Episode
where
    F: FnOnce(Context, I) -> Fut,
    Fut: Future<Output = Result<O, Error>>,
    I: DeserializeOwned,
    O: Serialize,
{
    let began = Instant::now();
    let request = trigger_value(body).and_then(|it| decoded(&it));
    let decode = began.elapsed();
    let turn = request.and_then(|request| replay_encoded(&request, orchestrator, move || began.elapsed()));
    let turn = turn.unwrap_or_else(envelope::refuse);
    let replay = began.elapsed() - decode;
    let return_value = Value::String(envelope::encode(&turn.response));
    let encode = began.elapsed() - decode - replay;
    let answer = InvocationResult { return_value, ..Default::default() };
    Episode { answer, turn, timing: Timing { decode, replay, encode } }
}

/// Answers a body that could not be read, or an episode that could not be played.
pub(super) fn refuse(error: Error) -> Episode {
    let turn = envelope::refuse(error);
    let return_value = Value::String(envelope::encode(&turn.response));
    let timing = Timing { decode: Duration::ZERO, replay: Duration::ZERO, encode: Duration::ZERO };
    Episode { answer: InvocationResult { return_value, ..Default::default() }, turn, timing }
}

/// Plays an episode on a thread of its own: an orchestrator that blocks, loops or panics where the engine cannot catch it keeps no
/// other call from its answer. `share` is the body's part of the budget, held as long as the body.
pub(super) async fn play<S: Send + 'static>(
    body: Vec<u8>,
    share: S,
    play: impl FnOnce(&[u8]) -> Episode + Send + 'static,
) -> Episode {
    let played = tokio::task::spawn_blocking(move || {
        let (body, _share) = (body, share);
        play(&body)
    });
    played.await.unwrap_or_else(|error| {
        let text = format!("the episode could not be played: {}", super::app::panic_text(error));
        refuse(Error::new(types::PANIC, text))
    })
}

/// The envelope, as far as an orchestrator needs it.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(rename = "Data", borrow)]
    data: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

/// The trigger's value: base64, however its binding is called.
fn trigger_value(body: &[u8]) -> Result<Cow<'_, str>, Error> {
    if let Some(bare) = bare_value(body) {
        return Ok(Cow::Borrowed(bare));
    }
    let bad = |text: String| Error::new(types::BAD_REQUEST, text);
    let body: Body<'_> =
        serde_json::from_slice(body).map_err(|error| bad(format!("the request body is not an invocation: {error}")))?;
    let texts = body.data.into_values().filter_map(|it| serde_json::from_str::<String>(it.get()).ok());
    // Other bindings, such as a durableClient, bring JSON. So does the trigger where the host takes the app for one of another
    // language.
    let (others, values): (Vec<String>, Vec<String>) = texts.partition(|it| is_json(it));
    let history = others.into_iter().find(|it| it.contains("\"history\""));
    let is_request = |it: &String| envelope::decode(it).is_ok_and(|it| !it.new_events.is_empty());
    // A long history is not decoded to choose it among one.
    let first = if values.len() > 1 { values.iter().position(is_request).unwrap_or_default() } else { 0 };
    let value = values.into_iter().nth(first).or(history);
    value.map(Cow::Owned).ok_or_else(|| bad("the invocation has no trigger value".to_owned()))
}

/// The bytes of the message; what is wrong with the text the engine says.
fn decoded(value: &str) -> Result<Vec<u8>, Error> {
    let bare = value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(value);
    base64_simd::STANDARD.decode_to_vec(bare).or_else(|_| envelope::bytes(value))
}

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// The value of a body as the host writes it to a function without other bindings: the first of the data, a text in quotes in a
/// text. Base64 needs no escapes, so a long history is neither copied nor looked at byte by byte.
fn bare_value(body: &[u8]) -> Option<&str> {
    const HEAD: &[u8] = br#"{"Data":{""#;
    let named = body.strip_prefix(HEAD)?;
    let quoted = &named[memchr(b'"', named)?..];
    let value = quoted.strip_prefix(br#"":"\""#)?;
    let (value, rest) = value.split_at(memchr(b'\\', value)?);
    // What is around it must be JSON all the same.
    let around = [HEAD, br#"":""#, rest.strip_prefix(br#"\""#)?].concat();
    serde_json::from_slice::<Body<'_>>(&around).ok().filter(|it| it.data.len() == 1)?;
    std::str::from_utf8(value).ok().filter(|it| memchr(b'"', it.as_bytes()).is_none())
}

/// How long the parts of an episode took.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From the body to the request's bytes.
    pub decode: Duration,
    /// The orchestrator's own code included.
    pub replay: Duration,
    pub encode: Duration,
}

impl Episode {
    /// What the engine made of it: lines, counts of events, outcome.
    pub fn turn(&self) -> &Turn {
        &self.turn
    }

    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Why the instance failed, if it did in this episode.
    pub fn failure(&self) -> Option<String> {
        self.turn.failure()
    }

    /// Prints the lines the orchestrator logged, errors and warnings to stderr.
    pub(super) fn print(&self) {
        for line in &self.turn.log {
            match line.level {
                Level::Information => console::out(&line.message),
                Level::Warning => console::err(&format!("warn: {}", line.message)),
                Level::Error => console::err(&line.message),
            }
        }
    }
}
