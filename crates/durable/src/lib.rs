//! Durable Functions orchestrators in Rust, for custom handlers on the unchanged Functions host.
//!
//! An orchestrator is an ordinary `async fn`. Each episode runs it from its beginning with the outcomes that history holds, until
//! it waits for one that history does not hold. What it asked for on the way is the answer. [`replay`] is that function: pure, with
//! no clock, network, thread or runtime. The crate `custom-handler` calls it for every episode a host sends.
//!
//! ```
//! use std::time::Duration;
//!
//! use durable::{Activity, Context, Either, Error, Level, RetryPolicy, envelope, replay, select};
//!
//! const BUY: Activity<String, String> = Activity::new("Buy");
//! const ESCALATE: Activity<String, String> = Activity::new("Escalate");
//!
//! /// Asks for approval; escalates after a day without an answer.
//! async fn purchase(ctx: Context, order: String) -> Result<String, Error> {
//!     let mut approval = ctx.external_event::<bool>("Approval");
//!     let mut deadline = ctx.timer(Duration::from_secs(24 * 3600));
//!     ctx.set_custom_status(&"waiting for approval")?;
//!     if let Either::Second(()) = select(&mut approval, &mut deadline).await {
//!         ctx.log(Level::Warning, || format!("no answer about {order}"));
//!         return ctx.call(ESCALATE, &order).await;
//!     }
//!     let policy = RetryPolicy::new(3, Duration::from_secs(5)).backoff(2.0).unless(|error| error.error_type == "SoldOut");
//!     ctx.call_with_retry(BUY, &order, policy)?.await
//! }
//!
//! // What the host sends for a new instance, and what it gets: one action, the timer. Waiting for an event is none.
//! # use base64::{Engine, engine::general_purpose::STANDARD};
//! # use durable::protocol::*;
//! # use prost::Message;
//! # let event = |event_type| HistoryEvent::new(-1, None, Some(event_type));
//! # let started = ExecutionStarted::with(|set| (set.name, set.input) = ("purchase".into(), Some("\"book\"".into())));
//! # let new_events = vec![
//! #     event(EventType::OrchestratorStarted(Nothing::default())),
//! #     event(EventType::ExecutionStarted(Box::new(started))),
//! # ];
//! # let request = OrchestratorRequest::with(|set| (set.instance_id, set.new_events) = ("a".into(), new_events));
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
//! - Wait for the context's tasks only. A sleep or a request of another kind would never end; it fails the instance.
//! - Take time and chance from the context. Code that does something else with the same history fails the instance, with what
//!   history recorded and what the code attempted.
//! - A panic fails the instance, and nothing else.

mod engine;

pub use engine::{
    Activity, ActivityError, AsCompleted, Carry, Context, Durable, Either, Error, Level, LogLine, Retried, RetryPolicy,
    Task, Timer, Turn, TurnOutcome, all, any, as_completed, compare_versions, envelope, error_chain, fan_out, history,
    protocol, replay, replay_encoded, select, select_all, try_all, types,
};
