//! Work items of one kind: those that wait, those that are under way, and those that were given up and rest before they are tried again.
//!
//! All of it can be read from the file again. An item that is offered is worked on once after that, however often it was offered before.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Rest after the first time that a work item was given up; it doubles each time.
const FIRST_REST: Duration = Duration::from_secs(2);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// Work items of one kind, by what they are about.
#[derive(Debug)]
pub(super) struct UnderWay<K>(Mutex<State<K>>);

#[derive(Debug)]
struct State<K> {
    /// Oldest first, each once.
    queue: VecDeque<K>,
    queued: HashSet<K>,
    /// With whether it was offered again since it began: what it has not seen may have come.
    running: HashMap<K, bool>,
    given_up: HashMap<K, Rest>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    is_over: bool,
    until: Instant,
    times: u32,
}

impl<K> Default for UnderWay<K> {
    fn default() -> Self {
        let (queue, queued, running, given_up) = Default::default();
        Self(Mutex::new(State { queue, queued, running, given_up }))
    }
}

impl<K: Clone + Eq + Hash> UnderWay<K> {
    /// How many wait for a place.
    pub(super) fn waiting(&self) -> usize {
        self.state().queue.len()
    }

    /// There is something to do about it: now, or when it has ended what it does or has rested.
    pub(super) fn offer(&self, key: K) {
        self.state().offer(key);
    }

    /// The oldest that waits, which is now running; `None` where as many as `limit` are.
    pub(super) fn next(&self, limit: usize) -> Option<K> {
        let mut state = self.state();
        if state.running.len() >= limit {
            return None;
        }
        let key = state.queue.pop_front()?;
        state.queued.remove(&key);
        state.running.insert(key.clone(), false);
        Some(key)
    }

    pub(super) fn leave(&self, key: &K) {
        let mut state = self.state();
        if state.running.remove(key) == Some(true) {
            state.offer(key.clone());
        }
    }

    /// Has a work item that was given up rest; gives for how long.
    pub(super) fn rest(&self, key: &K) -> Duration {
        self.rest_from(key, FIRST_REST)
    }

    /// The same, with another first rest.
    pub(super) fn rest_from(&self, key: &K, first: Duration) -> Duration {
        let mut state = self.state();
        let now = Instant::now();
        // What has rested long ago and was not given up since is over, or gone with its instance.
        state.given_up.retain(|_, it| it.until + LONGEST_REST > now);
        let times = state.given_up.get(key).map_or(0, |it| it.times);
        let pause = (first * 2_u32.saturating_pow(times)).min(LONGEST_REST);
        state.given_up.insert(key.clone(), Rest { is_over: false, until: now + pause, times: times + 1 });
        pause
    }

    /// A work item has rested.
    pub(super) fn rested(&self, key: K) {
        let mut state = self.state();
        if let Some(rest) = state.given_up.get_mut(&key) {
            rest.is_over = true;
        }
        state.offer(key);
    }

    /// A work item went well: its next rest is a first one.
    pub(super) fn went_well(&self, key: &K) {
        self.state().given_up.remove(key);
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn offer(&mut self, key: K) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = true;
        } else if self.given_up.get(&key).is_none_or(|it| it.is_over) && self.queued.insert(key.clone()) {
            self.queue.push_back(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_a_bound_and_begin_again_after_a_success() {
        let items = UnderWay::default();
        let seconds: Vec<u64> = (0..6).map(|_| items.rest(&1).as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 30, 30]);
        let rejected: Vec<u64> = (0..6).map(|_| items.rest_from(&2, Duration::from_secs(1)).as_secs()).collect();
        assert_eq!(rejected, [1, 2, 4, 8, 16, 30], "as the real hub puts a rejected version back, up to the bound");
        items.went_well(&2);
        items.went_well(&1);
        assert_eq!(items.rest(&1), FIRST_REST);
    }

    #[test]
    fn the_oldest_is_next_and_each_waits_once() {
        let items = UnderWay::default();
        ["b", "a", "b"].into_iter().for_each(|it| items.offer(it));
        assert_eq!((items.waiting(), items.next(9), items.next(9), items.next(9)), (2, Some("b"), Some("a"), None));
    }

    #[test]
    fn no_more_run_than_may() {
        let items = UnderWay::default();
        ["a", "b"].into_iter().for_each(|it| items.offer(it));
        assert_eq!((items.next(1), items.next(1)), (Some("a"), None));
        items.leave(&"a");
        assert_eq!((items.next(1), items.waiting()), (Some("b"), 0));
    }

    #[test]
    fn what_is_offered_while_it_runs_waits_again_when_it_has_ended() {
        let items = UnderWay::default();
        items.offer("a");
        items.next(9);
        items.offer("a");
        assert_eq!(items.next(9), None, "never twice at the same time");
        items.leave(&"a");
        assert_eq!(items.next(9), Some("a"));
        items.leave(&"a");
        assert_eq!(items.next(9), None);
    }

    #[test]
    fn what_was_given_up_waits_when_it_has_rested_whatever_was_offered_meanwhile() {
        let items = UnderWay::default();
        items.offer("a");
        items.next(9);
        items.rest(&"a");
        items.offer("a");
        items.leave(&"a");
        items.offer("a");
        assert_eq!((items.waiting(), items.next(9)), (0, None), "one that rests takes no place");
        items.rested("a");
        items.offer("a");
        assert_eq!((items.next(9), items.next(9)), (Some("a"), None));
    }
}
