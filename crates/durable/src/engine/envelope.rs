//! Between the text a Functions host sends and the messages of the protocol.

use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;

use super::{
    Turn, TurnOutcome,
    error::{Error, types},
    protocol::{ActionType, OrchestratorAction, OrchestratorRequest, OrchestratorResponse},
    replay::failure,
};

/// Reads the value of an orchestration trigger: base64 of an `OrchestratorRequest`. The host encodes it as a JSON text once more
/// than others would; it is taken with or without those quotes.
///
/// # Errors
/// [`types::BAD_REQUEST`], with what was found instead. JSON means that the app's FUNCTIONS_WORKER_RUNTIME is not `custom`: the
/// extension then speaks the protocol of another language.
pub fn decode(value: &str) -> Result<OrchestratorRequest, Error> {
    let bytes = bytes(value)?;
    OrchestratorRequest::decode(bytes.as_slice()).map_err(not_a_request)
}

/// What is wrong with bytes that should be an `OrchestratorRequest`.
pub(super) fn not_a_request(error: impl std::fmt::Display) -> Error {
    Error::new(types::BAD_REQUEST, format!("the trigger's value is not an OrchestratorRequest: {error}"))
}

/// The bytes of the message, for [`replay_encoded`](super::replay_encoded).
///
/// # Errors
/// As [`decode`], as far as the text goes.
pub fn bytes(value: &str) -> Result<Vec<u8>, Error> {
    let bad = |text: String| Error::new(types::BAD_REQUEST, text);
    let text = value.trim();
    let text = text.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(text);
    if text.starts_with('{') {
        let text = "the host sent a JSON history, as for another language: set FUNCTIONS_WORKER_RUNTIME to custom";
        return Err(bad(text.to_owned()));
    }
    STANDARD.decode(text).map_err(|error| bad(format!("the trigger's value is not base64: {error}")))
}

/// Base64 of a response, for the `ReturnValue` of the answer. Never empty: an empty one would fail the instance for good, without
/// a word.
pub fn encode(response: &OrchestratorResponse) -> String {
    if response.instance_id.is_empty() {
        let response = OrchestratorResponse { instance_id: "unknown".to_owned(), ..response.clone() };
        return STANDARD.encode(response.encode_to_vec());
    }
    STANDARD.encode(response.encode_to_vec())
}

/// The answer to a request that cannot be understood: a completion that failed.
pub fn refuse(error: Error) -> Turn {
    let mut turn = Turn::new(String::new(), 0, 0);
    let action_type = Some(ActionType::CompleteOrchestration(failure(error)));
    turn.response.actions.push(OrchestratorAction { id: 0, action_type });
    turn.outcome = TurnOutcome::Failed;
    turn
}
