//! The outcome of an episode, in the types that all of the engine shares.

use super::protocol::{ActionType, CompleteOrchestration, OrchestratorResponse};

/// What an episode came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    pub response: OrchestratorResponse,
    /// Lines that were logged, replays left out.
    pub log: Vec<LogLine>,
    /// Events of earlier episodes.
    pub past_events: usize,
    /// Events of this one.
    pub new_events: usize,
    /// Whether the execution goes on.
    pub outcome: TurnOutcome,
}

impl Turn {
    pub(super) fn new(instance_id: String, past_events: usize, new_events: usize) -> Self {
        let response = OrchestratorResponse { instance_id, ..OrchestratorResponse::default() };
        Self { response, log: Vec::new(), past_events, new_events, outcome: TurnOutcome::Waiting }
    }

    /// Why the instance failed, if it did in this episode: `type: message`.
    pub fn failure(&self) -> Option<String> {
        let last = self.response.actions.last()?.action_type.as_ref()?;
        let ActionType::CompleteOrchestration(CompleteOrchestration { failure_details: Some(it), .. }) = last else {
            return None;
        };
        Some(format!("{}: {}", it.error_type, it.error_message))
    }
}

/// How an episode ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TurnOutcome {
    /// For an outcome that is not in history yet.
    Waiting,
    Completed,
    /// With the input of the next execution.
    ContinuedAsNew,
    /// A client terminated it.
    Terminated,
    Failed,
}

/// A line an orchestrator logged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    pub message: String,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    Information,
    Warning,
    Error,
}
