//! One request as a value: what it asks, why, and how a person would ask the same with `az`.

use std::{fmt, path::PathBuf};

use http::Method;
use serde_json::Value;

use super::plan::PlannedCall;

/// Stands for the subscription's id in every URL. It is filled in when a request is sent, so no text of the lab holds the id.
pub(super) const SUBSCRIPTION: &str = "{subscriptionId}";

const MANAGEMENT: &str = "https://management.azure.com";
const LOGS: &str = "https://api.loganalytics.azure.com";
const MANAGEMENT_SCOPE: &str = "https://management.azure.com/.default";
const GRAPH: &str = "https://graph.microsoft.com";
const GRAPH_SCOPE: &str = "https://graph.microsoft.com/.default";
const LOGS_SCOPE: &str = "https://api.loganalytics.io/.default";
pub(super) const STORAGE_SCOPE: &str = "https://storage.azure.com/.default";

/// What a request carries.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Body {
    #[default]
    None,
    Json(Value),
    /// A file, as it is.
    File(PathBuf),
}

/// A request to one of Azure's services.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    /// With `{subscriptionId}` in the place of the id.
    pub url: String,
    pub body: Body,
    /// What it is for, as an infinitive: `read the app's settings`.
    pub why: String,
    /// The `az` command that does the same.
    pub az: Option<String>,
    /// What a plan goes on with in the place of the answer; texts in braces stand for what only Azure knows.
    pub planned: Value,
    /// Whether the answer may come before the work is done: it is then asked for until it is.
    pub is_long_running: bool,
    pub(super) scope: Option<&'static str>,
}

impl Call {
    /// A request to Resource Manager. `path` begins with a slash and has its `api-version`.
    pub fn management(method: Method, path: impl fmt::Display, why: impl Into<String>) -> Self {
        Self::signed(method, format!("{MANAGEMENT}{path}"), why, Some(MANAGEMENT_SCOPE))
    }

    /// A request to the query API of Log Analytics.
    pub fn logs(method: Method, path: impl fmt::Display, why: impl Into<String>) -> Self {
        Self::signed(method, format!("{LOGS}{path}"), why, Some(LOGS_SCOPE))
    }

    /// A request to Microsoft Graph.
    pub fn graph(method: Method, path: impl fmt::Display, why: impl Into<String>) -> Self {
        Self::signed(method, format!("{GRAPH}{path}"), why, Some(GRAPH_SCOPE))
    }

    /// A request to an app's deployment site, `https://<app>.scm.azurewebsites.net`.
    pub fn deployment(method: Method, url: String, why: impl Into<String>) -> Self {
        Self::signed(method, url, why, Some(MANAGEMENT_SCOPE))
    }

    /// A request to a storage account's data, `https://<account>.<service>.core.windows.net`.
    pub fn storage(method: Method, url: String, why: impl Into<String>) -> Self {
        Self::signed(method, url, why, Some(STORAGE_SCOPE))
    }

    /// A request without a sign-in: to the app's own functions, or to the public price list.
    pub fn open(method: Method, url: String, why: impl Into<String>) -> Self {
        Self::signed(method, url, why, None)
    }

    fn signed(method: Method, url: String, why: impl Into<String>, scope: Option<&'static str>) -> Self {
        let (body, why, planned) = (Body::None, why.into(), Value::Null);
        Self { method, url, body, why, az: None, planned, is_long_running: false, scope }
    }

    #[must_use]
    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    #[must_use]
    pub fn az(mut self, command: impl Into<String>) -> Self {
        self.az = Some(command.into());
        self
    }

    #[must_use]
    pub fn planned(mut self, answer: Value) -> Self {
        self.planned = answer;
        self
    }

    #[must_use]
    pub fn long_running(mut self) -> Self {
        self.is_long_running = true;
        self
    }

    /// The request as a plan shows it. `repeats` where it is sent again until the answer is the one that is waited for.
    pub(super) fn shown(&self, repeats: bool) -> PlannedCall {
        let body = match &self.body {
            Body::None => None,
            Body::Json(value) => Some(value.clone()),
            Body::File(path) => Some(Value::String(format!("the file {}", path.display()))),
        };
        let (method, url) = (self.method.to_string(), self.url.clone());
        PlannedCall { method, url, body, why: self.why.clone(), az: self.az.clone(), repeats }
    }
}
