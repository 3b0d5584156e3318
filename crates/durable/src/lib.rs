//! Durable Functions orchestrators in Rust, for custom handlers on the unchanged Functions host.
//!
//! An orchestrator is an ordinary `async fn`. It runs from its beginning in every episode, with the outcomes that stand in
//! history, until it waits for one that does not; what it wanted on the way and history does not have yet is the answer. That
//! is [`replay`]: a pure function of the request, without clock, network, threads or runtime.
//!
//! ```
//! use std::time::Duration;
//!
//! use crate::engine::{Context, Either, Error, Level, RetryPolicy, envelope, replay, select};
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
//! # use crate::engine::protocol::*;
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

mod engine;

pub use engine::{
    Carry, Context, Durable, Either, Error, Level, LogLine, Retried, RetryPolicy, Task, Timer, Turn, TurnOutcome, all,
    any, envelope, protocol, replay, replay_encoded, select, types,
};
