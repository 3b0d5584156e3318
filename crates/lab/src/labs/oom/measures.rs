//! The numbers the criteria are about, each from rows, each with the rows it comes from.

use serde_json::{Map, Value, json};
use time::Duration;

use super::{OomRows, run_rows::blob_of};
use crate::evidence::{Measure, Measured, Row, durations, percentile};
use incident_labs::blob::MIB;

const EXIT: &str = "Worker process exited with code ";
const EXIT_137: &str = "Worker process exited with code 137";
const RESTART: &str = "warn: Restarting worker process";
const STARTED: &str = "Worker process started";
const KERNEL_KILL: &str = "the kernel killed the worker at its memory limit";
const FRONT_KILL: &str = "the worker was killed; its memory limit is";
const MEMORY_ERROR: &str = "MemoryError";
/// The band in which memory counts as critical.
const CRITICAL: &str = "critical";
/// Within this time, at full scale, the signs of one incident must be seen together.
const SAME_WINDOW_SECONDS: f64 = 60.0;
/// After so many failed tries a blob's message is poisoned.
const TRIES: usize = 5;

/// Every number, by the name that criteria have for it.
pub(super) const MEASURES: &[Measure<OomRows>] = &[
    Measure::new("memory_errors", |run, phase| count(run.memory_errors(phase))),
    Measure::new("exits", |run, phase| count(run.lines(phase, EXIT_137))),
    Measure::new("complete_lifecycles", OomRows::complete_lifecycles),
    Measure::new("aligned_exits", OomRows::aligned_exits),
    Measure::new("peak", OomRows::peak_of_limit),
    Measure::new("critical_seconds", |run, phase| count(run.critical(phase))),
    Measure::new("failure_rate", |run, phase| failure_rate(run.requests_in(phase)?)),
    Measure::new("failure_rate_above_load", OomRows::failure_rate_above_load),
    Measure::new("dependency_failure_rate", |run, phase| failure_rate(run.dependencies_in(phase)?)),
    Measure::new("p95", |run, phase| Some(Measured::new(run.p95(phase)?, []))),
    Measure::new("p95_ratio", |run, phase| run.p95_against(phase, "baseline")),
    Measure::new("p95_of_incident", |run, phase| run.p95_against(phase, "incident")),
    Measure::new("unexplained_failures", OomRows::unexplained_failures),
    Measure::new("exits_left", OomRows::exits_left),
    // Whether the evidence agrees with itself, over the whole run.
    Measure::new("exits_unexplained", |run, _| run.exits_unexplained()),
    Measure::new("exits_uncounted", |run, _| run.exits_uncounted()),
    Measure::new("other_exits", |run, _| run.other_exits()),
    Measure::new("front_changes", |run, _| Some(run.front_changes())),
    Measure::new("requests_unmatched", |run, _| run.requests_unmatched()),
    Measure::new("unprocessed", |run, _| Some(run.named_unprocessed())),
    Measure::new("unknown_results", |run, _| count(Some(run.unknown_results()))),
    Measure::new("tries_unmatched", |run, _| Some(run.tries_unmatched())),
    Measure::new("not_redriven", |run, _| run.not_redriven()),
    Measure::new("unreadable_lines", |run, _| run.phases.window("").map(|_| Measured::unreadable(&run.unreadable))),
    Measure::new("payload_through_host", |run, _| count(run.lines_with("this host sends the blob's bytes"))),
];

fn count(rows: Option<Vec<&Row>>) -> Option<Measured> {
    rows.map(|rows| Measured::new(rows.len() as f64, rows))
}

fn failure_rate(rows: Vec<&Row>) -> Option<Measured> {
    let total = rows.len();
    let failed: Vec<&Row> = rows.into_iter().filter(|row| !row.succeeded()).collect();
    let rate = (total > 0).then(|| 100.0 * failed.len() as f64 / total as f64)?;
    let note = format!("{} of {total}", failed.len());
    Some(Measured::new(rate, failed).noted(note))
}

impl OomRows {
    fn limit_bytes(&self) -> f64 {
        self.scale.limit_bytes() as f64
    }

    pub(super) fn memory_errors(&self, phase: &str) -> Option<Vec<&Row>> {
        Some(self.logs.within(self.phases.window(phase)?, |row| row.text("Message").starts_with(MEMORY_ERROR)))
    }

    pub(super) fn dependencies_in(&self, phase: &str) -> Option<Vec<&Row>> {
        Some(self.dependencies.within(self.phases.window(phase)?, Row::is_blob_call))
    }

    pub(super) fn p95(&self, phase: &str) -> Option<f64> {
        percentile(durations(&self.requests_in(phase)?), 95.0)
    }

    fn peak_of_limit(&self, phase: &str) -> Option<Measured> {
        let row = self.peak(phase)?;
        let bytes = row.number("value");
        Some(Measured::new(bytes / self.limit_bytes(), [row]).noted(format!("{:.0} MiB", bytes / MIB as f64)))
    }

    fn critical(&self, phase: &str) -> Option<Vec<&Row>> {
        let (mut rows, start) = (self.private_bytes(phase)?, self.bands.start(CRITICAL)?);
        rows.retain(|row| row.number("value") >= start * self.limit_bytes());
        Some(rows)
    }

    /// Share of exits that a restart and a start follow before the next exit.
    fn complete_lifecycles(&self, phase: &str) -> Option<Measured> {
        let exits = self.lines(phase, EXIT)?;
        let follows = |start: &str, after: &Row, before: Option<&&Row>| {
            let is_between = |row: &Row| row.at >= after.at && before.is_none_or(|it| row.at <= it.at);
            self.traces.0.iter().find(|row| row.text("message").starts_with(start) && is_between(row))
        };
        let is_complete = |(n, exit): (usize, &&Row)| {
            follows(RESTART, exit, exits.get(n + 1)).is_some_and(|it| follows(STARTED, it, exits.get(n + 1)).is_some())
        };
        let complete = exits.iter().enumerate().filter(|it| is_complete(*it)).count();
        let share = (!exits.is_empty()).then(|| 100.0 * complete as f64 / exits.len() as f64)?;
        let note = format!("{complete} of {}", exits.len());
        Some(Measured::new(share, exits).noted(note))
    }

    /// Exits that have a MemoryError and critical memory within one window with them.
    fn aligned_exits(&self, phase: &str) -> Option<Measured> {
        let length = Duration::seconds_f64(self.scale.seconds(SAME_WINDOW_SECONDS));
        let (errors, critical) = (self.memory_errors(phase)?, self.critical(phase)?);
        let is_aligned = |exit: &&Row| {
            let together = |one: &Row, other: &Row| {
                let times = [exit.at, one.at, other.at];
                times.iter().max().zip(times.iter().min()).is_some_and(|(last, first)| *last - *first <= length)
            };
            errors.iter().any(|error| critical.iter().any(|sample| together(error, sample)))
        };
        let exits: Vec<&Row> = self.lines(phase, EXIT_137)?.into_iter().filter(is_aligned).collect();
        Some(Measured::new(exits.len() as f64, exits).noted(format!("windows of {} s", length.as_seconds_f64())))
    }

    fn failure_rate_above_load(&self, phase: &str) -> Option<Measured> {
        let rate = |phase| failure_rate(self.requests_in(phase)?)?.value;
        let (one, two) = (rate("load-1")?, rate("load-2")?);
        Some(Measured::new(rate(phase)? - one.max(two), []).noted(format!("load 1 {one:.1}%, load 2 {two:.1}%")))
    }

    fn p95_against(&self, phase: &str, reference: &str) -> Option<Measured> {
        let (one, other) = (self.p95(phase)?, self.p95(reference)?);
        (other > 0.0).then(|| Measured::new(one / other, []).noted(format!("{one:.0} ms to {other:.0} ms")))
    }

    /// Failed requests beyond those a MemoryError or a dead worker accounts for.
    fn unexplained_failures(&self, phase: &str) -> Option<Measured> {
        let mut failed = self.requests_in(phase)?;
        failed.retain(|row| !row.succeeded());
        let is_death =
            |row: &Row| row.text("message").contains("could not process") && row.text("message").contains("137");
        let deaths = self.traces.within(self.phases.window(phase)?, is_death).len();
        let explained = deaths + self.memory_errors(phase)?.len();
        let share = 100.0 * failed.len().saturating_sub(explained) as f64 / failed.len().max(1) as f64;
        let note = format!("{} failed, {explained} explained", failed.len());
        Some(Measured::new(share, failed).noted(note))
    }

    fn exits_left(&self, phase: &str) -> Option<Measured> {
        let (left, before) = (self.lines(phase, EXIT)?, self.lines("incident", EXIT)?.len());
        let note = format!("{} of {before}", left.len());
        (before > 0).then(|| Measured::new(100.0 * left.len() as f64 / before as f64, left).noted(note))
    }

    /// Lines of the whole run's phases that contain a text: the handler's own begin with their level.
    fn lines_with(&self, text: &str) -> Option<Vec<&Row>> {
        Some(self.traces.within(self.phases.window("")?, |row| row.text("message").contains(text)))
    }

    fn other_exits(&self) -> Option<Measured> {
        let mut exits = self.lines("", EXIT)?;
        exits.retain(|row| row.text("message") != EXIT_137);
        count(Some(exits))
    }

    fn exits_unexplained(&self) -> Option<Measured> {
        let exits = self.lines("", EXIT_137)?.len();
        let seen = self.lines_with(KERNEL_KILL)?.len();
        let by_front = self.lines_with(FRONT_KILL)?.len();
        let note = format!("{exits} lines, {seen} by the kernel, {by_front} by the front");
        Some(Measured::new(exits as f64 - (seen + by_front) as f64, []).noted(note))
    }

    /// The front's line about a kill has the count of the worker's cgroup; each start of the app has a cgroup of its own.
    fn exits_uncounted(&self) -> Option<Measured> {
        let lines = self.lines_with(KERNEL_KILL)?;
        let exits = self.lines("", EXIT_137)?.len();
        if lines.is_empty() && exits > 0 {
            return None;
        }
        let count = |row: &Row| row.text("message").split_once("(oom_kill ")?.1.split_once(')')?.0.parse::<f64>().ok();
        let within = |host: &Row, row: &Row| host.at <= row.at && host.end.is_some_and(|end| row.at <= end);
        let last = |host| lines.iter().filter(|row| within(host, row)).filter_map(|row| count(row)).next_back();
        let counted = self.hosts.0.iter().filter_map(last).fold(0.0, |sum, it| sum + it);
        let note = format!("{exits} lines, oom_kill {counted}");
        Some(Measured::new(exits as f64 - counted, lines).noted(note))
    }

    /// What the front says about the worker's limit, and by what means it is enforced.
    pub fn limit(&self) -> String {
        let line = self.traces.0.iter().find_map(|row| row.text("message").split_once("worker memory limit "));
        line.map_or("unknown", |(_, limit)| limit).to_owned()
    }

    fn front_changes(&self) -> Measured {
        let is_changed = |row: &&Row| row.columns["front_pid"] != row.columns["front_pid_at_end"];
        let changed: Vec<&Row> = self.hosts.0.iter().filter(is_changed).collect();
        let pids = self.hosts.0.iter().map(|row| format!("{} {}", row.text("remedy"), row.columns["front_pid"]));
        let note = format!("pids: {}", pids.collect::<Vec<_>>().join(", "));
        let value = (!self.hosts.0.is_empty()).then_some(changed.len() as f64);
        Measured { value, ..Measured::new(0.0, changed) }.noted(note)
    }

    /// Three writers, one number: the host's rows, the host's "Executing" lines, the handler's own lines about its answers.
    fn requests_unmatched(&self) -> Option<Measured> {
        let (rows, dispatched) = (self.requests.0.len(), self.lines_of_run("Executing '").len());
        let answers =
            self.lines_of_run("Invocation completed in").len() + self.lines_of_run("Invocation failed after").len();
        let unmatched = rows.abs_diff(dispatched) + rows.abs_diff(answers);
        let note = format!("{rows} rows, {dispatched} dispatched, {answers} answered");
        (rows > 0).then(|| Measured::new(unmatched as f64, []).noted(note))
    }

    /// Lines of the whole run, what was logged after its last phase included.
    fn lines_of_run(&self, start: &str) -> Vec<&Row> {
        self.traces.0.iter().filter(|row| row.text("message").starts_with(start)).collect()
    }

    fn named_unprocessed(&self) -> Measured {
        let unprocessed = self.unprocessed();
        let names: Vec<String> =
            unprocessed.iter().take(5).map(|(row, problem)| format!("{}: {problem}", row.text("name"))).collect();
        let note =
            format!("{} sent{}{}", self.manifest.0.len(), if names.is_empty() { "" } else { "; " }, names.join(", "));
        let value = (!self.manifest.0.is_empty()).then_some(unprocessed.len() as f64);
        Measured { value, ..Measured::new(0.0, unprocessed.iter().map(|(row, _)| *row)) }.noted(note)
    }

    /// A blob has one success, and five failures for each time its message was poisoned, else fewer.
    fn tries_unmatched(&self) -> Measured {
        let redriven = |name: &str| self.redriven.0.iter().filter(|row| row.text("name") == name).count();
        let adds_up = |name: &str, tries: &[&Row]| {
            let succeeded = tries.iter().filter(|row| row.succeeded()).count();
            let failed = tries.len() - succeeded;
            let poisoned = redriven(name);
            succeeded == 1 && failed >= TRIES * poisoned && failed < TRIES * (poisoned + 1)
        };
        let tries = self.tries();
        let odd = |row: &&Row| !tries.get(row.text("name")).is_some_and(|it| adds_up(row.text("name"), it));
        let unmatched: Vec<&Row> = self.manifest.0.iter().filter(odd).collect();
        let names: Vec<&str> = unmatched.iter().take(5).map(|row| row.text("name")).collect();
        let value = (!self.manifest.0.is_empty()).then_some(unmatched.len() as f64);
        let note = names.join(", ");
        Measured { value, ..Measured::new(0.0, unmatched) }.noted(note)
    }

    fn not_redriven(&self) -> Option<Measured> {
        let poisoned = self.lines("", "Message has reached MaxDequeueCount")?;
        let note = format!("{} poisoned, {} re-driven", poisoned.len(), self.redriven.0.len());
        Some(Measured::new(poisoned.len() as f64 - self.redriven.0.len() as f64, poisoned).noted(note))
    }

    /// From the first to the last dispatch of a burst's first tries: the largest over all bursts, in milliseconds.
    fn dispatch_skew_ms(&self) -> Option<f64> {
        let tries = self.tries();
        let mut bursts: std::collections::BTreeMap<&str, Vec<&Row>> = std::collections::BTreeMap::new();
        for (name, rows) in &tries {
            if let Some((burst, _)) = name.rsplit_once('/').filter(|(burst, _)| !burst.ends_with("/control")) {
                bursts.entry(burst).or_default().extend(rows.first());
            }
        }
        let skew = |rows: &Vec<&Row>| {
            let times = rows.iter().map(|row| row.at);
            times.clone().max().zip(times.min()).map(|(last, first)| (last - first).as_seconds_f64() * 1000.0)
        };
        bursts.values().filter_map(skew).max_by(f64::total_cmp)
    }
}

/// From the first to the last dispatch of a burst, at most, for people.
pub(super) fn dispatch_skew_ms(run: &OomRows) -> Option<f64> {
    run.dispatch_skew_ms().map(tenths)
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// What there was, for `verdict.json`: totals, and each phase's figures.
pub(super) fn counts(run: &OomRows) -> Map<String, Value> {
    let failed = run.requests.0.iter().filter(|row| !row.succeeded()).count();
    let first_tries = run.tries().len();
    let all_lines = |start| run.lines_of_run(start).len();
    let mut counts = Map::new();
    let mut note = |name: &str, value: Value| counts.insert(name.to_owned(), value);
    note("uploaded", json!(run.manifest.0.len()));
    note("processed", json!(run.manifest.0.len() - run.unprocessed().len()));
    note("requests", json!(run.requests.0.len()));
    note("failed", json!(failed));
    note("retried", json!(run.requests.0.len().saturating_sub(first_tries + run.redriven.0.len())));
    note("poisoned", json!(all_lines("Message has reached MaxDequeueCount")));
    note("redriven", json!(run.redriven.0.len()));
    note("exits", json!(all_lines(EXIT)));
    note("memory_errors", json!(run.memory_errors("").map(|it| it.len())));
    note("dispatch_skew_ms", json!(dispatch_skew_ms(run)));
    note("not_about_a_blob", json!(run.requests.0.iter().filter(|row| blob_of(row).is_none()).count()));
    let phases = run.phases.iter().map(|(name, window)| {
        let requests = run.requests_in(name).unwrap_or_default();
        let figures = json!({
            "start": custom_handler::clock::timestamp(window.start),
            "end": custom_handler::clock::timestamp(window.end),
            "requests": requests.len(),
            "failed": requests.iter().filter(|row| !row.succeeded()).count(),
            "p50_ms": percentile(durations(&requests), 50.0).map(tenths),
            "p95_ms": run.p95(name).map(tenths),
            "peak_mib": run.peak(name).map(|row| (row.number("value") / MIB as f64).round()),
            "exits": run.lines(name, EXIT).map(|it| it.len()),
            "memory_errors": run.memory_errors(name).map(|it| it.len()),
            "dependencies": run.dependencies_in(name).map(|it| it.len()),
        });
        (name.to_owned(), figures)
    });
    let phases: Map<String, Value> = phases.collect();
    note("phases", Value::Object(phases));
    counts
}
