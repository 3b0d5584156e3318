//! Requests to Azure that failed.

use http::StatusCode;

/// Why Azure did not do what it was asked for. No text holds a token, a key or the subscription's id.
#[derive(Debug, thiserror::Error)]
pub enum AzureError {
    #[error("{why}: {host} does not answer")]
    Away { why: String, host: String, source: reqwest::Error },
    #[error("{why}: {method} {url} answered {status}{}", said(code, message))]
    Refused {
        why: String,
        method: String,
        url: String,
        status: StatusCode,
        /// `error.code` of the answer; empty where it has none.
        code: String,
        message: String,
    },
    /// The answer lacks what the specification promises.
    #[error("{why}: the answer has no {field}")]
    Incomplete { why: String, field: String },
    #[error("sign in: {problem}. Run `az login`")]
    SignIn { problem: String },
    #[error("no subscription: give --subscription or AZURE_SUBSCRIPTION_ID, or choose one with `az account set`")]
    NoSubscription,
    #[error("{why}: it took more than {seconds} s")]
    TooLong { why: String, seconds: u64 },
    #[error("{why}: Azure reports {state}{}", said(code, message))]
    Failed { why: String, state: String, code: String, message: String },
    #[error("INCIDENT_LAB_AZURE must be an http URL of this machine (127.0.0.1, [::1] or localhost)")]
    Detour,
    #[error("read {path}")]
    File { path: String, source: std::io::Error },
}

impl AzureError {
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// `error.code` of the answer: `AuthorizationFailed`, `ResourceNotFound` …
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } | Self::Failed { code, .. } => code,
            _ => "",
        }
    }

    pub fn is_forbidden(&self) -> bool {
        self.status() == Some(StatusCode::FORBIDDEN)
    }

    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }
}

fn said(code: &str, message: &str) -> String {
    match (code, message) {
        ("", "") => String::new(),
        ("", text) | (text, "") => format!(": {text}"),
        (code, message) => format!(" {code}: {message}"),
    }
}
