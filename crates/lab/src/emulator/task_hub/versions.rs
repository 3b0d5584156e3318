//! Which instances an app runs by their version (engine: `TaskOrchestrationDispatcher.cs`; outcomes as recorded).

use std::cmp::Ordering;

use super::working::Ended;
use crate::app::{VersionFailure, VersionMatch, Versions};
use durable::{compare_versions, protocol::FailureDetails};

impl Versions {
    fn run(&self, version: &str) -> bool {
        let of_app = self.of_app.as_deref().unwrap_or_default();
        match self.match_strategy {
            VersionMatch::All => true,
            VersionMatch::Strict => version == of_app,
            VersionMatch::CurrentOrOlder => compare_versions(version, of_app) != Ordering::Greater,
        }
    }

    /// What becomes of an instance of a version that is not run; `None` where it is run.
    pub(super) fn refusal(&self, version: Option<&str>) -> Option<Result<FailureDetails, Ended>> {
        if self.run(version.unwrap_or_default()) {
            return None;
        }
        Some(match self.failure_strategy {
            VersionFailure::Reject => Err(Ended::Rejected),
            VersionFailure::Fail => Ok(FailureDetails::with(|set| {
                set.error_type = "VersionMismatch".to_owned();
                set.error_message = "Orchestration version did not comply with Worker Versioning".to_owned();
                set.is_non_retriable = true;
            })),
        })
    }
}
