//! Where telemetry goes and as whom: the two settings, read as strictly as the exporter reads them, and never told with their values.

use azure_core::credentials::Secret;
use url::{Host, Url};

use crate::settings::{AUTHENTICATION_STRING, CONNECTION_STRING};

/// The exporter cuts a longer key, wherever that is.
const LONGEST_KEY: usize = 40;
const LONGEST_ENDPOINT: usize = 1_024;

/// A connection string that can be used.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    /// Without empty parts and white space: the exporter takes neither.
    pub(super) connection_string: Secret,
    /// Whether the endpoint is `http://` on this machine. The exporter makes it `https://`.
    pub(super) is_plain: bool,
    pub(super) is_loopback: bool,
}

/// Why telemetry cannot be sent. No variant has a value in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("has a part that is not NAME=VALUE between its semicolons")]
    BadPart,
    #[error("has no InstrumentationKey of up to {LONGEST_KEY} ASCII characters")]
    NoKey,
    #[error("has an Authorization that is not ikey: an identity is named in APPLICATIONINSIGHTS_AUTHENTICATION_STRING")]
    Authorization,
    #[error(
        "has an IngestionEndpoint (or EndpointSuffix) that is not an https URL of a host alone, nor an http URL of this machine"
    )]
    Endpoint,
    #[error("is not understood by the exporter")]
    Exporter,
    #[error("is not Authorization=AAD, with or without ClientId=<id>")]
    Identity,
    #[error("names an identity that cannot be set up here")]
    NoIdentity,
    #[error("needs an HTTP client, which cannot be made here (are there root certificates?)")]
    Client,
    #[error("needs a thread, which cannot be started here")]
    Thread,
}

impl ConnectionError {
    /// The setting at fault.
    pub(super) fn setting(&self) -> &'static str {
        match self {
            Self::Identity | Self::NoIdentity => AUTHENTICATION_STRING,
            _ => CONNECTION_STRING,
        }
    }
}

/// The parts of a setting by their names in lower case.
fn parts(text: &str) -> Result<Vec<(String, &str)>, ConnectionError> {
    let parts = text.split(';').map(str::trim).filter(|it| !it.is_empty());
    parts
        .map(|part| match part.split_once('=') {
            Some((name, value)) if !value.contains('=') => Ok((name.trim().to_ascii_lowercase(), value.trim())),
            _ => Err(ConnectionError::BadPart),
        })
        .collect()
}

/// The last part of that name, as the exporter takes it.
fn part<'a>(parts: &[(String, &'a str)], name: &str) -> Option<&'a str> {
    parts.iter().rev().find(|it| it.0 == name).map(|it| it.1)
}

impl Destination {
    /// Reads a connection string of Application Insights.
    ///
    /// # Errors
    /// What cannot be used, without the value.
    pub(super) fn read(text: &str) -> Result<Self, ConnectionError> {
        let parts = parts(text)?;
        let key = part(&parts, "instrumentationkey").unwrap_or_default();
        if key.is_empty() || key.len() > LONGEST_KEY || !key.is_ascii() {
            return Err(ConnectionError::NoKey);
        }
        if part(&parts, "authorization").is_some_and(|it| !it.eq_ignore_ascii_case("ikey")) {
            return Err(ConnectionError::Authorization);
        }
        let mut usable = format!("InstrumentationKey={key}");
        let (mut is_plain, mut is_loopback) = (false, false);
        if let Some(endpoint) = endpoint(&parts) {
            let url = usable_endpoint(&endpoint)?;
            is_loopback = is_this_machine(&url);
            is_plain = is_loopback && url.scheme() == "http";
            usable = format!("{usable};IngestionEndpoint={url}");
        }
        Ok(Self { connection_string: Secret::new(usable), is_plain, is_loopback })
    }
}

/// `None`: the exporter has one of its own.
fn endpoint(parts: &[(String, &str)]) -> Option<String> {
    let suffix = || {
        let place = part(parts, "location").map(|it| format!("{it}.")).unwrap_or_default();
        Some(format!("https://{place}dc.{}", part(parts, "endpointsuffix")?))
    };
    part(parts, "ingestionendpoint").map(str::to_owned).or_else(suffix)
}

fn usable_endpoint(text: &str) -> Result<Url, ConnectionError> {
    let url = Url::parse(text).map_err(|_| ConnectionError::Endpoint)?;
    let has_more =
        !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some();
    let is_reachable = url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(&url));
    if has_more || !is_reachable || text.len() > LONGEST_ENDPOINT {
        return Err(ConnectionError::Endpoint);
    }
    Ok(url)
}

/// Whether a URL cannot leave this machine.
pub(super) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The identity telemetry is sent with: `Some` client id, or the system's own.
///
/// # Errors
/// When it names another way to sign in.
pub(super) fn identity(text: &str) -> Result<Option<String>, ConnectionError> {
    let parts = parts(text).map_err(|_| ConnectionError::Identity)?;
    let is_known = parts.iter().all(|it| it.0 == "authorization" || it.0 == "clientid");
    if !is_known || !part(&parts, "authorization").is_some_and(|it| it.eq_ignore_ascii_case("aad")) {
        return Err(ConnectionError::Identity);
    }
    Ok(part(&parts, "clientid").filter(|it| !it.is_empty()).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "00000000-0000-0000-0000-000000000000";

    #[test]
    fn a_connection_string_is_trimmed_and_plain_http_stays_on_this_machine() {
        let read = |text: &str| Destination::read(&text.replace("KEY", KEY));
        for (text, usable, is_plain) in [
            ("InstrumentationKey=KEY", "InstrumentationKey=KEY", false),
            (" InstrumentationKey = KEY ; ;", "InstrumentationKey=KEY", false),
            (
                "Authorization=ikey;instrumentationkey=KEY;IngestionEndpoint=http://127.0.0.1:9/;LiveEndpoint=x;",
                "InstrumentationKey=KEY;IngestionEndpoint=http://127.0.0.1:9/",
                true,
            ),
            (
                "InstrumentationKey=KEY;IngestionEndpoint=http://[::1]:9",
                "InstrumentationKey=KEY;IngestionEndpoint=http://[::1]:9/",
                true,
            ),
            (
                "InstrumentationKey=KEY;EndpointSuffix=ai.contoso.com;Location=west",
                "InstrumentationKey=KEY;IngestionEndpoint=https://west.dc.ai.contoso.com/",
                false,
            ),
        ] {
            let destination = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(destination.connection_string.secret(), usable.replace("KEY", KEY), "{text}");
            assert_eq!(destination.is_plain, is_plain, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_its_value() {
        for text in [
            "hunter2",
            "InstrumentationKey=",
            "InstrumentationKey=hunter2hunter2hunter2hunter2hunter2hunter2",
            "InstrumentationKey=hünter2",
            "InstrumentationKey=hunter2;NoValue",
            "InstrumentationKey=hunter2;Authorization=aad",
            "InstrumentationKey=hunter2;IngestionEndpoint=hunter2",
            "InstrumentationKey=hunter2;IngestionEndpoint=http://example.com",
            "InstrumentationKey=hunter2;IngestionEndpoint=ftp://127.0.0.1",
            "InstrumentationKey=hunter2;IngestionEndpoint=https://user:hunter2@example.com",
            "InstrumentationKey=hunter2;IngestionEndpoint=https://example.com?a",
            "InstrumentationKey=hunter2;EndpointSuffix=hunter2 hunter2",
            "InstrumentationKey=hunter2;a=b=c",
        ] {
            let error = Destination::read(text).expect_err(text).to_string();
            assert!(!error.contains("hunter2") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn an_identity_is_the_systems_or_a_named_one() {
        assert_eq!(identity("Authorization=AAD").unwrap(), None);
        assert_eq!(identity("authorization = aad ; ClientId = abc;").unwrap().as_deref(), Some("abc"));
        for text in ["", "AAD", "Authorization=ikey", "ClientId=abc", "Authorization=AAD;Key=hunter2"] {
            assert!(!identity(text).expect_err(text).to_string().contains("hunter2"));
        }
    }
}
