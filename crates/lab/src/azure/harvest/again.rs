//! The judgement's queries, put to the workspace's own engine too: the same bodies after the workspace's names.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;
use time::OffsetDateTime;

use super::Harvest;
use crate::{
    azure::logs::{LogsAnswer, query, query_call},
    evidence::{
        schema::read_time,
        workspace::{AskedAgain, WorkspaceSession},
    },
    judgement::{Bundle, Definition, Manifest, QueryRecord, for_workspace, reads_telemetry},
    machine::terminal::Progress,
};

const ENGINE: &str = "Log Analytics";
/// Relative difference of numbers that are the same: the engines add in different orders.
const SAME: f64 = 1e-6;
/// The same of percentiles, which Kusto estimates. Of few rows an estimate may lie between two of them.
const SAME_PERCENTILE: f64 = 0.25;
/// Rows above which answers are compared in their order alone.
const MOST_UNORDERED: usize = 2000;
/// Kusto's ticks, in nanoseconds.
const TICK: i128 = 100;

/// Puts every query again, and writes what came out.
pub(super) async fn ask(
    harvest: &Harvest<'_>,
    definition: Definition,
    folder: &Path,
    manifest: Manifest,
) -> anyhow::Result<()> {
    if harvest.azure.is_planning() {
        return plan(harvest, definition).await;
    }
    let judged = Bundle::of(definition, folder, manifest).judge().context("judge the fetched rows")?;
    let mut queries: Vec<&QueryRecord> =
        judged.session.queries().iter().filter(|it| reads_telemetry(&it.text)).collect();
    // As a plan has them.
    queries.sort_by(|one, other| one.name.cmp(&other.name));
    let mut progress = Progress::start("asked again", queries.len());
    let mut session = WorkspaceSession::default();
    for record in queries {
        let text = for_workspace(&record.text);
        let call = query_call(harvest.workspace, &text, None, &format!("ask {} in the workspace", record.name));
        session.queries.push(match query(harvest.azure, &call).await {
            Ok(answer) => compared(record, text, answer),
            Err(error) => refused(record, text, &error.to_string()),
        });
        progress.advance();
    }
    progress.finish();
    session.write(folder).context("write the workspace's answers")
}

async fn plan(harvest: &Harvest<'_>, definition: Definition) -> anyhow::Result<()> {
    let rules = definition.rules()?;
    let mut names: Vec<&str> = rules.queries().collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        if !definition.query(name).is_some_and(reads_telemetry) {
            continue;
        }
        let text = format!("{{load/{}/queries/workspace/{name} with the run's windows}}", definition.name);
        let call = query_call(harvest.workspace, &text, None, &format!("ask {name} in the workspace, once a window"));
        harvest.azure.note(call.shown(true));
    }
    Ok(())
}

fn compared(record: &QueryRecord, text: String, answer: LogsAnswer) -> AskedAgain {
    let LogsAnswer { columns, rows, partial } = answer;
    let names: Vec<&str> = record.columns().collect();
    let (differs, percentiles_differ_by) = match (partial, places(&names, &columns)) {
        (Some(why), _) => (Some(format!("the answer is partial: {why}")), 0.0),
        (None, None) => (Some(format!("it has no columns {}", names.join(", "))), 0.0),
        (None, Some(places)) => {
            let theirs: Vec<Vec<&Value>> = rows.iter().map(|row| places.iter().map(|it| &row[*it]).collect()).collect();
            let comparison = Comparison { names: &names, ours: &record.rows, theirs: &theirs };
            (comparison.difference(), comparison.percentiles())
        }
    };
    let (name, engine) = (record.name.clone(), ENGINE.to_owned());
    AskedAgain { name, text, engine, columns, rows, differs, percentiles_differ_by }
}

fn refused(record: &QueryRecord, text: String, why: &str) -> AskedAgain {
    let (name, engine) = (record.name.clone(), ENGINE.to_owned());
    let differs = Some(format!("it was refused: {why}"));
    AskedAgain { name, text, engine, columns: Vec::new(), rows: Vec::new(), differs, percentiles_differ_by: 0.0 }
}

/// Where our columns are in their rows.
fn places(names: &[&str], columns: &[(String, String)]) -> Option<Vec<usize>> {
    names.iter().map(|name| columns.iter().position(|it| it.0 == *name)).collect()
}

/// One query's answers.
struct Comparison<'a> {
    names: &'a [&'a str],
    ours: &'a [Vec<Value>],
    theirs: &'a [Vec<&'a Value>],
}

impl Comparison<'_> {
    /// The first difference, if there is one. Rows may come in another order.
    fn difference(&self) -> Option<String> {
        let (ours, theirs) = (self.ours.len(), self.theirs.len());
        if ours != theirs {
            return Some(format!("{theirs} rows instead of {ours}"));
        }
        let first = self.out_of_place()?;
        let number = if ours > MOST_UNORDERED { first } else { self.unmatched()? };
        let shown = |it: &Value| it.as_str().map_or_else(|| it.to_string(), str::to_owned);
        let text: String = self.ours[number].iter().map(shown).collect::<Vec<_>>().join(", ");
        Some(format!("row {} ({}) is not in its answer", number + 1, text.chars().take(200).collect::<String>()))
    }

    /// The first row that is another in the same place.
    fn out_of_place(&self) -> Option<usize> {
        self.ours.iter().zip(self.theirs).position(|(one, other)| !self.is_same(one, other))
    }

    /// The first row that is in no place; each of theirs stands for one of ours.
    fn unmatched(&self) -> Option<usize> {
        let mut left: Vec<&Vec<&Value>> = self.theirs.iter().collect();
        self.ours.iter().position(|row| match left.iter().position(|it| self.is_same(row, it)) {
            Some(place) => {
                left.swap_remove(place);
                false
            }
            None => true,
        })
    }

    /// Largest relative difference of percentiles, row by row in order.
    fn percentiles(&self) -> f64 {
        let pairs = self.ours.iter().zip(self.theirs).flat_map(|(one, other)| one.iter().zip(other).zip(self.names));
        let of_percentiles = pairs.filter(|it| is_percentile(it.1));
        of_percentiles.filter_map(|((one, other), _)| Some(apart(number(one)?, number(other)?))).fold(0.0, f64::max)
    }

    fn is_same(&self, ours: &[Value], theirs: &[&Value]) -> bool {
        self.names.iter().zip(ours.iter().zip(theirs)).all(|(name, (one, other))| is_same(name, one, other))
    }
}

fn is_same(column: &str, ours: &Value, theirs: &Value) -> bool {
    if let (Some(one), Some(other)) = (number(ours), number(theirs)) {
        return apart(one, other) <= if is_percentile(column) { SAME_PERCENTILE } else { SAME };
    }
    if let (Some(one), Some(other)) = (moment(ours), moment(theirs)) {
        return one == other;
    }
    match (ours, theirs) {
        // `success` is a text in the component and a truth value in the workspace.
        (Value::String(text), Value::Bool(truth)) | (Value::Bool(truth), Value::String(text)) => {
            text.eq_ignore_ascii_case(&truth.to_string())
        }
        // Null and nothing: a text is never null in Kusto.
        (Value::Null, Value::String(text)) | (Value::String(text), Value::Null) => text.is_empty(),
        (Value::String(one), Value::String(other)) => one == other || is_same_json(one, other),
        (Value::String(text), other) | (other, Value::String(text)) => {
            serde_json::from_str::<Value>(text).is_ok_and(|it| it == *other)
        }
        (one, other) => one == other,
    }
}

/// Whether two texts are the same object or array: a dynamic value is sent as a text.
fn is_same_json(one: &str, other: &str) -> bool {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok().filter(|it| it.is_object() || it.is_array());
    parsed(one).is_some_and(|it| parsed(other) == Some(it))
}

fn is_percentile(column: &str) -> bool {
    let is_digit_after_p = |it: &str| it.starts_with(['p', 'P']) && it[1..].starts_with(|it: char| it.is_ascii_digit());
    let places = column.char_indices().map(|it| it.0);
    let mut names = places.map(|at| &column[at..]);
    names.any(is_digit_after_p) || column.to_ascii_lowercase().contains("median")
}

/// A number, also where it is sent as a text because JSON has no such number.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(it) => it.as_f64(),
        Value::String(text) if ["NaN", "Infinity", "-Infinity"].contains(&text.as_str()) => text.parse().ok(),
        _ => None,
    }
}

fn moment(value: &Value) -> Option<i128> {
    let at: OffsetDateTime = read_time(value.as_str()?)?.at;
    Some(at.unix_timestamp_nanos() / TICK)
}

fn apart(one: f64, other: f64) -> f64 {
    if one == other || (one.is_nan() && other.is_nan()) {
        return 0.0;
    }
    (one - other).abs() / one.abs().max(other.abs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn difference(names: &[&str], ours: Value, theirs: Value) -> Option<String> {
        let rows = |it: Value| serde_json::from_value::<Vec<Vec<Value>>>(it).unwrap();
        let (ours, theirs) = (rows(ours), rows(theirs));
        let theirs: Vec<Vec<&Value>> = theirs.iter().map(|it| it.iter().collect()).collect();
        Comparison { names, ours: &ours, theirs: &theirs }.difference()
    }

    #[test]
    fn answers_are_the_same_whatever_their_order_and_their_spelling() {
        let ours = json!([["2026-04-05T01:30:00.0000000Z", 1.0, "True", "{\"a\":1}", null], ["x", 2.5, "f", "", "t"]]);
        let theirs = json!([["x", 2.500000001, "f", "", "t"], ["2026-04-05T01:30:00Z", 1, true, "{ \"a\": 1 }", ""]]);
        assert_eq!(difference(&["at", "n", "success", "bag", "text"], ours, theirs), None);
        assert_eq!(difference(&["p95Ms"], json!([[100.0]]), json!([[104.0]])), None, "an estimate");
        assert_eq!(difference(&["n"], json!([[1], [1]]), json!([[1], [1]])), None);
    }

    #[test]
    fn a_row_that_is_missing_or_another_is_named() {
        assert_eq!(difference(&["n"], json!([[1]]), json!([])).unwrap(), "0 rows instead of 1");
        let told = difference(&["name", "n"], json!([["a", 75], ["b", 3]]), json!([["b", 3], ["a", 74]])).unwrap();
        assert_eq!(told, "row 1 (a, 75) is not in its answer");
        assert!(difference(&["n"], json!([[1], [1]]), json!([[1], [2]])).is_some());
        assert!(difference(&["p95Ms"], json!([[100.0]]), json!([[200.0]])).is_some());
        let many: Vec<[usize; 1]> = (0..MOST_UNORDERED + 1).map(|it| [it]).collect();
        let mut other = many.clone();
        other[7] = [0];
        assert!(difference(&["n"], json!(many), json!(other)).unwrap().starts_with("row 8 "));
    }

    #[test]
    fn percentiles_are_known_by_their_names() {
        for (name, is) in [("p95Ms", true), ("p50", true), ("replayP95", true), ("medianMs", true), ("phase", false)] {
            assert_eq!(is_percentile(name), is, "{name}");
        }
    }
}
