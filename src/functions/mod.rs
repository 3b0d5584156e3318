//! The app's functions, one module for each folder in `functions/`, and the table that registers them.

pub mod blob_buffer_processor;
pub mod replay_lab_activity;
pub mod replay_status;
pub mod replay_storm_orchestrator;
pub mod start_replay_lab;
pub mod storage_access;

use custom_handler::App;

use crate::{settings::Settings, telemetry, worker::Worker};

/// A function of the app, as folder, route and telemetry operation call it.
#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    /// The labs it belongs to: each has packages of its own.
    pub labs: &'static [Lab],
    register: fn(App, &Parts<'_>) -> App,
}

/// A lab whose app is packaged.
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
    storage_access::NAME as ACCESS_FUNCTION,
};

pub const ACTIVITY_FUNCTION: &str = replay_lab_activity::ACTIVITY.name();

/// All functions. A new one is a file here, a row, and its `function.json`.
pub const TABLE: &[Function] = &[
    Function { name: BLOB_FUNCTION, labs: &[Lab::Oom], register: blob_buffer_processor::register },
    Function { name: START_FUNCTION, labs: &[Lab::Replay], register: start_replay_lab::register },
    Function { name: STATUS_FUNCTION, labs: &[Lab::Replay], register: replay_status::register },
    Function { name: ORCHESTRATOR_FUNCTION, labs: &[Lab::Replay], register: replay_storm_orchestrator::register },
    Function { name: ACTIVITY_FUNCTION, labs: &[Lab::Replay], register: replay_lab_activity::register },
    Function { name: ACCESS_FUNCTION, labs: &[Lab::Oom, Lab::Replay], register: storage_access::register },
];

/// The names of all functions.
pub fn names() -> Vec<&'static str> {
    TABLE.iter().map(|it| it.name).collect()
}

/// The names of the functions that a lab's packages have.
pub fn names_of(lab: Lab) -> Vec<&'static str> {
    TABLE.iter().filter(|it| it.labs.contains(&lab)).map(|it| it.name).collect()
}

/// The names of the functions that are one lab's alone: it cannot do without them.
pub fn own_names_of(lab: Lab) -> Vec<&'static str> {
    TABLE.iter().filter(|it| it.labs == [lab]).map(|it| it.name).collect()
}

/// The handler's app. Without a worker there is no blob function.
pub fn app(settings: &Settings, worker: Option<Worker>) -> App {
    let parts = Parts { settings, worker };
    TABLE.iter().fold(App::new().observe(telemetry::tell_episode), |app, it| (it.register)(app, &parts))
}
