//! Orchestrations to start, by the output binding or by the webhook, and what keeps one from starting.

use serde::Serialize;
use serde_json::{Value, json};

use super::client::ClientError;

/// One orchestration to start.
#[derive(Clone, Debug)]
pub struct Start {
    pub(super) orchestrator: String,
    pub(super) id: Option<String>,
    pub(super) input: Value,
}

impl Start {
    /// Without an id the extension makes one.
    pub fn new(orchestrator: &str, input: &impl Serialize) -> Self {
        Self { orchestrator: orchestrator.to_owned(), id: None, input: json!(input) }
    }

    #[must_use]
    pub fn id(mut self, instance_id: &str) -> Self {
        self.id = Some(instance_id.to_owned());
        self
    }

    /// As the extension's output binding reads it (extension: `StartOrchestrationArgs.cs`).
    pub(super) fn into_output(self) -> Value {
        let mut output = json!({ "FunctionName": self.orchestrator, "Input": self.input });
        if let Some(id) = self.id {
            output["InstanceId"] = id.into();
        }
        output
    }
}

/// One start of many that was not answered with an instance. Where the answer is missing, it may run all the same.
#[derive(Debug, thiserror::Error)]
#[error("instance {} was not started", id.as_deref().unwrap_or("without an id"))]
pub struct NotStarted {
    /// The id it was to have; `None` where the extension was to make one.
    pub id: Option<String>,
    #[source]
    pub error: ClientError,
}
