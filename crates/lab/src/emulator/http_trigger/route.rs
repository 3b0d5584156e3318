//! Routes of HTTP triggers: literal segments and `{parameters}`.

use std::fmt;

use axum::http::Method;
use percent_encoding::percent_decode_str;
use serde_json::Value;

#[derive(Clone, Debug)]
pub(super) struct Route {
    methods: Vec<String>,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(String),
    /// A parameter, and whether it may be missing.
    Parameter(String, bool),
}

impl Route {
    /// The trigger's route below the prefix; the function's name, where it has none.
    pub(super) fn declared(trigger: &Value, prefix: &str, function: &str) -> Self {
        let route = trigger["route"].as_str().filter(|it| !it.is_empty()).unwrap_or(function);
        let segments = prefix.split('/').chain(route.split('/')).filter(|it| !it.is_empty()).map(Segment::parse);
        let methods = trigger["methods"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Self { methods: methods.map(str::to_uppercase).collect(), segments: segments.collect() }
    }

    /// The methods it answers to, for people.
    pub(super) fn methods(&self) -> String {
        if self.methods.is_empty() { "any".to_owned() } else { self.methods.join(",") }
    }

    /// The parameters of a path that is meant; a missing one is `None`.
    pub(super) fn matches(&self, method: &Method, path: &str) -> Option<Vec<(String, Option<String>)>> {
        if !self.methods.is_empty() && !self.methods.iter().any(|it| it == method.as_str()) {
            return None;
        }
        let mut path = path.split('/').filter(|it| !it.is_empty());
        let mut parameters = Vec::new();
        for segment in &self.segments {
            let given = path.next();
            match (segment, given) {
                (Segment::Literal(text), Some(given)) if text.eq_ignore_ascii_case(given) => {}
                (Segment::Parameter(name, _), Some(given)) => {
                    let value = percent_decode_str(given).decode_utf8_lossy().into_owned();
                    parameters.push((name.clone(), Some(value)));
                }
                (Segment::Parameter(name, true), None) => parameters.push((name.clone(), None)),
                _ => return None,
            }
        }
        if path.next().is_some() { None } else { Some(parameters) }
    }
}

impl Segment {
    /// Constraints (`{id:int}`) are not checked.
    fn parse(text: &str) -> Self {
        match text.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
            None => Self::Literal(text.to_owned()),
            Some(parameter) => {
                let name = parameter.split([':', '?', '=']).next().unwrap_or(parameter);
                Self::Parameter(name.to_owned(), parameter.ends_with('?'))
            }
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments.iter().try_for_each(|it| match it {
            Segment::Literal(text) => write!(f, "/{text}"),
            Segment::Parameter(name, false) => write!(f, "/{{{name}}}"),
            Segment::Parameter(name, true) => write!(f, "/{{{name}?}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_matched_by_method_and_segments() {
        let route = Route::declared(&json!({"route": "durable/status/{instanceId}", "methods": ["get"]}), "api", "f");
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
        let bare = Route::declared(&json!({}), "", "ping");
        assert!(bare.matches(&Method::PUT, "/ping").is_some());
    }
}
