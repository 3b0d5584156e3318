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
use time::OffsetDateTime;

use super::{
    Context,
    error::{Error, types},
    retry::RetryPolicy,
    state::{Key, State},
};

/// A future whose completion stands in history, so that of two that are ready it is known which was first.
pub trait Durable: Future + Unpin {
    /// The place of its outcome in the order of outcomes; `None` until it is there.
    fn ready_at(&self) -> Option<u64>;
}

/// An activity, child or event. It is under way from its creation on, awaited or not.
#[must_use = "its outcome, failures included, is known only to who awaits it"]
pub struct Task<T> {
    state: Rc<RefCell<State>>,
    key: Key,
    /// The activity, child or event, for messages and for FIFO.
    name: String,
    result: PhantomData<fn() -> T>,
}

impl<T> Task<T> {
    pub(super) fn new(state: &Rc<RefCell<State>>, key: Key, name: &str) -> Self {
        Self { state: Rc::clone(state), key, name: name.to_owned(), result: PhantomData }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("key", &self.key).field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        let event = matches!(self.key, Key::Event(_)).then_some(self.name.as_str());
        self.state.borrow_mut().forget(self.key, event);
    }
}

impl<T: DeserializeOwned> Future for Task<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Self::Output> {
        let mut state = self.state.borrow_mut();
        let Some(slot) = state.slot(self.key) else {
            return Poll::Pending;
        };
        match slot.outcome.take() {
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some((_, outcome)) => Poll::Ready(outcome.and_then(|text| decode(text.as_deref(), &self.name))),
        }
    }
}

impl<T: DeserializeOwned> Durable for Task<T> {
    fn ready_at(&self) -> Option<u64> {
        self.state.borrow_mut().slot(self.key)?.outcome.as_ref().map(|(order, _)| *order)
    }
}

/// Reads a JSON text; an absent one is `null`.
pub(super) fn decode<T: DeserializeOwned>(text: Option<&str>, what: &str) -> Result<T, Error> {
    serde_json::from_str(text.filter(|it| !it.is_empty()).unwrap_or("null"))
        .map_err(|error| Error::new(types::DECODE, format!("{what} gave what was not expected: {error}")))
}

/// An activity that is tried again after a failure, as its policy says.
#[must_use = "a failed attempt is repeated only while it is awaited"]
pub struct Retried<T> {
    context: Context,
    name: String,
    input: Option<String>,
    policy: RetryPolicy,
    failures: u32,
    step: Step<T>,
}

enum Step<T> {
    Attempt(Task<T>),
    Pause(Timer),
}

impl<T> fmt::Debug for Retried<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retried").field("name", &self.name).field("failures", &self.failures).finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> Retried<T> {
    pub(super) fn new(context: &Context, name: &str, input: Option<String>, policy: RetryPolicy) -> Self {
        let step = Step::Attempt(context.schedule(name, input.clone()));
        Self { context: context.clone(), name: name.to_owned(), input, policy, failures: 0, step }
    }
}

impl<T: DeserializeOwned> Future for Retried<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Self::Output> {
        loop {
            let this = &mut *self;
            match &mut this.step {
                Step::Attempt(attempt) => match Pin::new(attempt).poll(cx) {
                    Poll::Ready(Err(error)) => {
                        this.failures += 1;
                        match this.policy.pause_after(this.failures, &error) {
                            Some(pause) => this.step = Step::Pause(this.context.timer(pause)),
                            None => return Poll::Ready(Err(error)),
                        }
                    }
                    other => return other,
                },
                Step::Pause(timer) => match Pin::new(timer).poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => {
                        let again = this.context.schedule(&this.name, this.input.clone());
                        this.step = Step::Attempt(again);
                    }
                },
            }
        }
    }
}

impl<T: DeserializeOwned> Durable for Retried<T> {
    /// Of the attempt under way. One that failed and will be tried again looks ready; a poll finds that it is not.
    fn ready_at(&self) -> Option<u64> {
        match &self.step {
            Step::Attempt(attempt) => attempt.ready_at(),
            Step::Pause(timer) => timer.ready_at(),
        }
    }
}

/// A point in time. A queue message lives seven days at most, so a longer wait is one timer after another.
#[derive(Debug)]
#[must_use = "nothing waits for a timer that is not awaited"]
pub struct Timer {
    context: Context,
    fire_at: OffsetDateTime,
    part: Task<IgnoredAny>,
    part_until: OffsetDateTime,
}

impl Timer {
    pub(super) fn new(context: &Context, fire_at: OffsetDateTime) -> Self {
        let (part, part_until) = context.timer_part(fire_at);
        Self { context: context.clone(), fire_at, part, part_until }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<()> {
        while Pin::new(&mut self.part).poll(cx).is_ready() {
            if self.part_until >= self.fire_at {
                return Poll::Ready(());
            }
            (self.part, self.part_until) = self.context.timer_part(self.fire_at);
        }
        Poll::Pending
    }
}

impl Durable for Timer {
    /// Of the part under way; a poll of a part that is not the last finds that the timer is not ready.
    fn ready_at(&self) -> Option<u64> {
        self.part.ready_at()
    }
}
