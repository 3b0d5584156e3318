//! What the host makes of the handler's answer.

use serde_json::{Map, Value};

use super::{exception::Exception, http_client::Response};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// Output bindings by name.
    pub outputs: Map<String, Value>,
    /// The trigger's return value; null where there is none.
    pub return_value: Value,
    /// Lines for the log.
    pub logs: Vec<String>,
}

/// Reads an answer. `None` is a success without a result object, which the host never finishes: the invocation hangs
/// until the function times out.
///
/// # Errors
/// The exception the invocation fails with.
pub(super) fn read(response: &Response) -> Result<Option<Reply>, Exception> {
    if !response.is_success() {
        return Err(Exception::http_request(format!(
            "Response status code does not indicate success: {} ({}).",
            response.status, response.reason
        )));
    }
    if response.body.is_empty() {
        return Ok(None);
    }
    if !is_json(response) {
        let media_type = response.header("content-type").unwrap_or("application/octet-stream");
        return Err(invalid(response).caused_by(Exception::new(
            "System.Net.Http.UnsupportedMediaTypeException",
            format!(
                "No MediaTypeFormatter is available to read an object of type 'HttpScriptInvocationResult' from content with media \
                 type '{media_type}'."
            ),
        )));
    }
    let text = response.body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&response.body);
    match serde_json::from_slice(text) {
        Ok(Value::Null) => Ok(None),
        Ok(Value::Object(fields)) => from_fields(fields).map(Some).ok_or_else(|| invalid(response)),
        _ => Err(invalid(response)),
    }
}

fn is_json(response: &Response) -> bool {
    let media_type = response.header("content-type").and_then(|it| it.split(';').next()).unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json") || media_type.eq_ignore_ascii_case("text/json")
}

/// Names are matched without regard to case and unknown ones are ignored, as by Newtonsoft.
fn from_fields(fields: serde_json::Map<String, Value>) -> Option<Reply> {
    let mut reply = Reply::default();
    for (name, value) in fields {
        match (name.to_ascii_lowercase().as_str(), value) {
            ("outputs", Value::Object(outputs)) => reply.outputs = outputs,
            ("logs", Value::Array(lines)) => reply.logs = lines.into_iter().map(log_line).collect::<Option<_>>()?,
            ("outputs" | "logs", Value::Null) => {}
            ("outputs" | "logs", _) => return None,
            ("returnvalue", value) => reply.return_value = value,
            _ => {}
        }
    }
    Some(reply)
}

fn log_line(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(if truth { "True" } else { "False" }.to_owned()),
        Value::Null => Some(String::new()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn invalid(response: &Response) -> Exception {
    let body = String::from_utf8_lossy(&response.body);
    Exception::new(
        "System.InvalidOperationException",
        format!("Invalid HttpResponseMessage:\n{}\n {body}", response.describe()),
    )
}
