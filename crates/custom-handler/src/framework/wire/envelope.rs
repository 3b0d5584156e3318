//! What the host posts: `{"Data": {…}, "Metadata": {…}}`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The body of an invocation request (host: `HttpScriptInvocationContext`). Unknown fields are ignored.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Envelope {
    /// Input bindings by name; the trigger's comes first.
    #[serde(rename = "Data", default)]
    pub data: Map<String, Value>,
    /// Binding data of the trigger, plus `sys`.
    #[serde(rename = "Metadata", default)]
    pub metadata: Map<String, Value>,
}

/// Reads a value that the host may have encoded twice: a .NET string arrives as a JSON string holding JSON.
///
/// `"\"a b\""` and `"a b"` both give `a b`.
pub fn text(value: &Value) -> Option<String> {
    let outer = value.as_str()?;
    match serde_json::from_str::<Value>(outer) {
        Ok(Value::String(inner)) => Some(inner),
        _ => Some(outer.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_may_be_encoded_once_or_twice() {
        for (value, want) in [(r#""a b""#, "a b"), (r#""\"a b\"""#, "a b"), (r#""\"ä #1\"""#, "ä #1"), (r#""1""#, "1")]
        {
            assert_eq!(text(&serde_json::from_str(value).unwrap()).as_deref(), Some(want));
        }
        assert_eq!(text(&Value::Null), None);
    }
}
