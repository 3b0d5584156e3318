//! Carries the experiment out: starts the app, has the storms run phase by phase, and shows how far they are.

use std::time::Duration;

use tokio::time::sleep;

use super::{ReplayLoad, ReplayPhase, live::Live};
use crate::{
    app::running::{AppStart, Platform},
    evidence::RunFolder,
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
    let start = AppStart { settings: Vec::new(), tables: evidence.tables(), pace: None };
    with_app(platform, start, async |app| {
        let load = ReplayLoad::new(app.url()?, evidence.path().to_owned(), longest);
        let mut live = Live::new(&evidence.tables());
        for phase in phases {
            live.begin(&phase.name, phase.iterations * phase.instances);
            let outcome = watched(load.run(phase), &mut live).await?;
            live.end(outcome.took);
        }
        Ok(())
    })
    .await
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
