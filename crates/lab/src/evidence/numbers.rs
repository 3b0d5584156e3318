//! Figures of samples.

/// The value at a percentile by nearest rank, as Kusto's `percentile`: always one that is in the data.
pub fn percentile(mut values: Vec<f64>, percent: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * values.len() as f64).ceil().max(1.0) as usize;
    values.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_of_the_data() {
        let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!(percentile(values.clone(), 95.0), Some(19.0));
        assert_eq!(percentile(values.clone(), 50.0), Some(10.0));
        assert_eq!(percentile(values, 100.0), Some(20.0));
        assert_eq!(percentile(vec![7.0], 95.0), Some(7.0));
        assert_eq!(percentile(vec![], 95.0), None);
    }
}
