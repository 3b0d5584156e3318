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

/// Waits for the first outcome in history; gives its place and the outcome. The others are dropped; `any(tasks.iter_mut())` keeps
/// them.
///
/// # Panics
/// Without tasks: nothing would ever be first. A panic fails the orchestration and says so.
pub async fn any<F: Durable>(tasks: impl IntoIterator<Item = F>) -> (usize, F::Output) {
    let mut tasks: Vec<F> = tasks.into_iter().collect();
    first(&mut tasks).await
}

/// The same, and gives the others back in their order. To take one after the other as they come, [`as_completed`](super::as_completed)
/// is faster.
///
/// # Panics
/// As [`any`].
pub async fn select_all<F: Durable>(tasks: impl IntoIterator<Item = F>) -> (usize, F::Output, Vec<F>) {
    let mut tasks: Vec<F> = tasks.into_iter().collect();
    let (at, outcome) = first(&mut tasks).await;
    tasks.remove(at);
    (at, outcome, tasks)
}

async fn first<F: Durable>(tasks: &mut [F]) -> (usize, F::Output) {
    assert!(!tasks.is_empty(), "nothing would ever be the first of no tasks");
    std::future::poll_fn(|cx| {
        let ready = tasks.iter().enumerate().filter_map(|(at, task)| Some((task.ready_at()?, at)));
        if let Some((_, at)) = ready.min()
            && let Poll::Ready(outcome) = Pin::new(&mut tasks[at]).poll(cx)
        {
            return Poll::Ready((at, outcome));
        }
        for (at, task) in tasks.iter_mut().enumerate() {
            if let Poll::Ready(outcome) = Pin::new(task).poll(cx) {
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
