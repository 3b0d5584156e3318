//! The OOM lab: causes the incident on real blobs, applies a remedy, and gathers what both are judged by.

mod ablation;
mod driver;
mod events;
mod generator;
mod live;
mod load;
mod measures;
mod random;
mod remedy;
mod run_rows;
mod scenario;
mod timeline;

use std::path::Path;

use anyhow::Context;
use async_trait::async_trait;
use serde_json::{Map, Value};

pub use load::LoadOom;
pub use remedy::Remedy;
pub use run_rows::OomRows;
pub use scenario::{Plan, PlanError, Scale, ScaledScenario};

use super::{Help, Lab};
use crate::{
    app::running::{Needs, Platform},
    evidence::{Environment, Measure, RunFolder},
    machine::terminal::out,
};
use ablation::Ablation;
use driver::Experiment;
use incident_labs::functions;

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
Evidence:    evidence/oom/latest: verdict.json, timeline.csv, tables/*.jsonl, manifest.jsonl
Exit codes:  0 supported; 1 not supported; 2 inconclusive; 3 it could not run; 64 usage",
    };
    const LOAD_HELP: Help = Help {
        about: "Blobs for BlobBufferProcessor: a steady stream of small ones, and bursts that follow from the memory limit",
        after: "\
Example:     cargo lab load oom --storage-url https://ACCOUNT.blob.core.windows.net --scale 1 --phases baseline,load-1
             cargo lab load oom --write load-files && az storage blob upload-batch --source load-files/phase1 …
Account:     --storage-url with the signed-in identity (az login), else the connection string in AzureWebJobsStorage
Exit codes:  0 every blob was dealt with; 1 some were not in time; 3 it could not run; 64 usage",
    };
    const WORK: &'static str = ".lab/run-oom";
    const CRITERIA: &'static str = include_str!("../../../../../load/oom/criteria.toml");
    const PHASES: &'static [(&'static str, &'static [&'static str])] = &[
        ("baseline", &["baseline"]),
        ("incident", &["load-1", "load-2", "incident"]),
        ("recovery", &["recovery-a", "recovery-b"]),
    ];
    const MEASURES: &'static [Measure<OomRows>] = measures::MEASURES;

    type Load = LoadOom;
    type Plan = Plan;
    type Rows = OomRows;

    fn functions() -> Vec<&'static str> {
        functions::names()
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
        let ablation = Ablation::run(&self.load, platform, evidence).await?;
        evidence.write_json("ablation.json", &ablation).context("write ablation.json")?;
        if json {
            out(&serde_json::to_string(&ablation)?);
        } else {
            out(&format!("{ablation}\n\nevidence: {}", evidence.path().display()));
        }
        Ok(Some(ablation.verdict().exit_code()))
    }

    fn read(&self, folder: &Path) -> anyhow::Result<OomRows> {
        OomRows::read(folder, self.load.scale)
    }

    fn counts(rows: &OomRows) -> Map<String, Value> {
        measures::counts(rows)
    }

    fn timeline(rows: &OomRows) -> String {
        timeline::timeline(rows)
    }

    fn scale(&self) -> String {
        self.load.scale.to_string()
    }

    fn describe(&self, rows: &OomRows, environment: &mut Environment) {
        environment.note("remedy", self.remedy.name());
        environment.note("limit", rows.limit());
        environment.note("dispatch_skew_ms", measures::dispatch_skew_ms(rows));
    }

    fn totals(counts: &Map<String, Value>) -> String {
        let count = |name: &str| counts[name].to_string();
        format!(
            "{} blobs uploaded, {} processed; {} tries, {} failed, {} retried; {} poisoned and {} re-driven\n\
             from the first to the last dispatch of a burst: {} ms at most\n",
            count("uploaded"),
            count("processed"),
            count("requests"),
            count("failed"),
            count("retried"),
            count("poisoned"),
            count("redriven"),
            count("dispatch_skew_ms")
        )
    }
}
