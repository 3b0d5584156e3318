//! The guide's condensed incident timeline, made from a run's rows.

use time::OffsetDateTime;

use super::OomRows;
use crate::evidence::Row;
use custom_handler::clock;
use incident_labs::blob::MIB;

/// One line of the timeline.
struct Entry<'a> {
    at: OffsetDateTime,
    phase: String,
    signal: &'static str,
    observation: String,
    interpretation: &'a str,
}

/// `timeline.csv`: time, phase, signal, observation, interpretation.
pub(super) fn timeline(run: &OomRows) -> String {
    let mut entries: Vec<Entry<'_>> = run.phases.iter().flat_map(|(phase, _)| of_phase(run, phase)).collect();
    entries.extend(run.actions.0.iter().map(|row| Entry {
        at: row.at,
        phase: "remediation".to_owned(),
        signal: "runbook action",
        observation: format!("{}: {}", row.text("action"), row.text("remedy")),
        interpretation: "causal intervention",
    }));
    entries.sort_by_key(|it| it.at);
    let head = "time_utc,phase,signal,observation,interpretation\n".to_owned();
    entries.iter().fold(head, |text, it| {
        let fields = [&clock::timestamp(it.at), &it.phase, it.signal, &it.observation, it.interpretation];
        text + &fields.map(quoted).join(",") + "\n"
    })
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}

fn of_phase<'a>(run: &'a OomRows, phase: &str) -> Vec<Entry<'a>> {
    let Some(window) = run.phases.window(phase) else { return Vec::new() };
    let entry = |at, signal, observation, interpretation| Entry {
        at,
        phase: phase.to_owned(),
        signal,
        observation,
        interpretation,
    };
    let mut entries: Vec<Entry<'_>> = Vec::new();
    entries.extend(run.peak(phase).map(|row| {
        let (text, band) = memory(run, row);
        entry(row.at, "performanceCounters", text, band)
    }));
    let last = |row: Option<&Row>| row.map_or(window.end, |it| it.at);
    let requests = run.requests_in(phase).unwrap_or_default();
    let (p95, failed) = (run.p95(phase).unwrap_or_default(), failed_percent(&requests));
    let text = format!("p95 {p95:.0} ms, fail {failed:.1}%");
    entries.push(entry(last(requests.last().copied()), "requests", text, service(failed)));
    let calls = run.dependencies_in(phase).unwrap_or_default();
    let failed = failed_percent(&calls);
    entries.push(entry(last(calls.last().copied()), "dependencies", format!("fail {failed:.1}%"), service(failed)));
    let errors = run.memory_errors(phase).unwrap_or_default();
    for row in &errors {
        entries.push(entry(row.at, "FunctionAppLogs", row.text("Message").to_owned(), "memory failure"));
    }
    let lifecycle = lifecycle(run, phase);
    let is_stable = lifecycle.is_empty();
    entries.extend(
        lifecycle.into_iter().map(|(row, meaning)| entry(row.at, "traces", row.text("message").to_owned(), meaning)),
    );
    if phase.starts_with("recovery") && errors.is_empty() {
        entries.push(entry(window.end, "FunctionAppLogs", "no MemoryError".to_owned(), "fault removed"));
    }
    if phase.starts_with("recovery") && is_stable {
        entries.push(entry(window.end, "traces", "no worker exit or restart".to_owned(), "crash loop gone"));
    }
    entries
}

fn lifecycle<'a>(run: &'a OomRows, phase: &str) -> Vec<(&'a Row, &'static str)> {
    let lines = [
        ("Worker process exited", "out of memory, killed"),
        ("warn: Restarting worker process", "recovery starts"),
        ("Worker process started", "worker is back"),
    ];
    let rows =
        |(start, meaning)| run.lines(phase, start).unwrap_or_default().into_iter().map(move |row| (row, meaning));
    lines.into_iter().flat_map(rows).collect()
}

fn memory<'a>(run: &'a OomRows, row: &Row) -> (String, &'a str) {
    let bytes = row.number("value");
    let share = bytes / run.scale.limit_bytes() as f64;
    let words = run.bands.of(share).map_or("", |it| &it.words);
    (format!("Private Bytes {:.0} MiB, {share:.2} L", bytes / MIB as f64), words)
}

fn failed_percent(rows: &[&Row]) -> f64 {
    100.0 * rows.iter().filter(|row| !row.succeeded()).count() as f64 / rows.len().max(1) as f64
}

fn service(failed: f64) -> &'static str {
    match failed {
        0.0 => "healthy",
        failed if failed < 15.0 => "degraded",
        _ => "outage",
    }
}
