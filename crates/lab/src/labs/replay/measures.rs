//! The numbers the criteria are about, each from rows, each with the rows it comes from.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{ReplayRows, run_rows::batches, timeline};
use crate::evidence::{Measure, Measured, Row, durations, percentile};

const BASELINE: &str = "baseline";
const INCIDENT: &str = "incident";
const RECOVERY: &str = "recovery";
const QUARTERS: usize = 4;
/// What an activity may be slower than in the baseline and count as the same: a share, or so many ms.
const ACTIVITY_RATIO: f64 = 1.5;
const ACTIVITY_MS: f64 = 1.0;

/// Every number, by the name that criteria have for it.
pub(super) const MEASURES: &[Measure<ReplayRows>] = &[
    Measure::new("not_completed", ReplayRows::not_completed),
    Measure::new("orchestrator_p95", ReplayRows::orchestrator_p95),
    Measure::new("quarters_rising", ReplayRows::quarters_rising),
    Measure::new("last_quarter_against_baseline", ReplayRows::last_quarter_against_baseline),
    Measure::new("throughput_left", ReplayRows::throughput_left),
    Measure::new("marker_widening", ReplayRows::marker_widening),
    Measure::new("median_against_baseline", ReplayRows::median_against_baseline),
    Measure::new("median_against_incident", ReplayRows::median_against_incident),
    Measure::new("resets_missing", ReplayRows::resets_missing),
    Measure::new("resets", ReplayRows::resets),
    Measure::new("cost_against_recovery", |run, phase| ratio(run.cost_ms(phase), run.cost_ms(RECOVERY), "ms")),
    Measure::new("wall_against_recovery", |run, phase| ratio(run.wall_seconds(phase), run.wall_seconds(RECOVERY), "s")),
    // Competing hypotheses, and whether the evidence agrees with itself: over the whole run.
    Measure::new("activity_excess", |run, _| run.activity_excess()),
    Measure::new("dependency_failures", |run, _| run.dependencies.as_ref().map(|it| failed(&it.0, Row::is_blob_call))),
    Measure::new("failed_requests", |run, _| (!run.requests.0.is_empty()).then(|| failed(&run.requests.0, |_| true))),
    Measure::new("executions_missing", |run, _| run.executions_missing()),
    Measure::new("activities_missing", |run, _| run.activities_missing()),
    Measure::new("episodes_unmatched", |run, _| run.episodes_unmatched()),
    Measure::new("wrong_outputs", |run, _| run.wrong_outputs()),
    Measure::new("completions_missing", |run, _| run.completions_missing()),
    Measure::new("unreadable_lines", |run, _| run.phases.window("").map(|_| Measured::unreadable(&run.unreadable))),
];

fn failed(rows: &[Row], wanted: impl Fn(&Row) -> bool) -> Measured {
    let failed: Vec<&Row> = rows.iter().filter(|row| wanted(row) && !row.succeeded()).collect();
    Measured::new(failed.len() as f64, failed)
}

/// How often the second goes into the first.
fn ratio(one: Option<f64>, other: Option<f64>, unit: &str) -> Option<Measured> {
    let (one, other) = (one?, other.filter(|it| *it > 0.0)?);
    Some(Measured::new(one / other, []).noted(format!("{one:.1} and {other:.1} {unit}")))
}

fn median(rows: &[&Row]) -> Option<f64> {
    percentile(durations(rows), 50.0)
}

impl ReplayRows {
    fn not_completed(&self, phase: &str) -> Option<Measured> {
        let instances = self.instances_of(phase);
        if instances.is_empty() {
            return None;
        }
        let other: Vec<&Row> = instances.into_iter().filter(|it| it.text("runtimeStatus") != "Completed").collect();
        Some(Measured::new(other.len() as f64, other))
    }

    fn wall_seconds(&self, phase: &str) -> Option<f64> {
        let window = self.phases.window(phase)?;
        Some((window.end - window.start).as_seconds_f64())
    }

    fn orchestrator_p95(&self, phase: &str) -> Option<Measured> {
        percentile(durations(&self.orchestrator(phase)?), 95.0).map(|it| Measured::new(it, []))
    }

    fn orchestrator_median(&self, phase: &str) -> Option<f64> {
        median(&self.orchestrator(phase)?)
    }

    /// Medians of a phase's quarters by executions. The first episode is left out: it pays for the start.
    fn quarters(&self, phase: &str) -> Option<Vec<f64>> {
        let rows = self.orchestrator(phase)?;
        let rows = rows.get(1..)?;
        let length = rows.len() / QUARTERS;
        if length == 0 {
            return None;
        }
        (0..QUARTERS).map(|n| median(&rows[n * length..(n + 1) * length])).collect()
    }

    fn quarters_rising(&self, phase: &str) -> Option<Measured> {
        let quarters = self.quarters(phase)?;
        let rising = quarters.windows(2).filter(|pair| pair[1] > pair[0]).count();
        let texts: Vec<String> = quarters.iter().map(|it| format!("{it:.2}")).collect();
        Some(Measured::new(rising as f64, []).noted(format!("{} ms", texts.join(", "))))
    }

    fn last_quarter_against_baseline(&self, phase: &str) -> Option<Measured> {
        ratio(self.quarters(phase)?.last().copied(), self.orchestrator_median(BASELINE), "ms")
    }

    fn median_against_baseline(&self, phase: &str) -> Option<Measured> {
        ratio(self.orchestrator_median(phase), self.orchestrator_median(BASELINE), "ms")
    }

    fn median_against_incident(&self, phase: &str) -> Option<Measured> {
        ratio(self.orchestrator_median(phase), self.quarters(INCIDENT)?.last().copied(), "ms")
    }

    fn throughput_left(&self, phase: &str) -> Option<Measured> {
        let bins = timeline::bins(self);
        let of_phase: Vec<_> = bins.iter().filter(|it| it.phase == phase && it.is_full).collect();
        let (first, last) = (of_phase.first()?, of_phase.last()?);
        if of_phase.len() < 2 || first.executions == 0 {
            return None;
        }
        let share = last.executions as f64 / first.executions as f64;
        Some(Measured::new(share, []).noted(format!("{} after {}", last.executions, first.executions)))
    }

    /// Of the first instance: its last interval between two progress lines against its first.
    fn marker_widening(&self, phase: &str) -> Option<Measured> {
        let instance = *self.instances_of(phase).first()?;
        let markers = self.lines(instance.text("instanceId"), "ReplayIteration ");
        let intervals: Vec<f64> = markers.windows(2).map(|pair| (pair[1].at - pair[0].at).as_seconds_f64()).collect();
        let (first, last) = (intervals.first()?, intervals.last()?);
        if intervals.len() < 2 || *first <= 0.0 {
            return None;
        }
        Some(Measured::new(last / first, markers).noted(format!("{last:.2} s after {first:.2} s")))
    }

    fn resets_missing(&self, phase: &str) -> Option<Measured> {
        self.differences(phase, "ContinueAsNew at iteration ", |it| batches(it).len() - 1)
    }

    fn resets(&self, phase: &str) -> Option<Measured> {
        let instance = *self.instances_of(phase).first()?;
        if self.traces.0.is_empty() {
            return None;
        }
        let lines = self.lines(instance.text("instanceId"), "ContinueAsNew at iteration ");
        Some(Measured::new(lines.len() as f64, lines))
    }

    fn completions_missing(&self) -> Option<Measured> {
        let once = self.differences("", "Orchestration complete: ", |_| 1)?;
        let wrong = self.instances_of("").into_iter().filter(|it| {
            let lines = self.lines(it.text("instanceId"), "Orchestration complete: ");
            let wanted = format!(" total={} batches={}", it.number("iterations"), batches(it).len());
            !lines.iter().all(|line| line.text("message").ends_with(&wanted))
        });
        let wrong = wrong.count() as f64;
        Some(Measured { value: once.value.map(|it| it + wrong), ..once })
    }

    /// Sum of the differences between lines of a kind and what each instance should have; with the instances concerned.
    fn differences(&self, phase: &str, start: &str, wanted: impl Fn(&Row) -> usize) -> Option<Measured> {
        let instances = self.instances_of(phase);
        // Lines that are missing contradict the rest; without a table nothing can be said.
        if instances.is_empty() || self.traces.0.is_empty() {
            return None;
        }
        let difference = |it: &Row| self.lines(it.text("instanceId"), start).len().abs_diff(wanted(it));
        let (mut sum, mut total) = (0, 0);
        let mut rows = Vec::new();
        for instance in instances {
            total += wanted(instance);
            let found = difference(instance);
            sum += found;
            if found > 0 {
                rows.push(instance);
            }
        }
        Some(Measured::new(sum as f64, rows).noted(format!("{total} wanted")))
    }

    fn executions_missing(&self) -> Option<Measured> {
        self.differences("", "Episode ", |it| batches(it).iter().map(|n| *n as usize + 1).sum())
    }

    fn activities_missing(&self) -> Option<Measured> {
        if self.instances.0.is_empty() || self.requests.0.is_empty() {
            return None;
        }
        let wanted: f64 = self.instances.0.iter().map(|it| it.number("iterations")).sum();
        let found = self.activity("")?.len() as f64;
        Some(Measured::new((found - wanted).abs(), []).noted(format!("{found} of {wanted}")))
    }

    /// The handler's line carries the operation id of the host's request.
    fn episodes_unmatched(&self) -> Option<Measured> {
        if self.requests.0.is_empty() || self.traces.0.is_empty() {
            return None;
        }
        let requests: BTreeSet<&str> = self.orchestrator("")?.into_iter().map(|it| it.text("operation_Id")).collect();
        let lines = self.traces.0.iter().filter(|it| it.text("message").starts_with("Episode "));
        let host_id = |it: &'_ Row| it.columns["customDimensions"]["HostOperationId"].as_str().map(str::to_owned);
        let told: BTreeSet<String> = lines.filter_map(host_id).collect();
        let told: BTreeSet<&str> = told.iter().map(String::as_str).collect();
        let unmatched = requests.symmetric_difference(&told).count();
        Some(Measured::new(unmatched as f64, []).noted(format!("{} requests", requests.len())))
    }

    fn wrong_outputs(&self) -> Option<Measured> {
        let instances = self.instances_of("");
        let is_wrong = |it: &&Row| {
            let batches = batches(it);
            let wanted = json!({
                "totalIterations": it.number("iterations") as u64,
                "batches": batches.len(),
                "finalBatchResults": batches.last(),
            });
            it.columns["output"] != wanted
        };
        if instances.is_empty() {
            return None;
        }
        let wrong: Vec<&Row> = instances.into_iter().filter(is_wrong).collect();
        Some(Measured::new(wrong.len() as f64, wrong))
    }

    /// How far the activity's medians are above what counts as the same as the baseline's.
    fn activity_excess(&self) -> Option<Measured> {
        let medians: Vec<f64> =
            [BASELINE, INCIDENT, RECOVERY].iter().map(|phase| median(&self.activity(phase)?)).collect::<Option<_>>()?;
        let allowed = (medians[0] * ACTIVITY_RATIO).max(medians[0] + ACTIVITY_MS);
        let excess = medians.iter().map(|it| (it - allowed).max(0.0)).fold(0.0, f64::max);
        let texts: Vec<String> = medians.iter().map(|it| format!("{it:.2}")).collect();
        Some(Measured::new(excess, []).noted(format!("medians {} ms", texts.join(", "))))
    }
}

/// Facts beside the criteria.
pub(super) fn counts(run: &ReplayRows) -> Map<String, Value> {
    let phases = run.phases.iter().map(|(phase, window)| {
        let executions = run.orchestrator(phase).map_or(0, |it| it.len());
        let wall = (window.end - window.start).as_seconds_f64();
        let cost = run.cost_ms(phase).unwrap_or_default();
        let counts = json!({
            "instances": run.instances_of(phase).len(),
            "executions": executions,
            "wall_seconds": (wall * 10.0).round() / 10.0,
            "storage_and_episode_ms": cost.round(),
        });
        (phase.to_owned(), counts)
    });
    phases.collect()
}
