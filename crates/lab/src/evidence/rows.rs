//! A run's rows, read back from its JSONL tables.

use std::{io, path::Path};

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::jsonl;

/// A row and when it was written or, for requests and dependencies, began.
#[derive(Clone, Debug)]
pub struct Row {
    /// `timestamp`, or `TimeGenerated` where the workspace names it so.
    pub at: OffsetDateTime,
    pub columns: Value,
}

impl Row {
    fn read(columns: Value) -> Option<Self> {
        let text = columns["timestamp"].as_str().or_else(|| columns["TimeGenerated"].as_str())?;
        Some(Self { at: OffsetDateTime::parse(text, &Rfc3339).ok()?, columns })
    }

    /// A text column; empty when it is not there.
    pub fn text(&self, column: &str) -> &str {
        self.columns[column].as_str().unwrap_or_default()
    }

    /// A number column; 0 when it is not there.
    pub fn number(&self, column: &str) -> f64 {
        self.columns[column].as_f64().unwrap_or_default()
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
        let time = |column| OffsetDateTime::parse(row.text(column), &Rfc3339).ok();
        Some(Self { start: time("start")?, end: time("end")? })
    }

    /// Whether a moment is inside.
    pub fn contains(&self, at: OffsetDateTime) -> bool {
        self.start <= at && at < self.end
    }
}

/// A run's phases, in order of time, each with its window.
#[derive(Clone, Debug, Default)]
pub struct Phases(Vec<(String, Window)>);

impl Phases {
    /// Reads `phases.jsonl`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let rows = Rows::read(path)?;
        let phases = rows.0.iter().filter_map(|row| Some((row.text("phase").to_owned(), Window::of(row)?)));
        Ok(Self(phases.collect()))
    }

    /// A phase's window; the whole run for no name.
    pub fn window(&self, phase: &str) -> Option<Window> {
        if !phase.is_empty() {
            return self.0.iter().find(|(name, _)| name == phase).map(|(_, window)| *window);
        }
        Some(Window { start: self.0.first()?.1.start, end: self.0.last()?.1.end })
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Window)> {
        self.0.iter().map(|(name, window)| (name.as_str(), *window))
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
