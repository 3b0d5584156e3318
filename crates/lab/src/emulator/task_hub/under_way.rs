//! Work items that are under way, and those that were given up and rest before they are tried again.

use std::{
    collections::{HashMap, HashSet},
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
    running: HashSet<K>,
    resting: HashMap<K, Rest>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    times: u32,
}

impl<K> Default for UnderWay<K> {
    fn default() -> Self {
        Self(Mutex::new(State { running: HashSet::new(), resting: HashMap::new() }))
    }
}

impl<K: Clone + Eq + Hash> UnderWay<K> {
    /// How many are running.
    pub(super) fn running(&self) -> usize {
        self.state().running.len()
    }

    /// Those that are not to be started now.
    pub(super) fn held(&self) -> HashSet<K> {
        let state = self.state();
        let now = Instant::now();
        let resting = state.resting.iter().filter(|(_, it)| it.until > now).map(|(key, _)| key);
        state.running.iter().chain(resting).cloned().collect()
    }

    /// Enters a work item. False where it is running already.
    pub(super) fn enter(&self, key: &K) -> bool {
        self.state().running.insert(key.clone())
    }

    pub(super) fn leave(&self, key: &K) {
        self.state().running.remove(key);
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
        state.resting.retain(|_, it| it.until + LONGEST_REST > now);
        let times = state.resting.get(key).map_or(0, |it| it.times);
        let pause = (first * 2_u32.saturating_pow(times)).min(LONGEST_REST);
        state.resting.insert(key.clone(), Rest { until: now + pause, times: times + 1 });
        pause
    }

    /// A work item went well: its next rest is a first one.
    pub(super) fn went_well(&self, key: &K) {
        self.state().resting.remove(key);
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert_eq!((items.held(), items.running()), (HashSet::from([1]), 0), "one that rests takes no place");
        let rejected: Vec<u64> = (0..6).map(|_| items.rest_from(&2, Duration::from_secs(1)).as_secs()).collect();
        assert_eq!(rejected, [1, 2, 4, 8, 16, 30], "as the real hub puts a rejected version back, up to the bound");
        items.went_well(&2);
        items.went_well(&1);
        assert!(items.held().is_empty());
        assert_eq!(items.rest(&1), FIRST_REST);
    }

    #[test]
    fn what_runs_is_held_until_it_leaves() {
        let items = UnderWay::default();
        assert!(items.enter(&"a") && !items.enter(&"a"));
        assert_eq!((items.running(), items.held()), (1, HashSet::from(["a"])));
        items.leave(&"a");
        assert_eq!((items.running(), items.held()), (0, HashSet::new()));
    }
}
