//! Benchmarks: the handler beside a peer, in alternating rounds on the same storage, so that what the machine does
//! meanwhile happens to both.

mod blob;
mod handler;
pub mod storm;

pub use blob::{BlobBench, BlobReport, Goal};

/// The value that at least `share` of the samples do not exceed (nearest rank); 0 for none.
fn percentile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The middle one.
fn median(samples: &[f64]) -> f64 {
    percentile(samples, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_of_the_data() {
        let samples = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!((median(&samples), percentile(&samples, 0.99), percentile(&samples, 0.2)), (3.0, 5.0, 1.0));
        assert_eq!(median(&[]), 0.0);
    }
}
