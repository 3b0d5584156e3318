//! What the tests share: tables to query, answers as text, the schema of Application Insights.

use std::{fs, path::PathBuf};

use kql::{Column, Database, Query, Schemas, Table, Type, Value};

pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Columns as `name:type, name:type`.
pub(crate) fn schema(text: &str) -> Vec<Column> {
    let pairs = text.split(',').map(|it| it.trim().split_once(':').unwrap());
    pairs.map(|(name, kind)| Column::new(name, kind.parse().unwrap())).collect()
}

/// The tables of `load/kql_schema.json`, with the overrides of a profile.
pub(crate) fn schemas(profile: &str) -> Schemas {
    let text = fs::read_to_string(root().join("load/kql_schema.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let common = json["common"].as_str().unwrap();
    let mut all = Schemas::new();
    for (name, columns) in json["tables"].as_object().unwrap() {
        all.insert(name.clone(), schema(&format!("{common}, {}", columns.as_str().unwrap())));
    }
    for (name, columns) in json["standalone"].as_object().unwrap() {
        all.insert(name.clone(), schema(columns.as_str().unwrap()));
    }
    for (table, columns) in json["overrides"].get(profile).and_then(|it| it.as_object()).into_iter().flatten() {
        for (column, kind) in columns.as_object().unwrap() {
            let found = all.get_mut(table).unwrap().iter_mut().find(|it| it.name == *column).unwrap();
            found.kind = kind.as_str().unwrap().parse().unwrap();
        }
    }
    all
}

/// One row of each type, one of nulls.
pub(crate) fn database() -> Database {
    let columns = schema("s:string, n:long, r:real, t:datetime, p:timespan, b:bool, y:dynamic, i:int, g:guid");
    let texts = [
        [
            "Abc def",
            "7",
            "2.5",
            "2026-04-05T01:32:10Z",
            "1.02:03:04.5",
            "true",
            r#"{"a":{"b":[1,2,3]},"k":"v"}"#,
            "3",
            "74be27de-1e4e-49d9-b579-fe0b331d3642",
        ],
        ["", "null", "null", "null", "null", "null", "null", "null", "null"],
        [
            "xyz",
            "-7",
            "-2.5",
            "2026-04-05T01:47:59.9999999Z",
            "-00:00:01",
            "false",
            "[10,20]",
            "-3",
            "{74be27de1e4e49d9b579fe0b331d3643}",
        ],
    ];
    let rows =
        texts.map(|row| columns.iter().zip(row).map(|(it, text)| Value::parse(it.kind, text).unwrap()).collect());
    let mut database = Database::at(1_775_000_000_000_000_000);
    database.insert("T", Table::new(columns, rows.into()));
    database
}

/// The rows of an answer: cells with `|` between them, rows with a line each.
pub(crate) fn answer(query: &str) -> String {
    let output =
        Query::parse(query).and_then(|it| it.run(&database())).unwrap_or_else(|it| panic!("{}", it.render(query)));
    show(&output.table)
}

pub(crate) fn show(table: &Table) -> String {
    let rows = table.rows().map(|row| row.iter().map(cell).collect::<Vec<_>>().join("|"));
    rows.collect::<Vec<_>>().join("\n")
}

fn cell(value: &Value) -> String {
    if value.is_null() { "null".to_owned() } else { value.to_string() }
}

/// What `print` makes of an expression.
pub(crate) fn printed(expression: &str) -> String {
    answer(&format!("print {expression}"))
}

/// Names and types of an answer's columns.
pub(crate) fn columns(query: &str) -> String {
    let columns = Query::parse(query).and_then(|it| it.check(&database().schemas()));
    let columns = columns.unwrap_or_else(|it| panic!("{}", it.render(query)));
    columns.iter().map(|it| format!("{}:{}", it.name, it.kind)).collect::<Vec<_>>().join(", ")
}

pub(crate) fn refusal(query: &str) -> kql::Error {
    match Query::parse(query).and_then(|it| it.run(&database())) {
        Ok(_) => panic!("accepted: {query}"),
        Err(it) => it,
    }
}

#[test]
fn a_type_is_read_by_its_names_and_their_synonyms() {
    assert_eq!("double".parse(), Ok(Type::Real));
    assert_eq!("date".parse(), Ok(Type::DateTime));
    assert!("text".parse::<Type>().is_err());
}

/// What is wrong with an expression, or nothing.
pub(crate) fn printed_error(expression: &str) -> String {
    let query = format!("print {expression}");
    Query::parse(&query).and_then(|it| it.run(&database())).err().map(|it| it.to_string()).unwrap_or_default()
}
