//! Rows that a portal or `az` exported: which table they are of, and their values under its classic names.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::{
    evidence::{
        schema::{FAMILIES, Lens, Profile, classic_of, item_table, read_time, table, tables},
        table_writer::Table,
    },
    ingestion::{
        envelope::{Refusal, clipped},
        rows::TableRow,
    },
};

/// What `az` adds to each row.
const RESULT_NAME: &str = "TableName";
/// Columns left out that are named.
const MOST_COLUMNS: usize = 200;
/// Columns with a row's time, in either family.
const TIMES: [&str; 2] = ["timestamp", "TimeGenerated"];
/// Columns that every table of a workspace has, like those that begin with `_`.
const BOOKKEEPING: [&str; 3] = ["TenantId", "SourceSystem", "Type"];
/// What the portal appends to the names of such columns.
const UTC: &str = " [UTC]";

/// Whether an object is a row: an envelope has `data`, and a time under another name.
pub(super) fn is_row(item: &Map<String, Value>) -> bool {
    item.get("data").and_then(|it| it.get("baseType")).is_none() && TIMES.iter().any(|it| item.contains_key(*it))
}

/// A column's name as a table has it.
pub(super) fn column_name(header: &str) -> String {
    let header = header.trim_start_matches('\u{feff}').trim();
    header.strip_suffix(UTC).unwrap_or(header).to_owned()
}

/// Whether a column's name in a header is that of a row's time, in whatever zone.
pub(super) fn is_time(header: &str) -> bool {
    let name = header.trim_start_matches('\u{feff}');
    TIMES.iter().any(|it| name.strip_prefix(it).is_some_and(|rest| rest.is_empty() || rest.starts_with(" [")))
}

/// The classic name of a table that is asked for.
pub(super) fn table_named(name: &str) -> Result<&'static str, String> {
    let known = || lenses().map(|(it, _)| it.name.as_str());
    let wanted = FAMILIES.iter().find(|it| it.workspace.eq_ignore_ascii_case(name)).map_or(name, |it| it.classic);
    let found = known().find(|it| it.eq_ignore_ascii_case(wanted));
    found.ok_or_else(|| format!("{name} is no table; there are {}", known().collect::<Vec<_>>().join(", ")))
}

/// The tables that are files: the classic ones and `FunctionAppLogs`.
fn lenses() -> impl Iterator<Item = (&'static crate::evidence::schema::TableSchema, Lens)> {
    tables(Profile::Documented).iter().filter(|it| classic_of(&it.name) == it.name).map(|it| (it, Lens::to(it)))
}

/// An export as its file and its columns tell it.
#[derive(Debug)]
pub(super) struct Export {
    /// Tables that the file's name holds.
    file_tables: Vec<&'static str>,
    given: Option<&'static str>,
    lenses: BTreeMap<&'static str, Lens>,
    /// The columns of the last row and their table: the next row has the same as a rule.
    last: Option<(Vec<String>, &'static str)>,
}

impl Export {
    pub(super) fn new(path: &Path, given: Option<&'static str>) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let words = name.split(|it: char| !it.is_ascii_alphanumeric());
        let file_tables = words.filter_map(|it| table_named(it).ok()).collect();
        let lenses = lenses().map(|(schema, lens)| (schema.name.as_str(), lens)).collect();
        Self { file_tables, given, lenses, last: None }
    }

    /// Refuses columns that are of no table, before any row is read. Rows may name their table themselves.
    pub(super) fn check(&mut self, names: &[&str]) -> Result<(), String> {
        if let Some(local) = names.iter().find(|it| it.ends_with(']') && is_time(it)) {
            return Err(format!("{local:?} is no time in UTC: export it again with the portal's time zone set to UTC"));
        }
        if !TIMES.iter().any(|it| names.contains(it)) {
            return Err(format!("it has no column timestamp or TimeGenerated, but {}", names.join(", ")));
        }
        if names.iter().any(|it| matches!(*it, "itemType" | "Type")) {
            return Ok(());
        }
        self.table_of_columns(names).map(drop).map_err(|it| format!("{it}: name its table with --table"))
    }

    /// The row under the table's classic names, and what no table has.
    pub(super) fn row(
        &mut self,
        row: &Map<String, Value>,
        not_kept: &mut BTreeSet<String>,
    ) -> Result<TableRow, Refusal> {
        let name = self.table_of(row)?;
        let (Some(kept), Some(schema), Some(lens)) =
            (Table::named(name), table(name, Profile::Documented), self.lenses.get(name))
        else {
            return Err(Refusal::NoTable(name.to_owned()));
        };
        for (name, value) in row {
            let is_empty = value.is_null() || value.as_str() == Some("");
            let is_told = not_kept.len() == MOST_COLUMNS || not_kept.contains(name);
            if !is_empty && !is_told && name != RESULT_NAME && lens.column(name).is_none() {
                not_kept.insert(clipped(name));
            }
        }
        let values = row.iter().map(|(name, value)| (name.as_str(), value));
        let mut columns = lens.typed(values).map_err(|error| match error.unfit.to_string() {
            told if error.column == schema.time_column() => Refusal::Time(told),
            told => Refusal::Field { kind: name.to_owned(), field: error.column, value: told },
        })?;
        let time = columns.get(schema.time_column()).and_then(Value::as_str).and_then(read_time);
        let time = time.ok_or_else(|| Refusal::Time(String::new()))?;
        if time.at < OffsetDateTime::UNIX_EPOCH {
            return Err(Refusal::Old(time.text));
        }
        // The time first, as in rows of our own.
        let mut ordered = Map::from_iter([(schema.time_column().to_owned(), Value::String(time.text))]);
        columns.remove(schema.time_column());
        ordered.extend(columns);
        Ok(TableRow { table: kept, at: time.at, columns: ordered })
    }

    /// What the row says itself, then its columns, then the name of its file.
    fn table_of(&mut self, row: &Map<String, Value>) -> Result<&'static str, Refusal> {
        if let Some(table) = item_table(row) {
            return Ok(table);
        }
        // Rows of page views have the columns of requests, and are none.
        let own = ["itemType", "Type"].into_iter().find_map(|it| row.get(it)?.as_str().filter(|it| !it.is_empty()));
        if let Some(own) = own {
            return Err(Refusal::unknown_kind(own));
        }
        let is_same =
            |names: &[String]| names.len() == row.len() && names.iter().zip(row.keys()).all(|(one, it)| one == it);
        if let Some((names, table)) = &self.last
            && is_same(names)
        {
            return Ok(table);
        }
        let names: Vec<&str> = row.keys().map(String::as_str).collect();
        let table = self.table_of_columns(&names).map_err(|it| Refusal::NoTable(clipped(&it)))?;
        self.last = Some((row.keys().cloned().collect(), table));
        Ok(table)
    }

    fn table_of_columns(&self, names: &[&str]) -> Result<&'static str, String> {
        if let Some(given) = self.given {
            return Ok(given);
        }
        let is_telling = |it: &&&str| !it.starts_with('_') && !BOOKKEEPING.contains(*it);
        let known =
            names.iter().filter(is_telling).filter(|it| self.lenses.values().any(|lens| lens.column(it).is_some()));
        let known: Vec<&str> = known.copied().collect();
        let fits = |lens: &Lens| known.iter().all(|it| lens.column(it).is_some());
        let fitting: Vec<&str> = self.lenses.iter().filter(|it| fits(it.1)).map(|it| *it.0).collect();
        let told_by_file = || self.file_tables.iter().find(|it| fitting.contains(it)).copied();
        match fitting.as_slice() {
            [] => Err(format!("the columns {}, which no table has together", known.join(", "))),
            [only] => Ok(only),
            several => {
                let problem = || format!("its columns, which {} have, or its name", several.join(" and "));
                told_by_file().ok_or_else(problem)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table_for(file: &str, names: &[&str]) -> Result<&'static str, String> {
        Export::new(Path::new(file), None).table_of_columns(names)
    }

    #[test]
    fn columns_tell_the_table_and_the_files_name_where_they_are_of_several() {
        assert_eq!(table_for("x.csv", &["timestamp", "url", "duration"]), Ok("requests"));
        assert_eq!(table_for("x.csv", &["TimeGenerated", "DurationMs", "Target", "TenantId"]), Ok("dependencies"));
        assert_eq!(table_for("x.csv", &["TimeGenerated", "FunctionName", "Message"]), Ok("FunctionAppLogs"));
        assert_eq!(table_for("x.csv", &["TimeGenerated", "Sum", "Max"]), Ok("customMetrics"));
        let several = ["timestamp", "message", "severityLevel"];
        assert_eq!(table_for("AppTraces (1).csv", &several), Ok("traces"));
        assert_eq!(table_for("oom_exceptions.json", &several), Ok("exceptions"));
        let told = table_for("x.csv", &several).unwrap_err();
        assert!(told.contains("exceptions and traces have"), "{told}");
        assert!(table_for("requests.csv", &several).is_err(), "requests have no message");
        assert!(table_for("requests.csv", &["timestamp", "url", "severityLevel"]).is_err());
        assert_eq!(Export::new(Path::new("x"), Some("traces")).table_of_columns(&several), Ok("traces"));
        assert_eq!(table_named("apptraces"), Ok("traces"));
        assert!(table_named("Heartbeat").unwrap_err().contains("FunctionAppLogs"));
    }

    fn row(value: Value) -> Result<TableRow, Refusal> {
        let mut not_kept = BTreeSet::new();
        Export::new(Path::new("requests.json"), None).row(value.as_object().unwrap(), &mut not_kept)
    }

    #[test]
    fn a_row_of_either_family_in_any_form_is_the_same_row() {
        let classic = json!({
            "timestamp": "2026-04-05T01:30:00Z", "name": "f", "success": "False", "duration": 12.5, "itemCount": 1,
            "customDimensions": r#"{"a":"b"}"#, "itemType": "request",
        });
        let texts = json!({
            "TableName": "PrimaryResult", "TimeGenerated": "2026-04-05T01:30:00Z", "Name": "f", "Success": "false",
            "DurationMs": "12.5", "ItemCount": "1", "Properties": r#"{"a":"b"}"#, "Type": "AppRequests", "TenantId": "t",
        });
        let (one, other) = (row(classic).unwrap(), row(texts).unwrap());
        let wanted = json!({
            "timestamp": "2026-04-05T01:30:00Z", "name": "f", "success": "False", "duration": 12.5, "itemCount": 1,
            "customDimensions": {"a": "b"}, "itemType": "request",
        });
        assert_eq!((one.table, json!(one.columns)), (Table::Requests, wanted.clone()));
        assert_eq!((other.table, json!(other.columns)), (Table::Requests, wanted));
    }

    #[test]
    fn a_row_that_does_not_fit_is_refused_for_what_it_is() {
        let of = |field: &str, value: Value| {
            let mut request = json!({"timestamp": "2026-04-05T01:30:00Z", "url": "u", "duration": 1});
            request[field] = value;
            let mut not_kept = BTreeSet::new();
            let request: Map<String, Value> = request.as_object().unwrap().clone();
            let request = request.into_iter().filter(|it| !it.1.is_null()).collect();
            Export::new(Path::new("query.json"), None).row(&request, &mut not_kept).unwrap_err()
        };
        assert_eq!(of("duration", json!("slow")).to_string(), "duration of requests is slow is no number");
        assert_eq!(of("success", json!("maybe")).reason(), "unreadable field");
        assert_eq!(of("timestamp", json!("")).reason(), "unreadable time");
        let told = "its time is not readable: \"13/5/2026 is no time\"";
        assert_eq!(of("timestamp", json!("13/5/2026")).to_string(), told);
        for (column, kind) in [("itemType", "pageView"), ("itemType", "availabilityResult"), ("Type", "AppPageViews")] {
            assert_eq!(of(column, json!(kind)), Refusal::UnknownKind(kind.to_owned()));
        }
        assert_eq!(of("timestamp", json!("1601-01-01T00:00:00Z")).reason(), "older than the clock");
        let told = of("url", json!(null));
        assert_eq!(told.reason(), "no table", "a row whose columns several tables have: {told}");
    }
}
