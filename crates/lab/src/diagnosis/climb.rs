//! Where durations climb: a stretch of time in which a function's medians rise and hardly fall.

/// A function's median in a part of its executions.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) start: String,
    pub(super) end: String,
    pub(super) median: f64,
    pub(super) executions: f64,
}

/// A stretch of parts, and how often its beginning goes into its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Climb {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) factor: f64,
}

/// Growth from which a climb counts: the guide's incident has 4.7, Microsoft's host with a fast handler 2.1.
pub(super) const GROWTH: f64 = 2.0;
/// A median that falls below this share of the highest before it ends a climb: a history was dropped.
const DROP: f64 = 0.75;
/// Fewer parts are noise.
const SHORTEST: usize = 5;
/// Share of the steps that must go up.
const RISING: f64 = 0.6;

/// The climb with the largest growth, whether or not that counts.
pub(super) fn steepest(parts: &[Part]) -> Option<Climb> {
    let medians: Vec<f64> = parts.iter().map(|it| it.median).collect();
    let climbs = (0..medians.len()).filter_map(|first| from(&medians, first));
    climbs.max_by(|one, other| one.factor.total_cmp(&other.factor))
}

fn from(medians: &[f64], first: usize) -> Option<Climb> {
    let mut highest: f64 = 0.0;
    let end = medians[first..].iter().position(|it| {
        let falls = *it < DROP * highest;
        highest = highest.max(*it);
        falls
    });
    let stretch = &medians[first..end.map_or(medians.len(), |it| first + it)];
    if stretch.len() < SHORTEST {
        return None;
    }
    let rising = stretch.windows(2).filter(|pair| pair[1] > pair[0]).count();
    let is_rising = rising as f64 >= RISING * (stretch.len() - 1) as f64;
    let (begin, end) = (mean(&stretch[..2]), mean(&stretch[stretch.len() - 2..]));
    (is_rising && begin > 0.0).then(|| Climb { first, last: first + stretch.len() - 1, factor: end / begin })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |sum, it| sum + it) / values.len() as f64
}

/// How much a function grew within a span of time: its last third against its first; none where it hardly ran.
pub(super) fn growth_within(parts: &[Part], start: &str, end: &str) -> Option<f64> {
    let within: Vec<f64> =
        parts.iter().filter(|it| it.end.as_str() >= start && it.start.as_str() <= end).map(|it| it.median).collect();
    let third = within.len() / 3;
    if third == 0 {
        return None;
    }
    let (begin, end) = (mean(&within[..third]), mean(&within[within.len() - third..]));
    (begin > 0.0).then(|| end / begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(medians: &[f64]) -> Vec<Part> {
        let part = |(n, median): (usize, &f64)| Part {
            start: format!("{n:02}"),
            end: format!("{n:02}.9"),
            median: *median,
            executions: 10.0,
        };
        medians.iter().enumerate().map(part).collect()
    }

    fn factor(medians: &[f64]) -> Option<f64> {
        steepest(&parts(medians)).map(|it| (it.factor * 10.0).round() / 10.0)
    }

    #[test]
    fn a_climb_is_found_wherever_it_is_and_noise_is_none() {
        assert_eq!(factor(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), Some(3.7));
        // Before and after it nothing grows.
        let storm = [2.0, 2.1, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 2.0, 2.1, 2.0, 2.0];
        let found = steepest(&parts(&storm)).unwrap();
        assert!(found.first <= 2 && found.last == 7, "{found:?}");
        // A sawtooth of short batches does not climb.
        assert_eq!(factor(&[1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0, 3.0]), None);
        assert_eq!(factor(&[5.0, 5.0, 5.0, 5.0, 5.0, 5.0]), None);
        // A cold start only falls.
        assert_eq!(factor(&[90.0, 9.0, 3.0, 3.0, 3.0, 3.0, 3.0]), None);
        assert_eq!(factor(&[1.0, 9.0]), None);
        assert_eq!(factor(&[]), None);
        assert_eq!(factor(&[0.0; 8]), None);
    }

    #[test]
    fn growth_within_a_span_looks_at_no_other_time() {
        let all = parts(&[9.0, 9.0, 1.0, 1.0, 2.0, 3.0, 9.0]);
        assert_eq!(growth_within(&all, "02", "05.9"), Some(3.0));
        assert_eq!(growth_within(&all, "02", "03.9"), None);
    }
}
