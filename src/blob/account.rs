//! The storage account behind `AzureWebJobsStorage`: its endpoints and how requests to it are authorised.
//!
//! Both the handler and the lab's host stand-in reach storage through this module, so a connection string means the same
//! to both.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use azure_core::{
    credentials::{Secret, TokenCredential},
    hmac::hmac_sha256,
    http::{
        ClientOptions, Context, Request, RetryOptions,
        headers::{AUTHORIZATION, HeaderName},
        policies::{Policy, PolicyResult},
    },
    time::to_rfc7231,
};
use azure_identity::{ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use azure_storage_blob::{BlobServiceClient, BlobServiceClientOptions};
use url::Url;

use super::ranges::RangeCheck;
use custom_handler::clock;

/// Azurite's one account; its key is published by Microsoft and opens nothing but emulators.
pub const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
/// The emulator account's published key.
pub const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A storage account: where its services listen, and the credential for them.
#[derive(Clone, Debug)]
pub struct StorageAccount {
    /// Account name, as signed into requests.
    pub name: String,
    /// Blob service, for example `http://127.0.0.1:10000/devstoreaccount1`.
    pub blob_endpoint: Url,
    pub queue_endpoint: Url,
    credential: Credential,
}

#[derive(Clone)]
enum Credential {
    SharedKey(Secret),
    Identity { client_id: Option<String> },
    Developer,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SharedKey(_) => "SharedKey(***)",
            Self::Identity { .. } => "Identity",
            Self::Developer => "Developer",
        })
    }
}

/// Why a storage connection could not be understood. No variant carries the value itself: it may hold a key.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Neither a development shortcut, nor an account name, nor endpoints.
    #[error("names no account: expected UseDevelopmentStorage=true, or AccountName and AccountKey")]
    NoAccount,
    /// A connection string without a key.
    #[error("has no AccountKey (a SharedAccessSignature is not supported: use a key or an identity)")]
    NoKey,
    /// The key is not base64.
    #[error("has an AccountKey that is not base64")]
    BadKey,
    /// An endpoint that is not an http(s) URL.
    #[error("has a {0} that is not an http or https URL")]
    BadEndpoint(&'static str),
}

impl StorageAccount {
    /// Reads a storage connection string (`AccountName=…;AccountKey=…[;BlobEndpoint=…]` or `UseDevelopmentStorage=true`).
    ///
    /// # Errors
    /// What is missing or malformed, without the value.
    pub fn from_connection_string(text: &str) -> Result<Self, AccountError> {
        let part = |name: &str| {
            text.split(';')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim())
                .filter(|value| !value.is_empty())
        };
        if part("UseDevelopmentStorage").is_some_and(|it| it.eq_ignore_ascii_case("true")) {
            return Self::emulator(10_000, 10_001);
        }
        let name = part("AccountName").ok_or(AccountError::NoAccount)?;
        let key = part("AccountKey").ok_or(AccountError::NoKey)?;
        if azure_core::base64::decode(key).is_err() {
            return Err(AccountError::BadKey);
        }
        let suffix = part("EndpointSuffix").unwrap_or("core.windows.net");
        let scheme = part("DefaultEndpointsProtocol").unwrap_or("https");
        let endpoint = |field: &'static str, service: &str| match part(field) {
            Some(url) => http_url(url, field),
            None => http_url(&format!("{scheme}://{name}.{service}.{suffix}"), field),
        };
        Ok(Self {
            name: name.to_owned(),
            blob_endpoint: endpoint("BlobEndpoint", "blob")?,
            queue_endpoint: endpoint("QueueEndpoint", "queue")?,
            credential: Credential::SharedKey(Secret::new(key.to_owned())),
        })
    }

    /// The emulator on loopback, at the given ports.
    ///
    /// # Errors
    /// Never in practice: the URLs are made here.
    pub fn emulator(blob_port: u16, queue_port: u16) -> Result<Self, AccountError> {
        let at = |port, field| http_url(&format!("http://127.0.0.1:{port}/{EMULATOR_ACCOUNT}"), field);
        Ok(Self {
            name: EMULATOR_ACCOUNT.to_owned(),
            blob_endpoint: at(blob_port, "BlobEndpoint")?,
            queue_endpoint: at(queue_port, "QueueEndpoint")?,
            credential: Credential::SharedKey(Secret::new(EMULATOR_KEY)),
        })
    }

    /// An account reached with the app's managed identity (`AzureWebJobsStorage__accountName` or `__blobServiceUri`).
    ///
    /// # Errors
    /// When neither a name nor an endpoint is given, or the endpoint is not a URL.
    pub fn from_identity(
        name: Option<&str>,
        blob_service_uri: Option<&str>,
        client_id: Option<String>,
    ) -> Result<Self, AccountError> {
        let blob_endpoint = match (blob_service_uri, name) {
            (Some(uri), _) => http_url(uri, "blobServiceUri")?,
            (None, Some(name)) => http_url(&format!("https://{name}.blob.core.windows.net"), "accountName")?,
            (None, None) => return Err(AccountError::NoAccount),
        };
        let queue_host = blob_endpoint.as_str().replacen(".blob.", ".queue.", 1);
        let first_label = blob_endpoint.host_str().and_then(|it| it.split('.').next());
        Ok(Self {
            name: name.or(first_label).unwrap_or_default().to_owned(),
            queue_endpoint: http_url(&queue_host, "blobServiceUri")?,
            blob_endpoint,
            credential: Credential::Identity { client_id },
        })
    }

    /// Opens an account by its blob endpoint, with the identity signed in to the Azure CLI or a similar tool.
    ///
    /// # Errors
    /// When the endpoint is not an http(s) URL.
    pub fn from_developer(blob_endpoint: &Url) -> Result<Self, AccountError> {
        let account = Self::from_identity(None, Some(blob_endpoint.as_str()), None)?;
        Ok(Self { credential: Credential::Developer, ..account })
    }

    /// The connection string of this account, for a process that reads `AzureWebJobsStorage`. `None` for an identity.
    pub fn connection_string(&self) -> Option<String> {
        match &self.credential {
            Credential::SharedKey(key) => Some(format!(
                "DefaultEndpointsProtocol={};AccountName={};AccountKey={};BlobEndpoint={};QueueEndpoint={};",
                self.blob_endpoint.scheme(),
                self.name,
                key.secret(),
                self.blob_endpoint,
                self.queue_endpoint
            )),
            _ => None,
        }
    }

    /// A client of the blob service. Retrying is the caller's: the SDK's own retries outlast an invocation's deadline.
    ///
    /// # Errors
    /// When the SDK refuses the endpoint or the identity cannot be set up.
    pub fn blob_service(&self) -> azure_core::Result<BlobServiceClient> {
        let mut client_options = self.client_options();
        client_options.per_try_policies.push(Arc::new(RangeCheck));
        let options = BlobServiceClientOptions { client_options, ..Default::default() };
        BlobServiceClient::new(self.blob_endpoint.clone(), self.token_credential()?, Some(options))
    }

    /// SDK options that sign each try with the account key (if there is one) and never retry.
    pub fn client_options(&self) -> ClientOptions {
        let mut options = ClientOptions { retry: RetryOptions::none(), ..Default::default() };
        if let Credential::SharedKey(key) = &self.credential {
            options.per_try_policies.push(Arc::new(SharedKey { account: self.name.clone(), key: key.clone() }));
        }
        options
    }

    /// The managed identity, where the account is reached by one.
    ///
    /// # Errors
    /// When the environment offers no managed identity endpoint.
    pub fn token_credential(&self) -> azure_core::Result<Option<Arc<dyn TokenCredential>>> {
        let client_id = match &self.credential {
            Credential::SharedKey(_) => return Ok(None),
            Credential::Developer => return Ok(Some(azure_identity::DeveloperToolsCredential::new(None)?)),
            Credential::Identity { client_id } => client_id,
        };
        let options = ManagedIdentityCredentialOptions {
            user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
            ..Default::default()
        };
        Ok(Some(ManagedIdentityCredential::new(Some(options))?))
    }
}

fn http_url(text: &str, field: &'static str) -> Result<Url, AccountError> {
    let url = Url::parse(text.trim_end_matches('/')).map_err(|_| AccountError::BadEndpoint(field))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(AccountError::BadEndpoint(field)),
    }
}

/// Signs each try with the account key, as in "Authorize with Shared Key" of the storage REST reference.
#[derive(Debug)]
struct SharedKey {
    account: String,
    key: Secret,
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
        let signature = hmac_sha256(&self.string_to_sign(request), &self.key)?;
        request.insert_header(AUTHORIZATION, format!("SharedKey {}:{signature}", self.account));
        next[0].send(ctx, request, &next[1..]).await
    }
}

impl SharedKey {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_gives_endpoints() {
        let cases = [
            ("UseDevelopmentStorage=true", "http://127.0.0.1:10000/devstoreaccount1"),
            ("AccountName=a1;AccountKey=aGk=", "https://a1.blob.core.windows.net/"),
            ("AccountName=a1;AccountKey=aGk=;BlobEndpoint=http://h:1/a1/", "http://h:1/a1"),
        ];
        for (text, blob) in cases {
            assert_eq!(StorageAccount::from_connection_string(text).unwrap().blob_endpoint.as_str(), blob, "{text}");
        }
    }

    #[test]
    fn a_bad_connection_string_is_explained_without_its_value() {
        for text in [
            "",
            "AccountName=a1",
            "AccountName=a1;AccountKey=hunter2!",
            "AccountName=a1;AccountKey=aGk=;BlobEndpoint=x",
        ] {
            let error = StorageAccount::from_connection_string(text).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && !error.is_empty(), "{error}");
        }
    }

    #[test]
    fn an_account_does_not_show_its_key() {
        let account = StorageAccount::from_connection_string("AccountName=a1;AccountKey=aGlkZGVu").unwrap();
        assert!(!format!("{account:?}").contains("aGlkZGVu"));
    }

    #[test]
    fn an_identity_gives_endpoints() {
        let account = StorageAccount::from_identity(Some("a1"), None, None).unwrap();
        assert_eq!(account.blob_endpoint.as_str(), "https://a1.blob.core.windows.net/");
        assert_eq!(account.queue_endpoint.as_str(), "https://a1.queue.core.windows.net/");
        assert!(StorageAccount::from_identity(None, None, None).is_err());
    }
}
