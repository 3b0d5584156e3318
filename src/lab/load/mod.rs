//! Load on a storage account: the OOM lab's scenario as blobs, in a process of its own, so that it neither slows nor feeds
//! the host it drives.

mod events;
mod generator;
mod random;
mod replay;
mod scenario;

pub use events::{Event, Gate};
pub use generator::{Generator, GeneratorOptions, ManifestRow, PhaseRow, STAGING_CONTAINER, write_files};
pub use replay::{PhaseOutcome, ReplayLoad, ReplayLoadError, ReplayPhase, ReplayScenario};
pub use scenario::{Burst, EP1_MIB, Phase, Plan, PlanError, Scale, Scenario, Source};
