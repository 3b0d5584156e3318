//! The app's functions, one module for each folder in `functions/`.

pub mod blob_buffer_processor;
pub mod replay_lab_activity;
pub mod replay_status;
pub mod replay_storm_orchestrator;
pub mod start_replay_lab;
pub mod storm;

pub const START_FUNCTION: &str = "start_replay_lab";
/// Tells the state of an instance.
pub const STATUS_FUNCTION: &str = "replay_status";
pub const ORCHESTRATOR_FUNCTION: &str = "replay_storm_orchestrator";
pub const ACTIVITY_FUNCTION: &str = "replay_lab_activity";
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
