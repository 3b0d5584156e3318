//! The OOM lab: causes the incident on real blobs, applies a remedy, and gathers what both are judged by.

mod ablation;
mod driver;
mod events;
mod generator;
mod live;
mod measures;
mod random;
mod scenario;
mod tables;
mod timeline;

pub use ablation::{Ablation, Cell};
pub use driver::Experiment;
pub use events::{Event, Gate};
pub use generator::{Generator, GeneratorOptions, ManifestRow, PhaseRow, STAGING_CONTAINER, write_files};
pub use measures::{counts, judge_run};
pub use scenario::{Burst, EP1_MIB, Phase, Plan, PlanError, Scale, Scenario, Source};
pub use tables::RunTables;
pub use timeline::timeline;

use crate::{
    app::stage::Preset,
    evidence::{Rules, RulesError},
};
use incident_labs::blob::MIB;

/// What is changed between incident and recovery.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Remedy {
    /// Nothing: the control experiment.
    None,
    /// Blocks instead of whole blobs, as many at once as before.
    Streaming,
    /// Fewer at once, whole blobs as before.
    Concurrency,
    Both,
}

impl Remedy {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Streaming => "streaming",
            Self::Concurrency => "concurrency",
            Self::Both => "both",
        }
    }

    /// App settings with this remedy applied, at a scale. Where only one of the two changes is wanted, the variant is named:
    /// left to itself it follows from the two numbers.
    pub fn settings(self, scale: Scale) -> Vec<(String, String)> {
        let (preset, variant) = match self {
            Self::None => (Preset::Buffering, None),
            Self::Both => (Preset::Streaming, None),
            Self::Streaming => (Preset::Buffering, Some("streaming")),
            Self::Concurrency => (Preset::Streaming, Some("buffering")),
        };
        let mut settings = preset.settings();
        settings.push(("WORKER_MEMORY_LIMIT_MIB".to_owned(), (scale.limit_bytes() / MIB).to_string()));
        settings.extend(variant.map(|it| ("BLOB_VARIANT".to_owned(), it.to_owned())));
        settings
    }
}

/// What the hypothesis is held against.
///
/// # Errors
/// Never in practice: the criteria are part of the program.
pub fn rules() -> Result<Rules, RulesError> {
    Rules::parse(include_str!("../../../../../load/oom/criteria.toml"))
}
