//! Metrics, and which of them are performance counters: those named `\Category(instance)\Counter`.

use serde_json::{Value, json};

use super::{
    envelope::{Item, Refusal, refusal},
    rows::Columns,
};
use crate::evidence::table_writer::Table;

/// The parts of a counter's name.
#[derive(Debug, PartialEq)]
struct CounterName<'a> {
    category: &'a str,
    instance: &'a str,
    counter: &'a str,
}

impl<'a> CounterName<'a> {
    /// An instance may hold parentheses and a backslash, a category neither.
    fn read(name: &'a str) -> Option<Self> {
        let rest = name.strip_prefix('\\')?;
        let (category, instance, counter) = match (rest.find('('), rest.find('\\')) {
            (Some(open), end) if end.is_none_or(|it| open < it) => {
                let (instance, counter) = rest[open + 1..].rsplit_once(")\\")?;
                (&rest[..open], instance, counter)
            }
            (_, end) => (&rest[..end?], "", &rest[end? + 1..]),
        };
        let is_whole = !category.is_empty() && !counter.is_empty() && !counter.contains('\\');
        is_whole.then_some(Self { category, instance, counter })
    }

    fn columns(&self, name: &str, value: f64) -> Columns {
        let columns = json!({
            "category": self.category, "instance": self.instance, "counter": self.counter, "name": name, "value": value,
        });
        object(columns)
    }
}

fn object(value: Value) -> Columns {
    match value {
        Value::Object(columns) => columns,
        _ => Columns::new(),
    }
}

/// One row for each metric: its table, its `itemType`, its own columns.
pub(super) fn metric_rows(item: &Item) -> Result<Vec<(Table, &'static str, Columns)>, Refusal> {
    let metrics = item.fields.get("metrics").and_then(Value::as_array).filter(|it| !it.is_empty());
    let metrics = metrics.ok_or_else(|| item.refusal("metrics"))?;
    metrics.iter().map(|it| metric_row(&item.kind, it)).collect()
}

fn metric_row(kind: &str, metric: &Value) -> Result<(Table, &'static str, Columns), Refusal> {
    let name = metric["name"].as_str().ok_or_else(|| refusal(kind, "name", metric.get("name")))?;
    let value = number(kind, metric, "value")?.ok_or_else(|| refusal(kind, "value", None))?;
    if let Some(counter) = CounterName::read(name) {
        return Ok((Table::PerformanceCounters, "performanceCounter", counter.columns(name, value)));
    }
    // A measurement is one value. An aggregation without its bounds has those of its value if it is of one.
    let count = number(kind, metric, "count")?.unwrap_or(1.0).max(1.0);
    let bound = |field| Ok::<_, Refusal>(number(kind, metric, field)?.or((count == 1.0).then_some(value)));
    let (least, most) = (bound("min")?, bound("max")?);
    let mut columns = object(json!({
        "name": name, "value": value, "valueCount": count.round() as i64, "valueSum": value,
    }));
    for (column, bound) in [("valueMin", least), ("valueMax", most)] {
        columns.extend(bound.map(|it| (column.to_owned(), json!(it))));
    }
    Ok((Table::CustomMetrics, "customMetric", columns))
}

/// A sample of the older kind, which has the parts of the name.
pub(super) fn performance_counter(item: &Item) -> Result<Columns, Refusal> {
    let text = |field: &'static str| item.text(field).filter(|it| !it.is_empty());
    let category = text("categoryName").ok_or_else(|| item.refusal("categoryName"))?;
    let counter = text("counterName").ok_or_else(|| item.refusal("counterName"))?;
    let instance = text("instanceName").unwrap_or_default();
    let value = item.fields.get("value").and_then(Value::as_f64).ok_or_else(|| item.refusal("value"))?;
    let shown = if instance.is_empty() { String::new() } else { format!("({instance})") };
    let name = format!("\\{category}{shown}\\{counter}");
    Ok(CounterName { category: &category, instance: &instance, counter: &counter }.columns(&name, value))
}

fn number(kind: &str, metric: &Value, field: &'static str) -> Result<Option<f64>, Refusal> {
    match &metric[field] {
        Value::Null => Ok(None),
        value => value.as_f64().map(Some).ok_or_else(|| refusal(kind, field, Some(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(name: &str) -> Option<(&str, &str, &str)> {
        CounterName::read(name).map(|it| (it.category, it.instance, it.counter))
    }

    #[test]
    fn a_counter_is_split_into_its_parts_and_anything_else_is_a_metric() {
        for (name, wanted) in [
            (r"\Process(??APP_WIN32_PROC??)\Private Bytes", ("Process", "??APP_WIN32_PROC??", "Private Bytes")),
            (r"\Memory\Available Bytes", ("Memory", "", "Available Bytes")),
            (r"\Processor(_Total)\% Processor Time", ("Processor", "_Total", "% Processor Time")),
            (r"\Process(w3wp(2))\IO Data Bytes/sec", ("Process", "w3wp(2)", "IO Data Bytes/sec")),
            (
                r"\.NET CLR Exceptions(a\b)\# of Exceps Thrown / sec",
                (".NET CLR Exceptions", r"a\b", "# of Exceps Thrown / sec"),
            ),
            (r"\Memory\Bytes (free)", ("Memory", "", "Bytes (free)")),
        ] {
            assert_eq!(parts(name), Some(wanted), "{name}");
        }
        for name in [
            "Private Bytes",
            r"Process(x)\y",
            r"\Process",
            r"\Process(x)",
            r"\Process(x)\",
            r"\a\b\c",
            r"\\a\b",
            r"\(x)\y",
            "",
        ] {
            assert_eq!(parts(name), None, "{name}");
        }
    }

    fn rows(metrics: Value) -> Result<Vec<(Table, &'static str, Columns)>, Refusal> {
        metric_rows(&Item { kind: "MetricData".to_owned(), fields: object(json!({"metrics": metrics})) })
    }

    #[test]
    fn each_metric_of_an_envelope_is_a_row() {
        let rows = rows(json!([
            {"name": r"\Memory\Available Bytes", "kind": "Measurement", "value": 5},
            {"name": "m", "kind": "Measurement", "value": 1.5},
            {"name": "a", "kind": "Aggregation", "value": 6.0, "count": 3, "min": 1.0, "max": 3.0},
            {"name": "b", "kind": "Aggregation", "value": 6.0, "count": 3},
        ]))
        .unwrap();
        let tables: Vec<Table> = rows.iter().map(|it| it.0).collect();
        assert_eq!(
            tables,
            [Table::PerformanceCounters, Table::CustomMetrics, Table::CustomMetrics, Table::CustomMetrics]
        );
        let wanted = json!({"category": "Memory", "instance": "", "counter": "Available Bytes",
            "name": r"\Memory\Available Bytes", "value": 5.0});
        assert_eq!(json!(rows[0].2), wanted);
        let wanted =
            json!({"name": "m", "value": 1.5, "valueCount": 1, "valueSum": 1.5, "valueMin": 1.5, "valueMax": 1.5});
        assert_eq!(json!(rows[1].2), wanted);
        let wanted =
            json!({"name": "a", "value": 6.0, "valueCount": 3, "valueSum": 6.0, "valueMin": 1.0, "valueMax": 3.0});
        assert_eq!(json!(rows[2].2), wanted);
        assert_eq!(json!(rows[3].2), json!({"name": "b", "value": 6.0, "valueCount": 3, "valueSum": 6.0}));
    }

    #[test]
    fn a_metric_without_a_number_is_named() {
        for (metrics, told) in [
            (json!([]), "metrics of MetricData is []"),
            (json!(null), "metrics of MetricData is null"),
            (json!([{"name": "m"}]), "value of MetricData is missing"),
            (json!([{"name": "m", "value": "NaN"}]), "value of MetricData is \"NaN\""),
            (json!([{"value": 1}]), "name of MetricData is missing"),
        ] {
            assert_eq!(rows(metrics).unwrap_err().to_string(), told);
        }
    }

    #[test]
    fn the_older_kind_gives_the_same_row() {
        let fields =
            json!({"categoryName": "Process", "counterName": "Private Bytes", "instanceName": "i", "value": 2});
        let item = Item { kind: "PerformanceCounterData".to_owned(), fields: object(fields) };
        let wanted = json!({"category": "Process", "instance": "i", "counter": "Private Bytes",
            "name": r"\Process(i)\Private Bytes", "value": 2.0});
        assert_eq!(json!(performance_counter(&item).unwrap()), wanted);
        let fields = object(json!({"categoryName": "Memory", "counterName": "Free", "value": 2}));
        let item = Item { kind: "PerformanceCounterData".to_owned(), fields };
        assert_eq!(performance_counter(&item).unwrap()["name"], r"\Memory\Free");
    }
}
