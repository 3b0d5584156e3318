//! One function as its `function.json` declares it.

use std::path::PathBuf;

use serde_json::Value;

#[derive(Clone, Debug)]
pub struct FunctionJson {
    /// Its folder: route and operation name.
    pub name: String,
    /// Its bindings, the trigger among them.
    pub bindings: Vec<Value>,
    pub file: PathBuf,
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

pub(super) fn text<'a>(binding: &'a Value, field: &str) -> &'a str {
    binding[field].as_str().unwrap_or_default()
}

fn is_of(binding: &Value, kind: &str) -> bool {
    text(binding, "type").eq_ignore_ascii_case(kind)
}

/// Whether a binding is of a type and direction.
pub fn is_binding(binding: &Value, kind: &str, direction: &str) -> bool {
    is_of(binding, kind) && binding["direction"].as_str().unwrap_or("in").eq_ignore_ascii_case(direction)
}

pub(super) fn is_trigger(binding: &Value) -> bool {
    text(binding, "type").to_lowercase().ends_with("trigger")
}

/// Whether a trigger asks for deferred binding.
pub(super) fn is_deferred(trigger: &Value) -> bool {
    let properties = trigger["properties"].as_object();
    let value = properties
        .and_then(|it| it.iter().find(|(name, _)| name.eq_ignore_ascii_case("supportsDeferredBinding")))
        .map(|(_, value)| value);
    value.is_some_and(|it| it == true || it.as_str().is_some_and(|it| it.eq_ignore_ascii_case("true")))
}

/// Whether a binding has an `{expression}`, which beside a trigger turns deferred binding off.
pub(super) fn has_expression(binding: &Value) -> bool {
    let fields = binding.as_object().into_iter().flatten();
    fields.filter_map(|(_, value)| value.as_str()).any(|it| it.contains('{'))
}
