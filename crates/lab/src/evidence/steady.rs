//! Times of a run whose wall clock was set: the monotonic clock tells them, from the first reading of both.
//!
//! Durations between rows, their order and the windows they lie in are then those of the monotonic clock, whatever was done to the
//! wall's in between. That it was set is a doubt of its own.

use std::{io, path::Path};

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::{
    jsonl,
    moment::{END_MONOTONIC, MONOTONIC},
    schema::read_time,
};
use custom_handler::clock;

/// How far the wall clock may run from the monotonic one. A time server moves it by half a second in a quarter of an hour.
pub(super) const LARGEST_DRIFT: Duration = Duration::SECOND;

/// One reading of both clocks, at the run's beginning.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    at: OffsetDateTime,
    monotonic_ms: f64,
}

impl Steady {
    /// The first reading of a run; none where its rows have one clock alone, as those of Azure.
    ///
    /// # Errors
    /// When its phases cannot be read.
    pub fn of_run(folder: &Path) -> io::Result<Option<Self>> {
        let rows: Vec<Value> = jsonl::read(&folder.join("phases.jsonl"))?;
        let readings = rows.iter().filter_map(|row| {
            let at = read_time(row["timestamp"].as_str()?)?.at;
            Some(Self { at, monotonic_ms: row[MONOTONIC].as_f64()? })
        });
        Ok(readings.min_by(|one, other| one.monotonic_ms.total_cmp(&other.monotonic_ms)))
    }

    /// Corrects the times of a row where the clock was set.
    pub fn correct(&self, row: &mut Value) {
        for (columns, reading) in
            [(["timestamp", "TimeGenerated", "start"].as_slice(), MONOTONIC), (&["end"], END_MONOTONIC)]
        {
            let Some(monotonic_ms) = row[reading].as_f64() else { continue };
            let steady = self.at + Duration::seconds_f64((monotonic_ms - self.monotonic_ms) / 1000.0);
            for column in columns {
                let told = row[column].as_str().and_then(read_time);
                if told.is_some_and(|told| (told.at - steady).abs() > LARGEST_DRIFT) {
                    row[column] = json!(clock::timestamp(steady));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_changes_no_duration_and_no_order() {
        let folder = tempfile::tempdir().unwrap();
        // Set back by an hour in the middle of the first phase.
        let phase = |name: &str, (start, end): (&str, &str), (from, to): (u32, u32)| {
            let mut row = json!({"phase": name, "timestamp": format!("2026-04-05T{start}Z"), MONOTONIC: from});
            (row["start"], row["end"], row[END_MONOTONIC]) =
                (row["timestamp"].clone(), json!(format!("2026-04-05T{end}Z")), json!(to));
            row
        };
        let mut phases = [
            phase("a", ("01:30:00", "00:30:10"), (1000, 11_000)),
            phase("b", ("00:30:11", "00:30:20.5"), (12_000, 21_000)),
        ];
        fs::write(folder.path().join("phases.jsonl"), phases.iter().map(|it| format!("{it}\n")).collect::<String>())
            .unwrap();
        let steady = Steady::of_run(folder.path()).unwrap().unwrap();
        phases.iter_mut().for_each(|it| steady.correct(it));
        assert_eq!(
            (&phases[0]["start"], &phases[0]["end"]),
            (&json!("2026-04-05T01:30:00Z"), &json!("2026-04-05T01:30:10.0000000Z"))
        );
        assert_eq!(
            (&phases[1]["start"], &phases[1]["end"]),
            (&json!("2026-04-05T01:30:11.0000000Z"), &json!("2026-04-05T01:30:20.0000000Z"))
        );
        let mut row = json!({"timestamp": "2026-04-05T01:30:05.3Z", MONOTONIC: 6000});
        steady.correct(&mut row);
        assert_eq!(row["timestamp"], "2026-04-05T01:30:05.3Z", "a time server's correction is left as it is");
        let mut foreign = json!({"timestamp": "2020-01-01T00:00:00Z"});
        steady.correct(&mut foreign);
        assert_eq!(foreign["timestamp"], "2020-01-01T00:00:00Z");
        assert!(Steady::of_run(&folder.path().join("nowhere")).unwrap().is_none());
    }
}
