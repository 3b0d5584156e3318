//! The replay lab: what a run of it left, judged.

mod live;
mod load;
mod measures;
mod tables;
mod timeline;

pub use live::Live;
pub use load::{PhaseOutcome, ReplayLoad, ReplayLoadError, ReplayPhase, ReplayScenario};
pub use measures::{counts, judge_run};
pub use tables::ReplayTables;
pub use timeline::{bins_csv, tell_tables};

use crate::evidence::{Rules, RulesError};

/// What the hypothesis is held against.
///
/// # Errors
/// Never in practice: the criteria are part of the program.
pub fn rules() -> Result<Rules, RulesError> {
    Rules::parse(include_str!("../../../../../load/replay/criteria.toml"))
}
