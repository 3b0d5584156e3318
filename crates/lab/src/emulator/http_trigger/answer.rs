//! What the host makes of an HTTP output binding.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Response as Head, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};

use crate::emulator::host::Reply;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// Name of the output that is the return value.
const RETURN: &str = "$return";

/// The answer to the caller.
///
/// # Errors
/// Why the output cannot be one; the caller gets an empty 500.
pub(super) fn to_caller(reply: &Reply, binding: Option<&str>) -> Result<Response, String> {
    let Some(binding) = binding else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let returned = &reply.return_value;
    let output = match reply.outputs.get(binding) {
        Some(output) => output,
        None if binding == RETURN => returned,
        None if returned[binding].is_object() => &returned[binding],
        None if reply.outputs.is_empty() => return Ok(StatusCode::NO_CONTENT.into_response()),
        None => return Ok(([(header::CONTENT_TYPE, TEXT)], "{}").into_response()),
    };
    let parsed = output.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    match parsed.as_ref().unwrap_or(output) {
        Value::Object(fields) => from_fields(fields),
        other => Err(format!("the output {binding} is no HTTP response but {other}")),
    }
}

fn from_fields(fields: &Map<String, Value>) -> Result<Response, String> {
    let field = |name: &str| fields.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let status = match field("statusCode") {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let status = status.and_then(|it| StatusCode::from_u16(u16::try_from(it).ok()?).ok()).unwrap_or(StatusCode::OK);
    let mut head = Head::builder().status(status);
    let mut has_type = false;
    for (name, value) in field("headers").and_then(Value::as_object).into_iter().flatten() {
        let value = text(value).ok_or_else(|| format!("the header {name} has no value"))?;
        let name = HeaderName::try_from(name.as_str()).map_err(|_| format!("{name:?} is no header"))?;
        let is_type = name == header::CONTENT_TYPE;
        has_type |= is_type;
        head = head.header(name, if is_type { with_charset(value) } else { value });
    }
    if !has_type {
        head = head.header(header::CONTENT_TYPE, TEXT);
    }
    let body = field("body").and_then(text).unwrap_or_default();
    head.body(Body::from(body)).map_err(|error| error.to_string())
}

/// The host names the charset of what is text.
fn with_charset(media_type: String) -> String {
    let is_text = media_type.starts_with("text/") || media_type.contains("json");
    if is_text && !media_type.contains("charset") { media_type + "; charset=utf-8" } else { media_type }
}

/// A value as the host writes it into a body: an object over many lines.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(truth) => Some(if *truth { "True" } else { "False" }.to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(_) | Value::Object(_) => serde_json::to_string_pretty(value).ok(),
    }
}
