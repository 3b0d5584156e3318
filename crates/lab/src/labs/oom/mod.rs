//! The OOM lab: causes the incident on real blobs, applies a remedy, and gathers what both are judged by.

mod ablation;
mod driver;
mod events;
mod generator;
mod live;
mod load;
mod nudge;
mod random;
mod remedy;
mod scenario;

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use anyhow::Context;
use async_trait::async_trait;
use serde_json::Value;

pub use load::LoadOom;
pub use remedy::Remedy;
pub use scenario::{Plan, PlanError, Scale, ScaledScenario};

use super::{EP1_LIMIT_MB, Help, Lab};
use crate::{
    app::running::{Needs, Platform},
    evidence::{Environment, RunFolder, jsonl},
    judgement::sums,
    machine::{exit::UsageError, terminal::out},
};
use ablation::Ablation;
use driver::Experiment;
use incident_labs::{blob::MIB, functions};

/// Within this time, at full scale, the signs of one incident must be seen together.
const SAME_WINDOW_SECONDS: f64 = 60.0;

/// The experiment: incident, remedy, recovery.
#[derive(Debug, clap::Args)]
pub struct OomLab {
    #[command(flatten)]
    pub load: ScaledScenario,
    /// What is changed between incident and recovery.
    #[arg(long, value_enum, default_value = "both")]
    pub remedy: Remedy,
    /// Run the same load under all four combinations of the two changes, and say which does the work.
    #[arg(long, conflicts_with_all = ["remedy", "runs"])]
    pub ablation: bool,
}

#[async_trait(?Send)]
impl Lab for OomLab {
    const NAME: &'static str = "oom";
    const RUN_HELP: Help = Help {
        about: "Whole blobs in memory, many at once, until the worker is killed; then blocks, few at once. About 4 minutes",
        after: "\
Example:     cargo lab run oom --remedy none        (the control: without a remedy it must not be supported)
             cargo lab run oom --on azure --app APP --resource-group GROUP --workspace ID --plan
Evidence:    evidence/oom/latest: report.html, verdict.json, kql-session.json, timeline.csv, tables/*.jsonl
Exit codes:  0 supported; 1 not supported; 2 inconclusive; 3 it could not run; 64 usage",
    };
    const WORK: &'static str = ".lab/run-oom";
    const CRITERIA: &'static str = include_str!("../../../../../load/oom/criteria.toml");
    const PHASES: &'static [(&'static str, &'static [&'static str])] = &[
        ("baseline", &["baseline"]),
        ("load-1", &["load-1"]),
        ("load-2", &["load-2"]),
        ("incident", &["incident"]),
        ("recovery-a", &["recovery-a"]),
        ("recovery-b", &["recovery-b"]),
        // The guide's, which has one.
        ("recovery", &["recovery-a", "recovery-b"]),
    ];

    type Plan = Plan;

    fn functions() -> Vec<&'static str> {
        functions::names()
    }

    fn go_to_azure(&mut self) {
        self.load.go_to_azure();
    }

    fn takes(&self, plan: &Plan) -> Duration {
        plan.length()
    }

    /// Each blob is a request at least.
    fn expected_rows(run: &Path) -> io::Result<BTreeMap<&'static str, u64>> {
        let sent: Vec<Value> = jsonl::read(&run.join("manifest.jsonl"))?;
        Ok(BTreeMap::from([("AppRequests", sent.len() as u64)]))
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        self.load.plan()
    }

    fn needs(&self, plan: &Plan) -> Option<Needs> {
        let worker_bytes = plan.scale.limit_bytes();
        Some(Needs { what: "the OOM lab at this scale", worker_bytes, blob_bytes: plan.source_bytes() })
    }

    async fn carry_out(&self, _: &Plan, platform: &dyn Platform, evidence: &RunFolder) -> anyhow::Result<()> {
        Experiment { load: &self.load, platform, evidence }.run(self.remedy).await
    }

    async fn side_experiment(
        &self,
        platform: &dyn Platform,
        evidence: &RunFolder,
        json: bool,
    ) -> anyhow::Result<Option<u8>> {
        if !self.ablation {
            return Ok(None);
        }
        if platform.is_on_azure() {
            let text = "--ablation is for this machine: on Azure run the lab once with each --remedy";
            return Err(UsageError(text.to_owned()).into());
        }
        let ablation = Ablation::run(&self.load, platform, evidence).await?;
        evidence.write_json("ablation.json", &ablation).context("write ablation.json")?;
        sums::write(evidence.path()).context("write the sums")?;
        if json {
            out(&serde_json::to_string(&ablation)?);
        } else {
            out(&format!("{ablation}\n\nevidence: {}", evidence.path().display()));
        }
        Ok(Some(ablation.verdict().exit_code()))
    }

    fn scale(&self) -> String {
        self.load.scale().to_string()
    }

    fn limit_mb(&self) -> f64 {
        (self.load.scale().limit_bytes() / MIB) as f64
    }

    /// Edges of the bands, and how long a window is in which the signs of one incident must be seen together.
    fn parameters(limit_mb: f64) -> BTreeMap<String, String> {
        let edges = Self::rules().map(|it| it.bands.edges_of(limit_mb)).unwrap_or_default();
        let ends = edges.iter().filter_map(|it| Some((format!("{}MB", it.name), it.to_mb?)));
        let starts = edges.iter().filter(|it| it.to_mb.is_none()).map(|it| (format!("{}MB", it.name), it.from_mb));
        let edges = ends.chain(starts).chain([("limitMB".to_owned(), limit_mb)]);
        let window = (SAME_WINDOW_SECONDS * limit_mb / EP1_LIMIT_MB).max(1.0);
        edges
            .map(|(name, mb)| (name, format!("{:.1}", mb)))
            .chain([("windowSize".to_owned(), format!("{window}s"))])
            .collect()
    }

    fn is_control(&self, _: &Plan) -> bool {
        self.remedy == Remedy::None
    }

    fn describe(&self, _: &Plan, environment: &mut Environment) {
        environment.note("remedy", self.remedy.name());
        environment.note("limit_mb", self.limit_mb());
    }
}
