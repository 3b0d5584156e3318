//! One blob from its name to its result record, in the buffering or the streaming way.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::{
    BlobSettings, RESULTS_CONTAINER, Variant,
    memory::{Buffer, BufferPool, MemoryError, Reservations},
    names::record_name,
    reader::{BlobName, BlobReader, ReadError, Version},
};

/// Bytes hashed between two chances for other tasks to run.
const HASH_SLICE_BYTES: usize = 1 << 20;
/// How often a blob that is being overwritten is started on in one invocation. Each start may read all of it.
const STARTS_MAX: u32 = 5;

/// What is written to the container of results, under [`record_name`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResultRecord {
    /// Name of the blob in its container.
    pub name: String,
    /// ETag of the version that was read.
    pub etag: String,
    pub size_bytes: u64,
    /// SHA-256 of its bytes, lower-case hex.
    pub sha256: String,
    /// `buffering` or `streaming`.
    pub variant: String,
    /// From the worker's turn to the last byte hashed.
    pub duration_ms: u64,
    pub worker: WorkerId,
}

/// A worker process: which start of it, and its pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerId {
    /// 1 for the first worker of a front, then counting.
    pub generation: u32,
    pub pid: u32,
}

/// Why a blob has no result record.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// How a blob ended that did not fail.
#[derive(Clone, Debug)]
pub enum Processed {
    /// Its record was written.
    Recorded(ResultRecord),
    /// It was deleted before it could be read.
    Gone,
}

/// The blob function's work, shared by all invocations of a worker.
#[derive(Debug)]
pub struct Processor {
    variant: Variant,
    invocations: Semaphore,
    whole_blobs: Semaphore,
    reservations: Reservations,
    blocks: Arc<BufferPool>,
    fetches: TaskTracker,
    worker: WorkerId,
}

impl Processor {
    /// A processor with the gates of `settings`.
    pub fn new(settings: &BlobSettings, reservations: Reservations, worker: WorkerId) -> Self {
        let blocks = match settings.variant {
            Variant::Streaming => settings.batch_size,
            Variant::Buffering => 0,
        };
        Self {
            variant: settings.variant,
            invocations: Semaphore::new(settings.max_concurrent_invocations),
            whole_blobs: Semaphore::new(settings.batch_size),
            reservations,
            blocks: BufferPool::new(blocks, settings.block_bytes),
            fetches: TaskTracker::new(),
            worker,
        }
    }

    /// Waits for its turn, reads the blob, hashes it and writes the record.
    ///
    /// # Errors
    /// Memory or storage, or the reader's deadline.
    pub async fn process(&self, reader: &BlobReader, blob: &BlobName) -> Result<Processed, ProcessError> {
        let _turn = in_time(reader, "wait for a turn", self.invocations.acquire()).await?;
        let started = Instant::now();
        for starts in 1.. {
            let attempt = self.attempt(reader, blob, started).await;
            match attempt {
                Ok(record) => return Ok(Processed::Recorded(record)),
                Err(ProcessError::Read(ReadError::Gone)) => return Ok(Processed::Gone),
                // Overwritten: the new version is read from its start.
                Err(ProcessError::Read(ReadError::Changed)) if starts < STARTS_MAX => {
                    tracing::info!(blob.name = %blob, "{blob} changed while it was read; starting over");
                    reader.pause_after(starts, blob).await?;
                }
                Err(ProcessError::Read(ReadError::Changed)) => break,
                Err(error) => return Err(error),
            }
        }
        let cause = format!("412 at each of {STARTS_MAX} starts: it is overwritten while it is read");
        Err(ReadError::Refused { what: format!("read {blob}"), cause }.into())
    }

    async fn attempt(
        &self,
        reader: &BlobReader,
        blob: &BlobName,
        started: Instant,
    ) -> Result<ResultRecord, ProcessError> {
        let version = reader.head(blob).await?;
        let hash = match self.variant {
            Variant::Buffering => self.buffer(reader, blob, &version).await?,
            Variant::Streaming => self.stream(reader, blob, &version).await?,
        };
        let record = ResultRecord {
            name: blob.name.clone(),
            etag: version.etag,
            size_bytes: version.size_bytes,
            sha256: format!("{:x}", hash.finalize()),
            variant: self.variant.name().to_owned(),
            duration_ms: started.elapsed().as_millis() as u64,
            worker: self.worker,
        };
        let target = BlobName { container: RESULTS_CONTAINER.to_owned(), name: record_name(&blob.name) };
        let bytes = serde_json::to_vec(&record).unwrap_or_default();
        reader.write(&target, bytes).await?;
        Ok(record)
    }

    /// The guide's anti-pattern, kept honest: the whole blob in one buffer, and only then the hash.
    async fn buffer(&self, reader: &BlobReader, blob: &BlobName, version: &Version) -> Result<Sha256, ProcessError> {
        let _piece = in_time(reader, "wait for a piece of the batch", self.whole_blobs.acquire()).await?;
        let mut bytes = self.reservations.reserve(version.size_bytes).await?;
        reader.read(blob, version, 0..version.size_bytes, |piece| bytes.extend_from_slice(piece)).await?;
        let mut hash = Sha256::new();
        for slice in bytes.chunks(HASH_SLICE_BYTES) {
            hash.update(slice);
            tokio::task::yield_now().await;
        }
        Ok(hash)
    }

    /// Blocks are fetched several at a time, each into a buffer of the pool and by a task of its own, and hashed in order
    /// while others are still coming.
    ///
    /// A blob waits for a buffer only when it has none: what it fetches ahead, it fetches with buffers that no blob waits for. So
    /// no set of blobs can wait for each other.
    async fn stream(&self, reader: &BlobReader, blob: &BlobName, version: &Version) -> Result<Sha256, ProcessError> {
        let mut hash = Sha256::new();
        let mut starts = (0..version.size_bytes).step_by(self.blocks.block_bytes()).peekable();
        let mut ahead = VecDeque::new();
        loop {
            while starts.peek().is_some() {
                let buffer = match self.blocks.try_take() {
                    Some(buffer) => buffer,
                    None if ahead.is_empty() => in_time(reader, "wait for a buffer", self.blocks.take()).await?,
                    None => break,
                };
                if let Some(start) = starts.next() {
                    let range = start..version.size_bytes.min(start + self.blocks.block_bytes() as u64);
                    let fetch = fetch(reader.clone(), blob.clone(), version.clone(), range, buffer);
                    ahead.push_back(AbortOnDropHandle::new(self.fetches.spawn(fetch)));
                }
            }
            let Some(next) = ahead.pop_front() else { return Ok(hash) };
            let buffer = next.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            hash.update(&buffer.bytes);
        }
    }
}

async fn fetch(
    reader: BlobReader,
    blob: BlobName,
    version: Version,
    range: Range<u64>,
    mut buffer: Buffer,
) -> Result<Buffer, ReadError> {
    reader.read(&blob, &version, range, |piece| buffer.bytes.extend_from_slice(piece)).await?;
    Ok(buffer)
}

async fn in_time<T>(reader: &BlobReader, what: &str, wait: impl Future<Output = T>) -> Result<T, ReadError> {
    let late = |_| ReadError::Deadline { what: what.to_owned(), last: String::new() };
    timeout_at(reader.deadline(), wait).await.map_err(late)
}
