//! What keeps anything from following from a run, whatever its criteria say: rows that were not written or have not arrived, a clock
//! that was set.

use std::{io, path::Path};

use serde::Deserialize;
use time::{Duration, OffsetDateTime};

use super::{jsonl, row_file::LostRows, schema::read_time, steady::LARGEST_DRIFT, workspace};
use custom_handler::clock;

/// Steps of the clock that are told.
const TOLD: usize = 3;

/// Both clocks of a row.
#[derive(Deserialize)]
struct Reading {
    #[serde(alias = "timestamp", alias = "TimeGenerated")]
    time: Option<String>,
    #[serde(rename = "monotonicMs")]
    monotonic_ms: Option<f64>,
}

/// Reads a run's folder and gives a sentence for each doubt.
///
/// # Errors
/// When a file cannot be read.
pub fn doubts(folder: &Path) -> io::Result<Vec<String>> {
    let lost = lost_rows(&folder.join("tables"))?;
    Ok(lost.into_iter().chain(clock_steps(folder)?).chain(workspace::doubts(folder)?).collect())
}

fn lost_rows(tables: &Path) -> io::Result<Option<String>> {
    let Some(lost) = LostRows::read(tables)? else {
        return Ok(Some(format!("rows that were not written were not counted: tables/{} is missing", LostRows::FILE)));
    };
    let of_tables: Vec<String> = lost.tables.iter().map(|(table, rows)| format!("{table} {rows}")).collect();
    let count = if lost.rows == 1 { "1 row was".to_owned() } else { format!("{} rows were", lost.rows) };
    Ok((lost.rows > 0).then(|| format!("{count} not written ({}): {}", of_tables.join(", "), lost.why)))
}

/// Compares both clocks of all rows, in the order of the monotonic one.
fn clock_steps(folder: &Path) -> io::Result<Vec<String>> {
    let mut readings: Vec<(f64, OffsetDateTime)> = Vec::new();
    for (_, bytes) in jsonl::files(folder)? {
        let rows: Vec<Reading> = jsonl::values(&bytes);
        readings.extend(rows.into_iter().filter_map(|it| Some((it.monotonic_ms?, read_time(&it.time?)?.at))));
    }
    readings.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let mut steps = Vec::new();
    let mut readings = readings.into_iter();
    let Some((first_ms, first)) = readings.next() else { return Ok(steps) };
    // How far the wall clock was ahead at the run's beginning, and has been set ahead since.
    let mut ahead = Duration::ZERO;
    for (monotonic_ms, at) in readings {
        let step = (at - first) - Duration::seconds_f64((monotonic_ms - first_ms) / 1000.0) - ahead;
        if step.abs() > LARGEST_DRIFT {
            ahead += step;
            steps.push(describe(step, at));
        }
    }
    if let Some(more) = steps.len().checked_sub(TOLD).filter(|it| *it > 0) {
        steps.truncate(TOLD);
        steps.push(format!("the wall clock was set {more} more times"));
    }
    Ok(steps)
}

fn describe(step: Duration, at: OffsetDateTime) -> String {
    let way = if step.is_negative() { "back" } else { "forward" };
    let seconds = step.abs().as_seconds_f64();
    format!("the wall clock was set {way} by {seconds:.1} s before {}", clock::timestamp(at))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    /// Rows a second apart; the wall clock is off by so many seconds at each.
    fn steps(off: &[f64]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tables")).unwrap();
        LostRows::open(&folder.path().join("tables"));
        let row = |(n, off): (usize, &f64)| {
            let at = datetime!(2026-04-05 01:30:00 UTC) + Duration::seconds_f64(n as f64 + off);
            let row = json!({"timestamp": clock::timestamp(at), "monotonicMs": 5000 + 1000 * n});
            let file = ["requests", "traces"][n % 2];
            (file, format!("{row}\n"))
        };
        for file in ["requests", "traces"] {
            let text: String = off.iter().enumerate().map(row).filter(|it| it.0 == file).map(|it| it.1).collect();
            fs::write(folder.path().join(format!("tables/{file}.jsonl")), text).unwrap();
        }
        doubts(folder.path()).unwrap()
    }

    #[test]
    fn a_clock_that_is_set_is_named_and_one_that_is_corrected_is_not() {
        assert_eq!(steps(&[0.0, 0.1, 0.2, -0.3, 0.9]), [""; 0]);
        let back = "the wall clock was set back by 3600.0 s before 2026-04-05T00:30:02.0000000Z";
        assert_eq!(steps(&[0.0, 0.0, -3600.0, -3600.0]), [back]);
        let forward = "the wall clock was set forward by 3600.0 s before 2026-04-05T02:30:01.0000000Z";
        assert_eq!(steps(&[0.0, 3600.0, 3600.0]), [forward]);
        let there_and_back = steps(&[0.0, 5.0, 5.0, 0.0]);
        assert!(there_and_back.len() == 2 && there_and_back[1].contains("back by 5.0 s"), "{there_and_back:?}");
        assert_eq!(steps(&[0.0, 0.5, 1.1, 1.6]).len(), 1, "one that runs away is set, too");
        assert_eq!(steps(&[0.0, 2.0, 4.0, 6.0, 8.0, 10.0])[3], "the wall clock was set 2 more times");
    }

    #[test]
    fn rows_that_were_not_written_are_told_with_number_tables_and_reason() {
        let folder = tempfile::tempdir().unwrap();
        let tables = folder.path().join("tables");
        fs::create_dir(&tables).unwrap();
        assert!(doubts(folder.path()).unwrap()[0].starts_with("rows that were not written were not counted"));
        let lost = LostRows::open(&tables);
        assert_eq!(doubts(folder.path()).unwrap(), [""; 0]);
        lost.add("traces", &io::Error::from_raw_os_error(28));
        assert_eq!(
            doubts(folder.path()).unwrap(),
            ["1 row was not written (traces 1): No space left on device (os error 28)"]
        );
        for _ in 0..755 {
            lost.add("requests", &io::Error::other(""));
        }
        let told = doubts(folder.path()).unwrap();
        assert_eq!(told, ["756 rows were not written (requests 755, traces 1): No space left on device (os error 28)"]);
    }
}
