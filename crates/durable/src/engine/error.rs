//! What goes wrong in an orchestration, as data: it travels in history and in the answer.

use std::fmt;

use super::protocol::FailureDetails;

/// Why an orchestrator, or something it waited for, failed.
///
/// Like `anyhow::Error` it is made from any error by `?`, which is why it does not implement [`std::error::Error`] itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// A type's name, for code that decides by it.
    pub error_type: String,
    pub message: String,
    /// What caused it, where that is known.
    pub cause: Option<Box<FailureDetails>>,
}

impl Error {
    /// An error of a named type.
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self { error_type: error_type.into(), message: message.into(), cause: None }
    }

    /// An activity or child that failed. The details may be missing: the extension leaves them out for an unknown activity.
    pub(super) fn task(kind: &'static str, what: &str, details: Option<Box<FailureDetails>>) -> Self {
        let why = details.as_ref().map_or("the host gave no details", |it| innermost(it).error_message.as_str());
        Self { message: format!("{what} failed: {why}"), error_type: kind.to_owned(), cause: details }
    }

    /// As it stands in an answer.
    pub(super) fn into_details(self) -> FailureDetails {
        FailureDetails {
            error_type: self.error_type,
            error_message: self.message,
            inner_failure: self.cause,
            ..FailureDetails::default()
        }
    }
}

/// The host wraps: what happened is at the bottom.
fn innermost(details: &FailureDetails) -> &FailureDetails {
    details.inner_failure.as_deref().map_or(details, innermost)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error_type, self.message)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let causes = std::iter::successors(error.source(), |it| it.source());
        let message = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        let name = std::any::type_name::<E>();
        Self::new(name.rsplit("::").next().unwrap_or(name), message)
    }
}

/// Error types the engine itself uses.
pub mod types {
    pub const ACTIVITY_FAILED: &str = "ActivityFailed";
    pub const SUB_ORCHESTRATION_FAILED: &str = "SubOrchestrationFailed";
    /// History and code disagree.
    pub const NON_DETERMINISTIC: &str = "NonDeterministicOrchestration";
    /// The orchestrator waits for something the engine does not know.
    pub const FOREIGN_AWAIT: &str = "ForeignAwait";
    pub const PANIC: &str = "Panic";
    /// A text is not the JSON that was expected.
    pub const DECODE: &str = "DecodeError";
    /// A value cannot be written as JSON.
    pub const ENCODE: &str = "EncodeError";
    /// The request is not what the extension sends.
    pub const BAD_REQUEST: &str = "BadOrchestratorRequest";
}
