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

/// What functions are made with.
struct Parts<'a> {
    settings: &'a Settings,
    /// `None` where the app has no blob function.
    worker: Option<Worker>,
}

pub use crate::{
    blob::{INPUT_CONTAINER, RESULTS_CONTAINER},
    settings::storm,
};

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
pub const FUNCTIONS: &[&str] = &names::<{ TABLE.len() }>(None);
/// The names of the replay lab's functions.
pub const REPLAY_FUNCTIONS: &[&str] = &names::<{ count(Lab::Replay) }>(Some(Lab::Replay));

const fn count(lab: Lab) -> usize {
    let (mut count, mut at) = (0, 0);
    while at < TABLE.len() {
        count += (TABLE[at].lab as usize == lab as usize) as usize;
        at += 1;
    }
    count
}

const fn names<const N: usize>(lab: Option<Lab>) -> [&'static str; N] {
    let (mut names, mut count, mut at) = ([""; N], 0, 0);
    while at < TABLE.len() {
        let is_wanted = match lab {
            Some(lab) => TABLE[at].lab as usize == lab as usize,
            None => true,
        };
        if is_wanted {
            names[count] = TABLE[at].name;
            count += 1;
        }
        at += 1;
    }
    names
}

/// The handler's app. Without a worker there is no blob function.
pub fn app(settings: &Settings, worker: Option<Worker>) -> App {
    let parts = Parts { settings, worker };
    TABLE.iter().fold(App::new().observe(telemetry::tell_episode), |app, it| (it.register)(app, &parts))
}
