//! What a run comes to: criteria, each a query and a bound, the verdict that follows, and the bundle that lets others check both.

mod asker;
mod bundle;
mod criterion;
mod definition;
mod journal;
mod manifest;
mod reduction;
pub mod render;
mod rules;
mod session;
pub mod sums;
mod verdict;
mod verify;
mod workspace;

pub use asker::{Answer, Asker, AskerError, Question, Unanswerable};
pub use bundle::{ADDED, Bundle, BundleError, ENVIRONMENT, Judged, PAGE, SESSION, VERDICT};
pub use criterion::{Criterion, CriterionResult, Grade, Spread, judge, over_runs};
pub use definition::{Definition, query_text};
pub use journal::{Journal, Step};
pub use manifest::{Manifest, ManifestError, Origin};
pub use rules::{Kind, Rule, Rules, RulesError};
pub use session::{QueryRecord, QueryWindow, Session};
pub use verdict::{Verdict, VerdictFile};
pub use verify::{Verification, verify, verify_files};
pub use workspace::{for_workspace, reads_telemetry};
