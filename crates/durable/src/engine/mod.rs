//! Replay, and everything an orchestrator may wait for.

mod activity;
mod as_completed;
mod call;
mod combine;
mod context;
pub mod envelope;
mod error;
mod event_queue;
mod events;
mod failure;
pub mod history;
mod mismatch;
mod names;
mod properties;
pub mod protocol;
mod replay;
mod retry;
mod state;
mod task;
mod turn;
mod version;
mod wake;

pub use activity::{Activity, ActivityError};
pub use as_completed::{AsCompleted, as_completed, fan_out, try_all};
pub use combine::{Either, all, any, select, select_all};
pub use context::Context;
pub use error::{Error, chain as error_chain, types};
pub use replay::{replay, replay_encoded};
pub use retry::RetryPolicy;
pub use state::Carry;
pub use task::{Durable, Retried, Task, Timer};
pub use turn::{Level, LogLine, Turn, TurnOutcome};
pub use version::compare as compare_versions;
