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
    let read = match serde_json::from_slice(text) {
        Ok(Value::Null) => Ok(None),
        Ok(Value::Object(fields)) => from_fields(fields).map(Some),
        Ok(Value::Array(_)) => Err(Exception::new("Newtonsoft.Json.JsonSerializationException", array())),
        Ok(scalar) => Err(unconvertible(&scalar, RESULT, "")),
        Err(error) => Err(Exception::new("Newtonsoft.Json.JsonReaderException", error.to_string())),
    };
    read.map_err(|cause| invalid(response).caused_by(cause))
}

/// What an answer is read as.
const RESULT: &str = "Microsoft.Azure.WebJobs.Script.Workers.Http.HttpScriptInvocationResult";
const LINES: &str = "System.Collections.Generic.List`1[System.String]";
const OUTPUTS: &str = "System.Collections.Generic.IDictionary`2[System.String,System.Object]";

fn array() -> String {
    format!(
        "Cannot deserialize the current JSON array (e.g. [1,2,3]) into type '{RESULT}' because the type requires a JSON object \
         (e.g. {{\"name\":\"value\"}}) to deserialize correctly.\nTo fix this error either change the JSON to a JSON object (e.g. \
         {{\"name\":\"value\"}}) or change the deserialized type to an array or a type that implements a collection interface (e.g. \
         ICollection, IList) like List<T> that can be deserialized from a JSON array. JsonArrayAttribute can also be added to the \
         type to force it to deserialize from a JSON array.\nPath ''"
    )
}

/// A value where Newtonsoft needs another type. It says line and position too, which are not known any more.
fn unconvertible(value: &Value, wanted: &str, path: &str) -> Exception {
    let (shown, kind) = match value {
        Value::String(text) => (format!("\"{text}\""), "String"),
        Value::Bool(truth) => (if *truth { "True" } else { "False" }.to_owned(), "Boolean"),
        Value::Number(number) if number.is_f64() => (number.to_string(), "Double"),
        other => (other.to_string(), "Int64"),
    };
    let cause = format!("Could not cast or convert from System.{kind} to {wanted}.");
    let message = format!("Error converting value {shown} to type '{wanted}'. Path '{path}'");
    Exception::new("Newtonsoft.Json.JsonSerializationException", message)
        .caused_by(Exception::new("System.ArgumentException", cause))
}

fn is_json(response: &Response) -> bool {
    let media_type = response.header("content-type").and_then(|it| it.split(';').next()).unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json") || media_type.eq_ignore_ascii_case("text/json")
}

/// Names are matched without regard to case and unknown ones are ignored, as by Newtonsoft.
fn from_fields(fields: serde_json::Map<String, Value>) -> Result<Reply, Exception> {
    let mut reply = Reply::default();
    for (name, value) in fields {
        match (name.to_ascii_lowercase().as_str(), value) {
            ("outputs", Value::Object(outputs)) => reply.outputs = outputs,
            ("logs", Value::Array(lines)) => {
                let text = |it: Value| log_line(&it).ok_or_else(|| unconvertible(&it, "System.String", &name));
                reply.logs = lines.into_iter().map(text).collect::<Result<_, _>>()?;
            }
            ("outputs" | "logs", Value::Null) => {}
            ("logs", other) => return Err(unconvertible(&other, LINES, &name)),
            ("outputs", other) => return Err(unconvertible(&other, OUTPUTS, &name)),
            ("returnvalue", value) => reply.return_value = value,
            _ => {}
        }
    }
    Ok(reply)
}

fn log_line(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(if *truth { "True" } else { "False" }.to_owned()),
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
