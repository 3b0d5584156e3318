//! When a failed activity or child is tried again.

use std::{fmt, rc::Rc, time::Duration};

use time::OffsetDateTime;

use super::{call::Call, error::Error, state::Key};

/// Something that is tried again until it succeeds or its policy ends.
#[derive(Debug)]
pub(super) struct Retry {
    /// Who waits for its end.
    pub key: Key,
    pub call: Call,
    pub policy: RetryPolicy,
    /// Attempts that failed so far.
    pub failures: u32,
    /// When the first attempt was.
    pub began: OffsetDateTime,
}

/// How often and after how long a failed activity or child is tried again.
///
/// ```
/// # use std::time::Duration;
/// # use durable::RetryPolicy;
/// let policy = RetryPolicy::new(5, Duration::from_secs(1))
///     .backoff(2.0)
///     .longest_pause(Duration::from_secs(30))
///     .unless(|error| error.error_type == "NotFound");
/// ```
#[derive(Clone)]
pub struct RetryPolicy {
    attempts: u32,
    first_pause: Duration,
    backoff: f64,
    longest_pause: Duration,
    timeout: Duration,
    is_final: Rc<dyn Fn(&Error) -> bool>,
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

impl RetryPolicy {
    /// At most so many attempts, the first included, with this pause between them.
    pub fn new(attempts: u32, first_pause: Duration) -> Self {
        let longest_pause = Duration::from_secs(24 * 3600);
        let timeout = Duration::MAX;
        Self { attempts, first_pause, backoff: 1.0, longest_pause, timeout, is_final: Rc::new(|_| false) }
    }

    /// Each pause is the one before times this; at least 1.
    #[must_use]
    pub fn backoff(mut self, factor: f64) -> Self {
        self.backoff = factor.max(1.0);
        self
    }

    /// No pause is longer.
    #[must_use]
    pub fn longest_pause(mut self, pause: Duration) -> Self {
        self.longest_pause = pause;
        self
    }

    /// A failure so long after the first attempt, or later, is the last.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Errors for which another attempt is useless.
    #[must_use]
    pub fn unless(mut self, is_final: impl Fn(&Error) -> bool + 'static) -> Self {
        self.is_final = Rc::new(is_final);
        self
    }

    /// The pause after so many failures, `elapsed` after the first attempt; `None` when that was the last. A failure that says of
    /// itself that it cannot be retried is believed.
    pub(super) fn pause_after(&self, failures: u32, elapsed: Duration, error: &Error) -> Option<Duration> {
        let is_over = failures >= self.attempts || elapsed >= self.timeout;
        if is_over || error.is_non_retriable || (self.is_final)(error) {
            return None;
        }
        let factor = self.backoff.powi(i32::try_from(failures - 1).unwrap_or(i32::MAX));
        // What no duration can hold is longer than the longest.
        let pause = Duration::try_from_secs_f64(self.first_pause.as_secs_f64() * factor).unwrap_or(Duration::MAX);
        Some(pause.min(self.longest_pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_end_with_the_attempts() {
        let policy = RetryPolicy::new(5, Duration::from_secs(1)).backoff(3.0).longest_pause(Duration::from_secs(10));
        let error = Error::new("E", "x");
        let seconds: Vec<Option<u64>> = (1..=5)
            .map(|failures| policy.pause_after(failures, Duration::ZERO, &error).map(|it| it.as_secs()))
            .collect();
        assert_eq!(seconds, [Some(1), Some(3), Some(9), Some(10), None]);
        let endless = RetryPolicy::new(u32::MAX, Duration::from_secs(1)).backoff(2.0);
        assert_eq!(endless.pause_after(5_000, Duration::ZERO, &error), Some(Duration::from_secs(24 * 3600)));
        let picky = policy.unless(|error| error.error_type == "E");
        assert_eq!(picky.pause_after(1, Duration::ZERO, &error), None);
    }

    #[test]
    fn pauses_of_any_length_are_borne_and_a_timeout_ends_them() {
        let (error, now) = (Error::new("E", "x"), Duration::ZERO);
        let longest = |first| RetryPolicy::new(9, first).longest_pause(Duration::MAX);
        for backoff in [1.0, 1e300, f64::INFINITY, f64::NAN, -1.0] {
            for first in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
                assert!(longest(first).backoff(backoff).pause_after(5, now, &error).is_some(), "{backoff} {first:?}");
            }
        }
        assert_eq!(longest(Duration::MAX).pause_after(1, now, &error), Some(Duration::MAX));
        assert_eq!(RetryPolicy::new(0, Duration::ZERO).pause_after(1, now, &error), None);
        let hurried = RetryPolicy::new(9, Duration::ZERO).timeout(Duration::from_secs(10));
        let after = |seconds| hurried.pause_after(1, Duration::from_secs(seconds), &error);
        assert_eq!((after(9), after(10)), (Some(Duration::ZERO), None));
    }
}
