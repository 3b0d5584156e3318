//! The storage account behind `AzureWebJobsStorage`: its endpoints and how requests to it are authorised.
//!
//! Both the handler and the lab's host stand-in reach storage through this module, so a connection string means the same
//! to both.

use std::{fmt, sync::Arc};

use azure_core::{
    credentials::{Secret, TokenCredential},
    http::{
        ClientOptions, Pipeline, RetryOptions,
        policies::{Policy, auth::BearerTokenAuthorizationPolicy},
    },
};
use azure_identity::{ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use azure_storage_blob::{BlobServiceClient, BlobServiceClientOptions};
use url::Url;

use super::{
    access::Plane,
    connection_string::{AccountError, DEVELOPMENT, KEY, NAME, PROXY, Parts, SIGNATURE, http_url, is_account_name},
    ranges::RangeCheck,
    shared_key::{SharedKey, Text},
};

/// Azurite's one account; its key is published by Microsoft and opens nothing but emulators.
pub const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
/// The emulator account's published key.
pub const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// What a token for storage is for.
const SCOPE: &str = "https://storage.azure.com/.default";

/// A storage account: where its services listen, and the credential for them.
#[derive(Clone, Debug)]
pub struct StorageAccount {
    /// Account name, as signed into requests.
    pub name: String,
    /// Blob service, for example `http://127.0.0.1:10000/devstoreaccount1`.
    pub blob_endpoint: Url,
    pub queue_endpoint: Url,
    /// `None` where the account has no such service: an emulator has those that it names.
    pub table_endpoint: Option<Url>,
    pub file_endpoint: Option<Url>,
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

impl StorageAccount {
    /// Reads a storage connection string: `UseDevelopmentStorage=true[;DevelopmentStorageProxyUri=…]`, or `AccountName=…;AccountKey=…`
    /// with endpoints, or with protocol and suffix.
    ///
    /// # Errors
    /// What is missing, malformed or not supported, without the value.
    pub fn from_connection_string(text: &str) -> Result<Self, AccountError> {
        let parts = Parts::read(text)?;
        if parts.0.iter().any(|it| it.0 == DEVELOPMENT) {
            return parts.development();
        }
        if parts.get(PROXY).is_some() {
            return Err(AccountError::ProxyAlone);
        }
        if parts.get(SIGNATURE).is_some() {
            return Err(AccountError::Signature);
        }
        let Some(name) = parts.get(NAME) else {
            let is_anonymous = parts.has_endpoint() && parts.get(KEY).is_none();
            return Err(if is_anonymous { AccountError::Anonymous } else { AccountError::NoAccount });
        };
        if !is_account_name(name) {
            return Err(AccountError::BadName);
        }
        let key = parts.get(KEY).ok_or(AccountError::NoKey)?;
        if azure_core::base64::decode(key).is_err() {
            return Err(AccountError::BadKey);
        }
        Ok(Self {
            name: name.to_owned(),
            blob_endpoint: parts.endpoint("BlobEndpoint", "blob", name)?,
            queue_endpoint: parts.endpoint("QueueEndpoint", "queue", name)?,
            table_endpoint: parts.optional_endpoint(Plane::Table, "TableEndpoint", name)?,
            file_endpoint: parts.optional_endpoint(Plane::File, "FileEndpoint", name)?,
            credential: Credential::SharedKey(Secret::new(key.to_owned())),
        })
    }

    /// Whether a connection string is the shortcut for the emulator at its usual place.
    pub fn is_emulator_shortcut(text: &str) -> bool {
        Parts::read(text)
            .is_ok_and(|it| it.get(DEVELOPMENT).is_some() && it.get(PROXY).is_none() && it.development().is_ok())
    }

    /// Azurite on loopback, at the ports of its blob, queue and table service; it has no file service.
    ///
    /// # Errors
    /// Never in practice: the URLs are made here.
    pub fn azurite(ports: [u16; 3]) -> Result<Self, AccountError> {
        Self::emulator_at("http://127.0.0.1", ports)
    }

    /// An emulator on loopback with a blob and a queue service alone.
    ///
    /// # Errors
    /// Never in practice: the URLs are made here.
    pub fn emulator(blob_port: u16, queue_port: u16) -> Result<Self, AccountError> {
        Ok(Self { table_endpoint: None, ..Self::azurite([blob_port, queue_port, 0])? })
    }

    pub(super) fn emulator_at(host: &str, [blob, queue, table]: [u16; 3]) -> Result<Self, AccountError> {
        let at = |port, field| http_url(&format!("{host}:{port}/{EMULATOR_ACCOUNT}"), field);
        Ok(Self {
            name: EMULATOR_ACCOUNT.to_owned(),
            blob_endpoint: at(blob, "BlobEndpoint")?,
            queue_endpoint: at(queue, "QueueEndpoint")?,
            table_endpoint: Some(at(table, "TableEndpoint")?),
            file_endpoint: None,
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
        if name.is_some_and(|it| !is_account_name(it)) {
            return Err(AccountError::BadName);
        }
        let blob_endpoint = match (blob_service_uri, name) {
            (Some(uri), _) => http_url(uri, "blobServiceUri")?,
            (None, Some(name)) => http_url(&format!("https://{name}.blob.core.windows.net"), "accountName")?,
            (None, None) => return Err(AccountError::NoAccount),
        };
        let beside = |plane: Plane| blob_endpoint.as_str().replacen(".blob.", &format!(".{}.", plane.name()), 1);
        // A host without `.blob.` does not say where the other services are.
        let optional = |plane| Some(beside(plane)).filter(|it| it != blob_endpoint.as_str());
        let optional = |plane| optional(plane).map(|it| http_url(&it, "blobServiceUri")).transpose();
        let first_label = blob_endpoint.host_str().and_then(|it| it.split('.').next());
        Ok(Self {
            name: name.or(first_label).unwrap_or_default().to_owned(),
            queue_endpoint: http_url(&beside(Plane::Queue), "blobServiceUri")?,
            table_endpoint: optional(Plane::Table)?,
            file_endpoint: optional(Plane::File)?,
            blob_endpoint,
            credential: Credential::Identity { client_id },
        })
    }

    /// Takes the endpoints that `AzureWebJobsStorage__queueServiceUri` and `__tableServiceUri` name, as the host does.
    ///
    /// # Errors
    /// When one is not the URL of an account.
    pub fn with_services(self, queue: Option<&str>, table: Option<&str>) -> Result<Self, AccountError> {
        let queue = queue.map(|it| http_url(it, "queueServiceUri")).transpose()?;
        let table = table.map(|it| http_url(it, "tableServiceUri")).transpose()?;
        Ok(Self {
            queue_endpoint: queue.unwrap_or(self.queue_endpoint),
            table_endpoint: table.or(self.table_endpoint),
            ..self
        })
    }

    /// The same account, reached at other endpoints: through a proxy.
    #[must_use]
    pub fn at(self, endpoint: impl Fn(Plane) -> Url) -> Self {
        Self {
            blob_endpoint: endpoint(Plane::Blob),
            queue_endpoint: endpoint(Plane::Queue),
            table_endpoint: Some(endpoint(Plane::Table)),
            file_endpoint: Some(endpoint(Plane::File)),
            ..self
        }
    }

    /// Where a service listens.
    pub fn endpoint(&self, plane: Plane) -> Option<&Url> {
        match plane {
            Plane::Blob => Some(&self.blob_endpoint),
            Plane::Queue => Some(&self.queue_endpoint),
            Plane::Table => self.table_endpoint.as_ref(),
            Plane::File => self.file_endpoint.as_ref(),
        }
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
        let Credential::SharedKey(key) = &self.credential else { return None };
        let mut text = format!(
            "DefaultEndpointsProtocol={};AccountName={};AccountKey={};BlobEndpoint={};QueueEndpoint={};",
            self.blob_endpoint.scheme(),
            self.name,
            key.secret(),
            self.blob_endpoint,
            self.queue_endpoint
        );
        for (field, url) in [("TableEndpoint", &self.table_endpoint), ("FileEndpoint", &self.file_endpoint)] {
            if let Some(url) = url {
                text += &format!("{field}={url};");
            }
        }
        Some(text)
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
        self.signing(Text::OfMostServices)
    }

    /// Requests to a service, authorised as this account is and never retried.
    ///
    /// # Errors
    /// When the environment offers no identity.
    pub fn pipeline(&self, plane: Plane) -> azure_core::Result<Pipeline> {
        let text = if plane == Plane::Table { Text::OfTables } else { Text::OfMostServices };
        let bearer = self.token_credential()?.map(|it| BearerTokenAuthorizationPolicy::new(it, [SCOPE]));
        let bearer = bearer.map(|it| Arc::new(it) as Arc<dyn Policy>).into_iter().collect();
        Ok(Pipeline::new(None, None, self.signing(text), Vec::new(), bearer, None))
    }

    fn signing(&self, text: Text) -> ClientOptions {
        let mut options = ClientOptions { retry: RetryOptions::none(), ..Default::default() };
        if let Credential::SharedKey(key) = &self.credential {
            options.per_try_policies.push(Arc::new(SharedKey::new(&self.name, key.clone(), text)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_gives_endpoints() {
        const AZURITE: &str = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=aGk=;\
            BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;\
            TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;";
        let cases = [
            (
                "UseDevelopmentStorage=true",
                "http://127.0.0.1:10000/devstoreaccount1",
                "http://127.0.0.1:10001/devstoreaccount1",
            ),
            (
                " usedevelopmentstorage = True ; ;",
                "http://127.0.0.1:10000/devstoreaccount1",
                "http://127.0.0.1:10001/devstoreaccount1",
            ),
            (
                "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite",
                "http://azurite:10000/devstoreaccount1",
                "http://azurite:10001/devstoreaccount1",
            ),
            (
                "DevelopmentStorageProxyUri=https://[::1]/;UseDevelopmentStorage=true",
                "https://[::1]:10000/devstoreaccount1",
                "https://[::1]:10001/devstoreaccount1",
            ),
            (AZURITE, "http://127.0.0.1:10000/devstoreaccount1", "http://127.0.0.1:10001/devstoreaccount1"),
            (
                "AccountName=a1;AccountKey=aGk=",
                "https://a1.blob.core.windows.net/",
                "https://a1.queue.core.windows.net/",
            ),
            (
                "defaultendpointsprotocol=HTTP;AccountName=a1;AccountKey=aGk=;EndpointSuffix=core.chinacloudapi.cn",
                "http://a1.blob.core.chinacloudapi.cn/",
                "http://a1.queue.core.chinacloudapi.cn/",
            ),
            (
                "AccountName=a1;AccountKey=aGk=;BlobEndpoint=http://h:1/a1/",
                "http://h:1/a1",
                "https://a1.queue.core.windows.net/",
            ),
        ];
        for (text, blob, queue) in cases {
            let account =
                StorageAccount::from_connection_string(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((account.blob_endpoint.as_str(), account.queue_endpoint.as_str()), (blob, queue), "{text}");
        }
    }

    #[test]
    fn a_form_that_is_not_honoured_is_refused_for_what_it_is_without_its_value() {
        for (text, says) in [
            ("", "names no account"),
            ("AccountKey=aGk=", "names no account"),
            ("AccountName=a1", "no AccountKey"),
            ("AccountName=a1;AccountKey=hunter2!", "not base64"),
            ("AccountName=a1;AccountKey=aGk=;BlobEndpoint=hunter2", "BlobEndpoint"),
            ("AccountName=a1;AccountKey=aGk=;QueueEndpoint=ftp://hunter2", "QueueEndpoint"),
            ("AccountName=a1;AccountKey=aGk=;BlobEndpoint=https://u:hunter2@h/", "BlobEndpoint"),
            ("AccountName=a1;AccountKey=aGk=;BlobEndpoint=https://h/?sv=1&sig=hunter2", "SharedAccessSignature"),
            (
                "BlobEndpoint=https://a1.blob.core.windows.net/;SharedAccessSignature=sv=2024-08-04&sig=hunter2%3D",
                "SharedAccessSignature",
            ),
            ("AccountName=a1;SharedAccessSignature=sv=2024-08-04&sig=hunter2", "SharedAccessSignature"),
            ("BlobEndpoint=https://a1.blob.core.windows.net/", "no credential"),
            ("AccountName=hunter2/../x;AccountKey=aGk=", "AccountName with other"),
            ("AccountName=a1;AccountKey=aGk=;DefaultEndpointsProtocol=hunter2", "DefaultEndpointsProtocol"),
            ("AccountName=a1;AccountKey=aGk=;EndpointSuffix=hunter2/x", "EndpointSuffix"),
            ("UseDevelopmentStorage=hunter2", "UseDevelopmentStorage that is not true"),
            ("UseDevelopmentStorage=false;AccountName=a1;AccountKey=aGk=", "UseDevelopmentStorage that is not true"),
            ("UseDevelopmentStorage=true;AccountName=hunter2", "AccountName beside UseDevelopmentStorage"),
            ("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=hunter2", "DevelopmentStorageProxyUri that is not"),
            ("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://h:8080/hunter2", "ports 10000 and 10001"),
            ("DevelopmentStorageProxyUri=http://hunter2", "without UseDevelopmentStorage"),
            ("AccountName=a1;AccountKey=aGk=;hunter2", "not NAME=VALUE"),
            ("AccountName=a1;AccountName=hunter2;AccountKey=aGk=", "AccountName twice"),
            ("\"AccountName=a1;AccountKey=hunter2\"", "in quotes"),
            (
                "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey=hunter2",
                "another service",
            ),
        ] {
            let error = StorageAccount::from_connection_string(text).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("hunter2"), "{text}: {error}");
        }
        for (name, uri) in [(Some("hunter2/x"), None), (None, Some("https://h/?sig=hunter2")), (None, Some("hunter2"))]
        {
            let error = StorageAccount::from_identity(name, uri, None).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && !error.is_empty(), "{error}");
        }
    }

    #[test]
    fn the_emulators_shortcut_is_known_in_every_spelling() {
        for text in ["UseDevelopmentStorage=true", "useDevelopmentStorage=TRUE;", " UseDevelopmentStorage = true ; "] {
            assert!(StorageAccount::is_emulator_shortcut(text), "{text}");
        }
        for text in
            ["", "UseDevelopmentStorage=false", "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://h"]
        {
            assert!(!StorageAccount::is_emulator_shortcut(text), "{text}");
        }
    }

    #[test]
    fn an_account_does_not_show_its_key() {
        let account = StorageAccount::from_connection_string("AccountName=a1;AccountKey=aGlkZGVu").unwrap();
        assert!(!format!("{account:?}").contains("aGlkZGVu"));
    }

    #[test]
    fn the_table_and_the_file_service_are_where_the_settings_lead_or_nowhere() {
        let text = |it: &Option<Url>| it.as_ref().map_or("", Url::as_str).to_owned();
        let both = |it: StorageAccount| (text(&it.table_endpoint), text(&it.file_endpoint));
        let azure = ("https://a1.table.core.windows.net/", "https://a1.file.core.windows.net/");
        for (settings, table, file) in [
            ("UseDevelopmentStorage=true", "http://127.0.0.1:10002/devstoreaccount1", ""),
            ("AccountName=a1;AccountKey=aGk=", azure.0, azure.1),
            ("AccountName=a1;AccountKey=aGk=;FileEndpoint=https://f.h/", azure.0, "https://f.h/"),
            // An emulator's other services are not at Azure.
            ("AccountName=a1;AccountKey=aGk=;BlobEndpoint=http://h:1/a1", "", ""),
            (
                "AccountName=a1;AccountKey=aGk=;BlobEndpoint=http://h:1/a1;TableEndpoint=http://h:3/a1",
                "http://h:3/a1",
                "",
            ),
        ] {
            let account = StorageAccount::from_connection_string(settings).unwrap();
            assert_eq!(both(account.clone()), (table.to_owned(), file.to_owned()), "{settings}");
            let again = StorageAccount::from_connection_string(&account.connection_string().unwrap()).unwrap();
            assert_eq!(both(again), (table.to_owned(), file.to_owned()), "{settings}, written and read");
        }
        let by_name = StorageAccount::from_identity(Some("a1"), None, None).unwrap();
        assert_eq!(both(by_name.clone()), (azure.0.to_owned(), azure.1.to_owned()));
        let by_uri = by_name.with_services(Some("https://q.h/"), Some("https://t.h/")).unwrap();
        assert_eq!((by_uri.queue_endpoint.as_str(), &*text(&by_uri.table_endpoint)), ("https://q.h/", "https://t.h/"));
        let elsewhere = StorageAccount::from_identity(None, Some("https://127.0.0.1:1/a1"), None).unwrap();
        assert_eq!(both(elsewhere), (String::new(), String::new()));
    }

    #[test]
    fn an_identity_gives_endpoints() {
        let account = StorageAccount::from_identity(Some("a1"), None, None).unwrap();
        assert_eq!(account.blob_endpoint.as_str(), "https://a1.blob.core.windows.net/");
        assert_eq!(account.queue_endpoint.as_str(), "https://a1.queue.core.windows.net/");
        assert!(StorageAccount::from_identity(None, None, None).is_err());
    }
}
