//! When a failed activity is tried again.

use std::{fmt, rc::Rc, time::Duration};

use super::error::Error;

/// How often and after how long a failed activity is tried again.
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
        Self { attempts, first_pause, backoff: 1.0, longest_pause, is_final: Rc::new(|_| false) }
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

    /// Errors for which another attempt is useless.
    #[must_use]
    pub fn unless(mut self, is_final: impl Fn(&Error) -> bool + 'static) -> Self {
        self.is_final = Rc::new(is_final);
        self
    }

    /// The pause after so many failures; `None` when that was the last attempt. A failure that says of itself that it cannot be
    /// retried is believed.
    pub(super) fn pause_after(&self, failures: u32, error: &Error) -> Option<Duration> {
        let is_final = error.is_non_retriable || (self.is_final)(error);
        if failures >= self.attempts || is_final {
            return None;
        }
        let factor = self.backoff.powi(i32::try_from(failures - 1).unwrap_or(i32::MAX));
        let seconds = self.first_pause.as_secs_f64() * factor;
        let longest = self.longest_pause.as_secs_f64();
        Some(Duration::from_secs_f64(if seconds.is_finite() { seconds.min(longest) } else { longest }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_end_with_the_attempts() {
        let policy = RetryPolicy::new(5, Duration::from_secs(1)).backoff(3.0).longest_pause(Duration::from_secs(10));
        let error = Error::new("E", "x");
        let seconds: Vec<Option<u64>> =
            (1..=5).map(|failures| policy.pause_after(failures, &error).map(|it| it.as_secs())).collect();
        assert_eq!(seconds, [Some(1), Some(3), Some(9), Some(10), None]);
        let endless = RetryPolicy::new(u32::MAX, Duration::from_secs(1)).backoff(2.0);
        assert_eq!(endless.pause_after(5_000, &error), Some(Duration::from_secs(24 * 3600)));
        let picky = policy.unless(|error| error.error_type == "E");
        assert_eq!(picky.pause_after(1, &error), None);
    }
}
