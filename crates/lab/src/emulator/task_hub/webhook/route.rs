//! Which operation a request is about, from its method and path.
//!
//! A path is decoded twice on its way to the extension, by the server and by the extension itself (host: Kestrel and
//! `PathString`; extension: `WebUtility.UrlDecode`). So `+`, written in whatever way, is a blank, and `%2F` divides.

use axum::http::Method;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use custom_handler::wire::WEBHOOK_PATH;

/// What is encoded in a path that is given back (ASP.NET Core: `PathString.ToUriComponent`).
const NOT_IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What a request asks for; texts are as the client wrote them, decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Route {
    /// Without an id the extension makes one.
    Start {
        function: String,
        id: Option<String>,
    },
    List,
    PurgeMany,
    Show {
        id: String,
    },
    Purge {
        id: String,
    },
    Operate {
        id: String,
        operation: Operation,
    },
    ListEntities,
    ShowEntity,
    SignalEntity {
        name: String,
    },
    MakePrimary,
    Nothing,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Operation {
    Raise(String),
    Terminate,
    Suspend,
    Resume,
    Rewind,
    Restart,
}

/// A path as the server hands it on: decoded once, `%2F` left as it is.
#[derive(Clone, Debug)]
pub(super) struct Path(String);

impl Path {
    /// Decodes a path of the wire; `None` for one that a server refuses.
    pub(super) fn new(raw: &str) -> Option<Self> {
        let kept = raw.replace("%2f", "%252F").replace("%2F", "%252F");
        let mut text = String::with_capacity(kept.len());
        for chunk in percent_decode_str(&kept).collect::<Vec<u8>>().utf8_chunks() {
            text.push_str(chunk.valid());
            // What is not UTF-8 stays encoded.
            text.extend(chunk.invalid().iter().map(|it| format!("%{it:02X}")));
        }
        (!text.contains('\0')).then(|| Self(without_dots(&text)))
    }

    /// The path as the extension writes it in addresses.
    pub(super) fn encoded(&self) -> String {
        utf8_percent_encode(&self.0, NOT_IN_PATH).to_string()
    }

    /// The operation that a path and a method mean.
    pub(super) fn route(&self, method: &Method) -> Route {
        let decoded = percent_decode_str(&self.0.replace('+', " ")).decode_utf8_lossy().into_owned();
        let is_below = |it: &&str| it.eq_ignore_ascii_case(WEBHOOK_PATH);
        if decoded.get(..WEBHOOK_PATH.len()).filter(is_below).is_none() {
            return Route::Nothing;
        }
        let path = decoded[WEBHOOK_PATH.len()..].trim_matches('/');
        let parts: Vec<&str> = path.split('/').collect();
        if parts.iter().any(|it| it.is_empty()) {
            return Route::Nothing;
        }
        match parts[0].to_ascii_lowercase().as_str() {
            "orchestrators" => start(method, &parts[1..]),
            "instances" => instances(method, &parts[1..]),
            "entities" => entities(method, &parts[1..]),
            "makeprimary" if parts.len() == 1 => Route::MakePrimary,
            _ => Route::Nothing,
        }
    }
}

fn start(method: &Method, parts: &[&str]) -> Route {
    match parts {
        [function] if method == Method::POST => Route::Start { function: (*function).to_owned(), id: None },
        [function, id] if method == Method::POST => {
            Route::Start { function: (*function).to_owned(), id: Some((*id).to_owned()) }
        }
        _ => Route::Nothing,
    }
}

fn instances(method: &Method, parts: &[&str]) -> Route {
    let is_post = method == Method::POST;
    match (method.as_str(), parts) {
        ("GET", []) => Route::List,
        ("DELETE", []) => Route::PurgeMany,
        ("GET", [id]) => Route::Show { id: (*id).to_owned() },
        ("DELETE", [id]) => Route::Purge { id: (*id).to_owned() },
        (_, [id, raise, name]) if is_post && raise.eq_ignore_ascii_case("raiseEvent") => {
            Route::Operate { id: (*id).to_owned(), operation: Operation::Raise((*name).to_owned()) }
        }
        (_, [id, operation]) if is_post => operation_of(operation)
            .map_or(Route::Nothing, |operation| Route::Operate { id: (*id).to_owned(), operation }),
        _ => Route::Nothing,
    }
}

fn operation_of(name: &str) -> Option<Operation> {
    Some(match name.to_ascii_lowercase().as_str() {
        "terminate" => Operation::Terminate,
        "suspend" => Operation::Suspend,
        "resume" => Operation::Resume,
        "rewind" => Operation::Rewind,
        "restart" => Operation::Restart,
        _ => return None,
    })
}

fn entities(method: &Method, parts: &[&str]) -> Route {
    match (method.as_str(), parts) {
        ("GET", [] | [_]) => Route::ListEntities,
        ("GET", [_, _]) => Route::ShowEntity,
        ("POST" | "DELETE", [] | [_] | [_, _]) => {
            Route::SignalEntity { name: parts.first().map(|it| it.to_lowercase()).unwrap_or_default() }
        }
        _ => Route::Nothing,
    }
}

fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            // The first part is what is before the first slash: nothing.
            ".." => parts.truncate(parts.len().saturating_sub(1).max(1)),
            _ => parts.push(part),
        }
    }
    let ends_open = path.ends_with("/.") || path.ends_with("/..");
    parts.join("/") + if ends_open { "/" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &str, path: &str) -> Route {
        let raw = format!("{WEBHOOK_PATH}{path}");
        Path::new(&raw).map_or(Route::Nothing, |it| it.route(&method.parse().unwrap()))
    }

    fn id_of(path: &str) -> Option<String> {
        match route("GET", &format!("/instances/{path}")) {
            Route::Show { id } => Some(id),
            _ => None,
        }
    }

    #[test]
    fn ids_are_decoded_as_recorded() {
        for (path, id) in [
            ("a%20b", "a b"),
            ("a+b", "a b"),
            ("a%2Bb", "a b"),
            ("a%252Bb", "a+b"),
            ("a%23b", "a#b"),
            ("a%3Fb", "a?b"),
            ("a%5Cb", "a\\b"),
            ("a%0Ab", "a\nb"),
            ("a%25b", "a%b"),
            ("%ff", "\u{fffd}"),
            ("%C3%A4", "ä"),
            ("%F0%9F%8E%89", "🎉"),
            ("%20", " "),
            ("p1/", "p1"),
        ] {
            assert_eq!(id_of(path).as_deref(), Some(id), "{path}");
        }
        for path in ["a%2Fb", "%2e%2e", "a%00b", "a/b", "/a", "../instances/../x"] {
            assert_eq!(id_of(path), None, "{path}");
        }
    }

    #[test]
    fn operations_are_found_in_any_case_and_nothing_else_is() {
        let raise = Route::Operate { id: "A".to_owned(), operation: Operation::Raise("Go".to_owned()) };
        assert_eq!(route("POST", "/INSTANCES/A/RAISEEVENT/Go/"), raise);
        assert_eq!(route("POST", "/instances/A%2FraiseEvent/Go"), raise);
        assert_eq!(route("DELETE", "/instances/"), Route::PurgeMany);
        assert_eq!(route("GET", "/entities/counter"), Route::ListEntities);
        assert_eq!(route("DELETE", "/entities/Counter/a"), Route::SignalEntity { name: "counter".to_owned() });
        assert_eq!(route("PUT", "/MakePrimary"), Route::MakePrimary);
        for (method, path) in [
            ("GET", "/orchestrators/F/i"),
            ("POST", "/orchestrators/"),
            ("POST", "/orchestrators/F/i/j"),
            ("HEAD", "/instances/i"),
            ("OPTIONS", "/instances/i"),
            ("POST", "/instances/i"),
            ("POST", "/instances/i/raiseEvent"),
            ("POST", "/instances/i/raiseEvent/a%2Fb"),
            ("GET", "/instances/i/terminate"),
            ("GET", ""),
        ] {
            assert_eq!(route(method, path), Route::Nothing, "{method} {path}");
        }
    }

    #[test]
    fn an_address_is_given_back_as_the_server_saw_it() {
        let encoded = |path: &str| Path::new(path).unwrap().encoded();
        assert_eq!(encoded("/instances/@x/%ff/a%5Cb/%C3%A4/a%2Bb/a%2fb"), "/instances/@x/%FF/a%5Cb/%C3%A4/a+b/a%2Fb");
    }
}
