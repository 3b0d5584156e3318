//! The app's functions, one module for each folder in `functions/`, and the table that registers them.

pub mod blob_buffer_processor;
pub mod replay_lab_activity;
pub mod replay_status;
pub mod replay_storm_orchestrator;
pub mod start_replay_lab;

use custom_handler::App;

use crate::{settings::Settings, telemetry, worker::Worker};

/// A function of the app, as folder, route and telemetry operation call it.
#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    pub lab: Lab,
    register: fn(App, &Parts<'_>) -> App,
}

/// The lab a function belongs to: each has a package of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lab {
    Oom,
    Replay,
}

/// Name of the `durableClient` input binding, wherever there is one.
const CLIENT: &str = "client";

/// What functions are made with.
struct Parts<'a> {
    settings: &'a Settings,
    /// `None` where the app has no blob function.
    worker: Option<Worker>,
}

pub use self::{
    blob_buffer_processor::NAME as BLOB_FUNCTION, replay_status::NAME as STATUS_FUNCTION,
    replay_storm_orchestrator::NAME as ORCHESTRATOR_FUNCTION, start_replay_lab::NAME as START_FUNCTION,
};

pub const ACTIVITY_FUNCTION: &str = replay_lab_activity::ACTIVITY.name();

/// All functions. A new one is a file here, a row, and its `function.json`.
pub const TABLE: &[Function] = &[
    Function { name: BLOB_FUNCTION, lab: Lab::Oom, register: blob_buffer_processor::register },
    Function { name: START_FUNCTION, lab: Lab::Replay, register: start_replay_lab::register },
    Function { name: STATUS_FUNCTION, lab: Lab::Replay, register: replay_status::register },
    Function { name: ORCHESTRATOR_FUNCTION, lab: Lab::Replay, register: replay_storm_orchestrator::register },
    Function { name: ACTIVITY_FUNCTION, lab: Lab::Replay, register: replay_lab_activity::register },
];

/// The names of all functions.
pub fn names() -> Vec<&'static str> {
    TABLE.iter().map(|it| it.name).collect()
}

/// The names of one lab's functions.
pub fn names_of(lab: Lab) -> Vec<&'static str> {
    TABLE.iter().filter(|it| it.lab == lab).map(|it| it.name).collect()
}

/// The handler's app. Without a worker there is no blob function.
pub fn app(settings: &Settings, worker: Option<Worker>) -> App {
    let parts = Parts { settings, worker };
    TABLE.iter().fold(App::new().observe(telemetry::tell_episode), |app, it| (it.register)(app, &parts))
}
