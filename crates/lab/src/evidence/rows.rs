//! A run's rows, read back from its JSONL tables.

use std::{cmp::Ordering, io, path::Path};

use serde_json::Value;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::jsonl;
use super::moment::MONOTONIC;

/// Column with the monotonic clock's milliseconds at the end of what a row tells.
pub const END_MONOTONIC: &str = "endMonotonicMs";

/// A row and when it was written or, for requests and dependencies, began.
#[derive(Clone, Debug)]
pub struct Row {
    /// `timestamp`, or `TimeGenerated` where the workspace names it so; see [`Steady`].
    pub at: OffsetDateTime,
    /// `end`, where it has one.
    pub end: Option<OffsetDateTime>,
    pub columns: Value,
}

/// One reading of both clocks, from which the monotonic one tells every other time: durations between rows are then those of
/// the monotonic clock, whatever was done to the wall's in between.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    at: OffsetDateTime,
    monotonic_ms: f64,
}

impl Steady {
    fn of(row: &Row) -> Option<Self> {
        Some(Self { at: row.at, monotonic_ms: row.monotonic_ms()? })
    }

    fn time(&self, monotonic_ms: f64) -> OffsetDateTime {
        self.at + Duration::seconds_f64((monotonic_ms - self.monotonic_ms) / 1000.0)
    }
}

impl Row {
    fn read(columns: Value) -> Option<Self> {
        let text = columns["timestamp"].as_str().or_else(|| columns["TimeGenerated"].as_str())?;
        let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
        Some(Self { at: time(text)?, end: columns["end"].as_str().and_then(time), columns })
    }

    /// The monotonic clock where the row begins; rows of Azure and of earlier labs have none.
    pub(super) fn monotonic_ms(&self) -> Option<f64> {
        self.columns[MONOTONIC].as_f64()
    }

    fn steady(&mut self, clock: Steady) {
        if let Some(begin) = self.monotonic_ms() {
            self.at = clock.time(begin);
        }
        if let Some(end) = self.columns[END_MONOTONIC].as_f64() {
            self.end = Some(clock.time(end));
        }
    }

    /// A text column; empty when it is not there.
    pub fn text(&self, column: &str) -> &str {
        self.columns[column].as_str().unwrap_or_default()
    }

    /// A number column; 0 when it is not there.
    pub fn number(&self, column: &str) -> f64 {
        self.columns[column].as_f64().unwrap_or_default()
    }

    /// Whether it is a call of the handler's own. The host's row of its call to the handler is no evidence of a dependency: it fails
    /// exactly when the request does.
    pub fn is_blob_call(&self) -> bool {
        self.text("type") == "Azure blob"
    }

    /// Whether the column `success` says so. It is a string in the documented schema.
    pub fn succeeded(&self) -> bool {
        self.text("success").eq_ignore_ascii_case("true")
    }
}

/// A half-open span of time: rows at `end` belong to what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub start: OffsetDateTime,
    pub end: OffsetDateTime,
}

impl Window {
    /// The window a row of `phases.jsonl` tells.
    pub fn of(row: &Row) -> Option<Self> {
        Some(Self { start: row.at, end: row.end? })
    }

    /// Whether a moment is inside.
    pub fn contains(&self, at: OffsetDateTime) -> bool {
        self.start <= at && at < self.end
    }
}

/// A run's phases, in order of time, each with its window.
#[derive(Clone, Debug, Default)]
pub struct Phases {
    windows: Vec<(String, Window)>,
    clock: Option<Steady>,
}

impl Phases {
    /// Reads `phases.jsonl`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let rows = Rows::read(path)?;
        let is_first = |one: &&Row, other: &&Row| one.monotonic_ms().partial_cmp(&other.monotonic_ms());
        let first = rows.0.iter().min_by(|one, other| is_first(one, other).unwrap_or(Ordering::Equal));
        let clock = first.and_then(Steady::of);
        let rows = rows.steady(clock);
        let windows = rows.0.iter().filter_map(|row| Some((row.text("phase").to_owned(), Window::of(row)?)));
        Ok(Self { windows: windows.collect(), clock })
    }

    /// The reading of both clocks at the run's beginning, where its rows have both.
    pub fn clock(&self) -> Option<Steady> {
        self.clock
    }

    /// A phase's window; the whole run for no name.
    pub fn window(&self, phase: &str) -> Option<Window> {
        if !phase.is_empty() {
            return self.windows.iter().find(|(name, _)| name == phase).map(|(_, window)| *window);
        }
        Some(Window { start: self.windows.first()?.1.start, end: self.windows.last()?.1.end })
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Window)> {
        self.windows.iter().map(|(name, window)| (name.as_str(), *window))
    }
}

/// Rows in order of time.
#[derive(Clone, Debug, Default)]
pub struct Rows(pub Vec<Row>);

impl Rows {
    /// Reads a table; one that was never written is empty.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut rows: Vec<Row> = jsonl::read(path)?.into_iter().filter_map(Row::read).collect();
        rows.sort_by_key(|row| row.at);
        Ok(Self(rows))
    }

    /// The same with the times of the monotonic clock, where both it and the rows are known.
    #[must_use]
    pub fn steady(mut self, clock: Option<Steady>) -> Self {
        if let Some(clock) = clock {
            self.0.iter_mut().for_each(|row| row.steady(clock));
            self.0.sort_by_key(|row| row.at);
        }
        self
    }

    /// Those in a window that are wanted.
    pub fn within(&self, window: Window, wanted: impl Fn(&Row) -> bool) -> Vec<&Row> {
        self.0.iter().filter(|row| window.contains(row.at) && wanted(row)).collect()
    }
}

/// How long each of some requests took, in milliseconds.
pub fn durations(rows: &[&Row]) -> Vec<f64> {
    rows.iter().map(|row| row.number("duration")).collect()
}

/// The mean; 0 for no values.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |sum, it| sum + it) / values.len().max(1) as f64
}

/// The value at a percentile by nearest rank, as Kusto's `percentile`: always one that is in the data.
pub fn percentile(mut values: Vec<f64>, percent: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * values.len() as f64).ceil().max(1.0) as usize;
    values.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_table_is_read_in_order_and_without_a_line_that_is_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        let text = "{\"timestamp\":\"2026-04-05T01:30:02Z\",\"n\":2}\n{\"TimeGenerated\":\"2026-04-05T01:30:01Z\",\"n\":1}\n{\"ti";
        fs::write(&path, text).unwrap();
        let rows = Rows::read(&path).unwrap();
        assert_eq!(rows.0.iter().map(|it| it.number("n")).collect::<Vec<_>>(), [1.0, 2.0]);
        assert!(Rows::read(&folder.path().join("absent.jsonl")).unwrap().0.is_empty());
        let window = Window { start: datetime!(2026-04-05 01:30:01 UTC), end: datetime!(2026-04-05 01:30:02 UTC) };
        assert_eq!(rows.within(window, |_| true).len(), 1);
    }

    #[test]
    fn a_step_of_the_wall_clock_changes_no_duration_and_no_order() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, rows: [Value; 2]| {
            fs::write(folder.path().join(name), rows.map(|it| format!("{it}\n")).concat()).unwrap();
        };
        // Set back by an hour in the middle of the first phase.
        let phase = |name: &str, (start, end): (&str, &str), (from, to): (u32, u32)| {
            let mut row = json!({"phase": name, "timestamp": format!("2026-04-05T{start}Z"), MONOTONIC: from});
            (row["end"], row[END_MONOTONIC]) = (json!(format!("2026-04-05T{end}Z")), json!(to));
            row
        };
        let first = phase("a", ("01:30:00", "00:30:10"), (1000, 11_000));
        write("phases.jsonl", [first, phase("b", ("00:30:11", "00:30:20"), (12_000, 21_000))]);
        let late = json!({"timestamp": "2026-04-05T00:30:15Z", "n": 2, MONOTONIC: 16_000});
        write("t.jsonl", [late, json!({"timestamp": "2026-04-05T01:30:05Z", "n": 1, MONOTONIC: 6000})]);
        let phases = Phases::read(&folder.path().join("phases.jsonl")).unwrap();
        assert_eq!(phases.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
        let seconds = |phase| phases.window(phase).map(|it| (it.end - it.start).as_seconds_f64());
        assert_eq!([seconds("a"), seconds("b"), seconds("")], [Some(10.0), Some(9.0), Some(20.0)]);
        let rows = Rows::read(&folder.path().join("t.jsonl")).unwrap().steady(phases.clock());
        assert_eq!(rows.0.iter().map(|it| it.number("n")).collect::<Vec<_>>(), [1.0, 2.0]);
        assert_eq!((rows.0[1].at - rows.0[0].at).as_seconds_f64(), 10.0);
        assert_eq!(rows.within(phases.window("b").unwrap(), |_| true).len(), 1);
    }

    #[test]
    fn a_percentile_is_a_value_of_the_data() {
        let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!(percentile(values.clone(), 95.0), Some(19.0));
        assert_eq!(percentile(values.clone(), 50.0), Some(10.0));
        assert_eq!(percentile(values, 100.0), Some(20.0));
        assert_eq!(percentile(vec![7.0], 95.0), Some(7.0));
        assert_eq!(percentile(vec![], 95.0), None);
        assert_eq!(format!("{:.2} {:.2}", mean(&[]), mean(&[1.0, 2.0])), "0.00 1.50", "no minus before the zero");
    }
}
