//! What an HTTP trigger puts into the envelope.

use axum::http::{HeaderMap, Method, Uri, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use crate::emulator::host::{HttpCall, binding_data::encoded, texts::properties};

/// Headers the server knows by name, in the order in which it tells them; the others follow as they came, the length of the body
/// between them.
const KNOWN: &[&str] = &[
    "Accept",
    "Connection",
    "Host",
    "User-Agent",
    "Accept-Charset",
    "Accept-Encoding",
    "Accept-Language",
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "Cookie",
    "Date",
    "Origin",
    "Referer",
    "traceparent",
    "tracestate",
    "Transfer-Encoding",
    "Content-Length",
];

/// A request to a function.
#[derive(Debug)]
pub(super) struct Received<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    pub parameters: Vec<(String, Option<String>)>,
}

impl Received<'_> {
    fn host(&self) -> &str {
        self.headers.get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or("localhost")
    }

    /// What the row of the request says. The query is left out, as the host does: it may hold a key.
    pub(super) fn described(&self, reason: &str) -> HttpCall {
        let path = self.uri.path().to_owned();
        HttpCall {
            method: self.method.to_string(),
            url: format!("http://{}{path}", self.host()),
            path,
            reason: reason.to_owned(),
        }
    }

    /// The value of the trigger's binding.
    pub(super) fn data(&self) -> Value {
        let path = self.uri.path_and_query().map_or("/", |it| it.as_str());
        let mut query = Map::new();
        for (name, value) in self.query() {
            let joined = match query.get(&name).and_then(Value::as_str) {
                Some(before) => format!("{before},{value}"),
                None => value,
            };
            query.insert(name, Value::from(joined));
        }
        let mut data = json!({
            "Url": format!("http://{}{path}", self.host()),
            "Method": self.method.as_str(),
            "Query": query,
            "Headers": self.named_headers(|values| json!(values)),
            "Params": self.parameters.iter().cloned().map(|(name, value)| (name, json!(value))).collect::<Map<_, _>>(),
            "Identities": [anonymous()],
        });
        if let Some(body) = self.known_body() {
            let text = if self.has_type("octet-stream") {
                STANDARD.encode(body)
            } else {
                String::from_utf8_lossy(body).into_owned()
            };
            data["Body"] = Value::from(text);
        }
        data
    }

    /// Its binding data: properties of a JSON body, query, route, then all of query and headers.
    pub(super) fn metadata(&self) -> Map<String, Value> {
        let json = self.known_body().filter(|_| self.has_type("json"));
        let body = json.and_then(|it| serde_json::from_slice(it).ok()).unwrap_or_default();
        let mut metadata = properties(&body);
        let mut query = Map::new();
        for (name, value) in self.query() {
            metadata.insert(name.clone(), encoded(&value));
            query.insert(name, Value::from(value));
        }
        for (name, value) in &self.parameters {
            if let Some(value) = value {
                metadata.insert(name.clone(), encoded(value));
            }
        }
        metadata.insert("Query".to_owned(), Value::Object(query));
        metadata.insert("Headers".to_owned(), self.named_headers(|values| json!(values.join(","))));
        metadata
    }

    fn query(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
    }

    /// The body, if its length is told: a chunked one does not get to the handler [recorded].
    fn known_body(&self) -> Option<&[u8]> {
        Some(self.body).filter(|it| !it.is_empty() && self.headers.contains_key(header::CONTENT_LENGTH))
    }

    fn has_type(&self, part: &str) -> bool {
        let media_type = self.headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
        media_type.to_ascii_lowercase().contains(part)
    }

    fn named_headers(&self, shape: impl Fn(Vec<&str>) -> Value) -> Value {
        let values =
            |name: &str| -> Vec<&str> { self.headers.get_all(name).iter().filter_map(|it| it.to_str().ok()).collect() };
        let is_known = |name: &str| KNOWN.iter().any(|it| it.eq_ignore_ascii_case(name));
        let known = KNOWN.iter().map(|it| (*it).to_owned());
        let others = self.headers.keys().map(|it| it.as_str()).filter(|it| !is_known(it)).map(capitalised);
        let named = known.chain(others).map(|name| (values(&name), name)).filter(|(values, _)| !values.is_empty());
        Value::Object(named.map(|(values, name)| (name, shape(values))).collect())
    }
}

/// The library below gives names in lower case; people write them like this.
fn capitalised(name: &str) -> String {
    let words = name.split('-').map(|word| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_ascii_uppercase() + rest,
        None => String::new(),
    });
    words.collect::<Vec<_>>().join("-")
}

/// The identity of an anonymous caller.
fn anonymous() -> Value {
    json!({
        "AuthenticationType": null,
        "IsAuthenticated": false,
        "Actor": null,
        "BootstrapContext": null,
        "Claims": [],
        "Label": null,
        "Name": null,
        "NameClaimType": "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
        "RoleClaimType": "http://schemas.microsoft.com/ws/2008/06/identity/claims/role",
    })
}
