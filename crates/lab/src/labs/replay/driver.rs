//! Carries the experiment out: starts the app, has the storms run phase by phase, and shows how far they are.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::{
    ReplayLoad, ReplayPhase,
    generator::{START_PATH, STATUS_PATH, start_body},
    live::Live,
};
use crate::{
    app::running::{AppStart, Platform, Traffic},
    evidence::RunFolder,
    judgement::{Journal, Step},
    labs::run::with_app,
};

/// Between two looks at the tables.
const TICK: Duration = Duration::from_millis(250);

/// Runs all phases, each for `longest` at most.
///
/// # Errors
/// When the app cannot be started, ends, or does not answer as it should.
pub(super) async fn run(
    phases: &[ReplayPhase],
    longest: Duration,
    platform: &dyn Platform,
    evidence: &RunFolder,
) -> anyhow::Result<()> {
    let start = AppStart { settings: Vec::new(), tables: evidence.tables() };
    with_app(platform, start, &traffic(phases), async |app| {
        let load = ReplayLoad::new(app.url()?, evidence.path().to_owned(), longest);
        let mut live = Live::new(&evidence.tables());
        let journal = Journal::of(evidence.path());
        for phase in phases {
            live.begin(&phase.name, phase.iterations * phase.instances);
            journal.add(Step::Action, "a phase's instances are started", json!(phase))?;
            let outcome = watched(load.run(phase), &mut live).await?;
            live.end(outcome.took);
            let facts = json!({"phase": phase.name, "seconds": outcome.took.as_secs_f64(), "notCompleted": outcome.not_completed.len()});
            journal.add(Step::Observation, "a phase is over", facts)?;
        }
        Ok(())
    })
    .await
}

/// The requests of the phases: a start, then a look at each instance until it has ended.
fn traffic(phases: &[ReplayPhase]) -> Vec<Traffic> {
    let of = |phase: &ReplayPhase| {
        let start = Traffic {
            method: "POST",
            path: format!("/{START_PATH}"),
            body: Some(start_body(phase)),
            why: format!("{}: start {} instances", phase.name, phase.instances),
            count: 1,
            is_storage: false,
            repeats: false,
        };
        let look = Traffic {
            method: "GET",
            path: format!("/{STATUS_PATH}/{{instanceId}}"),
            body: None,
            why: format!("{}: see whether the instances have ended", phase.name),
            count: phase.instances,
            is_storage: false,
            repeats: true,
        };
        [start, look]
    };
    phases.iter().flat_map(of).collect()
}

async fn watched<T>(work: impl Future<Output = T>, live: &mut Live) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = sleep(TICK) => live.tick(),
        }
    }
}
