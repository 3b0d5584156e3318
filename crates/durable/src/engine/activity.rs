//! An activity by its name and types, and the text in which its failure travels.

use std::{any::Any, fmt, marker::PhantomData};

use serde::{Deserialize, Serialize};

use super::{error, protocol::FailureDetails};

/// An activity function: its name, what it takes and what it gives.
///
/// One constant serves the orchestrator, which calls it with [`Context::call`](super::Context::call), and the app, which
/// registers a function for it. Both are held to its types.
///
/// ```
/// # use durable::{Activity, Context, Error};
/// const RESERVE: Activity<u32, String> = Activity::new("Reserve");
///
/// async fn fulfil(ctx: Context, order: u32) -> Result<String, Error> {
///     ctx.call(RESERVE, &order).await
/// }
/// ```
///
/// With another type it does not compile:
///
/// ```compile_fail
/// # use durable::{Activity, Context, Error};
/// # const RESERVE: Activity<u32, String> = Activity::new("Reserve");
/// async fn fulfil(ctx: Context, order: String) -> Result<String, Error> {
///     ctx.call(RESERVE, &order).await
/// }
/// ```
pub struct Activity<I, O> {
    name: &'static str,
    types: PhantomData<fn(I) -> O>,
}

impl<I, O> Activity<I, O> {
    /// `name` is the function's folder.
    pub const fn new(name: &'static str) -> Self {
        Self { name, types: PhantomData }
    }

    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl<I, O> Clone for Activity<I, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, O> Copy for Activity<I, O> {}

impl<I, O> fmt::Debug for Activity<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Activity").field(&self.name).finish()
    }
}

/// Why an activity failed. Any error becomes one by `?`, so it does not implement [`std::error::Error`] itself.
///
/// The orchestrator gets it as an [`Error`](super::Error) of the same type, message and flag.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ActivityError {
    /// A name that code can decide by, such as `NotFound`.
    pub error_type: String,
    #[serde(rename = "errorMessage")]
    pub message: String,
    /// Whether another attempt is useless.
    pub is_non_retriable: bool,
}

impl ActivityError {
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self { error_type: error_type.into(), message: message.into(), is_non_retriable: false }
    }

    /// Marks another attempt as useless: no retry policy makes one.
    #[must_use]
    pub fn non_retriable(mut self) -> Self {
        self.is_non_retriable = true;
        self
    }

    /// The body of the answer to the host: 200, `text/plain`.
    ///
    /// A custom handler cannot set the fields of `TaskFailed`. The host takes a text for a failed activity and quotes it whole
    /// (host: `DefaultHttpWorkerService.GetHttpScriptInvocationResult`), which [`ActivityError::from_details`] reads back.
    pub fn to_answer(&self) -> String {
        serde_json::to_string(&Answer { activity_failure: self }).unwrap_or_default()
    }

    /// Finds the answer in what the extension made of it; `None` for the failure of any other activity.
    pub fn from_details(details: &FailureDetails) -> Option<Self> {
        let quoted = details.inner_failure.as_deref()?.error_message.strip_prefix(INVALID_RESPONSE)?;
        // The headers end where a brace stands alone on its line; a blank and the body follow.
        let (_, body) = quoted.split_once("\n}\n ")?;
        serde_json::from_str::<Answer<Self>>(body).ok().map(|it| it.activity_failure)
    }
}

/// What the host writes before the status, headers and body it could not read.
const INVALID_RESPONSE: &str = "Invalid HttpResponseMessage:\n";

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Answer<T> {
    activity_failure: T,
}

impl fmt::Display for ActivityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error_type, self.message)
    }
}

impl<E: std::error::Error + 'static> From<E> for ActivityError {
    fn from(error: E) -> Self {
        // The engine's own error has a type of its own; others go by the name of theirs.
        match (&error as &dyn Any).downcast_ref::<error::Error>() {
            Some(error) => Self {
                error_type: error.error_type.clone(),
                message: error.message.clone(),
                is_non_retriable: error.is_non_retriable,
            },
            None => Self::new(error::type_name::<E>(), error::chain(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(body: &str) -> FailureDetails {
        // As recorded of durable extension 3.19.0.
        let message = format!(
            "Invalid HttpResponseMessage:\nStatusCode: 200, ReasonPhrase: 'OK', Version: 1.1, Content: \
             System.Net.Http.HttpConnectionResponseContent, Headers:\n{{\n  Date: Wed, 25 Nov 2026 13:00:23 GMT\n  Content-Type: \
             text/plain\n  Content-Length: 18\n}}\n {body}"
        );
        let inner = FailureDetails {
            error_type: "System.InvalidOperationException".to_owned(),
            error_message: message,
            ..FailureDetails::default()
        };
        FailureDetails { inner_failure: Some(Box::new(inner)), ..FailureDetails::default() }
    }

    #[test]
    fn a_failure_comes_back_as_it_was_answered() {
        let plain = ActivityError::new("NotFound", "order 7: \"ä\"\n}\n {}");
        for failure in [plain.clone(), plain.non_retriable(), ActivityError::new("", "")] {
            assert_eq!(ActivityError::from_details(&details(&failure.to_answer())), Some(failure));
        }
    }

    #[test]
    fn what_others_answer_is_no_failure_of_ours() {
        let ours = ActivityError::new("E", "m").to_answer();
        for body in [
            "boom",
            "",
            "{}",
            &format!("{ours} "),
            &format!("x{ours}"),
            &ours.replace("E", "\u{0}"),
            "{\"activityFailure\":{}}",
        ] {
            let found = ActivityError::from_details(&details(body));
            assert!(found.is_none() || body.trim_end() == ours, "{body}: {found:?}");
        }
        let bare = FailureDetails { error_message: ours, ..FailureDetails::default() };
        assert_eq!(ActivityError::from_details(&bare), None);
    }

    #[test]
    fn any_error_becomes_one_by_its_name_and_chain() {
        #[derive(Debug)]
        struct Outage(std::num::ParseIntError);
        impl fmt::Display for Outage {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("read the stock")
            }
        }
        impl std::error::Error for Outage {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let failure: ActivityError = Outage("x".parse::<u8>().unwrap_err()).into();
        assert_eq!(failure, ActivityError::new("Outage", "read the stock: invalid digit found in string"));
        let ours = error::Error::new("NotFound", "no order 7").non_retriable();
        assert_eq!(ActivityError::from(ours), ActivityError::new("NotFound", "no order 7").non_retriable());
    }
}
