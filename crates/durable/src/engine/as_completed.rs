//! Waiting for many things as they come, at a cost that is linear in their number.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context as Cx, Poll, Wake, Waker},
};

use super::Durable;

/// Begins to wait for tasks in the order in which history has their outcomes.
///
/// ```
/// # use durable::{Activity, Context, Error, as_completed};
/// # const COPY: Activity<String, u64> = Activity::new("Copy");
/// async fn copy(ctx: Context, files: Vec<String>) -> Result<u64, Error> {
///     let mut bytes = 0;
///     let mut copies = as_completed(files.iter().map(|it| ctx.call(COPY, it)));
///     while let Some((_, copied)) = copies.next().await {
///         bytes += copied?;
///     }
///     Ok(bytes)
/// }
/// ```
pub fn as_completed<F: Durable>(tasks: impl IntoIterator<Item = F>) -> AsCompleted<F> {
    let mut all = AsCompleted {
        tasks: Vec::new(),
        left: 0,
        unasked: VecDeque::new(),
        ready: BinaryHeap::new(),
        woken: Arc::default(),
    };
    tasks.into_iter().for_each(|it| {
        all.push(it);
    });
    all
}

/// Tasks that are waited for as they come; see [`as_completed`].
#[must_use = "its outcomes are given by `next`"]
pub struct AsCompleted<F> {
    /// By place; one whose outcome was given is gone.
    tasks: Vec<Option<F>>,
    left: usize,
    /// Places that were not polled yet, so nothing would wake them.
    unasked: VecDeque<usize>,
    /// Outcomes that are there: their places in history and here.
    ready: BinaryHeap<Reverse<(u64, usize)>>,
    woken: Arc<Places>,
}

/// Places of tasks that were woken, and who waits for any of them.
#[derive(Debug, Default)]
struct Places(Mutex<(VecDeque<usize>, Option<Waker>)>);

/// The waker of one task.
struct OfOne {
    place: usize,
    all: Arc<Places>,
}

impl Places {
    fn lock(&self) -> std::sync::MutexGuard<'_, (VecDeque<usize>, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for OfOne {
    fn wake(self: Arc<Self>) {
        let waker = {
            let mut places = self.all.lock();
            places.0.push_back(self.place);
            places.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<F> fmt::Debug for AsCompleted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<F: Durable> AsCompleted<F> {
    /// Adds a task; gives its place.
    pub fn push(&mut self, task: F) -> usize {
        let place = self.tasks.len();
        self.tasks.push(Some(task));
        self.left += 1;
        self.unasked.push_back(place);
        place
    }

    /// How many have not been given yet.
    pub const fn len(&self) -> usize {
        self.left
    }

    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The next outcome and the place of its task; `None` when all have been given. Tasks are in the places in which they came.
    pub async fn next(&mut self) -> Option<(usize, F::Output)> {
        if self.is_empty() { None } else { Some(poll_fn(|cx| self.poll(cx)).await) }
    }

    /// Those that have not been given yet, in their order.
    pub fn into_rest(self) -> Vec<F> {
        self.tasks.into_iter().flatten().collect()
    }

    fn poll(&mut self, cx: &mut Cx<'_>) -> Poll<(usize, F::Output)> {
        {
            let mut woken = self.woken.lock();
            self.unasked.append(&mut woken.0);
            woken.1 = Some(cx.waker().clone());
        }
        while let Some(place) = self.unasked.pop_front() {
            let Some(task) = self.tasks.get_mut(place).and_then(Option::as_mut) else { continue };
            if let Some(order) = task.ready_at() {
                self.ready.push(Reverse((order, place)));
                continue;
            }
            let one = OfOne { place, all: Arc::clone(&self.woken) };
            let outcome = Pin::new(task).poll(&mut Cx::from_waker(&Waker::from(Arc::new(one))));
            if let Poll::Ready(outcome) = outcome {
                return Poll::Ready(self.give(place, outcome));
            }
        }
        while let Some(Reverse((_, place))) = self.ready.pop() {
            let Some(task) = self.tasks.get_mut(place).and_then(Option::as_mut) else { continue };
            match Pin::new(task).poll(cx) {
                Poll::Ready(outcome) => return Poll::Ready(self.give(place, outcome)),
                // It looked ready and was not.
                Poll::Pending => self.unasked.push_back(place),
            }
        }
        Poll::Pending
    }

    fn give(&mut self, place: usize, outcome: F::Output) -> (usize, F::Output) {
        self.tasks[place] = None;
        self.left -= 1;
        (place, outcome)
    }
}

/// Waits for all, and gives their values in the order of the arguments; or the first failure in history, and drops the others.
///
/// # Errors
/// When one of them failed.
pub async fn try_all<F, T, E>(tasks: impl IntoIterator<Item = F>) -> Result<Vec<T>, E>
where
    F: Durable<Output = Result<T, E>>,
{
    let mut tasks = as_completed(tasks);
    let mut values: Vec<Option<T>> = Vec::new();
    values.resize_with(tasks.len(), || None);
    while let Some((place, value)) = tasks.next().await {
        values[place] = Some(value?);
    }
    Ok(values.into_iter().flatten().collect())
}

/// Begins one task for each item, at most `limit` of them at a time, and gives their outcomes in the order of the items.
///
/// A limit of 0 is one of 1.
///
/// ```
/// # use durable::{Activity, Context, Error, fan_out};
/// # const COPY: Activity<String, u64> = Activity::new("Copy");
/// async fn copy(ctx: Context, files: Vec<String>) -> Result<u64, Error> {
///     let copies = fan_out(8, files, |file| ctx.call(COPY, &file)).await;
///     copies.into_iter().sum()
/// }
/// ```
pub async fn fan_out<I, F: Durable>(
    limit: usize,
    items: impl IntoIterator<Item = I>,
    mut begin: impl FnMut(I) -> F,
) -> Vec<F::Output> {
    let mut items = items.into_iter();
    let mut tasks = as_completed(items.by_ref().take(limit.max(1)).map(&mut begin));
    let mut outcomes = Vec::new();
    while let Some((place, outcome)) = tasks.next().await {
        outcomes.resize_with(tasks.tasks.len(), || None);
        outcomes[place] = Some(outcome);
        if let Some(item) = items.next() {
            tasks.push(begin(item));
        }
    }
    outcomes.into_iter().flatten().collect()
}
