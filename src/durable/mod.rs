//! Durable Functions orchestrators in Rust, for custom handlers on the unchanged Functions host.
//!
//! An orchestrator is an ordinary `async fn`. It runs from its beginning in every episode, with the outcomes that stand in
//! history, until it waits for one that does not; what it wanted on the way and history does not have yet is the answer. That
//! is [`replay`]: a pure function of the request, without clock, network, threads or runtime.
//!
//! ```
//! use std::time::Duration;
//!
//! use incident_labs::durable::{Context, Either, Error, Level, RetryPolicy, envelope, replay, select};
//!
//! /// Asks for approval; escalates when nobody answers for a day.
//! async fn purchase(ctx: Context, order: String) -> Result<String, Error> {
//!     let mut approval = ctx.external_event::<bool>("Approval");
//!     let mut deadline = ctx.timer(Duration::from_secs(24 * 3600));
//!     ctx.set_custom_status(&"waiting for approval")?;
//!     if let Either::Second(()) = select(&mut approval, &mut deadline).await {
//!         ctx.log(Level::Warning, || format!("nobody approved {order}"));
//!         return ctx.activity("escalate", &order).await;
//!     }
//!     let policy = RetryPolicy::new(3, Duration::from_secs(5)).backoff(2.0);
//!     ctx.activity_with_retry("buy", &order, policy)?.await
//! }
//!
//! // What the host sends for a new instance, and what it gets: one action, the timer. Waiting for an event is none.
//! # use incident_labs::durable::protocol::*;
//! # use prost::Message;
//! # use base64::{Engine, engine::general_purpose::STANDARD};
//! # let event = |event_type| HistoryEvent { event_id: -1, timestamp: None, event_type: Some(event_type) };
//! # let started = ExecutionStarted { name: "purchase".into(), input: Some("\"book\"".into()), ..Default::default() };
//! # let new_events = vec![event(EventType::OrchestratorStarted(Nothing {})), event(EventType::ExecutionStarted(Box::new(started)))];
//! # let request = OrchestratorRequest { instance_id: "a".into(), new_events, ..Default::default() };
//! # let trigger_value = STANDARD.encode(request.encode_to_vec());
//! let turn = replay(envelope::decode(&trigger_value)?, purchase, || Duration::ZERO);
//! assert!(matches!(turn.response.actions[0].action_type, Some(ActionType::CreateTimer(_))));
//! assert_eq!(turn.response.custom_status.as_deref(), Some("\"waiting for approval\""));
//! let return_value = envelope::encode(&turn.response);
//! # assert!(!return_value.is_empty());
//! # Ok::<(), Error>(())
//! ```
//!
//! Rules for orchestrators, and what happens when they are broken:
//! - Wait for the context's tasks only. A sleep or a request of another kind would wait for ever; it fails the instance.
//! - Take time and chance from the context. Code that does something else with the same history fails the instance, with what
//!   history recorded and what the code attempted.
//! - A panic fails the instance, and nothing else.

mod combine;
mod context;
pub mod envelope;
mod error;
mod mismatch;
pub mod protocol;
mod replay;
mod retry;
mod state;
mod stream;
mod task;

use self::protocol::{ActionType, CompleteOrchestration, OrchestratorResponse};

pub use combine::{Either, all, any, select};
pub use context::Context;
pub use error::{Error, types};
pub use replay::{replay, replay_encoded};
pub use retry::RetryPolicy;
pub use state::Carry;
pub use task::{Durable, Retried, Task, Timer};

/// What an episode came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// The answer.
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
    fn new(instance_id: String, past_events: usize, new_events: usize) -> Self {
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
    /// With an output.
    Completed,
    /// With the input of the next execution.
    ContinuedAsNew,
    /// Because somebody wanted it to end.
    Terminated,
    /// With an error.
    Failed,
}

/// A line an orchestrator logged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// The text.
    pub message: String,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Ordinary.
    Information,
    /// Worth a look.
    Warning,
    /// Something failed.
    Error,
}
