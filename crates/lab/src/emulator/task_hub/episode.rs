//! One call of an orchestrator: from its history to its actions, as the extension's middleware does it.

use std::future::ready;

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::FutureExt;
use prost::Message;
use serde_json::{Map, Value};

use super::{
    Instance, StartError, TaskHub,
    again::SOURCE_TAG,
    refused::{check_action, check_status},
    rows::Past,
    working::Ended,
};
use crate::emulator::host::{Call, Exception, InvocationOutcome, Reply, Settle};
use custom_handler::clock;
use durable::protocol::{
    ActionType, CompleteOrchestration, EntityParameters, EventType, ExecutionStarted, FailureDetails, HistoryEvent,
    OrchestrationStatus, OrchestratorAction, OrchestratorRequest, OrchestratorResponse, Properties, Tags, Timestamp,
    ValueKind,
};

/// `entityMessageReorderWindow`: always sent.
const REORDER_WINDOW: Timestamp = Timestamp::new(1800, 0);
/// A failure whose cause is of this type is taken back and tried again (extension: `RemoteOrchestratorContext.cs`).
const OUT_OF_MEMORY: &str = "System.OutOfMemoryException";

/// What an episode is shown.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub past: Past,
    pub new: Vec<HistoryEvent>,
}

impl Given {
    /// The event its execution began with.
    pub(super) fn started(&self) -> Option<&ExecutionStarted> {
        let in_new = || {
            self.new.iter().find_map(|it| match &it.event_type {
                Some(EventType::ExecutionStarted(it)) => Some(&**it),
                _ => None,
            })
        };
        self.past.started.as_deref().or_else(in_new)
    }
}

#[derive(Debug)]
pub(super) struct Answer {
    pub actions: Vec<OrchestratorAction>,
    pub custom_status: Option<String>,
}

impl TaskHub {
    /// Calls the orchestrator, unless its version is not run here.
    ///
    /// Whatever goes wrong ends the instance, as with the real extension.
    ///
    /// # Errors
    /// Nothing of this may be recorded, and it is to be tried again.
    pub(super) async fn call_orchestrator(&self, instance: &Instance, given: &mut Given) -> Result<Answer, Ended> {
        let inner = &self.inner;
        let versions = &inner.options.versions;
        let started = given.started();
        if let Some(refusal) = versions.refusal(started.and_then(|it| it.version.as_deref())) {
            let version = started.and_then(|it| it.version.as_deref()).unwrap_or_default();
            tracing::warn!(
                "instance {:?} has version {version:?}, which host.json does not let run",
                instance.instance_id
            );
            return refusal.map(|details| mismatched(given.past.events, details));
        }
        let properties = properties(versions.of_app.as_deref(), started.map(|it| &it.tags));
        let call = match self.episode(&instance.name, || trigger_value(&instance.instance_id, properties, given)) {
            Ok(call) => call,
            Err(unknown) => return Ok(failed(&unknown.to_string())),
        };
        let function = call.function.clone();
        let outcome = inner.host.invoke(call).await;
        let reply = match (outcome.reply, outcome.exception) {
            (Some(reply), _) => reply,
            _ if outcome.timed_out || inner.stopping.is_cancelled() => return Err(Ended::GivenUp),
            (None, exception) => {
                let details = exception.map(|it| it.to_string()).unwrap_or_default();
                return Ok(unhandled(&function, &details));
            }
        };
        match response(&reply) {
            Ok(response) if response.requires_history || is_out_of_memory(&response) => Err(Ended::GivenUp),
            Ok(response) => Ok(Answer { actions: response.actions, custom_status: response.custom_status }),
            Err(exception) => {
                let whole = Exception::of_invocation(&function, exception);
                Ok(unhandled(&function, &whole.to_string()))
            }
        }
    }

    /// What an orchestrator answers to an episode that is none of this hub's.
    ///
    /// # Errors
    /// When the app has no such orchestrator, or its answer is none: what the host says.
    pub async fn ask(&self, orchestrator: &str, request: &OrchestratorRequest) -> Result<OrchestratorResponse, String> {
        let call = self.episode(orchestrator, || encoded(request)).map_err(|unknown| unknown.to_string())?;
        let InvocationOutcome { reply, exception, .. } = self.inner.host.invoke(call).await;
        match reply {
            Some(reply) => response(&reply).map_err(|exception| exception.message),
            None => Err(exception.map(|it| it.innermost().message.clone()).unwrap_or_default()),
        }
    }

    /// The call of an episode.
    fn episode(&self, orchestrator: &str, value: impl FnOnce() -> String) -> Result<Call, StartError> {
        let functions = &self.inner.functions;
        let Some((function, binding)) = functions.orchestrator(orchestrator) else {
            return Err(StartError::UnknownFunction { name: orchestrator.to_owned(), known: functions.known() });
        };
        let mut call = Call { function: function.to_owned(), ..Call::default() };
        call.settle = Some(Settle::new(|reply| ready(verify(reply)).boxed()));
        call.data = Map::from_iter([(binding.to_owned(), Value::String(value()))]);
        Ok(call)
    }
}

/// The trigger's value: a .NET string, hence in quotes of its own.
fn encoded(request: &OrchestratorRequest) -> String {
    quoted(&request.encode_to_vec())
}

fn quoted(message: &[u8]) -> String {
    let mut text = String::with_capacity(message.len().div_ceil(3) * 4 + 2);
    text.push('"');
    STANDARD.encode_string(message, &mut text);
    text.push('"');
    text
}

/// What the extension says beside the history. It has more of them to say, and never does to a custom handler [recorded].
fn properties(default_version: Option<&str>, tags: Option<&Tags>) -> Properties {
    let mut properties = Properties::from([
        ("HttpDefaultAsyncRequestSleepTimeMilliseconds".to_owned(), ValueKind::Number(30_000.0).into()),
        (OrchestratorRequest::INCLUDE_STATE.to_owned(), ValueKind::Bool(true).into()),
        ("IsExtendedSession".to_owned(), ValueKind::Bool(false).into()),
        ("ExtendedSessionIdleTimeoutInSeconds".to_owned(), ValueKind::Number(0.0).into()),
    ]);
    let texts = [
        (OrchestratorRequest::DEFAULT_VERSION, default_version),
        (OrchestratorRequest::SOURCE_INSTANCE_ID, tags.and_then(|it| it.get(SOURCE_TAG)).map(String::as_str)),
    ];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.to_owned().into())));
    properties.extend(texts);
    properties
}

fn trigger_value(instance_id: &str, properties: Properties, given: &mut Given) -> String {
    // Lent to the message and taken back.
    let mut request = OrchestratorRequest::with(|set| {
        set.instance_id = instance_id.to_owned();
        set.execution_id = None;
        set.new_events = std::mem::take(&mut given.new);
        set.entity_parameters = Some(EntityParameters::new(Some(REORDER_WINDOW)));
        set.properties = properties;
    });
    let text = quoted(&with_past(&mut request, &given.past));
    given.new = request.new_events;
    text
}

/// A message with a past that is encoded already, its fields in the order of their numbers.
fn with_past(request: &mut OrchestratorRequest, past: &Past) -> Vec<u8> {
    let before = OrchestratorRequest::with(|set| {
        set.instance_id = std::mem::take(&mut request.instance_id);
        set.execution_id = request.execution_id.take();
    });
    let mut message = before.encode_to_vec();
    message.reserve(past.encoded.len() + request.encoded_len());
    message.extend_from_slice(&past.encoded);
    message.extend(request.encode_to_vec());
    message
}

/// The message in an answer.
fn response(reply: &Reply) -> Result<OrchestratorResponse, Exception> {
    let Some(text) = reply.return_value.as_str().filter(|it| !it.is_empty()) else {
        return Err(Exception::new(
            "System.InvalidOperationException",
            "The function invocation resulted in a null response. This means that either the orchestrator function was implemented \
             incorrectly, the Durable Task language SDK was implemented incorrectly, or that the destination language worker is \
             not sending the function result back to the host.",
        ));
    };
    let bytes = STANDARD.decode(text).map_err(|_| {
        Exception::new(
            "System.FormatException",
            "The input is not a valid Base-64 string as it contains a non-base 64 character, more than two padding characters, or \
             an illegal character among the padding characters.",
        )
    })?;
    let response = OrchestratorResponse::decode(bytes.as_slice()).map_err(|error| {
        Exception::new(
            "Google.Protobuf.InvalidProtocolBufferException",
            format!("While parsing a protocol message: {error}"),
        )
    })?;
    check_status(response.custom_status.as_deref())?;
    response.actions.iter().try_for_each(|it| check_action(it, clock::utc_now()))?;
    Ok(response)
}

/// An invocation whose orchestrator failed is a failed invocation, even though it was answered well.
fn verify(reply: &Reply) -> Result<(), Exception> {
    let response = response(reply)?;
    match failure(&response) {
        None => Ok(()),
        Some(details) => Err(Exception::new(
            "DurableTask.Core.Exceptions.OrchestrationFailureException",
            details.error_message.clone(),
        )),
    }
}

fn failure(response: &OrchestratorResponse) -> Option<&FailureDetails> {
    response.actions.iter().find_map(|it| match &it.action_type {
        Some(ActionType::CompleteOrchestration(it)) => it.failure_details.as_deref(),
        _ => None,
    })
}

fn is_out_of_memory(response: &OrchestratorResponse) -> bool {
    failure(response).and_then(|it| it.inner_failure.as_ref()).is_some_and(|it| it.error_type == OUT_OF_MEMORY)
}

/// An answer that ends the instance without details: the extension keeps them in the output alone.
fn unhandled(function: &str, details: &str) -> Answer {
    let message = format!("Function '{function}' failed with an unhandled exception.");
    let output = serde_json::json!({ "message": message, "details": details });
    end(-1, |set| set.result = Some(output.to_string()))
}

fn failed(message: &str) -> Answer {
    end(-1, |set| set.result = Some(Value::from(message).to_string()))
}

/// An end that the engine decides on; its id is the number of past events.
fn mismatched(past: usize, details: FailureDetails) -> Answer {
    end(i32::try_from(past).unwrap_or(i32::MAX), |set| set.failure_details = Some(Box::new(details)))
}

fn end(id: i32, set: impl FnOnce(&mut CompleteOrchestration)) -> Answer {
    let complete = CompleteOrchestration::with(|it| {
        it.orchestration_status = OrchestrationStatus::Failed as i32;
        set(it);
    });
    let action = OrchestratorAction::new(id, Some(ActionType::CompleteOrchestration(complete)));
    Answer { actions: vec![action], custom_status: None }
}

#[cfg(test)]
mod tests {
    use durable::protocol::{Nothing, TaskCompleted};
    use rusqlite::Connection;

    use super::*;
    use crate::emulator::task_hub::{
        rows::{self, event},
        store::SCHEMA,
    };

    #[test]
    fn a_request_of_stored_events_is_that_of_the_same_events_byte_for_byte() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        let mut started =
            ExecutionStarted::with(|set| (set.name, set.input) = ("o".to_owned(), Some("ä".repeat(9_000))));
        started.version = Some(String::new());
        let mut history = vec![
            event(-1, EventType::OrchestratorStarted(Nothing::default())),
            event(-1, EventType::ExecutionStarted(Box::new(started.clone()))),
        ];
        for length in [0, 1, 100, 127, 128, 129, 16_383, 16_384, 70_000] {
            let completed = TaskCompleted::new(length, Some("x".repeat(usize::try_from(length).unwrap())));
            history.push(event(-1, EventType::TaskCompleted(completed)));
        }
        for events in [0, 1, 2, history.len()] {
            let past_events = history[..events].to_vec();
            rows::append_history(&connection, "i", 0, &past_events).unwrap();
            let past = rows::past(&connection, "i").unwrap();
            assert_eq!((past.events, past.started.is_some()), (events, events > 1));
            let new = history[..2].to_vec();
            let mut given = Given { past, new: new.clone() };
            let value = trigger_value("i", properties(Some("1.0"), None), &mut given);
            let decoded = durable::envelope::decode(&value).unwrap();
            assert_eq!((&decoded.past_events, &decoded.new_events), (&past_events, &new));
            assert_eq!(value, encoded(&decoded));
            assert_eq!(given.new, new, "lent and taken back");
        }
        assert_eq!(rows::past(&connection, "i").unwrap().started.as_deref(), Some(&started));
    }
}
