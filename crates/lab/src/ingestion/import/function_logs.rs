//! `FunctionAppLogs` made of the host's traces, where a run has only what it sent to Application Insights.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::{
    evidence::{schema::read_time, table_writer::Table},
    ingestion::rows::TableRow,
};

/// How `sdkVersion` begins in the host's own rows, under Core Tools as well.
const HOSTS: [&str; 2] = ["azurefunctions: ", "azurefunctionscoretools: "];
/// What marks a row.
const DERIVED: &str = "derived from traces";
/// .NET's names for levels, in the order of `LevelId`.
const LEVELS: [&str; 6] = ["Trace", "Debug", "Information", "Warning", "Error", "Critical"];

/// The host's lines, and the exceptions it logged with some of them.
#[derive(Debug, Default)]
pub(super) struct FunctionLogs {
    lines: Vec<(OffsetDateTime, Map<String, Value>)>,
    /// By invocation and message of the line.
    exceptions: HashMap<(String, String), [Value; 3]>,
}

impl FunctionLogs {
    /// Notes a row if it is the host's.
    pub(super) fn note(&mut self, row: &TableRow) {
        let columns = &row.columns;
        let text = |name: &str| columns.get(name).and_then(Value::as_str).unwrap_or_default();
        let sdk = text("sdkVersion");
        let Some(version) = HOSTS.iter().find_map(|it| sdk.strip_prefix(it)) else { return };
        let Some(dimensions) = columns.get("customDimensions").and_then(Value::as_object) else { return };
        let dimension = |name: &str| dimensions.get(name).and_then(Value::as_str).unwrap_or_default();
        match row.table {
            Table::Traces if !dimension("Category").is_empty() => {
                self.lines.push((row.at, line(columns, dimensions, version)));
            }
            Table::Exceptions => {
                let key = (dimension("InvocationId").to_owned(), dimension("FormattedMessage").to_owned());
                let details = columns.get("details").map(chain).unwrap_or_default();
                let exception = [json!(text("outerType")), json!(text("outerMessage")), json!(details)];
                self.exceptions.insert(key, exception);
            }
            _ => {}
        }
    }

    /// The lines as rows.
    pub(super) fn rows(&mut self) -> Vec<TableRow> {
        let lines = std::mem::take(&mut self.lines);
        let exceptions = &self.exceptions;
        let rows = lines.into_iter().map(|(at, mut columns)| {
            let text = |name: &str| columns.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let key = (text("FunctionInvocationId"), text("Message"));
            if let Some(exception) = exceptions.get(&key).filter(|_| !key.0.is_empty()) {
                let names = ["ExceptionType", "ExceptionMessage", "ExceptionDetails"].map(str::to_owned);
                columns.extend(names.into_iter().zip(exception.iter().cloned()));
            }
            TableRow { table: Table::FunctionAppLogs, at, columns }
        });
        rows.collect()
    }
}

fn line(columns: &Map<String, Value>, dimensions: &Map<String, Value>, version: &str) -> Map<String, Value> {
    let column = |name: &str| columns.get(name).and_then(Value::as_str).unwrap_or_default();
    let dimension = |name: &str| dimensions.get(name).and_then(Value::as_str).unwrap_or_default();
    let (category, invocation) = (dimension("Category"), dimension("InvocationId"));
    let function = if invocation.is_empty() { "" } else { function(category, column("operation_Name")) };
    let severity = columns.get("severityLevel").and_then(Value::as_u64);
    let named = LEVELS.iter().position(|it| *it == dimension("LogLevel"));
    // Application Insights counts from Verbose; .NET has a level below that.
    let level = named.or(severity.map(|it| it as usize + 1)).unwrap_or(2).min(LEVELS.len() - 1);
    let time = read_time(column("timestamp")).map(|it| it.text).unwrap_or_default();
    let row = json!({
        "TimeGenerated": time,
        "AppName": column("cloud_RoleName"),
        "FunctionName": function,
        "FunctionInvocationId": invocation,
        "Level": LEVELS[level],
        "LevelId": level,
        "Category": category,
        "Message": column("message"),
        "ExceptionType": "",
        "ExceptionMessage": "",
        "ExceptionDetails": "",
        "HostInstanceId": dimension("HostInstanceId"),
        "HostVersion": version,
        "RoleInstance": column("cloud_RoleInstance"),
        "EventName": dimension("EventName"),
        "SourceSystem": DERIVED,
        "Type": "FunctionAppLogs",
    });
    let Value::Object(mut row) = row else { return Map::new() };
    for (name, from) in [("ProcessId", "ProcessId"), ("EventId", "EventId")] {
        row.extend(dimension(from).parse::<i64>().ok().map(|it| (name.to_owned(), json!(it))));
    }
    row
}

/// The function of a category `Function.<name>` or `Function.<name>.User`, else of the operation.
fn function<'a>(category: &'a str, operation: &'a str) -> &'a str {
    let name = category.strip_prefix("Function.").map(|it| it.strip_suffix(".User").unwrap_or(it));
    name.unwrap_or(operation)
}

/// `Type: message` of each exception, the outermost first, as .NET prints a chain.
fn chain(details: &Value) -> String {
    let text = |it: &Value, field: &str| it[field].as_str().unwrap_or_default().to_owned();
    let all = details.as_array().into_iter().flatten();
    let lines: Vec<String> = all.map(|it| format!("{}: {}", text(it, "type"), text(it, "message"))).collect();
    lines.join("\n ---> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(table: Table, columns: Value) -> TableRow {
        let Value::Object(columns) = columns else { panic!("an object") };
        TableRow { table, at: OffsetDateTime::UNIX_EPOCH, columns }
    }

    fn trace(message: &str, dimensions: Value) -> TableRow {
        row(
            Table::Traces,
            json!({
                "timestamp": "2026-11-25T13:31:34.7950509Z", "message": message, "severityLevel": 3,
                "sdkVersion": "azurefunctions: 4.1037.0.0", "operation_Name": "f", "cloud_RoleName": "app", "cloud_RoleInstance": "vm", "customDimensions": dimensions,
            }),
        )
    }

    fn derived(rows: &[TableRow]) -> Vec<Value> {
        let mut logs = FunctionLogs::default();
        rows.iter().for_each(|it| logs.note(it));
        logs.rows().into_iter().map(|it| json!(it.columns)).collect()
    }

    #[test]
    fn a_line_inside_an_invocation_has_function_and_exception() {
        let dimensions = json!({"Category": "Function.f", "InvocationId": "i", "LogLevel": "Error", "ProcessId": "7",
            "EventId": "3", "EventName": "FunctionCompleted", "HostInstanceId": "h"});
        let exception = row(
            Table::Exceptions,
            json!({
                "sdkVersion": "azurefunctions: 4.1037.0.0", "outerType": "O", "outerMessage": "o",
                "details": [{"type": "O", "message": "o"}, {"type": "I", "message": "i"}],
                "customDimensions": {"InvocationId": "i", "FormattedMessage": "Executed 'Functions.f'"},
            }),
        );
        let rows =
            derived(&[exception, trace("Executed 'Functions.f'", dimensions.clone()), trace("other", dimensions)]);
        let wanted = json!({
            "TimeGenerated": "2026-11-25T13:31:34.7950509Z", "AppName": "app", "FunctionName": "f",
            "FunctionInvocationId": "i", "Level": "Error", "LevelId": 4, "Category": "Function.f",
            "Message": "Executed 'Functions.f'", "ExceptionType": "O", "ExceptionMessage": "o",
            "ExceptionDetails": "O: o\n ---> I: i", "HostInstanceId": "h", "HostVersion": "4.1037.0.0",
            "RoleInstance": "vm", "EventName": "FunctionCompleted", "SourceSystem": "derived from traces",
            "Type": "FunctionAppLogs", "ProcessId": 7, "EventId": 3,
        });
        assert_eq!(rows[0], wanted);
        assert_eq!((&rows[1]["Message"], &rows[1]["ExceptionType"]), (&json!("other"), &json!("")));
    }

    #[test]
    fn a_line_outside_of_any_invocation_has_no_function() {
        let of = |dimensions: Value| derived(&[trace("m", dimensions)])[0].clone();
        for category in ["Host.Function.Console", "Function.f.User"] {
            let row = of(json!({"Category": category, "LogLevel": "Warning"}));
            assert_eq!(
                (&row["FunctionName"], &row["Level"], &row["LevelId"]),
                (&json!(""), &json!("Warning"), &json!(3))
            );
        }
        let row = of(json!({"Category": "Function.f.User", "InvocationId": "i"}));
        assert_eq!((&row["FunctionName"], &row["Level"]), (&json!("f"), &json!("Error")), "the level of its severity");
        assert_eq!(of(json!({"Category": "Host.Startup", "InvocationId": "i"}))["FunctionName"], "f", "its operation");
    }

    #[test]
    fn other_rows_are_not_the_hosts() {
        let mut foreign = trace("m", json!({"Category": "Function.f"}));
        foreign.columns.insert("sdkVersion".to_owned(), json!("opentelemetry:0.33.1"));
        assert!(derived(&[foreign, trace("m", json!({})), row(Table::Requests, json!({}))]).is_empty());
        let mut local = trace("m", json!({"Category": "Host.General"}));
        local.columns.insert("sdkVersion".to_owned(), json!("azurefunctionscoretools: 4.0.1"));
        assert_eq!(derived(&[local])[0]["HostVersion"], "4.0.1");
    }
}
