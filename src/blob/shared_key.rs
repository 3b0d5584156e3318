//! Shared Key: the signature that an account's key makes of a request.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::{
    credentials::Secret,
    hmac::hmac_sha256,
    http::{
        Context, Request,
        headers::{AUTHORIZATION, HeaderName},
        policies::{Policy, PolicyResult},
    },
    time::to_rfc7231,
};
use custom_handler::clock;
use url::Url;

/// Signs each try with the account key, as in "Authorize with Shared Key" of the storage REST reference.
#[derive(Debug)]
pub(super) struct SharedKey {
    account: String,
    key: Secret,
    text: Text,
}

/// Which text is signed: the table service has one of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text {
    OfMostServices,
    OfTables,
}

const DATE: HeaderName = HeaderName::from_static("x-ms-date");
/// Headers whose values enter the string to sign, in its order; `content-length` is left out when it is 0.
const SIGNED: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

#[async_trait]
impl Policy for SharedKey {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        request.insert_header(DATE, to_rfc7231(&clock::utc_now()));
        let text = match self.text {
            Text::OfMostServices => self.string_to_sign(request),
            Text::OfTables => self.table_string_to_sign(request),
        };
        let signature = hmac_sha256(&text, &self.key)?;
        request.insert_header(AUTHORIZATION, format!("SharedKey {}:{signature}", self.account));
        next[0].send(ctx, request, &next[1..]).await
    }
}

impl SharedKey {
    pub(super) fn new(account: &str, key: Secret, text: Text) -> Self {
        Self { account: account.to_owned(), key, text }
    }

    /// The table service's: neither most headers nor the query, but for `comp`, which no request here has.
    fn table_string_to_sign(&self, request: &Request) -> String {
        let header = |wanted: &str| {
            let mut all = request.headers().iter();
            all.find(|(name, _)| name.as_str() == wanted).map_or("", |(_, value)| value.as_str())
        };
        let [md5, kind, date] = ["content-md5", "content-type", DATE.as_str()].map(header);
        format!("{}\n{md5}\n{kind}\n{date}\n/{}{}", request.method(), self.account, request.url().path())
    }

    fn string_to_sign(&self, request: &Request) -> String {
        let mut headers: Vec<(&str, &str)> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        headers.sort_unstable();
        let header = |wanted: &str| headers.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value);
        let length = request.body().len().filter(|it| *it > 0).map(|it| it.to_string());

        let mut text = request.method().to_string();
        for name in SIGNED {
            text.push('\n');
            text.push_str(match name {
                "content-length" => length.as_deref().unwrap_or_default(),
                _ => header(name),
            });
        }
        text.push('\n');
        for (name, value) in headers.iter().filter(|(name, _)| name.starts_with("x-ms-")) {
            text.push_str(&format!("{name}:{}\n", value.trim()));
        }
        text.push_str(&canonical_resource(&self.account, request.url()));
        text
    }
}

fn canonical_resource(account: &str, url: &Url) -> String {
    let mut query: Vec<(String, String)> =
        url.query_pairs().map(|(name, value)| (name.to_lowercase(), value.into_owned())).collect();
    query.sort();
    let mut text = format!("/{account}{}", url.path());
    for (name, value) in query {
        text.push_str(&format!("\n{name}:{value}"));
    }
    text
}
