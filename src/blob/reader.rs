//! Reading a pinned version of a blob: ranges with If-Match, retried and resumed inside the invocation's deadline.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use azure_core::http::{ClientMethodOptions, Context, Etag, RequestContent};
use azure_storage_blob::{
    BlobServiceClient,
    models::{BlobClientDownloadOptions, BlobClientGetPropertiesResultHeaders, BlobClientUploadOptions, HttpRange},
};
use futures::StreamExt;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    calls::CallObserver,
    failure::{Answer, Call, Failure},
    ranges::{Asked, WrongAnswer},
};

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
        let response = self.call(Call::Head, format!("HEAD {blob}"), client.get_properties(None)).await?;
        match (response.etag(), response.content_length()) {
            (Ok(Some(etag)), Ok(Some(size_bytes))) => Ok(Version { etag: etag.to_string(), size_bytes }),
            _ => Err(Failure::Wrong(WrongAnswer("it has no ETag or no Content-Length".to_owned()))),
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
        let asked = Asked { range: rest.clone(), version: version.clone() };
        let options = BlobClientDownloadOptions {
            range: Some(HttpRange::new(rest.start, rest.end - rest.start)),
            if_match: Some(Etag::from(version.etag.clone())),
            // One request for the whole range, whose body is handed through as it comes.
            parallel: std::num::NonZero::new(1),
            partition_size: length,
            method_options: ClientMethodOptions { context: Context::new().with_value(asked) },
            ..Default::default()
        };
        let call = self.calls.start(format!("GET {blob}"), format!("bytes={}-{}", rest.start, rest.end - 1));
        let client = self.service.blob_client(&blob.container, &blob.name);
        let read = async {
            let mut body = self.in_time(Call::Get, client.download(Some(options))).await?.body;
            loop {
                let piece = match timeout(self.patience.stall, body.next()).await {
                    Ok(Some(Ok(piece))) => piece,
                    // All bytes are there; what ends the body does not matter.
                    _ if rest.is_empty() => return Ok(()),
                    Ok(None | Some(Err(_))) => return Err(Failure::Cut),
                    Err(_) => return Err(Failure::Stalled),
                };
                if piece.len() as u64 > rest.end - rest.start {
                    return Err(Failure::Wrong(WrongAnswer("its body is longer than its range".to_owned())));
                }
                sink(&piece);
                rest.start += piece.len() as u64;
            }
        };
        let result = timeout_at(self.deadline, read).await.unwrap_or(Err(Failure::Deadline));
        match &result {
            Ok(()) => call.end("206".to_owned(), true),
            Err(failure) => call.end(failure.result_code(), false),
        }
        result
    }

    /// Writes a record, replacing what is there; makes its container where there is none.
    ///
    /// # Errors
    /// When storage refuses it or the deadline passes. The blob that was read is not at fault, so never as gone or changed.
    pub async fn write(&self, blob: &BlobName, bytes: Vec<u8>) -> Result<(), ReadError> {
        let mut tries = Tries::new(self, format!("write the record {blob}"));
        let bytes = bytes::Bytes::from(bytes);
        loop {
            let failure = match self.write_once(blob, bytes.clone()).await {
                Ok(()) => return Ok(()),
                // Several invocations may find that at once.
                Err(Failure::NoContainer) => match self.create_container(&blob.container).await {
                    Ok(()) => Failure::Busy(Answer { status: 404, code: "before its container was made".to_owned() }),
                    Err(Failure::Refused(answer)) => {
                        let what = format!("create the container {}", blob.container);
                        return Err(ReadError::Refused { what, cause: answer.to_string() });
                    }
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
        self.call(Call::Put, format!("PUT {blob}"), upload).await.map(drop)
    }

    async fn create_container(&self, container: &str) -> Result<(), Failure> {
        let client = self.service.blob_container_client(container);
        match self.call(Call::Create, format!("PUT {container}"), client.create(None)).await {
            Err(Failure::Exists) | Ok(_) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Waits before start number `starts + 1` on a blob.
    ///
    /// # Errors
    /// When that is too late.
    pub(super) async fn pause_after(&self, starts: u32, blob: &BlobName) -> Result<(), ReadError> {
        let pause = self.patience.first_pause * 2_u32.saturating_pow(starts.saturating_sub(1));
        let pause = sleep(pause.min(self.patience.longest_pause));
        let late = |_| ReadError::Deadline { what: format!("read {blob}"), last: format!(": {}", ReadError::Changed) };
        timeout_at(self.deadline, pause).await.map_err(late)
    }

    async fn call<T>(
        &self,
        call: Call,
        name: String,
        answer: impl Future<Output = azure_core::Result<T>>,
    ) -> Result<T, Failure> {
        let open = self.calls.start(name, String::new());
        let result = timeout_at(self.deadline, self.in_time(call, answer)).await.unwrap_or(Err(Failure::Deadline));
        match &result {
            Ok(_) => open.end("200".to_owned(), true),
            Err(failure) => open.end(failure.result_code(), false),
        }
        result
    }

    async fn in_time<T>(&self, call: Call, answer: impl Future<Output = azure_core::Result<T>>) -> Result<T, Failure> {
        match timeout(self.patience.stall, answer).await {
            Ok(result) => result.map_err(|error| Failure::of(call, &error)),
            Err(_) => Err(Failure::Stalled),
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
            Failure::Refused(_) | Failure::Wrong(_) | Failure::NoContainer | Failure::Exists => {
                return Err(ReadError::Refused { what: what(), cause: failure.to_string() });
            }
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
