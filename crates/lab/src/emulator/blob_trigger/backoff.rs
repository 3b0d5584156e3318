//! How long the listener waits between two looks at its queue.

use std::time::Duration;

use uuid::Uuid;

/// Wait after an answer with messages, and the first step of growth.
const STEP: Duration = Duration::from_millis(100);
/// Each wait is this share longer or shorter than its rule says.
const JITTER: f64 = 0.2;

/// The host's `RandomizedExponentialBackoffStrategy`: 100 ms after an answer with messages, then 100 ms and a growth that begins
/// with 100 ms and doubles.
#[derive(Debug)]
pub(super) struct Backoff {
    longest: Duration,
    growth: Duration,
}

impl Backoff {
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, growth: STEP }
    }

    /// The wait after an answer, by whether there were messages in it.
    pub(super) fn after(&mut self, found: bool) -> Duration {
        if found {
            self.growth = STEP;
            return STEP.min(self.longest);
        }
        let wait = STEP + self.growth.mul_f64(1.0 + JITTER * (2.0 * chance() - 1.0));
        self.growth = (self.growth * 2).min(self.longest * 2);
        wait.min(self.longest)
    }
}

/// Anything from 0 to 1.
fn chance() -> f64 {
    // The lower half of a random UUID has no fixed bits below its first two.
    f64::from(Uuid::new_v4().as_u128() as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const REAL: Duration = Duration::from_secs(60);

    /// The shortest and the longest wait after so many answers without messages.
    fn bounds(empty: i32) -> (f64, f64) {
        let growth = 100.0 * 2_f64.powi(empty - 1);
        if empty == 0 { (100.0, 100.0) } else { (100.0 + 0.8 * growth, 100.0 + 1.2 * growth) }
    }

    #[test]
    fn the_real_hosts_waits_were_measured_within_the_bounds_of_this_rule() {
        let file = include_str!("../../../../../tests/it/golden/blob-5.3/timing.json");
        let recorded: Value = serde_json::from_str(file).unwrap();
        let (mut empty, mut compared) = (0, 0);
        for wait in recorded["emptyPollWaitsMs"].as_array().unwrap().iter().map(|it| it.as_f64().unwrap()) {
            empty = if wait == 100.0 { 0 } else { empty + 1 };
            let (least, most) = bounds(empty);
            assert!((least..=most).contains(&wait), "{wait} ms after {empty} empty answers is not {least} to {most}");
            compared += 1;
        }
        assert!(compared > 15, "{compared}");
    }

    #[test]
    fn waits_double_to_the_longest_one_and_begin_again_with_a_message() {
        for _ in 0..50 {
            let mut backoff = Backoff::new(REAL);
            assert_eq!(backoff.after(true), STEP);
            for empty in 1..=9 {
                let wait = backoff.after(false).as_secs_f64() * 1000.0;
                let (least, most) = bounds(empty);
                assert!((least - 0.01..=most + 0.01).contains(&wait), "{wait} after {empty}");
            }
            let last: Vec<Duration> = (0..4).map(|_| backoff.after(false)).collect();
            assert!(last[0] > REAL.mul_f64(0.6) && last.iter().all(|it| *it <= REAL), "{last:?}");
            assert_eq!(backoff.after(true), STEP);
            assert!(backoff.after(false) <= Duration::from_millis(220));
        }
    }

    #[test]
    fn waits_differ_from_each_other() {
        let waits: Vec<Duration> = (0..20).map(|_| Backoff::new(REAL).after(false)).collect();
        assert!(waits.iter().any(|it| *it != waits[0]), "{waits:?}");
    }
}
