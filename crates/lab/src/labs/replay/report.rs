//! What a run tells in the guide's tables: its own figures beside the guide's and the real engine's.

use std::fmt::Write;

use time::OffsetDateTime;

use super::{
    ReplayRows,
    timeline::{Bin, bins},
};
use crate::evidence::{Row, durations, mean, percentile};
use custom_handler::clock;

/// What the guide recorded: phase, orchestrator average and p95, activity average, wall clock.
const GUIDE: [(&str, &str, &str, &str, &str); 3] = [
    ("baseline", "42.2", "81.8", "2.7", "~5 s"),
    ("incident", "136.3-641.4", "194.3-796.1", "3.0-3.4", "~26 min"),
    ("recovery", "45.2-47.0", "81.9-86.5", "2.8", "~5 min"),
];
/// Microsoft's host and durable engine with a small handler, on a machine like this one: averages of the incident's eighths, and of
/// the recovery.
const REAL_ENGINE: [(&str, &str, &str, &str, &str); 3] = [
    ("baseline", "", "", "", "1 s"),
    ("incident", "2.6-7.5", "5-10", "1.2-1.6", "228 s"),
    ("recovery", "1.6-2.0", "", "1.3", "44 s"),
];

/// All tables, as text.
pub(super) fn tables(run: &ReplayRows) -> String {
    let mut text = String::new();
    ledger(run, &mut text);
    phases(run, &mut text);
    timeline(run, &mut text);
    markers(run, &mut text);
    text
}

// Writing to a String cannot fail.
fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{line}");
}

fn ledger(run: &ReplayRows, text: &mut String) {
    line(text, format_args!("Execution ledger\n"));
    line(
        text,
        format_args!("  {:<10} {:<32} {:<12} {:<12} {:>8}  state", "phase", "instance", "start", "end", "wall s"),
    );
    for instance in run.instances_of("") {
        let phase = instance.text("phase");
        let Some(window) = run.phases.window(phase) else { continue };
        let clock = |at: OffsetDateTime| clock::timestamp(at).get(11..23).unwrap_or_default().to_owned();
        let (id, state) = (instance.text("instanceId"), instance.text("runtimeStatus"));
        let wall = (window.end - window.start).as_seconds_f64();
        let (start, end) = (clock(window.start), clock(window.end));
        line(text, format_args!("  {phase:<10} {id:<32} {start:<12} {end:<12} {wall:>8.1}  {state}"));
    }
}

fn phases(run: &ReplayRows, text: &mut String) {
    line(
        text,
        format_args!(
            "\nDurations by phase, in ms: here, the guide's (EP1, Python), and Microsoft's engine with a small handler\n"
        ),
    );
    line(
        text,
        format_args!(
            "  {:<10} {:<20} {:>12} {:>12} {:>12} {:>10}",
            "phase", "of", "orch. avg", "orch. p95", "activity avg", "wall"
        ),
    );
    let average = |rows: Option<Vec<&Row>>| {
        let durations = durations(&rows.unwrap_or_default());
        (mean(&durations), percentile(durations, 95.0).unwrap_or_default())
    };
    for (phase, window) in run.phases.iter() {
        let ((orchestrator, p95), (activity, _)) = (average(run.orchestrator(phase)), average(run.activity(phase)));
        let wall = format!("{:.1} s", (window.end - window.start).as_seconds_f64());
        line(
            text,
            format_args!(
                "  {phase:<10} {:<20} {orchestrator:>12.2} {p95:>12.2} {activity:>12.2} {wall:>10}",
                "this run"
            ),
        );
        for (whose, table) in [("the guide", GUIDE), ("Microsoft's engine", REAL_ENGINE)] {
            for (_, avg, p95, activity, wall) in table.iter().filter(|(name, ..)| *name == phase) {
                line(text, format_args!("  {:<10} {whose:<20} {avg:>12} {p95:>12} {activity:>12} {wall:>10}", ""));
            }
        }
    }
}

fn timeline(run: &ReplayRows, text: &mut String) {
    line(text, format_args!("\nOrchestrator timeline, in thirteenths of the incident (the guide's 2-minute bins)\n"));
    line(
        text,
        format_args!("  {:<12} {:>10} {:>9} {:>9} {:>9}  phase", "time", "executions", "avg ms", "p95 ms", "max ms"),
    );
    for bin in bins(run) {
        let Bin { phase, at, executions, average, p95, max, is_full } = bin;
        let at = clock::timestamp(at);
        let at = at.get(11..23).unwrap_or_default();
        let part = if is_full { "" } else { " (part)" };
        line(text, format_args!("  {at:<12} {executions:>10} {average:>9.2} {p95:>9.2} {max:>9.2}  {phase}{part}"));
    }
}

fn markers(run: &ReplayRows, text: &mut String) {
    line(text, format_args!("\nIntervals between 50-iteration markers, in s\n"));
    let mut seen: Vec<&str> = Vec::new();
    for instance in run.instances_of("") {
        let phase = instance.text("phase");
        let markers = run.lines(instance.text("instanceId"), "ReplayIteration ");
        let intervals: Vec<f64> = markers.windows(2).map(|pair| (pair[1].at - pair[0].at).as_seconds_f64()).collect();
        let (Some(first), Some(last)) = (intervals.first(), intervals.last()) else { continue };
        if seen.contains(&phase) {
            continue;
        }
        seen.push(phase);
        let middle = intervals[intervals.len() / 2];
        let resets = run.lines(instance.text("instanceId"), "ContinueAsNew at iteration ").len();
        let guide = match phase {
            "incident" => "guide: ~20, ~45, ~65",
            "recovery" => "guide: ~30-40",
            _ => "",
        };
        line(
            text,
            format_args!(
                "  {phase:<10} first {first:.2}, middle {middle:.2}, last {last:.2}; {resets} resets   {guide}"
            ),
        );
    }
    let batches = |it: &&Row| it.columns["output"]["batches"].as_u64().unwrap_or_default();
    let most = run.instances_of("").iter().map(batches).max().unwrap_or_default();
    line(text, format_args!("  batches of the recovery: {most} (guide: 8)"));
}
