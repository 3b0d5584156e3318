//! The tables and columns of Application Insights, as `load/kql_schema.json` has them, and rows under the names of either family.

mod families;
mod lab;
mod values;

use std::{collections::BTreeMap, sync::LazyLock};

use kql::Column;
use serde::Deserialize;

pub use families::{FAMILIES, Family, Lens, UnfitColumn, classic_of, item_table, rows_as};
pub use lab::{FILES, PHASES, is_hosts_record, may_be_empty, own_file, own_table, own_tables};
pub use values::{ReadTime, Unfit, duration_ms, read_time, typed};

const FILE: &str = include_str!("../../../../../load/kql_schema.json");

/// Which types the columns have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Profile {
    /// As Microsoft documents them: a duration is a number of milliseconds.
    #[default]
    Documented,
    /// `duration` of requests and dependencies is a timespan, which the guides' `duration / 1ms` needs.
    Timespan,
}

#[derive(Clone, Debug)]
pub struct TableSchema {
    pub name: String,
    pub columns: kql::Schema,
}

impl TableSchema {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|it| it.name == name)
    }

    /// The column with a row's time.
    pub fn time_column(&self) -> &'static str {
        if self.column("timestamp").is_some() { "timestamp" } else { "TimeGenerated" }
    }
}

#[derive(Deserialize)]
struct SchemaFile {
    common: String,
    tables: BTreeMap<String, String>,
    standalone: BTreeMap<String, String>,
    overrides: BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>,
}

static DOCUMENTED: LazyLock<Vec<TableSchema>> = LazyLock::new(|| read(Profile::Documented));
static TIMESPAN: LazyLock<Vec<TableSchema>> = LazyLock::new(|| read(Profile::Timespan));

/// All tables: the classic ones, those of the workspace, `FunctionAppLogs`.
pub fn tables(profile: Profile) -> &'static [TableSchema] {
    match profile {
        Profile::Documented => &DOCUMENTED,
        Profile::Timespan => &TIMESPAN,
    }
}

/// The table of a name, as it is spelt.
pub fn table(name: &str, profile: Profile) -> Option<&'static TableSchema> {
    tables(profile).iter().find(|it| it.name == name)
}

/// The file is a part of the program: one that cannot be read has no tables, and the tests say so.
fn read(profile: Profile) -> Vec<TableSchema> {
    let Ok(file) = serde_json::from_str::<SchemaFile>(FILE) else { return Vec::new() };
    let common = columns(&file.common);
    let classic = file.tables.iter().map(|(name, own)| (name, [columns(own), common.clone()].concat()));
    let standalone = file.standalone.iter().map(|(name, own)| (name, columns(own)));
    let mut tables: Vec<TableSchema> =
        classic.chain(standalone).map(|(name, columns)| TableSchema { name: name.clone(), columns }).collect();
    let overrides = if profile == Profile::Timespan { file.overrides.get("timespan") } else { None };
    for (name, changed) in overrides.into_iter().flatten() {
        let columns = tables.iter_mut().filter(|it| it.name == *name).flat_map(|it| &mut it.columns);
        for column in columns {
            column.kind = changed.get(&column.name).and_then(|it| it.parse().ok()).unwrap_or(column.kind);
        }
    }
    tables
}

/// Reads `name:type, name:type`.
fn columns(text: &str) -> Vec<Column> {
    let pairs = text.split(", ").filter_map(|it| it.split_once(':'));
    pairs.filter_map(|(name, kind)| Some(Column::new(name, kind.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kql::Type;

    fn kind(table_name: &str, column: &str, profile: Profile) -> Option<Type> {
        table(table_name, profile)?.column(column).map(|it| it.kind)
    }

    #[test]
    fn every_column_of_the_file_is_there_with_its_type() {
        let file: serde_json::Value = serde_json::from_str(FILE).unwrap();
        let count = |text: &serde_json::Value| text.as_str().unwrap().matches(':').count();
        assert_eq!(tables(Profile::Documented).len(), 14);
        for (name, text) in file["tables"].as_object().unwrap() {
            let columns = &table(name, Profile::Documented).unwrap().columns;
            assert_eq!(columns.len(), count(text) + count(&file["common"]), "{name}");
        }
        for (name, text) in file["standalone"].as_object().unwrap() {
            assert_eq!(table(name, Profile::Documented).unwrap().columns.len(), count(text), "{name}");
        }
        assert_eq!(kind("requests", "timestamp", Profile::Documented), Some(Type::DateTime));
        assert_eq!(kind("AppRequests", "Success", Profile::Documented), Some(Type::Bool));
        assert_eq!(kind("FunctionAppLogs", "LevelId", Profile::Documented), Some(Type::Int));
        assert_eq!(kind("requests", "Timestamp", Profile::Documented), None);
    }

    #[test]
    fn the_profiles_differ_in_durations_alone() {
        for (one, other) in tables(Profile::Documented).iter().zip(tables(Profile::Timespan)) {
            for (one_column, other_column) in one.columns.iter().zip(&other.columns) {
                let is_changed = one_column != other_column;
                let is_duration = one_column.name == "duration";
                assert_eq!(is_changed, is_duration, "{} {}", one.name, one_column.name);
            }
        }
        assert_eq!(kind("requests", "duration", Profile::Documented), Some(Type::Real));
        assert_eq!(kind("dependencies", "duration", Profile::Timespan), Some(Type::TimeSpan));
        assert_eq!(kind("AppRequests", "DurationMs", Profile::Timespan), Some(Type::Real));
    }
}
