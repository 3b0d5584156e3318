//! What may be asked of `start_replay_lab`: the handler refuses more, and the load generator does not ask for it.
//!
//! The function asks for no key, so one call must not be able to cost much: its iterations are bounded in all (each is an activity,
//! some messages and rows in storage, and telemetry), and so is the replay they cause.

use std::ops::RangeInclusive;

/// Iterations an instance may have: history grows by some 250 bytes with each.
pub const ITERATIONS: RangeInclusive<u64> = 1..=100_000;
/// Iterations an execution may have; 0 = all.
pub const CONTINUE_AS_NEW_EVERY: RangeInclusive<u64> = 0..=100_000;
/// Instances one request may start.
pub const INSTANCES: RangeInclusive<u64> = 1..=100;
/// Iterations of all its instances together.
pub const TOTAL_ITERATIONS: u64 = 100_000;
/// Iterations replayed by all its executions together: each iteration replays those before it in its execution.
pub const REPLAYED_ITERATIONS: u64 = 100_000_000;

/// Whether one call may ask for this much in all.
///
/// # Errors
/// What is too much, and the way out.
pub fn check_total(iterations: u64, continue_as_new_every: u64, instances: u64) -> Result<(), String> {
    let total = iterations.saturating_mul(instances);
    if total > TOTAL_ITERATIONS {
        return Err(format!(
            "instances x iterations is {total}, more than the {TOTAL_ITERATIONS} that one call may start: ask for fewer, or call again"
        ));
    }
    let execution = if continue_as_new_every == 0 { iterations } else { continue_as_new_every.min(iterations) };
    let replayed = total.saturating_mul(execution) / 2;
    if replayed > REPLAYED_ITERATIONS {
        return Err(format!(
            "this would replay some {replayed} iterations, more than the {REPLAYED_ITERATIONS} that one call may cause: ask for fewer \
             iterations, or for a smaller continueAsNewEvery"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guides_storms_are_allowed_and_boundless_ones_are_not() {
        for (iterations, every, instances) in [
            (50, 0, 1),
            (2_000, 0, 1),
            (2_000, 0, 50),
            (2_000, 250, 50),
            (14_000, 0, 1),
            (100_000, 2_000, 1),
            (1_000, 0, 100),
        ] {
            assert_eq!(check_total(iterations, every, instances), Ok(()), "{iterations} {every} {instances}");
        }
        for (iterations, every, instances, why) in [
            (100_000, 1, 2, "instances x iterations"),
            (1_001, 1, 100, "instances x iterations"),
            (u64::MAX, 1, u64::MAX, "instances x iterations"),
            (100_000, 0, 1, "continueAsNewEvery"),
            (100_000, 2_001, 1, "continueAsNewEvery"),
            (50_000, 0, 2, "continueAsNewEvery"),
        ] {
            let error = check_total(iterations, every, instances).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
