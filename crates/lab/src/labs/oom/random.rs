//! Bytes that are the same for the same seed, without holding them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use tokio::io::{AsyncRead, ReadBuf};

/// Made at once: long enough to be quick, short enough not to keep others waiting.
const CHUNK_BYTES: usize = 256 << 10;

/// A reader of pseudo-random bytes.
#[derive(Debug)]
pub(super) struct RandomBytes {
    generator: ChaCha8Rng,
    left: u64,
}

impl RandomBytes {
    /// `length` bytes of one of a seed's many streams.
    pub(super) fn new(seed: u64, stream: u64, length: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self { generator, left: length }
    }
}

impl AsyncRead for RandomBytes {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let length = (self.left.min(CHUNK_BYTES as u64) as usize).min(into.remaining());
        self.generator.fill_bytes(into.initialize_unfilled_to(length));
        into.advance(length);
        self.left -= length as u64;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn bytes(seed: u64, stream: u64, length: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        RandomBytes::new(seed, stream, length).read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn the_same_seed_and_stream_are_the_same_bytes() {
        let one = bytes(1, 2, 600_000).await;
        assert_eq!(one.len(), 600_000);
        assert_eq!(one, bytes(1, 2, 600_000).await);
        assert_ne!(one, bytes(1, 3, 600_000).await);
        assert_ne!(one, bytes(2, 2, 600_000).await);
        assert!(bytes(1, 2, 0).await.is_empty());
    }
}
