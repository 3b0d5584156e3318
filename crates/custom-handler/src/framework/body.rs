//! Request bodies that are read whole, within bounds for one of them and for all of a kind together.
//!
//! Each body may take a little without asking. What goes beyond is drawn from a budget, by one reader at a time: two that wait for
//! each other's share would wait for ever. A share is held until the call is answered. While a body waits, its connection does.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, HttpBody};
use futures_util::StreamExt;
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::wire::Envelope;

/// Longest body that is read, and the budget of all. A history of 100,000 iterations is some 25 MB, its activities' results included.
pub(super) const LONGEST_BYTES: usize = 256 << 20;
/// What a body takes without asking.
const FREE_BYTES: usize = 1 << 20;
/// Longest silence in the middle of a body.
const PATIENCE: Duration = Duration::from_secs(60);

/// The bodies of one kind of function. Kinds do not share a budget: a function that waits for an orchestration must not keep the
/// orchestration's history out.
#[derive(Clone, Debug)]
pub(super) struct Bodies(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    longest: usize,
    free: usize,
    turn: Mutex<()>,
    left: Arc<Semaphore>,
}

/// A body's share of the budget.
#[derive(Debug, Default)]
pub(super) struct Share(Option<OwnedSemaphorePermit>);

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("the request body broke off: {0}")]
    Broken(#[from] axum::Error),
    #[error("the request body broke off: nothing came for {} s", PATIENCE.as_secs())]
    Silent,
    #[error("the request body is longer than {0} bytes")]
    TooLong(usize),
    #[error("the request body is not an invocation: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Default for Bodies {
    fn default() -> Self {
        Self::bounded(LONGEST_BYTES, FREE_BYTES)
    }
}

impl Bodies {
    fn bounded(longest: usize, free: usize) -> Self {
        let left = Arc::new(Semaphore::new(longest.saturating_sub(free)));
        Self(Arc::new(Budget { longest, free, turn: Mutex::default(), left }))
    }

    /// Reads an envelope.
    pub(super) async fn envelope(&self, body: Body) -> Result<(Envelope, Share), Unread> {
        let (bytes, share) = self.read(body).await?;
        Ok((serde_json::from_slice(&bytes)?, share))
    }

    pub(super) async fn read(&self, body: Body) -> Result<(Vec<u8>, Share), Unread> {
        let Budget { longest, free, turn, left } = &*self.0;
        // What a body says of its length is believed as far as it is free.
        let told = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(told.min(*free));
        let (mut pieces, mut share) = (body.into_data_stream(), Share::default());
        let mut reading = None;
        while let Some(piece) = timeout(PATIENCE, pieces.next()).await.map_err(|_| Unread::Silent)? {
            let piece = piece?;
            let length = bytes.len() + piece.len();
            if length > *longest {
                return Err(Unread::TooLong(*longest));
            }
            if length > *free {
                if reading.is_none() {
                    reading = Some(turn.lock().await);
                }
                share.grow(left, length - free).await;
            }
            bytes.extend_from_slice(&piece);
        }
        Ok((bytes, share))
    }
}

impl Share {
    async fn grow(&mut self, budget: &Arc<Semaphore>, wanted: usize) {
        let held = self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = u32::try_from(wanted.saturating_sub(held)).unwrap_or(u32::MAX);
        // The budget is never closed.
        let Ok(more) = Arc::clone(budget).acquire_many_owned(missing).await else { return };
        match &mut self.0 {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{FutureExt, future::join_all, stream};

    use super::*;

    fn body(pieces: usize, bytes: usize) -> Body {
        let piece = Bytes::from(vec![b'x'; bytes]);
        Body::from_stream(stream::iter((0..pieces).map(move |_| Ok::<_, std::io::Error>(piece.clone()))))
    }

    #[tokio::test]
    async fn all_bodies_together_take_no_more_than_the_budget() {
        let bodies = Bodies::bounded(100, 10);
        let (first, share) = bodies.read(body(10, 10)).await.unwrap();
        assert_eq!((first.len(), bodies.0.left.available_permits()), (100, 0));
        let mut second = Box::pin(bodies.read(body(3, 10)));
        assert!(second.as_mut().now_or_never().is_none(), "it waits for the first one's share");
        assert!(bodies.read(body(1, 10)).now_or_never().unwrap().is_ok(), "a small one does not");
        drop(share);
        assert_eq!(second.await.unwrap().0.len(), 30);
    }

    #[tokio::test]
    async fn bodies_that_fill_the_budget_at_once_all_come_through() {
        let bodies = Bodies::bounded(100, 10);
        let read = join_all((0..20).map(|_| async { bodies.read(body(30, 3)).await.unwrap().0.len() }));
        assert_eq!(read.await, [90; 20]);
        assert_eq!(bodies.0.left.available_permits(), 90);
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_refused_and_gives_its_share_back() {
        let bodies = Bodies::bounded(100, 10);
        assert!(matches!(bodies.read(body(11, 10)).await, Err(Unread::TooLong(100))));
        assert_eq!(bodies.0.left.available_permits(), 90);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_lets_the_next_one_in() {
        let bodies = Bodies::bounded(100, 10);
        let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 50]))]).chain(stream::pending());
        let (stalled, next) = futures_util::join!(bodies.read(Body::from_stream(begun)), bodies.read(body(10, 10)));
        assert!(matches!(stalled, Err(Unread::Silent)));
        assert_eq!(next.unwrap().0.len(), 100);
    }
}
