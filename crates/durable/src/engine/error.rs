//! What goes wrong in an orchestration, as data: it travels in history and in the answer.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

use super::{activity::ActivityError, properties, protocol::FailureDetails};

/// Why an orchestrator, or something it waited for, failed.
///
/// A failed activity of an app built with this engine arrives with its own type, message and flag. That of any other app has the
/// type [`types::ACTIVITY_FAILED`], and the details as the host gave them are its cause.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Error {
    /// A name that code can decide by.
    pub error_type: String,
    pub message: String,
    /// What the host says caused it.
    pub cause: Option<Box<FailureDetails>>,
    /// Whether another attempt is useless.
    pub is_non_retriable: bool,
    /// What else is known of it, by name. A child's reach its parent.
    pub properties: BTreeMap<String, Value>,
}

impl Error {
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            error_type: error_type.into(),
            message: message.into(),
            cause: None,
            is_non_retriable: false,
            properties: BTreeMap::new(),
        }
    }

    /// Takes over any error: the name of its type, and its message with all causes. Use it with `map_err`.
    pub fn from_error<E: std::error::Error>(error: E) -> Self {
        Self::new(type_name::<E>(), chain(&error))
    }

    /// Adds a cause.
    #[must_use]
    pub fn caused_by(mut self, cause: FailureDetails) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    /// Adds a property.
    #[must_use]
    pub fn with_property(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// Marks another attempt as useless: no retry policy makes one, the parent's included.
    #[must_use]
    pub fn non_retriable(mut self) -> Self {
        self.is_non_retriable = true;
        self
    }

    /// An activity or child that failed. The details may be missing: the extension leaves them out for an unknown activity.
    pub(super) fn task(kind: &'static str, what: &str, details: Option<Box<FailureDetails>>) -> Self {
        if let Some(failure) = details.as_deref().and_then(ActivityError::from_details) {
            let ActivityError { error_type, message, is_non_retriable } = failure;
            return Self { is_non_retriable, ..Self::new(error_type, message) };
        }
        let why = details.as_ref().map_or("the host gave no details", |it| innermost(it).error_message.as_str());
        Self {
            message: format!("{what} failed: {why}"),
            error_type: kind.to_owned(),
            is_non_retriable: details.as_ref().is_some_and(|it| it.is_non_retriable),
            properties: details.as_ref().map(|it| properties::to_json(&it.properties)).unwrap_or_default(),
            cause: details,
        }
    }

    /// Converts into the wire form.
    pub(super) fn into_details(self) -> FailureDetails {
        let details = FailureDetails {
            error_type: self.error_type,
            error_message: self.message,
            inner_failure: self.cause,
            is_non_retriable: self.is_non_retriable,
            properties: properties::from_json(self.properties),
            ..FailureDetails::default()
        };
        details.bounded()
    }
}

/// The host wraps: what happened is at the bottom.
fn innermost(mut details: &FailureDetails) -> &FailureDetails {
    while let Some(inner) = &details.inner_failure {
        details = inner;
    }
    details
}

/// The name of a type without its path.
pub(super) fn type_name<E>() -> &'static str {
    let name = std::any::type_name::<E>();
    name.rsplit("::").next().unwrap_or(name)
}

/// An error's message and those of its causes, joined by colons.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |it| it.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error_type, self.message)
    }
}

impl std::error::Error for Error {}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::from_error(error)
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
    /// An outcome that was given is waited for again.
    pub const ALREADY_AWAITED: &str = "AlreadyAwaited";
    /// What [`Context::continue_as_new`](crate::Context::continue_as_new) gives: no error, and not to be caught.
    pub const CONTINUED_AS_NEW: &str = "ContinuedAsNew";
    /// An event was to be sent to no instance.
    pub const BAD_INSTANCE_ID: &str = "BadInstanceId";
    /// A custom status that the extension would fail the instance for.
    pub const CUSTOM_STATUS_TOO_LONG: &str = "CustomStatusTooLong";
    /// The request is not what the extension sends.
    pub const BAD_REQUEST: &str = "BadOrchestratorRequest";
}
