//! What the host counts of its functions' results, and tells every 30 s or every 1,000 results, whichever comes first.
//!
//! The interval, the batch, the seven metrics and their order are those of host 4.1037 (`Host.Aggregator`).

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{log::HostLog, rows::milliseconds};

/// As the host's FunctionResultAggregatorOptions.
pub(super) const FLUSH_EVERY: Duration = Duration::from_secs(30);
pub(super) const BATCH: u64 = 1000;

/// Results that have not been told, by function, in the order of their first results.
#[derive(Debug, Default)]
pub(super) struct Aggregator {
    functions: Mutex<Vec<(String, Sums)>>,
}

#[derive(Debug, Default)]
struct Sums {
    successes: u64,
    failures: u64,
    total_ms: f64,
    most_ms: f64,
    least_ms: f64,
}

impl Sums {
    fn count(&self) -> u64 {
        self.successes + self.failures
    }

    fn add(&mut self, duration: Duration, succeeded: bool) {
        let took_ms = milliseconds(duration);
        self.least_ms = if self.count() == 0 { took_ms } else { self.least_ms.min(took_ms) };
        self.most_ms = self.most_ms.max(took_ms);
        self.total_ms += took_ms;
        *if succeeded { &mut self.successes } else { &mut self.failures } += 1;
    }

    fn metrics(&self) -> [(&'static str, f64); 7] {
        let count = self.count() as f64;
        [
            ("Count", count),
            ("AvgDurationMs", rounded(self.total_ms / count, 4)),
            ("MaxDurationMs", self.most_ms),
            ("MinDurationMs", self.least_ms),
            ("Successes", self.successes as f64),
            ("Failures", self.failures as f64),
            ("SuccessRate", rounded(100.0 * self.successes as f64 / count, 2)),
        ]
    }
}

fn rounded(value: f64, places: i32) -> f64 {
    let scale = 10_f64.powi(places);
    (value * scale).round() / scale
}

impl Aggregator {
    /// Counts a result, and tells a batch that it makes full.
    pub(super) fn add(&self, function: &str, duration: Duration, succeeded: bool, log: &HostLog) {
        let full = {
            let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
            let place = functions.iter().position(|it| it.0 == function).unwrap_or_else(|| {
                functions.push((function.to_owned(), Sums::default()));
                functions.len() - 1
            });
            functions[place].1.add(duration, succeeded);
            let is_full = functions.iter().map(|it| it.1.count()).sum::<u64>() >= BATCH;
            is_full.then(|| std::mem::take(&mut *functions))
        };
        tell(full.unwrap_or_default(), log);
    }

    /// Tells what has not been told.
    pub(super) fn flush(&self, log: &HostLog) {
        let functions = std::mem::take(&mut *self.functions.lock().unwrap_or_else(PoisonError::into_inner));
        tell(functions, log);
    }
}

fn tell(functions: Vec<(String, Sums)>, log: &HostLog) {
    for (function, sums) in functions {
        for (metric, value) in sums.metrics() {
            log.metric(&format!("{function} {metric}"), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        emulator::host::Identity,
        evidence::{
            jsonl,
            table_writer::{Table, Tables},
        },
    };

    fn told(use_it: impl Fn(&Aggregator, &HostLog)) -> Vec<(String, f64)> {
        let folder = tempfile::tempdir().unwrap();
        let tables = Tables::open(folder.path()).unwrap();
        use_it(&Aggregator::default(), &HostLog::new(tables.clone(), Identity::new("app"), None));
        let rows: Vec<Value> = jsonl::read(&tables.path(Table::CustomMetrics)).unwrap_or_default();
        rows.iter().map(|it| (it["name"].as_str().unwrap().to_owned(), it["value"].as_f64().unwrap())).collect()
    }

    #[test]
    fn what_ran_is_told_by_function_and_once() {
        let metrics = told(|results, log| {
            let ms = Duration::from_millis;
            results.add("b", ms(10), true, log);
            results.add("a", ms(4), false, log);
            results.add("b", ms(5), true, log);
            results.add("b", ms(10), false, log);
            results.flush(log);
            results.flush(log);
        });
        let names =
            ["Count", "AvgDurationMs", "MaxDurationMs", "MinDurationMs", "Successes", "Failures", "SuccessRate"];
        let of = |function: &str, values: [f64; 7]| {
            names.iter().zip(values).map(|(it, value)| (format!("{function} {it}"), value)).collect::<Vec<_>>()
        };
        let wanted = [of("b", [3.0, 8.3333, 10.0, 5.0, 2.0, 1.0, 66.67]), of("a", [1.0, 4.0, 4.0, 4.0, 0.0, 1.0, 0.0])];
        assert_eq!(metrics, wanted.concat());
    }

    #[test]
    fn a_full_batch_is_told_without_waiting_and_nothing_is_told_of_nothing() {
        let metrics = told(|results, log| {
            for number in 0..=BATCH {
                results.add(if number % 2 == 0 { "even" } else { "odd" }, Duration::ZERO, true, log);
            }
        });
        assert_eq!(
            (metrics.len(), &metrics[0], &metrics[7]),
            (14, &("even Count".into(), 500.0), &("odd Count".into(), 500.0))
        );
        assert!(told(|results, log| results.flush(log)).is_empty());
    }
}
