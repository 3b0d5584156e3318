//! A listener on loopback answers to its own names alone.
//!
//! Any web page can have its reader's browser send requests to this machine, under another name that it lets point here, too. Browsers
//! say where a request comes from, in `Origin` and `Sec-Fetch-Site`; the Functions host sends neither and calls 127.0.0.1.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

const SITE: &str = "sec-fetch-site";
const WAY_OUT: &str = "this listener is for programs on this machine: call it as localhost, 127.0.0.1 or [::1]";

/// Answers 403 to a foreign `Host` or `Origin`, and to what a browser sends for another site. A middleware.
pub(super) async fn own_names_only(request: Request, next: Next) -> Response {
    match foreign(request.uri(), request.headers()) {
        None => next.run(request).await,
        Some(what) => (StatusCode::FORBIDDEN, format!("{what}: {WAY_OUT}\n")).into_response(),
    }
}

/// What of a request names another machine or site.
fn foreign(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let shown = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    if let Some(authority) = uri.authority().filter(|it| !is_own(it.as_str())) {
        return Some(format!("the address {authority} is not this listener's"));
    }
    if let Some(host) = headers.get_all(header::HOST).iter().find(|it| !is_own(&text(it))) {
        return Some(format!("the host {} is not this listener's", shown(host)));
    }
    let is_own_origin = |origin: &str| origin.split_once("://").is_some_and(|(_, authority)| is_own(authority));
    if let Some(origin) = headers.get_all(header::ORIGIN).iter().find(|it| !is_own_origin(&text(it))) {
        return Some(format!("the origin {} is foreign", shown(origin)));
    }
    let site = headers.get(SITE).filter(|it| text(it).eq_ignore_ascii_case("cross-site"))?;
    Some(format!("a {} request comes from another site's page", shown(site)))
}

fn is_own(authority: &str) -> bool {
    let Ok(parsed) = authority.parse::<Authority>() else { return false };
    let is_name = ["localhost", "127.0.0.1", "[::1]"].iter().any(|it| parsed.host().eq_ignore_ascii_case(it));
    let port = authority.strip_prefix(parsed.host());
    let is_port = |it: &str| it.is_empty() || it.strip_prefix(':').is_some_and(|it| it.parse::<u16>().is_ok());
    is_name && port.is_some_and(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(name: &str, value: &str) -> Option<String> {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        let name = axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        foreign(&Uri::from_static("/"), &HeaderMap::from_iter([(name, value)]))
    }

    #[test]
    fn its_own_names_are_answered_on_any_port() {
        for host in ["localhost", "LOCALHOST:7071", "127.0.0.1:80", "[::1]", "[::1]:9999"] {
            assert_eq!(verdict("host", host), None, "{host}");
            assert_eq!(verdict("origin", &format!("http://{host}")), None, "{host}");
        }
        assert_eq!(foreign(&Uri::from_static("/"), &HeaderMap::new()), None, "HTTP/1.0 names no host");
        for site in ["same-origin", "same-site", "none"] {
            assert_eq!(verdict(SITE, site), None);
        }
    }

    #[test]
    fn anything_else_is_foreign() {
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.",
            "evil@localhost",
            "localhost:x",
            "localhost:",
            "localhost:80:80",
            "127.0.0.2",
            "[::ffff:127.0.0.1]",
            "::1",
            "",
            "\u{e4}",
        ] {
            assert!(verdict("host", host).is_some(), "{host}");
            assert!(verdict("origin", &format!("http://{host}")).is_some(), "{host}");
        }
        for origin in ["null", "localhost", "http:/localhost"] {
            assert!(verdict("origin", origin).is_some(), "{origin}");
        }
        assert!(verdict(SITE, "cross-site").unwrap().contains("another site"));
        assert!(foreign(&Uri::from_static("http://evil.example/"), &HeaderMap::new()).is_some());
        let two = [("localhost", header::HOST), ("evil.example", header::HOST)];
        let mut headers = HeaderMap::new();
        for (value, name) in two {
            headers.append(name, HeaderValue::from_static(value));
        }
        assert!(foreign(&Uri::from_static("/"), &headers).unwrap().contains("evil.example"));
    }
}
