//! What may be asked of `start_replay_lab`: the handler refuses more, and the load generator does not ask for it.

use std::ops::RangeInclusive;

/// Iterations an instance may have: history grows by some 250 bytes with each.
pub const ITERATIONS: RangeInclusive<u64> = 1..=100_000;
/// Iterations an execution may have; 0 = all.
pub const CONTINUE_AS_NEW_EVERY: RangeInclusive<u64> = 0..=100_000;
/// Instances one request may start.
pub const INSTANCES: RangeInclusive<u64> = 1..=100;
