//! What the host accepts as an answer.

use serde::Serialize;
use serde_json::{Map, Value};

/// The body of a successful answer (host: `HttpScriptInvocationResult`). It always has an object as its body: after an
/// empty 2xx the host waits until `functionTimeout` and then kills the handler.
#[derive(Clone, Debug, Default, Serialize)]
pub struct InvocationResult {
    /// Output bindings by name.
    #[serde(rename = "Outputs")]
    pub outputs: Map<String, Value>,
    /// Lines the host writes at Information under `Function.<name>.User`.
    #[serde(rename = "Logs")]
    pub logs: Vec<String>,
    /// The trigger's return value.
    #[serde(rename = "ReturnValue")]
    pub return_value: Value,
}

impl From<()> for InvocationResult {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl InvocationResult {
    /// Adds a line for the log.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.logs.push(line.into());
        self
    }
}
