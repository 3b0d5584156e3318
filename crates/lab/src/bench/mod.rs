//! Benchmarks: the handler beside a peer, in alternating rounds on the same storage, so that what the machine does
//! meanwhile happens to both.

mod blob;
mod contenders;
mod exporter;
mod handler;
mod hub;
mod replay;
mod served;
pub mod storm;

pub use blob::BlobBench;
pub use contenders::Peers;
pub use exporter::ExporterBench;
pub use hub::HubBench;
pub use replay::{AnswerFn, ReplayBench};

use serde::Serialize;

use crate::evidence::percentile;

/// One measured quantity beside its goal, if it has one.
#[derive(Clone, Debug, Serialize)]
pub struct Goal {
    /// What was measured, with its unit.
    pub name: String,
    /// The median, unless the name says otherwise.
    pub value: f64,
    /// What it should come to, as text.
    pub goal: String,
    /// Whether it does; `None` without a goal.
    pub met: Option<bool>,
}

impl Goal {
    fn bare(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value, goal: String::new(), met: None }
    }

    fn at_least(name: impl Into<String>, value: f64, goal: f64) -> Self {
        Self { goal: format!(">= {goal}"), met: Some(value >= goal), ..Self::bare(name, value) }
    }

    fn below(name: impl Into<String>, value: f64, goal: f64) -> Self {
        Self { goal: format!("< {goal}"), met: Some(value < goal), ..Self::bare(name, value) }
    }

    fn at_most(name: impl Into<String>, value: f64, goal: f64) -> Self {
        Self { goal: format!("<= {goal}"), met: Some(value <= goal), ..Self::bare(name, value) }
    }
}

/// The result of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What ran: programs and their versions, the handler's C library, the kernel.
    pub environment: Vec<(String, String)>,
    pub results: Vec<Goal>,
}

/// Of the machine: processor, cores, kernel; and when it was measured.
fn environment() -> Vec<(String, String)> {
    let machine = crate::evidence::Environment::of_machine();
    let wanted = ["cpu", "cores", "kernel"].into_iter();
    let mut facts: Vec<(String, String)> = wanted
        .filter_map(|name| Some((name.to_owned(), machine.0.get(name)?.to_string().trim_matches('"').to_owned())))
        .collect();
    facts.push(("at".to_owned(), custom_handler::clock::timestamp(custom_handler::clock::utc_now())));
    facts
}

/// The value at a percentile; 0 for no samples.
fn at_percentile(samples: &[f64], percent: f64) -> f64 {
    percentile(samples.to_vec(), percent).unwrap_or_default()
}

fn median(samples: &[f64]) -> f64 {
    at_percentile(samples, 50.0)
}

/// How many times ours the peer's figure is, round by round, because the machine is not the same in all of them.
fn ratio(ours: &[f64], peers: &[f64]) -> f64 {
    median(&ours.iter().zip(peers).map(|(ours, peers)| peers / ours).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_of_the_data() {
        let samples = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!((median(&samples), at_percentile(&samples, 99.0), at_percentile(&samples, 20.0)), (3.0, 5.0, 1.0));
        assert_eq!(median(&[]), 0.0);
    }
}
