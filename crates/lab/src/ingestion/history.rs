//! What the wall clock was set to while the collector ran: a time it once showed has its moment on the monotonic clock.
//!
//! An envelope carries the wall clock's time alone. Between two steps of that clock the two clocks run side by side, at an offset
//! that each reading tells. The latest offset is tried first: an hour that the clock shows twice is the later one, unless that
//! would lie ahead of the envelope's arrival.

use std::{collections::VecDeque, time::Duration as Monotonic};

use time::{Duration, OffsetDateTime};

use crate::evidence::moment::Moment;

/// Offsets that differ by less are the same: readings of two clocks are never at one moment, and a time server slews a clock.
const TOLERANCE: Duration = Duration::milliseconds(10);
/// Steps that are remembered.
const MOST_STRETCHES: usize = 10_000;

/// A time without a step.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// First and last reading.
    from: Monotonic,
    until: Monotonic,
    /// The wall clock when the monotonic one was zero.
    zero: OffsetDateTime,
}

impl Stretch {
    fn of(reading: Moment) -> Self {
        Self { from: reading.monotonic, until: reading.monotonic, zero: reading.at - reading.monotonic }
    }
}

/// Readings of both clocks, as the stretches between the steps they show.
#[derive(Debug)]
pub(super) struct ClockHistory {
    stretches: VecDeque<Stretch>,
    last: Stretch,
}

impl ClockHistory {
    pub(super) fn new(reading: Moment) -> Self {
        Self { stretches: VecDeque::new(), last: Stretch::of(reading) }
    }

    /// Adds a reading, made after those before.
    pub(super) fn note(&mut self, reading: Moment) {
        let now = Stretch::of(reading);
        if (now.zero - self.last.zero).abs() < TOLERANCE {
            self.last.until = reading.monotonic;
            return;
        }
        self.stretches.push_back(std::mem::replace(&mut self.last, now));
        if self.stretches.len() > MOST_STRETCHES {
            self.stretches.pop_front();
        }
    }

    /// The latest moment, not after the last reading, at which the wall clock showed a time.
    pub(super) fn moment_of(&self, at: OffsetDateTime) -> Monotonic {
        let arrival = Duration::try_from(self.last.until).unwrap_or(Duration::MAX);
        let mut end = arrival;
        let mut later = Some(&self.last);
        for before in self.stretches.iter().rev().map(Some).chain([None]) {
            let Some(stretch) = later else { break };
            let moment = at - stretch.zero;
            // A step lies somewhere between the last reading before it and the first one after.
            let begin = before.map_or(Duration::MIN, |it| signed(it.until));
            if moment + TOLERANCE >= begin && moment - TOLERANCE <= end {
                return unsigned(moment.min(arrival));
            }
            end = signed(stretch.from);
            later = before;
        }
        // A time that this clock never showed: its sender has another one, which was not set as this one was. What was sent is
        // rarely old, so the offset counts by which it is youngest.
        let all = self.stretches.iter().chain([&self.last]).map(|it| at - it.zero);
        unsigned(all.filter(|it| *it - TOLERANCE <= arrival).max().unwrap_or(arrival).min(arrival))
    }
}

fn signed(moment: Monotonic) -> Duration {
    Duration::try_from(moment).unwrap_or(Duration::MAX)
}

/// Before the machine's start there is nothing.
fn unsigned(moment: Duration) -> Monotonic {
    Monotonic::try_from(moment).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const START: OffsetDateTime = datetime!(2026-04-05 01:30:00 UTC);

    /// A machine whose monotonic clock shows 1000 s at the start.
    struct Machine {
        history: ClockHistory,
        monotonic: f64,
        wall: OffsetDateTime,
    }

    impl Machine {
        fn new() -> Self {
            let mut machine =
                Self { history: ClockHistory::new(reading(1000.0, START)), monotonic: 1000.0, wall: START };
            machine.history.note(reading(1000.0, START));
            machine
        }

        fn run(&mut self, seconds: f64) {
            self.monotonic += seconds;
            self.wall += Duration::seconds_f64(seconds);
        }

        /// Passes time, with a reading every 100 ms.
        fn watch(&mut self, seconds: f64) {
            for _ in 0..(seconds * 10.0) as usize {
                self.run(0.1);
                self.history.note(reading(self.monotonic, self.wall));
            }
        }

        fn moment_of(&self, at: OffsetDateTime) -> f64 {
            self.history.moment_of(at).as_secs_f64()
        }
    }

    #[test]
    fn a_sender_whose_clock_was_not_set_keeps_its_moments() {
        for hours in [-1, 1] {
            let mut machine = Machine::new();
            machine.watch(2.0);
            machine.wall += Duration::hours(hours);
            machine.watch(3.0);
            // Four seconds after the start by a clock that shows no step.
            let told = machine.moment_of(START + Duration::seconds(4));
            assert!((told - 1004.0).abs() < 0.02, "{hours}: {told}");
        }
    }

    fn reading(monotonic: f64, at: OffsetDateTime) -> Moment {
        Moment { at, monotonic: Monotonic::from_secs_f64(monotonic) }
    }

    /// Envelopes with the moments they were made at, every 30 ms over a step of the clock.
    fn moments_over_a_step(by: Duration) {
        let mut machine = Machine::new();
        machine.watch(5.0);
        let mut made = Vec::new();
        for turn in 0..200 {
            machine.run(0.03);
            if turn == 100 {
                machine.wall += by;
            }
            if turn % 3 == 0 {
                machine.history.note(reading(machine.monotonic, machine.wall));
            }
            made.push((machine.monotonic, machine.wall));
        }
        machine.watch(1.0);
        let told: Vec<f64> = made.iter().map(|(_, wall)| machine.moment_of(*wall)).collect();
        for ((monotonic, _), told) in made.iter().zip(&told) {
            assert!((monotonic - told).abs() < 0.001, "{by}: {told} for {monotonic}");
        }
        assert!(told.is_sorted(), "{by}");
    }

    #[test]
    fn a_step_of_the_wall_clock_changes_no_moment_and_no_order() {
        for seconds in [0, 5, -3600, 3600, 86_400, -86_400] {
            moments_over_a_step(Duration::seconds(seconds));
        }
    }

    #[test]
    fn a_time_that_was_shown_twice_is_the_later_one_once_it_has_come() {
        let mut machine = Machine::new();
        machine.watch(10.0);
        machine.wall -= Duration::seconds(10);
        machine.watch(2.0);
        assert_eq!(machine.moment_of(START + Duration::seconds(5)), 1005.0, "it has been shown once so far");
        machine.watch(8.0);
        assert_eq!(machine.moment_of(START + Duration::seconds(5)), 1015.0);
    }

    #[test]
    fn what_was_made_before_the_collector_ran_or_elsewhere_has_a_moment_too() {
        let mut machine = Machine::new();
        machine.watch(2.0);
        assert_eq!(machine.moment_of(START - Duration::seconds(60)), 940.0);
        assert_eq!(machine.moment_of(START - Duration::hours(1)), 0.0, "not before the machine's start");
        assert_eq!(machine.moment_of(START + Duration::hours(1)), 1002.0, "not after it arrived");
    }

    #[test]
    fn a_clock_that_is_slewed_is_followed() {
        let mut machine = Machine::new();
        for _ in 0..1000 {
            machine.wall += Duration::microseconds(50);
            machine.watch(0.1);
        }
        assert!((machine.moment_of(machine.wall) - machine.monotonic).abs() <= 0.011);
        assert!(machine.history.stretches.len() < 10, "{}", machine.history.stretches.len());
    }
}
