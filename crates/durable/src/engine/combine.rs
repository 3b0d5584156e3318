//! Waiting for several things at once, in the order in which history has them.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use super::Durable;

/// Which of two came first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Either<A, B> {
    /// The first argument did.
    First(A),
    /// The second did.
    Second(B),
}

/// Waits for all, and gives their outcomes in the order of the arguments.
pub async fn all<F: Durable>(tasks: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    futures_util::future::join_all(tasks).await
}

/// Waits for the first outcome in history; gives its place and the outcome. The others are dropped.
///
/// # Panics
/// Without tasks: nothing would ever be first. A panic fails the orchestration and says so.
pub async fn any<F: Durable>(tasks: impl IntoIterator<Item = F>) -> (usize, F::Output) {
    let mut tasks: Vec<F> = tasks.into_iter().collect();
    assert!(!tasks.is_empty(), "any() of no tasks would wait for ever");
    std::future::poll_fn(move |cx| {
        for at in by_order(&tasks) {
            if let Poll::Ready(outcome) = Pin::new(&mut tasks[at]).poll(cx) {
                return Poll::Ready((at, outcome));
            }
        }
        Poll::Pending
    })
    .await
}

/// Waits for the first of two different things. The other goes on, and can be waited for again.
pub async fn select<A: Durable, B: Durable>(first: &mut A, second: &mut B) -> Either<A::Output, B::Output> {
    std::future::poll_fn(move |cx| {
        let is_second = match (first.ready_at(), second.ready_at()) {
            (Some(one), Some(other)) => other < one,
            (None, Some(_)) => true,
            _ => false,
        };
        let one = |first: &mut A, cx: &mut Context<'_>| Pin::new(first).poll(cx).map(Either::First);
        let other = |second: &mut B, cx: &mut Context<'_>| Pin::new(second).poll(cx).map(Either::Second);
        let early = if is_second { other(second, cx) } else { one(first, cx) };
        match early {
            Poll::Pending if is_second => one(first, cx),
            Poll::Pending => other(second, cx),
            ready => ready,
        }
    })
    .await
}

/// Places of tasks: those that are ready first, in history's order, then the others.
fn by_order<F: Durable>(tasks: &[F]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..tasks.len()).collect();
    places.sort_by_key(|at| tasks[*at].ready_at().unwrap_or(u64::MAX));
    places
}
