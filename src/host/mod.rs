//! The Functions host's wire contract with a custom handler: names and shapes, no behaviour.

mod durable;
mod envelope;
mod reply;
pub mod storm;
pub mod timespan;

pub use durable::{
    ACTIVITY_FUNCTION, ORCHESTRATOR_FUNCTION, START_FUNCTION, STATUS_FUNCTION, WEBHOOK_PATH, instance_id_problem,
};
pub use envelope::{Envelope, text};
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

/// The one blob function, as its folder, its route and its telemetry operation are called.
pub const BLOB_FUNCTION: &str = "BlobBufferProcessor";
/// The functions of the replay lab.
pub const REPLAY_FUNCTIONS: &[&str] = &[START_FUNCTION, STATUS_FUNCTION, ORCHESTRATOR_FUNCTION, ACTIVITY_FUNCTION];
/// All functions of the app.
pub const FUNCTIONS: &[&str] =
    &[BLOB_FUNCTION, START_FUNCTION, STATUS_FUNCTION, ORCHESTRATOR_FUNCTION, ACTIVITY_FUNCTION];
/// Container the blob function is triggered by.
pub const INPUT_CONTAINER: &str = "input";
/// Container the result records go to.
pub const RESULTS_CONTAINER: &str = "results";
