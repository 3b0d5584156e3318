//! The four data planes of a storage account, and what trying one with the app's own identity came to. The handler tries them, the lab
//! reads the answer.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A storage service, with a role of its own for its data.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    Blob,
    File,
    Queue,
    Table,
}

impl Plane {
    pub const ALL: [Self; 4] = [Self::Blob, Self::File, Self::Queue, Self::Table];

    /// As in the host name of its endpoint.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::File => "file",
            Self::Queue => "queue",
            Self::Table => "table",
        }
    }

    /// The role that the app's identity needs at the account, as in `infra/modules/access.bicep`.
    pub const fn role(self) -> &'static str {
        match self {
            Self::Blob => "Storage Blob Data Owner",
            Self::File => "Storage File Data Privileged Contributor",
            Self::Queue => "Storage Queue Data Contributor",
            Self::Table => "Storage Table Data Contributor",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// What a try came to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The service looked for what was to be deleted, and found nothing.
    Allowed,
    /// The service answered 403.
    Refused,
    /// Neither: no service, no answer, no token, or an answer that says nothing about rights.
    Unreachable,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Allowed, Self::Refused, Self::Unreachable];

    const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The service's code for a right that no role gives ("Common REST API error codes" of the storage reference).
pub const NO_ROLE: &str = "AuthorizationPermissionMismatch";

/// One data plane, tried.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PlaneAccess {
    pub plane: Plane,
    /// See [`Plane::role`].
    pub role: String,
    pub outcome: Outcome,
    /// HTTP status, if there was an answer.
    #[serde(default)]
    pub status: Option<u16>,
    /// The service's error code, or what was seen instead of one.
    #[serde(default)]
    pub code: String,
}

impl PlaneAccess {
    const NO_SERVICE: &str = "the account has no such service";
    /// How every line begins.
    pub const PREFIX: &str = "Storage access: ";

    pub fn new(plane: Plane, outcome: Outcome, status: Option<u16>, code: impl Into<String>) -> Self {
        Self { plane, role: plane.role().to_owned(), outcome, status, code: code.into() }
    }

    /// The account names no such service: an emulator's file service.
    pub fn no_service(plane: Plane) -> Self {
        Self::new(plane, Outcome::Unreachable, None, Self::NO_SERVICE)
    }

    pub fn has_service(&self) -> bool {
        self.outcome != Outcome::Unreachable || self.code != Self::NO_SERVICE
    }

    /// Whether a role is what is missing: other refusals are about keys or networks.
    pub fn lacks_role(&self) -> bool {
        self.outcome == Outcome::Refused && matches!(self.code.as_str(), NO_ROLE | "")
    }

    /// `403 AuthorizationPermissionMismatch`, `Connection refused`.
    pub fn seen(&self) -> String {
        let status = self.status.map(|it| it.to_string());
        let parts = [status.as_deref().unwrap_or_default(), &self.code];
        parts.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// Reads a line that the handler wrote at its start; `None` for any other. An allowed plane's line has no status.
    pub fn from_line(line: &str) -> Option<Self> {
        let (plane, rest) = line.trim().strip_prefix(Self::PREFIX)?.split_once(' ')?;
        let (plane, outcome) = (Plane::named(plane)?, rest.split(' ').next()?);
        let outcome = Outcome::ALL.into_iter().find(|it| it.name() == outcome)?;
        let seen = rest.strip_prefix(outcome.name())?.trim_start();
        let seen = seen.split_once("): ").map_or(seen.strip_suffix(')').unwrap_or_default(), |(seen, _)| seen);
        let seen = seen.strip_prefix('(').unwrap_or(seen);
        let (first, code) = seen.split_once(' ').unwrap_or((seen, ""));
        match first.parse() {
            Ok(status) => Some(Self::new(plane, outcome, Some(status), code)),
            Err(_) => Some(Self::new(plane, outcome, None, seen)),
        }
    }
}

/// The line of a handler's start: what was tried, what came of it, and the role that is missing.
impl fmt::Display for PlaneAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} {}", Self::PREFIX, self.plane.name(), self.outcome.name())?;
        if self.outcome != Outcome::Allowed {
            write!(f, " ({})", self.seen())?;
        }
        if self.lacks_role() {
            write!(f, ": the app needs {}", self.role)?;
        }
        Ok(())
    }
}

/// What the function `storage_access` answers.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct AccountAccess {
    /// Name of the account; `None` where the settings name none.
    pub account: Option<String>,
    pub planes: Vec<PlaneAccess>,
    /// Why nothing was tried, without a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_was_tried_and_is_read_back() {
        let cases = [
            (Plane::Blob, Outcome::Allowed, None, "", "blob allowed"),
            (
                Plane::Table,
                Outcome::Refused,
                Some(403),
                NO_ROLE,
                "table refused (403 AuthorizationPermissionMismatch): the app needs Storage Table Data Contributor",
            ),
            (
                Plane::Queue,
                Outcome::Refused,
                Some(403),
                "AuthorizationFailure",
                "queue refused (403 AuthorizationFailure)",
            ),
            (
                Plane::Queue,
                Outcome::Refused,
                Some(403),
                "",
                "queue refused (403): the app needs Storage Queue Data Contributor",
            ),
            (Plane::File, Outcome::Unreachable, Some(503), "ServerBusy", "file unreachable (503 ServerBusy)"),
            (
                Plane::File,
                Outcome::Unreachable,
                None,
                "refused (os error 111)",
                "file unreachable (refused (os error 111))",
            ),
        ];
        for (plane, outcome, status, code, line) in cases {
            let access = PlaneAccess::new(plane, outcome, status, code);
            assert_eq!(access.to_string(), format!("Storage access: {line}"));
            assert_eq!(PlaneAccess::from_line(&access.to_string()), Some(access));
        }
        for other in
            ["", "Storage access: ", "Storage access: disk allowed", "Storage access: blob granted", "blob allowed"]
        {
            assert_eq!(PlaneAccess::from_line(other), None, "{other:?}");
        }
        assert!(!PlaneAccess::no_service(Plane::File).has_service());
    }

    #[test]
    fn an_answer_has_the_words_of_its_reader() {
        let access = PlaneAccess::new(Plane::Table, Outcome::Refused, Some(403), NO_ROLE);
        let answer = AccountAccess { account: Some("a1".to_owned()), planes: vec![access], problem: None };
        let text = r#"{"account":"a1","planes":[{"plane":"table","role":"Storage Table Data Contributor","outcome":"refused","status":403,"code":"AuthorizationPermissionMismatch"}]}"#;
        assert_eq!(serde_json::to_string(&answer).unwrap(), text);
        assert_eq!(serde_json::from_str::<AccountAccess>(text).unwrap(), answer);
    }
}
