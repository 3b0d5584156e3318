//! A framework for Azure Functions apps in Rust: HTTP triggers, blob triggers and Durable Functions as a custom handler, run by the
//! unchanged Functions host.
//!
//! [`App`] shows an app in one look. The README beside this crate leads from `cargo new` to a running orchestration.
//!
//! The framework takes care of these:
//! - it listens where the host expects it, answers the host's probe, drains on SIGTERM and exits as the host wants it;
//! - every invocation is answered, with a body: after an empty 2xx the host waits for its time-out and kills the handler;
//! - an orchestrator's episode is always answered with 200, whatever went wrong: any other status ends the instance silently;
//! - an activity's error reaches the orchestrator with type, message and non-retriable flag, and stays a failed activity to the host;
//! - of a blob trigger's call only metadata is kept, however much payload a host sends along.

mod framework;

pub use durable::{
    self, Activity, ActivityError, Carry, Context, Either, Error, Level, RetryPolicy, all, any, error_chain, select,
};
pub use framework::{
    App, BlobTrigger, Call, ClientError, DurableClient, Episode, Failure, HttpRequest, HttpResponse, Invocation,
    Listener, Logged, NotStarted, Rejected, ServeError, Start, Status, clock, console, exit_code, files, operation_id,
    orchestrator, serve_connections, wire,
};
