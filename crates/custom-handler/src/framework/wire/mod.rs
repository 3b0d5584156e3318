//! The Functions host's wire contract with a custom handler: names and shapes, no behaviour.

mod envelope;
mod extension;
mod reply;
pub mod timespan;

pub use envelope::{Envelope, text};
pub use extension::{WEBHOOK_PATH, instance_id_problem};
pub use reply::InvocationResult;

/// Environment variables the host sets for the handler (host: `HttpWorkerConstants.cs`).
pub mod env {
    /// Port to listen on.
    pub const PORT: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
    /// The same port, under its older name.
    pub const PORT_LEGACY: &str = "FUNCTIONS_HTTPWORKER_PORT";
    /// Id of the worker channel, new at each start.
    pub const WORKER_ID: &str = "FUNCTIONS_CUSTOMHANDLER_WORKER_ID";
    /// The same id, under its older name.
    pub const WORKER_ID_LEGACY: &str = "FUNCTIONS_HTTPWORKER_ID";
    /// Absolute path of the script root.
    pub const APP_ROOT: &str = "FUNCTIONS_APP_ROOT_PATH";
}

/// Request headers the host adds to each invocation.
pub mod header {
    /// GUID of the invocation.
    pub const INVOCATION_ID: &str = "X-Azure-Functions-InvocationId";
    /// Version of the host, four numbers.
    pub const HOST_VERSION: &str = "X-Azure-Functions-HostVersion";
}
