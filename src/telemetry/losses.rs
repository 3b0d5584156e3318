//! Counts telemetry that is lost, and tells it: once when it begins, once when rows are taken again, once at the end.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long nothing may be lost before the end of a loss is told. Doubled with each, so that an endpoint that refuses one row of each
/// batch does not fill the log.
const FIRST_QUIET: Duration = Duration::from_secs(2);
const LONGEST_QUIET: Duration = Duration::from_secs(64);

/// What is lost, and what has been told of it.
#[derive(Debug)]
pub(super) struct Losses {
    state: Mutex<State>,
    tell: fn(&str),
}

#[derive(Debug)]
struct State {
    /// All that was ever lost.
    count: u64,
    /// Since it was last told with a number.
    untold: u64,
    /// The last loss, while its end has not been told.
    last: Option<Instant>,
    was_taken_since: bool,
    quiet: Duration,
}

impl Losses {
    pub(super) fn new(tell: fn(&str)) -> Self {
        let state = State { count: 0, untold: 0, last: None, was_taken_since: false, quiet: FIRST_QUIET };
        Self { state: Mutex::new(state), tell }
    }

    /// Counts what is lost; the first of a row of losses is told with its cause.
    pub(super) fn add(&self, count: u64, cause: &str) {
        if count == 0 {
            return;
        }
        let mut state = self.state();
        state.count += count;
        state.untold += count;
        state.was_taken_since = false;
        let is_first = state.last.replace(Instant::now()).is_none();
        drop(state);
        if is_first {
            (self.tell)(&format!("warn: telemetry is being lost: {cause}"));
        }
    }

    /// A batch was taken as a whole.
    pub(super) fn taken(&self) {
        self.state().was_taken_since = true;
    }

    /// Tells the end of a loss, when it has been one for a while.
    pub(super) fn settle(&self) {
        let mut state = self.state();
        let is_over = state.last.is_some_and(|it| it.elapsed() >= state.quiet);
        if !is_over || !state.was_taken_since {
            return;
        }
        let lost = std::mem::take(&mut state.untold);
        state.last = None;
        state.quiet = (state.quiet * 2).min(LONGEST_QUIET);
        drop(state);
        (self.tell)(&format!("warn: telemetry is taken again; {lost} rows were lost"));
    }

    /// Whether a loss has not been told to its end.
    pub(super) fn is_open(&self) -> bool {
        self.state().last.is_some()
    }

    /// Tells at the end of the process what nothing was said of, and `left` that nothing took.
    pub(super) fn finish(&self, left: u64) {
        let mut state = self.state();
        let lost = std::mem::take(&mut state.untold) + left;
        state.count += left;
        state.last = None;
        drop(state);
        if lost > 0 {
            (self.tell)(&format!("warn: {lost} rows of telemetry were lost"));
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.state().count
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

    #[tokio::test(start_paused = true)]
    async fn a_loss_is_told_when_it_begins_when_it_is_over_and_at_the_end() {
        let losses = Losses::new(|line| TOLD.lock().unwrap().push(line.to_owned()));
        let told = || std::mem::take(&mut *TOLD.lock().unwrap());
        (0..3).for_each(|_| losses.add(2, "the endpoint answered 503"));
        assert_eq!(told(), ["warn: telemetry is being lost: the endpoint answered 503"]);
        tokio::time::advance(FIRST_QUIET).await;
        losses.settle();
        assert!(told().is_empty(), "nothing was taken yet");
        losses.taken();
        losses.settle();
        losses.settle();
        assert_eq!(told(), ["warn: telemetry is taken again; 6 rows were lost"]);
        losses.finish(0);
        assert!(told().is_empty());
        losses.add(1, "again");
        losses.taken();
        tokio::time::advance(FIRST_QUIET).await;
        losses.settle();
        assert_eq!(told(), ["warn: telemetry is being lost: again"], "the quiet is longer each time");
        losses.finish(4);
        assert_eq!(told(), ["warn: 5 rows of telemetry were lost"]);
        assert_eq!(losses.count(), 11);
    }
}
