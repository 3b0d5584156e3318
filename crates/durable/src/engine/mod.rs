//! Replay, and everything an orchestrator may wait for.

mod activity;
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
mod turn;

pub use activity::{Activity, ActivityError};
pub use combine::{Either, all, any, select};
pub use context::Context;
pub use error::{Error, chain as error_chain, types};
pub use replay::{replay, replay_encoded};
pub use retry::RetryPolicy;
pub use state::Carry;
pub use task::{Durable, Retried, Task, Timer};
pub use turn::{Level, LogLine, Turn, TurnOutcome};
