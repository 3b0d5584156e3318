//! One episode of an orchestrator function: from the host's body to the answer, and what is told about it.

use std::{borrow::Cow, collections::BTreeMap, future::Future, time::Duration};

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
    let request = trigger_value(body).and_then(|it| envelope::bytes(&it));
    let decode = began.elapsed();
    let turn = request.and_then(|request| replay_encoded(&request, orchestrator, move || began.elapsed()));
    let turn = turn.unwrap_or_else(envelope::refuse);
    let replay = began.elapsed() - decode;
    let return_value = Value::String(envelope::encode(&turn.response));
    let encode = began.elapsed() - decode - replay;
    let answer = InvocationResult { return_value, ..Default::default() };
    Episode { answer, turn, timing: Timing { decode, replay, encode } }
}

/// Answers a body that could not be read.
pub(super) fn refuse(why: &dyn std::error::Error) -> Episode {
    let turn = envelope::refuse(Error::new(types::BAD_REQUEST, why.to_string()));
    let return_value = Value::String(envelope::encode(&turn.response));
    let timing = Timing { decode: Duration::ZERO, replay: Duration::ZERO, encode: Duration::ZERO };
    Episode { answer: InvocationResult { return_value, ..Default::default() }, turn, timing }
}

/// The envelope, as far as an orchestrator needs it.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(rename = "Data", borrow)]
    data: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

/// The trigger's value: the only one of the envelope's data.
///
/// The host writes a text that holds a text in quotes. Base64 needs no other escapes, so a long history is not copied for them.
fn trigger_value(body: &[u8]) -> Result<Cow<'_, str>, Error> {
    let bad = |text: String| Error::new(types::BAD_REQUEST, text);
    let body: Body<'_> =
        serde_json::from_slice(body).map_err(|error| bad(format!("the request body is not an invocation: {error}")))?;
    let raw = body.data.into_values().next().map(RawValue::get).unwrap_or_default();
    let bare = raw.strip_prefix(r#""\""#).and_then(|it| it.strip_suffix(r#"\"""#)).filter(|it| !it.contains('\\'));
    match bare {
        Some(bare) => Ok(Cow::Borrowed(bare)),
        None => {
            serde_json::from_str(raw).map(Cow::Owned).map_err(|_| bad("the invocation has no trigger value".to_owned()))
        }
    }
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
