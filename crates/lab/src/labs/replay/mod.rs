//! The replay lab: has an orchestration's history grow until replay dominates, cures it, and gathers what both are judged by.

mod driver;
mod generator;
mod live;
mod load;
mod scenario;

use async_trait::async_trait;
use serde_json::json;

pub use generator::{PhaseOutcome, ReplayLoad, ReplayLoadError};
pub use load::LoadReplay;
pub use scenario::{ReplayPhase, ReplayScenario, StormArguments};

use super::{Help, Lab};
use crate::{
    app::running::Platform,
    evidence::{Environment, RunFolder},
};
use incident_labs::functions;

/// The experiment: little history, all of it, and a history that is dropped now and then.
#[derive(Debug, clap::Args)]
pub struct ReplayLab {
    #[command(flatten)]
    pub storm: StormArguments,
}

#[async_trait(?Send)]
impl Lab for ReplayLab {
    const NAME: &'static str = "replay";
    const RUN_HELP: Help = Help {
        about: "An orchestration whose history grows until replay dominates; then the same work with ContinueAsNew. About half a \
                minute",
        after: "\
Example:     cargo lab run replay --continue-as-new-every 0      (the control: without the cure it must not be supported)
             cargo lab run replay --iterations 500 --instances 10
Evidence:    evidence/replay/latest: report.html, verdict.json, kql-session.json, timeline.csv, tables/*.jsonl
Exit codes:  0 supported; 1 not supported; 2 inconclusive; 3 it could not run; 64 usage",
    };
    const LOAD_HELP: Help = Help {
        about: "Storms on any app with the replay lab's functions, started and watched over HTTP",
        after: "\
Example:     cargo lab load replay --url https://APP.azurewebsites.net --phases baseline,incident
Exit codes:  0 every instance completed; 1 some did not; 3 it could not run; 64 usage",
    };
    const WORK: &'static str = ".lab/replay";
    const CRITERIA: &'static str = include_str!("../../../../../load/replay/criteria.toml");
    const PHASES: &'static [(&'static str, &'static [&'static str])] =
        &[("baseline", &["baseline"]), ("incident", &["incident"]), ("recovery", &["recovery"])];

    type Load = LoadReplay;
    type Plan = Vec<ReplayPhase>;

    /// Without the blob function there is no worker and no storage to start.
    fn functions() -> Vec<&'static str> {
        functions::names_of(functions::Lab::Replay)
    }

    fn plan(&self) -> anyhow::Result<Vec<ReplayPhase>> {
        self.storm.phases()
    }

    async fn carry_out(
        &self,
        phases: &Vec<ReplayPhase>,
        platform: &dyn Platform,
        evidence: &RunFolder,
    ) -> anyhow::Result<()> {
        driver::run(phases, self.storm.longest, platform, evidence).await
    }

    fn is_control(&self, phases: &Vec<ReplayPhase>) -> bool {
        phases.iter().any(|it| it.name == "recovery" && it.continue_as_new_every == 0)
    }

    fn describe(&self, phases: &Vec<ReplayPhase>, environment: &mut Environment) {
        environment.note("phases", json!(phases));
    }
}
