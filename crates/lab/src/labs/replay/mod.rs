//! The replay lab: has an orchestration's history grow until replay dominates, cures it, and gathers what both are judged by.

mod driver;
mod generator;
mod live;
mod load;
mod scenario;

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, json};

pub use generator::{PhaseOutcome, ReplayLoad, ReplayLoadError};
pub(super) use generator::{START_PATH, STATUS_PATH};
pub use load::LoadReplay;
pub use scenario::{ReplayPhase, ReplayScenario, StormArguments};

use super::{Help, Lab};
use crate::{
    app::running::Platform,
    evidence::{Environment, RunFolder, jsonl},
};
use incident_labs::functions;

/// From the first start to the last end of the guide's recording, 12:28:00 to 13:01:21.
const GUIDE_TOOK: Duration = Duration::from_secs(33 * 60 + 21);

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
             cargo lab run replay --on azure --app APP --resource-group GROUP --workspace ID --plan
Evidence:    evidence/replay/latest: report.html, verdict.json, kql-session.json, timeline.csv, tables/*.jsonl
Exit codes:  0 supported; 1 not supported; 2 inconclusive; 3 it could not run; 64 usage",
    };
    const WORK: &'static str = ".lab/replay";
    const CRITERIA: &'static str = include_str!("../../../../../load/replay/criteria.toml");
    const PHASES: &'static [(&'static str, &'static [&'static str])] =
        &[("baseline", &["baseline"]), ("incident", &["incident"]), ("recovery", &["recovery"])];

    type Plan = Vec<ReplayPhase>;

    /// Without the blob function there is no worker and no storage to start.
    fn functions() -> Vec<&'static str> {
        functions::own_names_of(functions::Lab::Replay)
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

    /// What the guide's recording took; it grows with the square of the iterations, so a smaller storm takes less.
    fn takes(&self, phases: &Vec<ReplayPhase>) -> Duration {
        GUIDE_TOOK.min(self.storm.longest * phases.len().try_into().unwrap_or(u32::MAX))
    }

    /// Each iteration is an activity, and each activity's end an episode of the orchestrator.
    fn expected_rows(run: &Path) -> io::Result<BTreeMap<&'static str, u64>> {
        let instances: Vec<Value> = jsonl::read(&run.join("instances.jsonl"))?;
        let completed = instances.iter().filter(|it| it["runtimeStatus"] == "Completed");
        let rows: u64 = completed.map(|it| 2 * it["iterations"].as_u64().unwrap_or_default()).sum();
        Ok(BTreeMap::from([("AppRequests", rows)]))
    }

    fn is_control(&self, phases: &Vec<ReplayPhase>) -> bool {
        phases.iter().any(|it| it.name == "recovery" && it.continue_as_new_every == 0)
    }

    fn describe(&self, phases: &Vec<ReplayPhase>, environment: &mut Environment) {
        environment.note("phases", json!(phases));
    }
}
