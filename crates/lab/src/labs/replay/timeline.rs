//! The run in bins of time, as the guide's orchestrator timeline has it.

use time::{Duration, OffsetDateTime};

use super::ReplayRows;
use crate::evidence::{Row, durations, mean, percentile};
use custom_handler::clock;

/// The guide's incident has 13 bins of two minutes; ours has as many.
const BINS: i32 = 13;

/// Executions that began in one stretch of time.
#[derive(Clone, Debug)]
pub(super) struct Bin {
    pub phase: String,
    pub at: OffsetDateTime,
    pub executions: usize,
    /// Whether all of its time lies in the phase.
    pub is_full: bool,
    pub average: f64,
    pub p95: f64,
    pub max: f64,
}

/// The run in bins, a thirteenth of the incident each.
pub(super) fn bins(run: &ReplayRows) -> Vec<Bin> {
    let Some(incident) = run.phases.window("incident") else { return Vec::new() };
    let length = (incident.end - incident.start) / BINS;
    if length <= Duration::ZERO {
        return Vec::new();
    }
    let mut bins = Vec::new();
    for (phase, window) in run.phases.iter() {
        let rows = run.orchestrator(phase).unwrap_or_default();
        let mut at = window.start;
        // Ignores the sub-millisecond remainder of the division.
        while window.end - at > Duration::milliseconds(1) {
            let of_bin: Vec<&Row> = rows.iter().filter(|it| at <= it.at && it.at < at + length).copied().collect();
            let durations = durations(&of_bin);
            bins.push(Bin {
                phase: phase.to_owned(),
                at,
                executions: of_bin.len(),
                is_full: at + length <= window.end + Duration::milliseconds(1),
                average: mean(&durations),
                p95: percentile(durations.clone(), 95.0).unwrap_or_default(),
                max: percentile(durations, 100.0).unwrap_or_default(),
            });
            at += length;
        }
    }
    bins
}

/// The guide's orchestrator timeline of this run: time, phase, executions, average, p95 and maximum in ms.
pub(super) fn csv(run: &ReplayRows) -> String {
    let head = "time_utc,phase,executions,avg_ms,p95_ms,max_ms\n".to_owned();
    bins(run).iter().fold(head, |text, bin| {
        let Bin { phase, at, executions, average, p95, max, .. } = bin;
        text + &format!("{},{phase},{executions},{average:.2},{p95:.2},{max:.2}\n", clock::timestamp(*at))
    })
}
