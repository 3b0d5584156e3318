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
        let directed = |it: &&Value| it["direction"].as_str().unwrap_or("in").eq_ignore_ascii_case(direction);
        self.bindings.iter().filter(directed).find(|it| is_of(it, kind))
    }
}

fn is_of(binding: &Value, kind: &str) -> bool {
    binding["type"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(kind))
}
