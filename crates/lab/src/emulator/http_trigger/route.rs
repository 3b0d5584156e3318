//! The routes of functions: methods, and a template below the prefix.

use std::{cmp::Ordering, fmt};

use axum::http::Method;
use custom_handler::files::field;
use serde_json::Value;

use crate::app::{
    function_json::text,
    route::{Template, Values},
};

#[derive(Clone, Debug)]
pub(super) struct Route {
    methods: Vec<String>,
    template: Template,
}

impl Route {
    /// The trigger's route below the prefix; the function's name, where it has none.
    ///
    /// # Errors
    /// Why the template is none.
    pub(super) fn declared(trigger: &Value, prefix: &str, function: &str) -> Result<Self, String> {
        let route = Some(text(trigger, "route")).filter(|it| !it.is_empty()).unwrap_or(function);
        let whole = format!("{}/{}", prefix.trim_matches('/'), route.trim_matches('/'));
        let methods = field(trigger, "methods").as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok(Self { methods: methods.map(str::to_uppercase).collect(), template: Template::parse(&whole)? })
    }

    /// The methods it answers to, for people.
    pub(super) fn methods(&self) -> String {
        if self.methods.is_empty() { "any".to_owned() } else { self.methods.join(",") }
    }

    /// The same, as the host lists them.
    pub(super) fn listed_methods(&self) -> String {
        if self.methods.is_empty() { "all".to_owned() } else { self.methods.join(",").to_lowercase() }
    }

    /// The parameters of a path that is meant; a missing one is `None`.
    pub(super) fn matches(&self, method: &Method, path: &str) -> Option<Values> {
        let is_answered = self.methods.is_empty() || self.methods.iter().any(|it| it == method.as_str());
        is_answered.then(|| self.template.matches(path))?
    }

    /// Which of two routes is tried first.
    pub(super) fn precedence(&self, other: &Self) -> Ordering {
        self.template.precedence(&other.template)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.template.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_matched_by_method_and_segments() {
        let trigger = json!({"Route": "durable/status/{instanceId}", "METHODS": ["get"]});
        let route = Route::declared(&trigger, "api", "f").unwrap();
        assert_eq!(route.to_string(), "/api/durable/status/{instanceId}");
        let parameters = route.matches(&Method::GET, "/api/durable/STATUS/a%20b").unwrap();
        assert_eq!(parameters, [("instanceId".to_owned(), Some("a b".to_owned()))]);
        for (method, path) in [
            (Method::POST, "/api/durable/status/x"),
            (Method::GET, "/api/durable/status"),
            (Method::GET, "/api/durable/status/x/y"),
        ] {
            assert!(route.matches(&method, path).is_none(), "{method} {path}");
        }
        let bare = Route::declared(&json!({}), "", "ping").unwrap();
        assert!(bare.matches(&Method::PUT, "/ping").is_some());
        assert!(Route::declared(&json!({"route": "{id:regex(a)}"}), "api", "f").is_err());
    }
}
