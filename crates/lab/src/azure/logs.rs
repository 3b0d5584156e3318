//! The query API of Log Analytics.

use http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    call::{Body, Call},
    client::Azure,
    error::AzureError,
};

/// Rows that a query gave, as the service wrote them: each value after its column's type.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LogsAnswer {
    /// Name and type (`string`, `long`, `real`, `datetime`, `timespan`, `dynamic`, `bool` …) of each column.
    pub columns: Vec<(String, String)>,
    pub rows: Vec<Vec<Value>>,
    /// What the service said where it answered a part only (`PartialError`): the rows are then not all.
    pub partial: Option<String>,
}

impl LogsAnswer {
    /// The values of a column; none where there is no such column.
    pub fn column(&self, name: &str) -> impl Iterator<Item = &Value> {
        let place = self.columns.iter().position(|it| it.0 == name);
        self.rows.iter().filter_map(move |row| row.get(place?))
    }
}

/// The request for a query over a workspace, which is named by its id (`properties.customerId`). `timespan` is an ISO 8601 interval.
pub fn query_call(workspace: &str, text: &str, timespan: Option<&str>, why: &str) -> Call {
    let mut body = json!({"query": text});
    if let Some(timespan) = timespan {
        body["timespan"] = json!(timespan);
    }
    let one_line: Vec<&str> = text.lines().filter(|it| !it.trim_start().starts_with("//")).map(str::trim).collect();
    Call::logs(Method::POST, format_args!("/v1/workspaces/{workspace}/query"), why)
        .az(format!(
            "az monitor log-analytics query --workspace {workspace} --analytics-query {:?}",
            one_line.join(" ")
        ))
        .body(Body::Json(body))
        .planned(json!({"tables": [{"name": "PrimaryResult", "columns": [], "rows": []}]}))
}

/// Whether a workspace does not know a table: it has never had a row of it.
pub(super) fn is_no_table(error: &AzureError) -> bool {
    error.code() == "BadArgumentError"
}

/// Puts a query to a workspace (Azure Monitor, Log Analytics API: request and response format).
///
/// # Errors
/// When the service is away or refuses, or the answer is no table.
pub async fn query(azure: &Azure, call: &Call) -> Result<LogsAnswer, AzureError> {
    let answer = azure.send(call).await?;
    let field = || "tables[0] with columns and rows".to_owned();
    let incomplete = || AzureError::Incomplete { why: call.why.clone(), field: field() };
    let mut rows = rows(&answer.body).ok_or_else(incomplete)?;
    rows.partial = rows.partial.map(|it| azure.scrubbed(&it));
    Ok(rows)
}

/// The rows of an answer's first table; none where it has no such table.
pub(super) fn rows(body: &Value) -> Option<LogsAnswer> {
    let table = body["tables"].as_array()?.first()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let column = |it: &Value| Some((text(&it["name"])?, text(&it["type"])?));
    let columns: Vec<_> = table["columns"].as_array()?.iter().map(column).collect::<Option<_>>()?;
    let row = |it: &Value| it.as_array().filter(|it| it.len() == columns.len()).cloned();
    let rows = table["rows"].as_array()?.iter().map(row).collect::<Option<_>>()?;
    let partial = body["error"].as_object().map(|error| {
        let mut said = error.get("message").and_then(Value::as_str).unwrap_or("the answer is partial");
        let inner = &body["error"]["details"][0]["innererror"]["message"];
        said = inner.as_str().unwrap_or(said);
        said.to_owned()
    });
    Some(LogsAnswer { columns, rows, partial })
}
