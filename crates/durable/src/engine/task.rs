//! What an orchestrator can wait for.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    task::{Context as Cx, Poll},
};

use serde::de::{DeserializeOwned, IgnoredAny};

use super::{
    error::{Error, types},
    state::{Key, State},
};

/// A future whose completion stands in history, so that of two that are ready it is known which was first.
pub trait Durable: Future + Unpin {
    /// The place of its outcome in the order of outcomes; `None` until it is there, and after it was taken.
    fn ready_at(&self) -> Option<u64>;
}

impl<F: Durable + ?Sized> Durable for &mut F {
    fn ready_at(&self) -> Option<u64> {
        (**self).ready_at()
    }
}

/// An activity, child or event. It is under way from its creation on, awaited or not, its retries included. Its outcome is given
/// once: awaited again, it fails with [`types::ALREADY_AWAITED`].
#[must_use = "its outcome, failures included, is known only to who awaits it"]
pub struct Task<T> {
    state: Rc<RefCell<State>>,
    key: Key,
    result: PhantomData<fn() -> T>,
}

/// An activity or child that is tried again after a failure, as its policy says. A result that cannot be read is final.
pub type Retried<T> = Task<T>;

impl<T> Task<T> {
    pub(super) const fn new(state: Rc<RefCell<State>>, key: Key) -> Self {
        Self { state, key, result: PhantomData }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("key", &self.key).finish_non_exhaustive()
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        // The engine itself may be dropping what held it.
        if let Ok(mut state) = self.state.try_borrow_mut() {
            state.forget(self.key);
        }
    }
}

impl<T: DeserializeOwned> Future for Task<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Self::Output> {
        let outcome = self.state.borrow_mut().poll(self.key, cx.waker());
        outcome.map(|outcome| match outcome {
            Ok(text) => decode(text.as_deref(), || self.state.borrow().describe(self.key)),
            Err(error) => Err(*error),
        })
    }
}

impl<T: DeserializeOwned> Durable for Task<T> {
    fn ready_at(&self) -> Option<u64> {
        self.state.borrow().ready_at(self.key)
    }
}

/// Reads a JSON text; an absent one is `null`.
fn decode<T: DeserializeOwned>(text: Option<&str>, what: impl FnOnce() -> String) -> Result<T, Error> {
    serde_json::from_str(text.filter(|it| !it.is_empty()).unwrap_or("null"))
        .map_err(|error| Error::new(types::DECODE, format!("{} gave what was not expected: {error}", what())))
}

/// A point in time. A queue message lives seven days at most, so a longer wait is one timer after another. Dropped, it is
/// cancelled.
///
/// # Panics
/// When it is awaited again after it has fired: in a loop that would never end.
#[derive(Debug)]
#[must_use = "nothing waits for a timer that is not awaited"]
pub struct Timer(Task<IgnoredAny>);

impl Timer {
    pub(super) const fn new(task: Task<IgnoredAny>) -> Self {
        Self(task)
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(|outcome| {
            if let Err(error) = outcome {
                assert!(error.error_type != types::ALREADY_AWAITED, "{}", error.message);
            }
        })
    }
}

impl Durable for Timer {
    fn ready_at(&self) -> Option<u64> {
        self.0.ready_at()
    }
}
