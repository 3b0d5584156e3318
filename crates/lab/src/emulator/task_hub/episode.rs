//! One call of an orchestrator: from its history to its actions, as the extension's middleware does it.

use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use serde_json::{Map, Value};

use super::{Instance, StartError, TaskHub};
use crate::emulator::host::{Call, Exception, InvocationOutcome, Reply};
use durable::protocol::{
    ActionType, CompleteOrchestration, EntityParameters, FailureDetails, HistoryEvent, OrchestrationStatus,
    OrchestratorAction, OrchestratorRequest, OrchestratorResponse, Timestamp,
};

/// `entityMessageReorderWindow`: always sent.
const REORDER_WINDOW: Timestamp = Timestamp::new(1800, 0);
/// A failure whose cause is of this type is taken back and tried again (extension: `RemoteOrchestratorContext.cs`).
const OUT_OF_MEMORY: &str = "System.OutOfMemoryException";

/// What an episode is shown.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub past: Vec<HistoryEvent>,
    pub new: Vec<HistoryEvent>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub actions: Vec<OrchestratorAction>,
    pub custom_status: Option<String>,
}

impl TaskHub {
    /// Calls the orchestrator. `None`: nothing of this may be recorded, and it is to be tried again.
    ///
    /// Whatever else goes wrong ends the instance, as with the real extension.
    pub(super) async fn call_orchestrator(&self, instance: &Instance, given: &mut Given) -> Option<Answer> {
        let inner = &self.inner;
        let call = match self.episode(&instance.name, || trigger_value(&instance.instance_id, given)) {
            Ok(call) => call,
            Err(unknown) => return Some(failed(&unknown.to_string())),
        };
        let outcome = inner.host.invoke(call).await;
        let reply = match (outcome.reply, outcome.exception) {
            (Some(reply), _) => reply,
            _ if outcome.timed_out || inner.stopping.is_cancelled() => return None,
            (None, exception) => {
                let details = exception.map(|it| it.to_string()).unwrap_or_default();
                return Some(unhandled(&instance.name, &details));
            }
        };
        match response(&reply) {
            Ok(response) if is_out_of_memory(&response) => None,
            Ok(response) => Some(Answer { actions: response.actions, custom_status: response.custom_status }),
            Err(exception) => {
                let whole = Exception::of_invocation(&instance.name, exception);
                Some(unhandled(&instance.name, &whole.to_string()))
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
        let Some(binding) = functions.orchestrator_binding(orchestrator) else {
            return Err(StartError::UnknownFunction { name: orchestrator.to_owned(), known: functions.known() });
        };
        let mut call = Call { function: orchestrator.to_owned(), verify: Some(verify), ..Call::default() };
        call.data = Map::from_iter([(binding.to_owned(), Value::String(value()))]);
        Ok(call)
    }
}

/// The trigger's value: a .NET string, hence in quotes of its own.
fn encoded(request: &OrchestratorRequest) -> String {
    format!("\"{}\"", STANDARD.encode(request.encode_to_vec()))
}

fn trigger_value(instance_id: &str, given: &mut Given) -> String {
    // Lent to the message and taken back: histories are long.
    let request = OrchestratorRequest::with(|set| {
        set.instance_id = instance_id.to_owned();
        set.execution_id = None;
        set.past_events = std::mem::take(&mut given.past);
        set.new_events = std::mem::take(&mut given.new);
        set.entity_parameters = Some(EntityParameters::new(Some(REORDER_WINDOW)));
    });
    let text = encoded(&request);
    (given.past, given.new) = (request.past_events, request.new_events);
    text
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
    if response.actions.iter().any(|it| it.action_type.is_none()) {
        return Err(Exception::new("System.NotSupportedException", "Received unsupported action type."));
    }
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
    end(CompleteOrchestration::with(|set| {
        set.result = Some(output.to_string());
    }))
}

fn failed(message: &str) -> Answer {
    end(CompleteOrchestration::with(|set| {
        set.result = Some(Value::from(message).to_string());
    }))
}

fn end(complete: CompleteOrchestration) -> Answer {
    let mut complete = complete;
    complete.orchestration_status = OrchestrationStatus::Failed as i32;
    let action = OrchestratorAction::new(-1, Some(ActionType::CompleteOrchestration(complete)));
    Answer { actions: vec![action], custom_status: None }
}
