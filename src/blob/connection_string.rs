//! Storage connection strings: their parts, and why one is refused.

use url::Url;

use super::{StorageAccount, access::Plane};

/// Why a storage connection could not be understood. No variant carries a value: it may be a key.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Neither a development shortcut, nor an account name, nor endpoints.
    #[error("names no account: expected UseDevelopmentStorage=true, or AccountName and AccountKey")]
    NoAccount,
    /// A connection string without a key.
    #[error("has no AccountKey: use a key, or an identity (AzureWebJobsStorage__accountName)")]
    NoKey,
    /// A signature, in a setting of its own or behind an endpoint.
    #[error(
        "has a SharedAccessSignature, which is not supported: use an AccountKey, or an identity (AzureWebJobsStorage__accountName)"
    )]
    Signature,
    /// Endpoints alone: reading without a credential.
    #[error("has endpoints and no credential: access without one is not supported, because results are written")]
    Anonymous,
    /// The key is not base64.
    #[error("has an AccountKey that is not base64")]
    BadKey,
    /// A name that cannot be part of a URL.
    #[error("has an AccountName with other characters than letters, digits and -")]
    BadName,
    /// An endpoint that is not an http(s) URL.
    #[error("has a {0} that is not an http or https URL of an account, without user, query and fragment")]
    BadEndpoint(&'static str),
    #[error("has a DefaultEndpointsProtocol that is neither http nor https")]
    BadProtocol,
    #[error("has an EndpointSuffix that is no host name")]
    BadSuffix,
    #[error("has a UseDevelopmentStorage that is not true: leave it out, or write true")]
    NotDevelopment,
    #[error("has {0} beside UseDevelopmentStorage=true, which stands for all of it: leave one of the two out")]
    Beside(&'static str),
    #[error(
        "has a DevelopmentStorageProxyUri that is not http://HOST or https://HOST: the services are at ports 10000 and 10001 of that \
         host"
    )]
    BadProxy,
    #[error("has a DevelopmentStorageProxyUri without UseDevelopmentStorage=true")]
    ProxyAlone,
    #[error("has a part that is not NAME=VALUE between its semicolons")]
    BadPart,
    #[error("has {0} twice")]
    Twice(&'static str),
    /// A name no storage connection string has. It is not told: it may be half of a key.
    #[error("has a name that no storage connection string has (is it of another service, or in quotes?)")]
    UnknownName,
}

/// All names of a storage connection string (Azure.Storage.Common: `Constants.ConnectionStrings`).
const NAMES: [&str; 15] = [
    DEVELOPMENT,
    PROXY,
    PROTOCOL,
    NAME,
    KEY,
    SUFFIX,
    SIGNATURE,
    "BlobEndpoint",
    "QueueEndpoint",
    "TableEndpoint",
    "FileEndpoint",
    "BlobSecondaryEndpoint",
    "QueueSecondaryEndpoint",
    "TableSecondaryEndpoint",
    "FileSecondaryEndpoint",
];
pub(super) const DEVELOPMENT: &str = "UseDevelopmentStorage";
pub(super) const PROXY: &str = "DevelopmentStorageProxyUri";
const PROTOCOL: &str = "DefaultEndpointsProtocol";
pub(super) const NAME: &str = "AccountName";
pub(super) const KEY: &str = "AccountKey";
const SUFFIX: &str = "EndpointSuffix";
pub(super) const SIGNATURE: &str = "SharedAccessSignature";

/// Blob, queue and table service of the emulator at its usual place.
const DEVELOPMENT_PORTS: [u16; 3] = [10_000, 10_001, 10_002];

/// The parts of a connection string, by their names.
pub(super) struct Parts<'a>(pub(super) Vec<(&'static str, &'a str)>);

impl<'a> Parts<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, AccountError> {
        let mut parts: Vec<(&'static str, &'a str)> = Vec::new();
        for part in text.split(';').map(str::trim).filter(|it| !it.is_empty()) {
            let (name, value) = part.split_once('=').ok_or(AccountError::BadPart)?;
            let known = NAMES.into_iter().find(|it| it.eq_ignore_ascii_case(name.trim()));
            let known = known.ok_or(AccountError::UnknownName)?;
            if parts.iter().any(|it| it.0 == known) {
                return Err(AccountError::Twice(known));
            }
            parts.push((known, value.trim()));
        }
        Ok(Self(parts))
    }

    /// A part that says something.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|it| it.0 == name).map(|it| it.1).filter(|it| !it.is_empty())
    }

    pub(super) fn has_endpoint(&self) -> bool {
        self.0.iter().any(|(name, value)| name.ends_with("Endpoint") && !value.is_empty())
    }

    pub(super) fn endpoint(&self, field: &'static str, service: &str, account: &str) -> Result<Url, AccountError> {
        if let Some(url) = self.get(field) {
            return http_url(url, field);
        }
        let scheme = self.get(PROTOCOL).unwrap_or("https").to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            return Err(AccountError::BadProtocol);
        }
        let suffix = self.get(SUFFIX).unwrap_or("core.windows.net");
        if !is_host_name(suffix) {
            return Err(AccountError::BadSuffix);
        }
        http_url(&format!("{scheme}://{account}.{service}.{suffix}"), field)
    }

    /// The endpoint of a service that an emulator need not have: nothing of it is ever asked for at Azure.
    pub(super) fn optional_endpoint(
        &self,
        plane: Plane,
        field: &'static str,
        account: &str,
    ) -> Result<Option<Url>, AccountError> {
        let is_emulator = |it: &Url| !matches!(it.path(), "" | "/");
        let blob = self.endpoint("BlobEndpoint", "blob", account)?;
        if self.get(field).is_none() && is_emulator(&blob) {
            return Ok(None);
        }
        self.endpoint(field, plane.name(), account).map(Some)
    }

    /// What `UseDevelopmentStorage=true` stands for (Azure.Storage.Common: `GetDevelopmentStorageAccount`).
    pub(super) fn development(&self) -> Result<StorageAccount, AccountError> {
        if !self.get(DEVELOPMENT).is_some_and(|it| it.eq_ignore_ascii_case("true")) {
            return Err(AccountError::NotDevelopment);
        }
        let other = self.0.iter().find(|(name, value)| ![DEVELOPMENT, PROXY].contains(name) && !value.is_empty());
        if let Some(&(name, _)) = other {
            return Err(AccountError::Beside(name));
        }
        let Some(proxy) = self.get(PROXY) else { return StorageAccount::azurite(DEVELOPMENT_PORTS) };
        let proxy = http_url(proxy, PROXY).map_err(|_| AccountError::BadProxy)?;
        // The port is not the proxy's to say, and what follows the host would be lost.
        if proxy.port().is_some() || proxy.path() != "/" {
            return Err(AccountError::BadProxy);
        }
        StorageAccount::emulator_at(
            &format!("{}://{}", proxy.scheme(), proxy.host_str().unwrap_or_default()),
            DEVELOPMENT_PORTS,
        )
    }
}

/// Reads an endpoint. A signature behind it is called what it is.
pub(super) fn http_url(text: &str, field: &'static str) -> Result<Url, AccountError> {
    let url = Url::parse(text.trim_end_matches('/')).map_err(|_| AccountError::BadEndpoint(field))?;
    if url.query_pairs().any(|(name, _)| name.eq_ignore_ascii_case("sig")) {
        return Err(AccountError::Signature);
    }
    let is_plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    match url.scheme() {
        "http" | "https" if url.has_host() && is_plain => Ok(url),
        _ => Err(AccountError::BadEndpoint(field)),
    }
}

pub(super) fn is_account_name(name: &str) -> bool {
    name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
}

fn is_host_name(name: &str) -> bool {
    name.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.'))
        && name.contains(|it: char| it != '.')
}
