//! Answers of the API: JSON with its character set, refusals in the extension's own forms.

use axum::{
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::json::{JsonError, quoted};
use crate::emulator::task_hub::{StartError, StoreError};

const JSON: &str = "application/json; charset=utf-8";
/// What is said where nothing better is known (extension: `HttpApiHandler.cs`).
const SOMETHING: &str = "Something went wrong while processing your request";

pub(super) type Answer = Result<Response, Refused>;

/// What is wrong with a request.
#[derive(Debug)]
pub(super) enum Refused {
    Empty(StatusCode),
    /// A JSON text.
    Text(StatusCode, String),
    /// `{"Message": …}`.
    Message(StatusCode, String),
    Exception(StatusCode, Exception),
}

/// What the extension tells of an exception.
#[derive(Debug)]
pub(super) struct Exception {
    pub message: &'static str,
    pub kind: &'static str,
    pub exception_message: String,
}

impl Refused {
    pub(super) fn exception(status: StatusCode, message: &'static str, kind: &'static str, what: String) -> Self {
        Self::Exception(status, Exception { message, kind, exception_message: what })
    }

    /// An exception that the extension did not expect.
    pub(super) fn unexpected(kind: &'static str, what: String) -> Self {
        Self::exception(StatusCode::INTERNAL_SERVER_ERROR, SOMETHING, kind, what)
    }

    pub(super) fn invalid_json(error: JsonError) -> Self {
        Self::exception(StatusCode::BAD_REQUEST, "Invalid JSON content", error.kind, error.message)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::unexpected("DurableTask.AzureStorage.Storage.DurableTaskStorageException", error.to_string())
    }
}

impl From<StartError> for Refused {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Exists { .. } => Self::Message(StatusCode::CONFLICT, error.to_string()),
            StartError::UnknownFunction { .. } | StartError::InstanceId { .. } => {
                Self::Message(StatusCode::BAD_REQUEST, error.to_string())
            }
            StartError::Store(error) => error.into(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Told<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception_message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack_trace: Option<&'a str>,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Empty(status) => status.into_response(),
            Self::Text(status, text) => json_text(status, quoted(&text)),
            Self::Message(status, message) => {
                let (exception_message, exception_type, stack_trace) = (None, None, None);
                json(status, &Told { message: &message, exception_message, exception_type, stack_trace })
            }
            Self::Exception(status, Exception { message, kind, exception_message }) => {
                let (exception_message, exception_type) = (Some(exception_message.as_str()), Some(kind));
                json(status, &Told { message, exception_message, exception_type, stack_trace: Some("") })
            }
        }
    }
}

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => json_text(status, text),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn json_text(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, JSON)], text).into_response()
}

/// Adds where to ask again, and after how many seconds.
pub(super) fn ask_again(mut response: Response, location: &str, seconds: u32) -> Response {
    set(&mut response, header::LOCATION, location);
    set(&mut response, header::RETRY_AFTER, &seconds.to_string());
    response
}

pub(super) fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
}
