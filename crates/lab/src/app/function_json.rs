//! One function as its `function.json` declares it.

use std::path::{Path, PathBuf};

use custom_handler::files::{Document, Unreadable, field, host_json::document};
use serde_json::Value;

#[derive(Clone, Debug)]
pub struct FunctionJson {
    /// Its folder: route and operation name.
    pub name: String,
    /// Its bindings, the trigger among them.
    pub bindings: Vec<Value>,
    pub file: PathBuf,
}

/// Reads the bindings of a function's text.
///
/// # Errors
/// When it is not JSON, or its bindings are none.
pub(super) fn bindings(file: &Path, text: &[u8]) -> Result<Vec<Value>, Unreadable> {
    let read: Document = document(file, text)?;
    let wrong = |path: &[&str], reason: &str| Unreadable::new(file, read.line(path), reason);
    let bindings = match field(&read.value, "bindings") {
        Value::Null => return Ok(Vec::new()),
        Value::Array(bindings) => bindings,
        _ => return Err(wrong(&["bindings"], "bindings is no array")),
    };
    if let Some(at) = bindings.iter().position(|it| !it.is_object()) {
        return Err(wrong(&["bindings", &at.to_string()], "a binding is no object"));
    }
    Ok(bindings.clone())
}

impl FunctionJson {
    /// The first binding of a type; types are compared without regard to case, as the host does.
    pub fn binding_of(&self, kind: &str) -> Option<&Value> {
        self.bindings.iter().find(|it| is_of(it, kind))
    }

    /// The same for one direction.
    pub fn binding_in(&self, kind: &str, direction: &str) -> Option<&Value> {
        self.bindings.iter().find(|it| is_binding(it, kind, direction))
    }
}

/// A property of a binding, by its name in any case; empty where it is no text.
pub(crate) fn text<'a>(binding: &'a Value, name: &str) -> &'a str {
    field(binding, name).as_str().unwrap_or_default()
}

fn is_of(binding: &Value, kind: &str) -> bool {
    text(binding, "type").eq_ignore_ascii_case(kind)
}

/// Whether a binding is of a type and direction.
pub fn is_binding(binding: &Value, kind: &str, direction: &str) -> bool {
    is_of(binding, kind) && field(binding, "direction").as_str().unwrap_or("in").eq_ignore_ascii_case(direction)
}

pub(super) fn is_trigger(binding: &Value) -> bool {
    text(binding, "type").to_lowercase().ends_with("trigger")
}

/// Whether a trigger asks for deferred binding.
pub(super) fn is_deferred(trigger: &Value) -> bool {
    let value = field(field(trigger, "properties"), "supportsDeferredBinding");
    value == true || value.as_str().is_some_and(|it| it.eq_ignore_ascii_case("true"))
}

/// Whether a binding has an `{expression}`, which beside a trigger turns deferred binding off.
pub(super) fn has_expression(binding: &Value) -> bool {
    let fields = binding.as_object().into_iter().flatten();
    fields.filter_map(|(_, value)| value.as_str()).any(|it| it.contains('{'))
}
