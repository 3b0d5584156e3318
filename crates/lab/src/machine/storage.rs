//! The lab's own view of the storage account: blobs, and which queues there are.

use std::{collections::HashMap, fmt, path::Path};

use azure_core::{
    error::ErrorKind,
    http::{ClientOptions, ExponentialRetryOptions, RequestContent, RetryOptions, StatusCode},
    time::Duration as CoreDuration,
};
use azure_storage_blob::{
    BlobClient, BlobContainerClient, BlobServiceClient, BlobServiceClientOptions,
    models::{
        BlobClientGetPropertiesResultHeaders, BlobClientUploadOptions, BlobContainerClientListBlobsOptions, BlobItem,
        BlobType, BlockLookupList, ListBlobsIncludeItem, ListBlobsResponse,
    },
};
use azure_storage_queue::{QueueServiceClient, QueueServiceClientOptions, models::QueueServiceClientListQueuesOptions};
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt},
};
use url::{Host, Url};

use super::{exit::UsageError, listing, queue::Queue};
use incident_labs::blob::{EMULATOR_ACCOUNT, EMULATOR_KEY, StorageAccount, shown, tls};

/// Size of the blocks an upload is cut into. Above 4 MiB, where Azurite reads what it sends twice.
const BLOCK_BYTES: usize = 8 << 20;

/// A failed storage operation.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct StorageError {
    doing: String,
    source: Cause,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error(transparent)]
    Storage(#[from] azure_core::Error),
    #[error(transparent)]
    File(#[from] std::io::Error),
    #[error("a URL loses a part of its name: rename it")]
    Name,
    #[error("the listing is not what the service writes")]
    Listing,
}

impl StorageError {
    pub(crate) fn new(doing: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self { doing: doing.into(), source: source.into() }
    }

    /// Whether what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(&self.source, Cause::Storage(error) if error.http_status() == Some(StatusCode::NotFound))
    }
}

/// A storage account's blobs and queues.
#[derive(Clone)]
pub struct Storage {
    account: StorageAccount,
    blobs: std::sync::Arc<BlobServiceClient>,
    queues: std::sync::Arc<QueueServiceClient>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Storage").field(&self.account).finish()
    }
}

/// One blob of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name in the container.
    pub name: String,
    /// Its version, with the quotes a header has.
    pub etag: String,
    pub size_bytes: u64,
    pub last_modified: Option<time::OffsetDateTime>,
    pub blob_type: BlobType,
    /// Its own metadata in the service's order, keys in their case, where the listing was asked for it.
    pub metadata: Vec<(String, String)>,
}

/// What an upload sent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Uploaded {
    /// Bytes sent.
    pub size_bytes: u64,
    /// SHA-256 of those bytes, lower-case hex.
    pub sha256: String,
}

impl Storage {
    /// Clients for an account. Tries are repeated for a few seconds, as a loopback server that restarts needs it.
    ///
    /// # Errors
    /// When the SDK refuses an endpoint.
    pub fn open(account: &StorageAccount) -> Result<Self, StorageError> {
        tls::choose_provider();
        let fail = |source| StorageError::new(format!("open storage account {}", account.name), source);
        let credential = account.token_credential().map_err(fail)?;
        let blob_options = BlobServiceClientOptions { client_options: client_options(account), ..Default::default() };
        let queue_options = QueueServiceClientOptions { client_options: client_options(account), ..Default::default() };
        let blobs = BlobServiceClient::new(account.blob_endpoint.clone(), credential.clone(), Some(blob_options));
        let queues = QueueServiceClient::new(account.queue_endpoint.clone(), credential, Some(queue_options));
        Ok(Self { account: account.clone(), blobs: blobs.map_err(fail)?.into(), queues: queues.map_err(fail)?.into() })
    }

    /// The account these clients talk to.
    pub fn account(&self) -> &StorageAccount {
        &self.account
    }

    /// A client of one container.
    pub fn container(&self, name: &str) -> BlobContainerClient {
        self.blobs.blob_container_client(name)
    }

    /// A client of one blob.
    pub fn blob(&self, container: &str, name: &str) -> BlobClient {
        self.blobs.blob_client(container, name)
    }

    /// A client of one blob, whose URL means that blob and no other.
    fn named(&self, doing: &str, container: &str, name: &str) -> Result<BlobClient, StorageError> {
        let blob = self.blob(container, name);
        let path = percent_decode_str(blob.url().path()).decode_utf8_lossy();
        if path.ends_with(&format!("/{container}/{name}")) {
            return Ok(blob);
        }
        Err(StorageError::new(format!("{doing} blob {container}/{}", shown(name)), Cause::Name))
    }

    /// One queue, created if it is not there.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn queue(&self, name: &str) -> Result<Queue, StorageError> {
        let fail = |source| StorageError::new(format!("create queue {name}"), source);
        let client = self.queues.queue_client(name).map_err(fail)?;
        client.create(None).await.map_err(fail)?;
        Ok(Queue::new(name, client))
    }

    /// One queue, if it is there.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn existing_queue(&self, name: &str) -> Result<Option<Queue>, StorageError> {
        let is_there = self.queues_with(name).await?.iter().any(|it| it == name);
        if is_there { self.queue(name).await.map(Some) } else { Ok(None) }
    }

    /// Names of the queues that begin so.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn queues_with(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let fail = |source| StorageError::new(format!("list queues {prefix}*"), source);
        let options = QueueServiceClientListQueuesOptions { prefix: Some(prefix.to_owned()), ..Default::default() };
        let queues = self.queues.list_queues(Some(options)).map_err(fail)?;
        let names = queues.try_filter_map(async |it| Ok(it.name));
        names.try_collect().await.map_err(fail)
    }

    /// Creates a container if it is not there.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn ensure_container(&self, name: &str) -> Result<(), StorageError> {
        match self.container(name).create(None).await {
            Ok(_) => Ok(()),
            Err(error) if is_there_already(&error) => Ok(()),
            Err(error) => Err(StorageError::new(format!("create container {name}"), error)),
        }
    }

    /// All blobs of a container under a prefix; a container that is not there is empty.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn list(&self, container: &str, prefix: &str, with_metadata: bool) -> Result<Vec<Listed>, StorageError> {
        let options = BlobContainerClientListBlobsOptions {
            prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
            include: with_metadata.then(|| vec![ListBlobsIncludeItem::Metadata]),
            ..Default::default()
        };
        self.listed(container, options, usize::MAX).await
    }

    /// One blob as a listing has it, with its metadata.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn find(&self, container: &str, name: &str) -> Result<Option<Listed>, StorageError> {
        // Of all names that begin so it is the first.
        let options = BlobContainerClientListBlobsOptions {
            prefix: Some(name.to_owned()),
            include: Some(vec![ListBlobsIncludeItem::Metadata]),
            maxresults: Some(1),
            ..Default::default()
        };
        Ok(self.listed(container, options, 1).await?.into_iter().find(|it| it.name == name))
    }

    /// Reads pages until there are so many blobs, or no more.
    async fn listed(
        &self,
        container: &str,
        options: BlobContainerClientListBlobsOptions<'_>,
        enough: usize,
    ) -> Result<Vec<Listed>, StorageError> {
        let fail = |source| StorageError::new(format!("list container {container}"), source);
        let mut pages = self.container(container).list_blobs(Some(options)).map_err(fail)?.into_pages();
        let mut blobs = Vec::new();
        while blobs.len() < enough {
            let page = match pages.try_next().await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(error) if error.http_status() == Some(StatusCode::NotFound) => return Ok(Vec::new()),
                Err(error) => return Err(fail(error)),
            };
            let entries = listing::entries(page.body());
            let ListBlobsResponse { blob_items, .. } = page.into_model().map_err(fail)?;
            let entries = entries
                .filter(|it| it.len() == blob_items.len())
                .ok_or_else(|| StorageError::new(format!("list container {container}"), Cause::Listing))?;
            blobs.extend(entries.into_iter().zip(blob_items).map(|(entry, item)| listed(entry, item)));
        }
        Ok(blobs)
    }

    /// Writes a small blob, replacing what is there.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn put(
        &self,
        container: &str,
        name: &str,
        content: impl Into<Bytes>,
        metadata: Option<HashMap<String, String>>,
    ) -> Result<(), StorageError> {
        let options = BlobClientUploadOptions { metadata, ..Default::default() };
        let content = RequestContent::from(content.into().to_vec());
        let result = self.named("write", container, name)?.upload(content, Some(options)).await;
        result.map(drop).map_err(|source| StorageError::new(format!("write blob {container}/{name}"), source))
    }

    /// Reads a small blob; `None` where there is none.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn read(&self, container: &str, name: &str) -> Result<Option<Bytes>, StorageError> {
        let fail = |source| StorageError::new(format!("read blob {container}/{name}"), source);
        match self.named("read", container, name)?.download(None).await {
            Ok(result) => result.body.collect().await.map(Some).map_err(fail),
            Err(error) if error.http_status() == Some(StatusCode::NotFound) => Ok(None),
            Err(error) => Err(fail(error)),
        }
    }

    /// Adds an entry to a blob's metadata, which gives it a new version. One that is gone stays so.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn mark(&self, container: &str, name: &str, (key, value): (&str, &str)) -> Result<(), StorageError> {
        let fail = |source| StorageError::new(format!("mark blob {container}/{name}"), source);
        let blob = self.named("mark", container, name)?;
        let properties = match blob.get_properties(None).await {
            Ok(properties) => properties,
            Err(error) if error.http_status() == Some(StatusCode::NotFound) => return Ok(()),
            Err(error) => return Err(fail(error)),
        };
        let mut metadata = properties.metadata().map_err(fail)?;
        metadata.insert(key.to_owned(), value.to_owned());
        match blob.set_metadata(&metadata, None).await {
            Err(error) if error.http_status() != Some(StatusCode::NotFound) => Err(fail(error)),
            _ => Ok(()),
        }
    }

    /// Copies a blob inside the account; container and name of both.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn copy(&self, source: (&str, &str), target: (&str, &str)) -> Result<(), StorageError> {
        let url = self.named("copy", source.0, source.1)?.url().to_string();
        let copied = self.named("copy to", target.0, target.1)?.start_copy_from_url(url, None).await;
        copied.map(drop).map_err(|error| {
            StorageError::new(format!("copy {}/{} to {}/{}", source.0, source.1, target.0, target.1), error)
        })
    }

    /// Sends a file; see [`Storage::upload_from`].
    ///
    /// # Errors
    /// When the file cannot be read, or the service refuses or is away.
    pub async fn upload(&self, container: &str, name: &str, file: &Path) -> Result<Uploaded, StorageError> {
        let unread = |source| StorageError::new(format!("read {}", file.display()), source);
        let reader = File::open(file).await.map_err(unread)?;
        self.upload_from(container, name, reader).await
    }

    /// Sends bytes block by block, in constant memory, and hashes what it sends.
    ///
    /// # Errors
    /// When the bytes cannot be read, or the service refuses or is away.
    pub async fn upload_from(
        &self,
        container: &str,
        name: &str,
        mut reader: impl AsyncRead + Unpin,
    ) -> Result<Uploaded, StorageError> {
        let unread = |source| StorageError::new(format!("read what becomes {container}/{name}"), source);
        let unsent = |source| StorageError::new(format!("upload {container}/{name}"), source);
        let blob = self.named("upload", container, name)?;
        let (mut hash, mut size_bytes, mut blocks) = (Sha256::new(), 0_u64, Vec::new());
        loop {
            let block = read_block(&mut reader).await.map_err(unread)?;
            hash.update(&block);
            size_bytes += block.len() as u64;
            let is_last = block.len() < BLOCK_BYTES;
            let length = block.len() as u64;
            let content = RequestContent::from(block.to_vec());
            if is_last && blocks.is_empty() {
                blob.upload(content, None).await.map_err(unsent)?;
                break;
            }
            if length > 0 {
                let id = format!("{:08}", blocks.len()).into_bytes();
                blob.block_blob_client().stage_block(&id, length, content, None).await.map_err(unsent)?;
                blocks.push(id);
            }
            if is_last {
                let list = BlockLookupList { latest: Some(blocks), ..Default::default() };
                let list = list.try_into().map_err(unsent)?;
                blob.block_blob_client().commit_block_list(list, None).await.map_err(unsent)?;
                break;
            }
        }
        Ok(Uploaded { size_bytes, sha256: format!("{:x}", hash.finalize()) })
    }
}

/// The account of `--storage-url`: under the identity of the person who is signed in, or the storage emulator on this machine. If the
/// `connection` string at hand is about the same blob endpoint, it has the key and the queues' endpoint.
///
/// # Errors
/// When the URL is not a blob endpoint alone, or plain http to another machine.
pub fn account_at(storage_url: &Url, connection: Option<&str>) -> anyhow::Result<StorageAccount> {
    if storage_url.query().is_some() {
        let text = "a SAS in --storage-url would stand in the process list: sign in with `az login` and give the URL alone, or put \
                    a connection string into AzureWebJobsStorage";
        return Err(UsageError(text.to_owned()).into());
    }
    let account = StorageAccount::from_developer(storage_url)?;
    if account.blob_endpoint.scheme() == "https" {
        return Ok(account);
    }
    ensure_private(&account)?;
    let at_hand = connection.and_then(|it| StorageAccount::from_connection_string(it).ok());
    match at_hand.filter(|it| it.blob_endpoint == account.blob_endpoint) {
        Some(account) => Ok(account),
        None => Ok(emulator_at(&account.blob_endpoint)?),
    }
}

/// The emulator whose blob service is there; its queues are at the next port, as in 10000 and 10001.
fn emulator_at(blob_endpoint: &Url) -> anyhow::Result<StorageAccount> {
    let queue_port = blob_endpoint.port_or_known_default().and_then(|it| it.checked_add(1));
    let mut queue_endpoint = blob_endpoint.clone();
    let is_set = queue_port.is_some() && queue_endpoint.set_port(queue_port).is_ok();
    if !is_set || blob_endpoint.path() != format!("/{EMULATOR_ACCOUNT}") {
        let text = format!(
            "over http only the storage emulator's own account is known by its URL, http://127.0.0.1:10000/{EMULATOR_ACCOUNT}: of another \
             put a connection string into AzureWebJobsStorage"
        );
        return Err(UsageError(text).into());
    }
    let text = format!(
        "AccountName={EMULATOR_ACCOUNT};AccountKey={EMULATOR_KEY};BlobEndpoint={blob_endpoint};QueueEndpoint={queue_endpoint}"
    );
    Ok(StorageAccount::from_connection_string(&text)?)
}

/// Refuses plain http to another machine.
///
/// # Errors
/// When an endpoint of the account is that.
pub fn ensure_private(account: &StorageAccount) -> Result<(), UsageError> {
    let is_private = |url: &Url| {
        url.scheme() == "https"
            || match url.host() {
                Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
                Some(Host::Ipv4(address)) => address.is_loopback(),
                Some(Host::Ipv6(address)) => address.is_loopback(),
                None => false,
            }
    };
    match [&account.blob_endpoint, &account.queue_endpoint].into_iter().find(|it| !is_private(it)) {
        None => Ok(()),
        Some(url) => Err(UsageError(format!(
            "{} must use https: plain http is for storage on this machine alone",
            url.host_str().unwrap_or_default()
        ))),
    }
}

fn client_options(account: &StorageAccount) -> ClientOptions {
    let retry = ExponentialRetryOptions {
        initial_delay: CoreDuration::milliseconds(200),
        max_retries: 3,
        max_total_elapsed: CoreDuration::seconds(5),
        ..Default::default()
    };
    ClientOptions { retry: RetryOptions::exponential(retry), ..account.client_options() }
}

async fn read_block(reader: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Bytes> {
    let mut block = BytesMut::with_capacity(BLOCK_BYTES);
    while block.len() < BLOCK_BYTES && reader.read_buf(&mut block).await? > 0 {}
    Ok(block.freeze())
}

fn listed(entry: listing::Entry, item: BlobItem) -> Listed {
    let properties = item.properties.unwrap_or_default();
    Listed {
        name: entry.name,
        etag: quoted(&properties.etag.map(|it| it.to_string()).unwrap_or_default()),
        size_bytes: properties.content_length.unwrap_or_default(),
        last_modified: properties.last_modified,
        blob_type: properties.blob_type.unwrap_or(BlobType::BlockBlob),
        metadata: entry.metadata,
    }
}

/// A container that is being deleted is a conflict too, and no container.
fn is_there_already(error: &azure_core::Error) -> bool {
    match error.kind() {
        ErrorKind::HttpResponse { status: StatusCode::Conflict, error_code, .. } => {
            error_code.as_deref() == Some("ContainerAlreadyExists")
        }
        _ => false,
    }
}

/// An ETag as headers have it; listings leave the quotes out.
pub fn quoted(etag: &str) -> String {
    format!("\"{}\"", etag.trim_matches('"'))
}
