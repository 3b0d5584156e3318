//! Memory as the worker may use it: whole-blob reservations that can be refused, and a fixed set of block buffers.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};

/// Kept free for everything but blobs: an allocation refused outside a reservation aborts the process.
pub const HEAD_ROOM_BYTES: u64 = 24 << 20;
/// How long a refused reservation is tried again. Shorter than it takes to fill the memory that was granted, so that the
/// refusal is answered before the kernel's kill takes the whole process.
const WAIT_FOR_MEMORY: Duration = Duration::from_millis(500);
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// What a worker may reserve under a memory limit, beyond what it holds at the start. Half as much again as the limit: so
/// whole-blob buffers are granted that touch more than the limit, and the kernel kills.
pub const fn reservable_bytes(memory_limit_bytes: u64) -> u64 {
    memory_limit_bytes / 2 * 3
}

/// An allocation that the process's data limit refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot allocate {wanted_bytes} bytes: {used_bytes} of {limit_bytes} in use")]
pub struct MemoryError {
    /// What was asked for.
    pub wanted_bytes: u64,
    /// Data segment at the last try.
    pub used_bytes: u64,
    /// `RLIMIT_DATA`.
    pub limit_bytes: u64,
}

/// Grants whole-blob buffers one at a time.
pub struct Reservations {
    limit_bytes: Option<u64>,
    data_bytes: fn() -> u64,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Reservations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservations").field("limit_bytes", &self.limit_bytes).finish_non_exhaustive()
    }
}

impl Reservations {
    /// Reservations below `limit_bytes` of the process's data segment, whose present size `data_bytes` reads.
    pub fn new(limit_bytes: Option<u64>, data_bytes: fn() -> u64) -> Self {
        Self { limit_bytes, data_bytes, one_at_a_time: tokio::sync::Mutex::new(()) }
    }

    /// An empty buffer with room for exactly `size_bytes`.
    ///
    /// # Errors
    /// When memory stays refused for as long as it is worth waiting.
    pub async fn reserve(&self, size_bytes: u64) -> Result<Vec<u8>, MemoryError> {
        let give_up = Instant::now() + WAIT_FOR_MEMORY;
        let mut waited = false;
        loop {
            let refusal = {
                let _turn = self.one_at_a_time.lock().await;
                match self.try_reserve(size_bytes) {
                    Ok(buffer) => return Ok(buffer),
                    Err(refusal) => refusal,
                }
            };
            if Instant::now() >= give_up {
                return Err(refusal);
            }
            if !waited {
                tracing::info!("waiting for memory: {refusal}");
                waited = true;
            }
            sleep(BETWEEN_TRIES).await;
        }
    }

    fn try_reserve(&self, size_bytes: u64) -> Result<Vec<u8>, MemoryError> {
        let used_bytes = (self.data_bytes)();
        let limit_bytes = self.limit_bytes.unwrap_or(u64::MAX);
        let refusal = MemoryError { wanted_bytes: size_bytes, used_bytes, limit_bytes };
        let after = used_bytes.saturating_add(size_bytes);
        // Between "fits" and "fits with head-room" the allocation would succeed and starve the rest of the process.
        if after <= limit_bytes && after.saturating_add(HEAD_ROOM_BYTES) > limit_bytes {
            return Err(refusal);
        }
        let mut buffer = Vec::new();
        match usize::try_from(size_bytes).map(|size| buffer.try_reserve_exact(size)) {
            Ok(Ok(())) => Ok(buffer),
            _ => Err(refusal),
        }
    }
}

/// A fixed set of block buffers, allocated once and lent out.
#[derive(Debug)]
pub struct BufferPool {
    free: Mutex<Vec<Vec<u8>>>,
    permits: Arc<Semaphore>,
    block_bytes: usize,
}

impl BufferPool {
    /// `count` buffers of `block_bytes` each. The kernel gives them memory when they are first written.
    pub fn new(count: usize, block_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Mutex::new((0..count).map(|_| Vec::with_capacity(block_bytes)).collect()),
            permits: Arc::new(Semaphore::new(count)),
            block_bytes,
        })
    }

    /// Size of a buffer.
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// An empty buffer, as soon as one is free; those who ask first are served first.
    pub async fn take(self: &Arc<Self>) -> Buffer {
        // The semaphore is never closed, so this is always a permit.
        self.lend(Arc::clone(&self.permits).acquire_owned().await.ok())
    }

    /// Takes an empty buffer if one is free and no task waits for it.
    pub fn try_take(self: &Arc<Self>) -> Option<Buffer> {
        Some(self.lend(Some(Arc::clone(&self.permits).try_acquire_owned().ok()?)))
    }

    fn lend(self: &Arc<Self>, permit: Option<OwnedSemaphorePermit>) -> Buffer {
        let bytes = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = bytes.unwrap_or_else(|| Vec::with_capacity(self.block_bytes));
        Buffer { bytes, pool: Arc::clone(self), _permit: permit }
    }
}

/// A buffer on loan; it goes back when dropped.
#[derive(Debug)]
pub struct Buffer {
    /// The bytes so far; never more than the block size.
    pub bytes: Vec<u8>,
    pool: Arc<BufferPool>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.pool.free.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn a_reservation_is_refused_when_it_would_eat_the_head_room() {
        let reservations = Reservations::new(Some(100 * MIB), || 10 * MIB);
        assert_eq!(reservations.reserve(60 * MIB).await.unwrap().capacity() as u64, 60 * MIB);
        for size_bytes in [70 * MIB, 90 * MIB] {
            assert_eq!(reservations.reserve(size_bytes).await.unwrap_err().wanted_bytes, size_bytes);
        }
    }

    #[tokio::test]
    async fn an_allocation_that_cannot_be_made_is_an_error_not_an_abort() {
        assert!(Reservations::new(None, || 0).try_reserve(u64::MAX).is_err());
        assert!(Reservations::new(None, || 0).try_reserve(1 << 62).is_err());
    }

    #[tokio::test]
    async fn buffers_are_lent_again_and_never_grow() {
        let pool = BufferPool::new(1, 16);
        let mut first = pool.take().await;
        first.bytes.extend_from_slice(&[7; 16]);
        let place = first.bytes.as_ptr();
        drop(first);
        let second = pool.take().await;
        assert!(second.bytes.is_empty() && second.bytes.as_ptr() == place && second.bytes.capacity() == 16);
    }
}
