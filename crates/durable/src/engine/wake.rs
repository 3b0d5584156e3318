//! The engine's waker: it remembers that something in the orchestrator woke something else there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

/// Set when the orchestrator can go on: an outcome was handed to a waiter, or one branch woke another.
#[derive(Debug, Default)]
pub(super) struct Woken(AtomicBool);

impl Woken {
    /// The flag, and the waker that sets it.
    pub(super) fn new() -> (Arc<Self>, Waker) {
        let woken = Arc::new(Self::default());
        (Arc::clone(&woken), Waker::from(woken))
    }

    /// Whether it was set since the last time.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Acquire)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}
