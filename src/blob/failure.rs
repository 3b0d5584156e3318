//! What goes wrong in one storage call. A status means different things to different calls.

use std::fmt;

use azure_core::error::ErrorKind;

use super::ranges::WrongAnswer;

/// Longer than any code of the service.
pub(super) const LONGEST_CODE: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Properties of a blob.
    Head,
    /// A range of a blob.
    Get,
    /// A whole small blob.
    Put,
    /// A container.
    Create,
}

/// Status and error code of an answer that is no success. Its text may quote a signature and is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) code: String,
}

/// What went wrong in one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The blob to be read does not exist.
    Gone,
    /// The blob to be read has another version than the pinned one.
    Changed,
    /// The container to be written to does not exist.
    NoContainer,
    /// The container to be made is there.
    Exists,
    Deadline,
    Stalled,
    Cut,
    /// No answer at all.
    Unreachable(String),
    /// An answer that may be another one next time.
    Busy(Answer),
    /// An answer that stays the same.
    Refused(Answer),
    /// An answer with other bytes than were asked for.
    Wrong(WrongAnswer),
}

impl Failure {
    pub(super) fn of(call: Call, error: &azure_core::Error) -> Self {
        if let Some(wrong) = error.downcast_ref::<WrongAnswer>() {
            return Self::Wrong(wrong.clone());
        }
        match (error.http_status(), error.kind()) {
            (Some(status), kind) => Self::answered(call, Answer { status: u16::from(status), code: code(kind) }),
            (None, ErrorKind::Credential) => {
                Self::Busy(Answer { status: 401, code: "no token from the identity endpoint".to_owned() })
            }
            (None, _) => Self::Unreachable(innermost(error)),
        }
    }

    /// Codes are those of the service's reference, "Blob service error codes". An answer without one is taken for the usual one.
    fn answered(call: Call, answer: Answer) -> Self {
        match (call, answer.status, answer.code.as_str()) {
            (Call::Head | Call::Get, 404, "" | "BlobNotFound" | "ContainerNotFound" | "ResourceNotFound") => Self::Gone,
            (Call::Get, 412, "" | "ConditionNotMet" | "TargetConditionNotMet") => Self::Changed,
            (Call::Put, 404, "" | "ContainerNotFound" | "ResourceNotFound") => Self::NoContainer,
            (Call::Create, 409, "" | "ContainerAlreadyExists") => Self::Exists,
            (_, 408 | 429 | 500..=599, _) => Self::Busy(answer),
            _ => Self::Refused(answer),
        }
    }

    /// `resultCode` of the dependency row.
    pub(super) fn result_code(&self) -> String {
        match self {
            Self::Gone | Self::NoContainer => "404".to_owned(),
            Self::Changed => "412".to_owned(),
            Self::Exists => "409".to_owned(),
            Self::Deadline => "deadline".to_owned(),
            Self::Stalled => "stalled".to_owned(),
            Self::Cut => "cut".to_owned(),
            Self::Unreachable(_) => "unreachable".to_owned(),
            Self::Busy(answer) | Self::Refused(answer) => answer.status.to_string(),
            Self::Wrong(_) => "wrong answer".to_owned(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stalled => f.write_str("storage went silent"),
            Self::Cut => f.write_str("the connection was cut"),
            Self::Unreachable(cause) => write!(f, "storage cannot be reached: {cause}"),
            Self::Busy(answer) => write!(f, "storage answered {answer}"),
            Self::Refused(answer) => answer.fmt(f),
            Self::Wrong(wrong) => wrong.fmt(f),
            other => f.write_str(&other.result_code()),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, code } = self;
        if code.is_empty() { write!(f, "{status}") } else { write!(f, "{status} {code}") }
    }
}

/// The service's error code. The SDK puts the status there when the answer has none.
fn code(kind: &ErrorKind) -> String {
    let ErrorKind::HttpResponse { error_code: Some(code), .. } = kind else { return String::new() };
    let is_code = code.len() <= LONGEST_CODE
        && code.starts_with(|it: char| it.is_ascii_alphabetic())
        && code.bytes().all(|it| it.is_ascii_alphanumeric());
    if is_code { code.clone() } else { String::new() }
}

/// The last cause of an error: `Connection refused (os error 111)` rather than what was built on it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(call: Call, status: u16, code: &str) -> Failure {
        let kind = ErrorKind::HttpResponse {
            status: status.into(),
            error_code: (!code.is_empty()).then(|| code.to_owned()),
            raw_response: None,
        };
        Failure::of(call, &azure_core::Error::with_message(kind, "the text quotes sig=secret"))
    }

    #[test]
    fn only_a_read_can_find_a_blob_gone_or_changed() {
        use Call::{Create, Get, Head, Put};
        for code in ["BlobNotFound", "ContainerNotFound", ""] {
            assert_eq!((answered(Head, 404, code), answered(Get, 404, code)), (Failure::Gone, Failure::Gone));
        }
        assert_eq!(answered(Get, 412, "ConditionNotMet"), Failure::Changed);
        assert_eq!(answered(Put, 404, "ContainerNotFound"), Failure::NoContainer);
        assert_eq!(answered(Create, 409, "ContainerAlreadyExists"), Failure::Exists);
        for (call, status, code) in [
            (Head, 412, "ConditionNotMet"),
            (Put, 412, "ConditionNotMet"),
            (Put, 412, "LeaseIdMissing"),
            (Get, 412, "LeaseIdMissing"),
            (Get, 409, "BlobArchived"),
            (Head, 409, "BlobBeingRehydrated"),
            (Put, 409, "BlobImmutableDueToPolicy"),
            (Put, 409, "ContainerBeingDeleted"),
            (Put, 404, "BlobNotFound"),
            (Create, 409, "ContainerBeingDeleted"),
            (Create, 404, "ResourceNotFound"),
            (Head, 404, "AccountIsDisabled"),
            (Get, 403, "AuthorizationFailure"),
            (Get, 416, "InvalidRange"),
        ] {
            let failure = answered(call, status, code);
            assert_eq!(failure.to_string(), format!("{status} {code}"), "{call:?}");
            assert!(matches!(failure, Failure::Refused(_)), "{call:?}: {failure:?}");
        }
    }

    #[test]
    fn what_passes_is_asked_for_again() {
        for status in [408, 429, 500, 503] {
            assert!(matches!(answered(Call::Put, status, "ServerBusy"), Failure::Busy(_)), "{status}");
        }
    }

    #[test]
    fn what_is_no_code_is_not_shown() {
        for code in ["409", "", "a b", "sig=x", "Conflict\n", &"x".repeat(65)] {
            assert_eq!(answered(Call::Put, 409, code).to_string(), "409", "{code}");
        }
    }
}
