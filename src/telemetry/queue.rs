//! What waits to be exported: bounded in number and in memory, filled on the way of requests, emptied by the exporter's thread.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use opentelemetry_sdk::metrics::data::ResourceMetrics;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tracing::Level;

use super::{fields::Fields, losses::Losses};

/// At most this many items wait, and this much memory.
const LONGEST_QUEUE: usize = 8_192;
const LARGEST_QUEUE_BYTES: usize = 16 << 20;
/// Items that are exported together. An item has 8,000 bytes and a few at most; most have 300.
pub(super) const BATCH: usize = 1_024;
const LARGEST_BATCH_BYTES: usize = 4 << 20;
/// A gauge's share of the memory, about.
const METRICS_BYTES: usize = 2_048;

/// One row to be.
#[derive(Debug)]
pub(super) enum Item {
    Line(Line),
    Call(Call),
    Gauges(Box<ResourceMetrics>),
}

/// A line that was logged.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) at: OffsetDateTime,
    pub(super) level: Level,
    pub(super) target: &'static str,
    pub(super) fields: Fields,
}

/// A call of the worker that ended.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) began: OffsetDateTime,
    pub(super) took: Duration,
    pub(super) fields: Fields,
}

impl Item {
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Line(line) => line.fields.bytes(),
                Self::Call(call) => call.fields.bytes(),
                Self::Gauges(_) => METRICS_BYTES,
            }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    bytes: usize,
    is_closed: bool,
}

/// The queue. Its lock is held for the move of one item, or of a batch's pointers.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Rings for the first item.
    news: Notify,
    /// Rings for a whole batch.
    full: Notify,
    losses: Arc<Losses>,
}

impl Queue {
    pub(super) fn new(losses: Arc<Losses>) -> Self {
        Self { waiting: Mutex::default(), news: Notify::new(), full: Notify::new(), losses }
    }

    /// Queues an item. Where there is no room it is lost, and counted: a request never waits.
    pub(super) fn push(&self, item: Item) {
        let bytes = item.bytes();
        let mut waiting = self.waiting();
        if waiting.is_closed {
            return;
        }
        if waiting.items.len() >= LONGEST_QUEUE || waiting.bytes + bytes > LARGEST_QUEUE_BYTES {
            drop(waiting);
            self.losses.add(1, "more arrives than can be sent");
            return;
        }
        waiting.items.push_back(item);
        waiting.bytes += bytes;
        let length = waiting.items.len();
        drop(waiting);
        match length {
            1 => self.news.notify_one(),
            BATCH => self.full.notify_one(),
            _ => {}
        }
    }

    /// The oldest items.
    pub(super) fn take(&self) -> Vec<Item> {
        let mut waiting = self.waiting();
        let mut bytes = 0;
        let fits = |item: &&Item| {
            bytes += item.bytes();
            bytes <= LARGEST_BATCH_BYTES
        };
        let count = waiting.items.iter().take(BATCH).take_while(fits).count();
        let batch: Vec<Item> = waiting.items.drain(..count).collect();
        waiting.bytes -= batch.iter().map(Item::bytes).sum::<usize>();
        batch
    }

    pub(super) fn len(&self) -> usize {
        self.waiting().items.len()
    }

    /// Returns when there may be something new.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// Returns when there may be a whole batch.
    pub(super) async fn full(&self) {
        self.full.notified().await;
    }

    /// Takes nothing from now on, as the process ends; gives the number of those that still wait, and forgets them.
    pub(super) fn close(&self) -> usize {
        let mut waiting = self.waiting();
        waiting.is_closed = true;
        waiting.bytes = 0;
        mem::take(&mut waiting.items).len()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use custom_handler::clock;

    use super::{super::fields::Said, *};

    fn line(text: &str) -> Item {
        let fields = Fields(vec![("message", Said::Text(text.to_owned()))]);
        Item::Line(Line { at: clock::utc_now(), level: Level::INFO, target: "incident_labs", fields })
    }

    #[test]
    fn a_queue_is_bounded_in_number_and_in_memory_and_counts_what_it_does_not_take() {
        for (text, most) in [("x".to_owned(), LONGEST_QUEUE), ("y".repeat(8_000), LARGEST_QUEUE_BYTES / 8_000)] {
            let losses = Arc::new(Losses::new(|_| {}));
            let queue = Queue::new(Arc::clone(&losses));
            (0..100_000).for_each(|_| queue.push(line(&text)));
            assert!(queue.len() <= most && queue.len() > most / 2, "{}", queue.len());
            assert_eq!(losses.count() as usize + queue.len(), 100_000);
            let taken = queue.take();
            assert!(taken.len() <= BATCH && taken.iter().map(Item::bytes).sum::<usize>() <= LARGEST_BATCH_BYTES);
            queue.push(line(&text));
            assert_eq!(losses.count() as usize + queue.len() + taken.len(), 100_001, "there is room again");
        }
    }
}
