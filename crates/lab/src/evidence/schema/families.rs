//! The two families of names: `requests` and `AppRequests` are the same rows, as the component and the workspace name them.
//!
//! On disk rows have the classic names; the other family is made of them when it is read.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{Profile, TableSchema, Unfit, table, typed};
use kql::{Column, Type};

/// A table under both names.
#[derive(Debug)]
pub struct Family {
    pub classic: &'static str,
    pub workspace: &'static str,
    /// `itemType` of its rows.
    item: &'static str,
    /// Columns it has beside the common ones: classic name, workspace's name.
    columns: &'static [(&'static str, &'static str)],
}

/// Columns of all tables. Some are in an export of the workspace and not in the schema of our own tables.
const COMMON: &[(&str, &str)] = &[
    ("timestamp", "TimeGenerated"),
    ("application_Version", "AppVersion"),
    ("client_Browser", "ClientBrowser"),
    ("client_City", "ClientCity"),
    ("client_CountryOrRegion", "ClientCountryOrRegion"),
    ("client_IP", "ClientIP"),
    ("client_Model", "ClientModel"),
    ("client_OS", "ClientOS"),
    ("client_StateOrProvince", "ClientStateOrProvince"),
    ("client_Type", "ClientType"),
    ("cloud_RoleInstance", "AppRoleInstance"),
    ("cloud_RoleName", "AppRoleName"),
    ("customDimensions", "Properties"),
    ("customMeasurements", "Measurements"),
    ("iKey", "IKey"),
    (ITEM_TYPE, TYPE),
    ("operation_Id", "OperationId"),
    ("operation_Name", "OperationName"),
    ("operation_ParentId", "ParentId"),
    ("operation_SyntheticSource", "SyntheticSource"),
    ("sdkVersion", "SDKVersion"),
    ("session_Id", "SessionId"),
    ("user_AccountId", "UserAccountId"),
    ("user_AuthenticatedId", "UserAuthenticatedId"),
    ("user_Id", "UserId"),
];

/// The columns that say which table a row is of: `request`, and `AppRequests`.
const ITEM_TYPE: &str = "itemType";
const TYPE: &str = "Type";

pub const FAMILIES: [Family; 6] = [
    Family {
        classic: "requests",
        workspace: "AppRequests",
        item: "request",
        columns: &[
            ("duration", "DurationMs"),
            ("id", "Id"),
            ("itemCount", "ItemCount"),
            ("name", "Name"),
            ("performanceBucket", "PerformanceBucket"),
            ("resultCode", "ResultCode"),
            ("source", "Source"),
            ("success", "Success"),
            ("url", "Url"),
        ],
    },
    Family {
        classic: "traces",
        workspace: "AppTraces",
        item: "trace",
        columns: &[("itemCount", "ItemCount"), ("message", "Message"), ("severityLevel", "SeverityLevel")],
    },
    Family {
        classic: "dependencies",
        workspace: "AppDependencies",
        item: "dependency",
        columns: &[
            ("data", "Data"),
            ("duration", "DurationMs"),
            ("id", "Id"),
            ("itemCount", "ItemCount"),
            ("name", "Name"),
            ("performanceBucket", "PerformanceBucket"),
            ("resultCode", "ResultCode"),
            ("success", "Success"),
            ("target", "Target"),
            ("type", "DependencyType"),
        ],
    },
    Family {
        classic: "exceptions",
        workspace: "AppExceptions",
        item: "exception",
        columns: &[
            ("assembly", "Assembly"),
            ("details", "Details"),
            ("handledAt", "HandledAt"),
            ("innermostAssembly", "InnermostAssembly"),
            ("innermostMessage", "InnermostMessage"),
            ("innermostMethod", "InnermostMethod"),
            ("innermostType", "InnermostType"),
            ("itemCount", "ItemCount"),
            ("message", "Message"),
            ("method", "Method"),
            ("outerAssembly", "OuterAssembly"),
            ("outerMessage", "OuterMessage"),
            ("outerMethod", "OuterMethod"),
            ("outerType", "OuterType"),
            ("problemId", "ProblemId"),
            ("severityLevel", "SeverityLevel"),
            ("type", "ExceptionType"),
        ],
    },
    Family {
        classic: "performanceCounters",
        workspace: "AppPerformanceCounters",
        item: "performanceCounter",
        columns: &[
            ("category", "Category"),
            ("counter", "Counter"),
            ("instance", "Instance"),
            ("name", "Name"),
            ("value", "Value"),
        ],
    },
    Family {
        classic: "customMetrics",
        workspace: "AppMetrics",
        item: "customMetric",
        columns: &[
            ("name", "Name"),
            ("valueCount", "ItemCount"),
            ("valueMax", "Max"),
            ("valueMin", "Min"),
            ("valueSum", "Sum"),
        ],
    },
];

/// The table whose file has the rows of a table: `requests` for `AppRequests`, any other name itself.
pub fn classic_of(table: &str) -> &str {
    FAMILIES.iter().find(|it| it.workspace == table).map_or(table, |it| it.classic)
}

/// The classic table that a row's own `itemType` or `Type` names.
pub fn item_table(columns: &Map<String, Value>) -> Option<&'static str> {
    let text = |name: &str| columns.get(name).and_then(Value::as_str).unwrap_or_default();
    let (item, kind) = (text(ITEM_TYPE), text(TYPE));
    match (item, kind) {
        ("customEvent", _) => Some("customEvents"),
        (_, "FunctionAppLogs") => Some("FunctionAppLogs"),
        _ => FAMILIES.iter().find(|it| it.item == item || it.workspace == kind).map(|it| it.classic),
    }
}

/// Rows of either family as rows of a table, without columns it does not have. A table that is not in the schema keeps its rows
/// as they are.
pub fn rows_as(table_name: &str, rows: &[Value]) -> Vec<Value> {
    match table(table_name, Profile::Documented) {
        Some(target) => {
            let lens = Lens::to(target);
            rows.iter().map(|row| lens.see(row)).collect()
        }
        None => rows.to_vec(),
    }
}

/// A value of a row that is not of its column's type.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{column}: {unfit}")]
pub struct UnfitColumn {
    pub column: &'static str,
    pub unfit: Unfit,
}

/// How the columns of either family are seen as those of one table.
#[derive(Debug)]
pub struct Lens {
    target: &'static TableSchema,
    columns: HashMap<&'static str, &'static Column>,
    /// What the target's rows are called in its own column for that.
    kind: Option<(&'static str, &'static str)>,
}

impl Lens {
    pub fn to(target: &'static TableSchema) -> Self {
        let own = target.columns.iter().map(|it| (it.name.as_str(), it));
        let mut columns: HashMap<&str, &Column> = own.collect();
        let family = FAMILIES.iter().find(|it| it.classic == target.name || it.workspace == target.name);
        let Some(family) = family else { return Self { target, columns, kind: None } };
        let is_classic = family.classic == target.name;
        for (classic, workspace) in COMMON.iter().chain(family.columns) {
            let (from, to) = if is_classic { (workspace, classic) } else { (classic, workspace) };
            if let Some(column) = target.column(to) {
                columns.entry(from).or_insert(column);
            }
        }
        let kind = if is_classic { (ITEM_TYPE, family.item) } else { (TYPE, family.workspace) };
        Self { target, columns, kind: Some(kind) }
    }

    /// The table's column for a name of either family.
    pub fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.get(name).copied()
    }

    /// A row of values that are texts, or of some other type than their columns; columns of no name here are left out.
    ///
    /// # Errors
    /// When a value is not of its column's type.
    pub fn typed<'a>(
        &self,
        row: impl IntoIterator<Item = (&'a str, &'a Value)>,
    ) -> Result<Map<String, Value>, UnfitColumn> {
        let mut seen = Map::new();
        for (name, value) in row {
            let Some(column) = self.column(name) else { continue };
            // The classic name for a truth value is a text, spelt as .NET does.
            let kind = if column.name == "success" { Type::Bool } else { column.kind };
            let value = typed(kind, value).map_err(|unfit| UnfitColumn { column: &column.name, unfit })?;
            let Some(value) = value else { continue };
            let value = if column.kind == kind { Some(value) } else { typed(column.kind, &value).unwrap_or_default() };
            seen.extend(value.map(|it| (column.name.clone(), it)));
        }
        self.complete(&mut seen);
        Ok(seen)
    }

    fn see(&self, row: &Value) -> Value {
        let mut seen = Map::new();
        for (name, value) in row.as_object().into_iter().flatten() {
            let Some(column) = self.columns.get(name.as_str()) else { continue };
            let value = if column.name == *name {
                Some(value.clone())
            } else {
                typed(column.kind, value).unwrap_or_else(|_| Some(value.clone()))
            };
            seen.insert(column.name.clone(), value.unwrap_or_default());
        }
        self.complete(&mut seen);
        Value::Object(seen)
    }

    /// Adds what follows from the table and the other columns.
    fn complete(&self, seen: &mut Map<String, Value>) {
        if let Some((name, kind)) = self.kind {
            seen.insert(name.to_owned(), json!(kind));
        }
        if self.target.name == "customMetrics"
            && !seen.contains_key("value")
            && let Some(sum) = seen.get("valueSum").cloned()
        {
            seen.insert("value".to_owned(), sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    #[test]
    fn every_name_of_a_family_is_a_column_of_its_table() {
        for family in &FAMILIES {
            let classic = table(family.classic, Profile::Documented).unwrap();
            let workspace = table(family.workspace, Profile::Documented).unwrap();
            for (one, other) in family.columns {
                assert!(classic.column(one).is_some(), "{} {one}", family.classic);
                assert!(workspace.column(other).is_some(), "{} {other}", family.workspace);
            }
            // What the workspace's schema has beside them is common, or is Azure's own.
            for column in &workspace.columns {
                let mut known = COMMON.iter().chain(family.columns);
                assert!(known.any(|it| it.1 == column.name) || column.name == "_ResourceId", "{column:?}");
            }
            for (one, _) in COMMON {
                assert!(one.starts_with("customMeas") || classic.column(one).is_some(), "{} {one}", family.classic);
            }
        }
    }

    #[test]
    fn a_row_goes_to_the_other_family_and_comes_back() {
        let request = json!({
            "timestamp": "2026-04-05T01:30:00.1234567Z", "itemType": "request", "itemCount": 2, "name": "f",
            "operation_Id": "1", "duration": 12.5, "success": "False", "resultCode": "500", "cloud_RoleName": "app",
            "customDimensions": {"Category": "Host.Results"},
        });
        let seen = rows_as("AppRequests", from_ref(&request));
        let wanted = json!({
            "TimeGenerated": "2026-04-05T01:30:00.1234567Z", "Type": "AppRequests", "ItemCount": 2, "Name": "f",
            "OperationId": "1", "DurationMs": 12.5, "Success": false, "ResultCode": "500", "AppRoleName": "app",
            "Properties": {"Category": "Host.Results"},
        });
        assert_eq!(seen, [wanted]);
        assert_eq!(rows_as("requests", &seen), from_ref(&request));
        assert_eq!(rows_as("requests", from_ref(&request)), from_ref(&request));
    }

    #[test]
    fn the_columns_that_differ_by_table_are_found() {
        let dependency = json!({"type": "Azure blob", "success": "True", "target": "a", "monotonicMs": 1.0});
        let seen = json!({"DependencyType": "Azure blob", "Success": true, "Target": "a", "Type": "AppDependencies"});
        assert_eq!(rows_as("AppDependencies", &[dependency]), [seen]);
        let metric = json!({"Name": "n", "Sum": 3.0, "ItemCount": 2, "Min": 1.0, "Max": 2.0});
        let wanted = json!({
            "name": "n", "valueSum": 3.0, "valueCount": 2, "valueMin": 1.0, "valueMax": 2.0, "itemType": "customMetric",
            "value": 3.0,
        });
        assert_eq!(rows_as("customMetrics", &[metric]), [wanted]);
        let exception = json!({"type": "E", "itemType": "exception", "severityLevel": 3});
        let seen = json!({"ExceptionType": "E", "Type": "AppExceptions", "SeverityLevel": 3});
        assert_eq!(rows_as("AppExceptions", &[exception]), [seen]);
        let own = json!({"anything": 1});
        assert_eq!(rows_as("episodes", from_ref(&own)), from_ref(&own));
    }

    #[test]
    fn a_table_and_a_row_name_the_file_they_are_in() {
        let names = ["AppTraces", "traces", "FunctionAppLogs", "episodes"].map(classic_of);
        assert_eq!(names, ["traces", "traces", "FunctionAppLogs", "episodes"]);
        let of = |row: Value| item_table(row.as_object().unwrap());
        assert_eq!(of(json!({"itemType": "dependency"})), Some("dependencies"));
        assert_eq!(of(json!({"Type": "AppMetrics"})), Some("customMetrics"));
        assert_eq!(of(json!({"Type": "FunctionAppLogs"})), Some("FunctionAppLogs"));
        assert_eq!(of(json!({"type": "Azure blob"})), None);
    }
}
