//! Reading a pinned version of a blob: ranges with If-Match, retried and resumed inside the invocation's deadline.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use azure_core::{
    error::ErrorKind,
    http::{Etag, RequestContent, StatusCode},
};
use azure_storage_blob::{
    BlobServiceClient,
    models::{BlobClientDownloadOptions, BlobClientGetPropertiesResultHeaders, BlobClientUploadOptions, HttpRange},
};
use futures::StreamExt;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::calls::CallObserver;

/// A blob of the account: container and name, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobName {
    pub container: String,
    /// Name inside the container; may hold slashes.
    pub name: String,
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container, self.name)
    }
}

/// One version of a blob. All its bytes are read with this ETag or not at all.
#[derive(Clone, Debug)]
pub struct Version {
    /// ETag, with its quotes.
    pub etag: String,
    /// Length in bytes.
    pub size_bytes: u64,
}

/// Why a blob could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such blob (any more).
    #[error("the blob is gone")]
    Gone,
    /// The blob has another version than the pinned one.
    #[error("the blob changed while it was read")]
    Changed,
    /// The invocation's time is over; the text is the last thing that went wrong, if anything did.
    #[error("no time left to {what}{last}")]
    Deadline {
        /// What was being attempted.
        what: String,
        /// `: ` and the last failure, or empty.
        last: String,
    },
    /// Storage refused in a way that trying again does not mend.
    #[error("could not {what}: {cause}")]
    Refused {
        /// What was being attempted.
        what: String,
        /// Status and error code.
        cause: String,
    },
}

/// How long to wait for storage, and between two tries.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Silence after which a call counts as dead: for its answer, and between two pieces of a body.
    pub stall: Duration,
    /// Pause before the second try; doubles up to `longest_pause`.
    pub first_pause: Duration,
    /// Upper end of the pause.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(15),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
        }
    }
}

/// Storage as one invocation sees it: with its deadline, and its observer of calls.
#[derive(Clone)]
pub struct BlobReader {
    service: Arc<BlobServiceClient>,
    patience: Patience,
    calls: CallObserver,
    deadline: Instant,
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl BlobReader {
    /// A view on `service` for one invocation.
    pub fn new(service: Arc<BlobServiceClient>, patience: Patience, calls: CallObserver, deadline: Instant) -> Self {
        Self { service, patience, calls, deadline }
    }

    /// The latest moment of the invocation's answer.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Asks for the blob's current version.
    ///
    /// # Errors
    /// [`ReadError::Gone`] when it does not exist.
    pub async fn head(&self, blob: &BlobName) -> Result<Version, ReadError> {
        let mut tries = Tries::new(self, format!("read the properties of {blob}"));
        loop {
            match self.head_once(blob).await {
                Ok(version) => return Ok(version),
                Err(failure) => tries.after(failure).await?,
            }
        }
    }

    async fn head_once(&self, blob: &BlobName) -> Result<Version, Failure> {
        let client = self.service.blob_client(&blob.container, &blob.name);
        let response = self.call(format!("HEAD {blob}"), String::new(), client.get_properties(None)).await?;
        match (response.etag(), response.content_length()) {
            (Ok(Some(etag)), Ok(Some(size_bytes))) => Ok(Version { etag: etag.to_string(), size_bytes }),
            _ => Err(Failure::Refused("an answer without ETag or Content-Length".to_owned())),
        }
    }

    /// Gives the bytes of `range` of the pinned version to `sink`, in order and each once, whatever happens on the way.
    ///
    /// # Errors
    /// [`ReadError::Changed`] when the version is not the blob's any more; the bytes given so far are then void.
    pub async fn read(
        &self,
        blob: &BlobName,
        version: &Version,
        range: Range<u64>,
        mut sink: impl FnMut(&[u8]) + Send,
    ) -> Result<(), ReadError> {
        let mut tries = Tries::new(self, format!("read bytes {}-{} of {blob}", range.start, range.end));
        let mut rest = range;
        while !rest.is_empty() {
            let before = rest.start;
            let Err(failure) = self.read_once(blob, version, &mut rest, &mut sink).await else { continue };
            if rest.start > before {
                tries.start_over();
            }
            tries.after(failure).await?;
        }
        Ok(())
    }

    /// One GET of what is left; moves `rest.start` over the bytes that came.
    async fn read_once(
        &self,
        blob: &BlobName,
        version: &Version,
        rest: &mut Range<u64>,
        sink: &mut (impl FnMut(&[u8]) + Send),
    ) -> Result<(), Failure> {
        let length = usize::try_from(rest.end - rest.start).ok().and_then(std::num::NonZero::new);
        let options = BlobClientDownloadOptions {
            range: Some(HttpRange::new(rest.start, rest.end - rest.start)),
            if_match: Some(Etag::from(version.etag.clone())),
            // One request for the whole range, whose body is handed through as it comes.
            parallel: std::num::NonZero::new(1),
            partition_size: length,
            ..Default::default()
        };
        let call = self.calls.start(format!("GET {blob}"), format!("bytes={}-{}", rest.start, rest.end - 1));
        let client = self.service.blob_client(&blob.container, &blob.name);
        let read = async {
            let mut body = self.in_time(client.download(Some(options))).await?.body;
            while !rest.is_empty() {
                let piece = match timeout(self.patience.stall, body.next()).await {
                    Ok(Some(Ok(piece))) => piece,
                    Ok(None | Some(Err(_))) => return Err(Failure::Cut),
                    Err(_) => return Err(Failure::Stalled),
                };
                let piece = &piece[..piece.len().min((rest.end - rest.start) as usize)];
                sink(piece);
                rest.start += piece.len() as u64;
            }
            Ok(())
        };
        let result = timeout_at(self.deadline, read).await.unwrap_or(Err(Failure::Deadline));
        match &result {
            Ok(()) => call.end("206".to_owned(), true),
            Err(failure) => call.end(failure.result_code(), false),
        }
        result
    }

    /// Writes a small blob, replacing what is there.
    ///
    /// # Errors
    /// When storage refuses it or the deadline passes.
    pub async fn write(&self, blob: &BlobName, bytes: Vec<u8>) -> Result<(), ReadError> {
        let mut tries = Tries::new(self, format!("write {blob}"));
        let bytes = bytes::Bytes::from(bytes);
        loop {
            let failure = match self.write_once(blob, bytes.clone()).await {
                Ok(()) => return Ok(()),
                // The container is missing; several invocations may find that at once.
                Err(Failure::Gone) => match self.create_container(&blob.container).await {
                    Ok(()) => Failure::Busy(404, "before its container was made".to_owned()),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            tries.after(failure).await?;
        }
    }

    async fn write_once(&self, blob: &BlobName, bytes: bytes::Bytes) -> Result<(), Failure> {
        let client = self.service.blob_client(&blob.container, &blob.name);
        let options =
            BlobClientUploadOptions { blob_content_type: Some("application/json".to_owned()), ..Default::default() };
        let upload = client.upload(RequestContent::from(bytes.to_vec()), Some(options));
        self.call(format!("PUT {blob}"), String::new(), upload).await.map(drop)
    }

    async fn create_container(&self, container: &str) -> Result<(), Failure> {
        let client = self.service.blob_container_client(container);
        match self.call(format!("PUT {container}"), String::new(), client.create(None)).await {
            Err(Failure::Exists) | Ok(_) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    async fn call<T>(
        &self,
        name: String,
        detail: String,
        call: impl Future<Output = azure_core::Result<T>>,
    ) -> Result<T, Failure> {
        let open = self.calls.start(name, detail);
        let result = timeout_at(self.deadline, self.in_time(call)).await.unwrap_or(Err(Failure::Deadline));
        match &result {
            Ok(_) => open.end("200".to_owned(), true),
            Err(failure) => open.end(failure.result_code(), false),
        }
        result
    }

    async fn in_time<T>(&self, call: impl Future<Output = azure_core::Result<T>>) -> Result<T, Failure> {
        match timeout(self.patience.stall, call).await {
            Ok(result) => result.map_err(Failure::from),
            Err(_) => Err(Failure::Stalled),
        }
    }
}

/// What went wrong in one try.
#[derive(Debug)]
enum Failure {
    Gone,
    Changed,
    Exists,
    Deadline,
    Stalled,
    Cut,
    /// No answer at all.
    Unreachable(String),
    /// An answer that may be another one next time.
    Busy(u16, String),
    Refused(String),
}

impl From<azure_core::Error> for Failure {
    fn from(error: azure_core::Error) -> Self {
        // The text of the error is left out on purpose: a refused signature is quoted in it.
        let code = match error.kind() {
            ErrorKind::HttpResponse { error_code: Some(code), .. } => code.clone(),
            _ => String::new(),
        };
        match error.http_status() {
            Some(StatusCode::NotFound) => Self::Gone,
            Some(StatusCode::PreconditionFailed) => Self::Changed,
            Some(StatusCode::Conflict) => Self::Exists,
            Some(status) => {
                let number = u16::from(status);
                match number {
                    408 | 429 | 500..=599 => Self::Busy(number, code),
                    _ => Self::Refused(format!("{number} {code}").trim_end().to_owned()),
                }
            }
            None => match error.kind() {
                ErrorKind::Credential => Self::Busy(401, "no token from the identity endpoint".to_owned()),
                _ => Self::Unreachable(innermost(&error)),
            },
        }
    }
}

/// The last cause of an error: `Connection refused (os error 111)` rather than what was built on it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

impl Failure {
    fn result_code(&self) -> String {
        match self {
            Self::Gone => "404".to_owned(),
            Self::Changed => "412".to_owned(),
            Self::Exists => "409".to_owned(),
            Self::Deadline => "deadline".to_owned(),
            Self::Stalled => "stalled".to_owned(),
            Self::Cut => "cut".to_owned(),
            Self::Unreachable(_) => "unreachable".to_owned(),
            Self::Busy(status, _) => status.to_string(),
            Self::Refused(cause) => cause.split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stalled => f.write_str("storage went silent"),
            Self::Cut => f.write_str("the connection was cut"),
            Self::Unreachable(cause) => write!(f, "storage cannot be reached: {cause}"),
            Self::Busy(status, code) => write!(f, "storage answered {status} {code}"),
            Self::Refused(cause) => f.write_str(cause),
            other => f.write_str(&other.result_code()),
        }
    }
}

/// The tries of one operation: which failure ends it, and the pause after the others.
struct Tries<'a> {
    reader: &'a BlobReader,
    what: String,
    pause: Duration,
}

impl<'a> Tries<'a> {
    fn new(reader: &'a BlobReader, what: String) -> Self {
        Self { reader, what, pause: reader.patience.first_pause }
    }

    /// Progress was made: the next failure is a new one.
    fn start_over(&mut self) {
        self.pause = self.reader.patience.first_pause;
    }

    /// Waits before the next try, or says why there is none.
    async fn after(&mut self, failure: Failure) -> Result<(), ReadError> {
        let what = || self.what.clone();
        match failure {
            Failure::Gone => return Err(ReadError::Gone),
            Failure::Changed => return Err(ReadError::Changed),
            Failure::Refused(cause) => return Err(ReadError::Refused { what: what(), cause }),
            Failure::Exists => return Err(ReadError::Refused { what: what(), cause: "409".to_owned() }),
            Failure::Deadline => return Err(ReadError::Deadline { what: what(), last: String::new() }),
            Failure::Stalled | Failure::Cut | Failure::Unreachable(_) | Failure::Busy(..) => {}
        }
        if Instant::now() + self.pause >= self.reader.deadline {
            return Err(ReadError::Deadline { what: what(), last: format!(": {failure}") });
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(self.reader.patience.longest_pause);
        Ok(())
    }
}
