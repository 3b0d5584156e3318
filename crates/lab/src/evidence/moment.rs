//! A moment on both clocks: the wall's, which can be set, and the monotonic one, which durations come from.

use std::time::Duration;

use custom_handler::clock;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Longest pause between the readings of the two clocks. After a longer one both are read again.
const TOGETHER: Duration = Duration::from_millis(5);
/// A machine that pauses every time gets the last reading.
const TRIES: usize = 20;
/// Column with the monotonic clock's milliseconds. All processes of a machine read the same clock.
pub const MONOTONIC: &str = "monotonicMs";

/// Column with the monotonic clock's milliseconds at the end of what a row tells.
pub const END_MONOTONIC: &str = "endMonotonicMs";

#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub at: OffsetDateTime,
    /// Since the machine's start.
    pub monotonic: Duration,
}

impl Moment {
    pub fn now() -> Self {
        let mut moment = Self { at: clock::utc_now(), monotonic: monotonic() };
        for _ in 0..TRIES {
            let before = monotonic();
            moment = Self { at: clock::utc_now(), monotonic: monotonic() };
            if moment.monotonic.saturating_sub(before) <= TOGETHER {
                break;
            }
        }
        moment
    }

    pub fn timestamp(self) -> String {
        clock::timestamp(self.at)
    }

    /// Milliseconds of the monotonic clock, as rows have them.
    pub fn monotonic_ms(self) -> f64 {
        // Microseconds are exact in JSON; finer digits would only make rows longer.
        self.monotonic.as_micros() as f64 / 1000.0
    }

    /// Sets `timestamp` and `monotonicMs` of a row.
    pub fn stamp(self, row: &mut Value) {
        row["timestamp"] = json!(self.timestamp());
        row[MONOTONIC] = json!(self.monotonic_ms());
    }

    /// Sets them, and `end` and `endMonotonicMs` of what lasted until then.
    pub fn stamp_until(self, end: Self, row: &mut Value) {
        self.stamp(row);
        row["end"] = json!(end.timestamp());
        row[END_MONOTONIC] = json!(end.monotonic_ms());
    }
}

fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_moment_is_later_on_both_clocks_and_stamps_both() {
        let (one, other) = (Moment::now(), Moment::now());
        assert!(one.monotonic <= other.monotonic);
        let mut row = json!({});
        one.stamp(&mut row);
        assert_eq!(row["timestamp"], one.timestamp());
        assert!((row[MONOTONIC].as_f64().unwrap() / 1000.0 - one.monotonic.as_secs_f64()).abs() < 0.001);
    }
}
