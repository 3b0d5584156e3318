//! The local sink: gauges and dependencies as rows of JSONL tables, in Application Insights' columns.

use std::{
    io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{
    GAUGE, TRACE,
    moment::Moment,
    row_file::{LostRows, RowFile},
};
use custom_handler::console;

/// Performance counter names in Application Insights: `\Process(instance)\counter`.
const PROCESS_COUNTER: (&str, &str) = (r"\Process(", r")\");

/// Writes the rows. One row is one append, so that other processes may write to the same folder.
#[derive(Debug)]
pub(super) struct TableLayer {
    performance_counters: OpenTable,
    custom_metrics: OpenTable,
    dependencies: OpenTable,
    traces: OpenTable,
    lost: LostRows,
    role_name: String,
    role_instance: String,
    target: String,
}

#[derive(Debug)]
struct OpenTable {
    name: &'static str,
    /// The file, and how many rows in a row it has not taken.
    file: Mutex<(RowFile, u64)>,
}

/// A dependency under way.
struct Open {
    began: Moment,
    since: Instant,
    fields: Fields,
}

impl TableLayer {
    pub(super) fn open(folder: &Path, role_name: &str, role_instance: &str, target: &str) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let table = |name: &'static str| {
            let file = RowFile::append(&folder.join(name).with_extension("jsonl"))?;
            io::Result::Ok(OpenTable { name, file: Mutex::new((file, 0)) })
        };
        Ok(Self {
            performance_counters: table("performanceCounters")?,
            custom_metrics: table("customMetrics")?,
            dependencies: table("dependencies")?,
            traces: table("traces")?,
            lost: LostRows::open(folder),
            role_name: role_name.to_owned(),
            role_instance: role_instance.to_owned(),
            target: target.to_owned(),
        })
    }

    /// A row that is not written is counted, and told once: a full disk must not take the invocations with it.
    fn append(&self, table: &OpenTable, moment: Moment, mut row: Value) {
        moment.stamp(&mut row);
        row["cloud_RoleName"] = json!(self.role_name);
        row["cloud_RoleInstance"] = json!(self.role_instance);
        let mut file = table.file.lock().unwrap_or_else(PoisonError::into_inner);
        let name = table.name;
        match file.0.write(&row) {
            Err(error) => {
                file.1 += 1;
                let is_counted = self.lost.add(name, &error);
                if file.1 == 1 {
                    let uncounted = if is_counted { "" } else { ", nor can they be counted" };
                    console::err(&format!("rows of table {name} are lost{uncounted}: {error}"));
                }
            }
            Ok(()) if file.1 > 0 => {
                let lost = std::mem::take(&mut file.1);
                console::err(&format!("warn: table {name} takes rows again; {lost} were lost"));
            }
            Ok(()) => {}
        }
    }

    fn gauge(&self, fields: &Fields) {
        let (name, value) = (fields.text("name"), &fields.0["value"]);
        match name.strip_prefix(PROCESS_COUNTER.0).and_then(|it| it.split_once(PROCESS_COUNTER.1)) {
            Some((instance, counter)) => {
                let row = json!({
                    "category": "Process", "counter": counter, "name": name, "instance": instance, "value": value,
                });
                self.append(&self.performance_counters, Moment::now(), row);
            }
            None => {
                let row = json!({
                    "name": name, "value": value, "valueCount": 1, "valueSum": value, "valueMin": value, "valueMax": value,
                });
                self.append(&self.custom_metrics, Moment::now(), row);
            }
        }
    }

    /// A line about an orchestration. Its fields are its custom dimensions.
    fn trace(&self, level: tracing::Level, mut fields: Fields) {
        let severity = match level {
            tracing::Level::ERROR => 3,
            tracing::Level::WARN => 2,
            _ => 1,
        };
        let mut take = |name: &str| fields.0.as_object_mut().and_then(|it| it.remove(name)).unwrap_or_default();
        let (message, operation_id, host_operation_id) =
            (take("message"), take("operation_id"), take("host_operation_id"));
        let mut dimensions = fields.0;
        // As the corrected queries name them.
        dimensions["HostOperationId"] = host_operation_id;
        dimensions["instanceId"] = operation_id.clone();
        let row = json!({
            "itemType": "trace",
            "itemCount": 1,
            "message": message,
            "severityLevel": severity,
            "operation_Id": operation_id,
            "operation_Name": "",
            "operation_ParentId": "",
            "customDimensions": dimensions,
        });
        self.append(&self.traces, Moment::now(), row);
    }

    fn dependency(&self, open: &Open) {
        let fields = &open.fields;
        let success = if fields.0["success"] == json!(true) { "True" } else { "False" };
        let row = json!({
            "type": "Azure blob",
            "target": self.target,
            "name": fields.text("name"),
            "data": fields.text("detail"),
            "duration": open.since.elapsed().as_secs_f64() * 1000.0,
            "resultCode": fields.text("result_code"),
            "success": success,
            "itemCount": 1,
            "operation_Id": fields.text("operation_id"),
            "customDimensions": { "InvocationId": fields.text("invocation_id") },
        });
        self.append(&self.dependencies, open.began, row);
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for TableLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        match metadata.target() {
            GAUGE => {
                event.record(&mut fields);
                self.gauge(&fields);
            }
            TRACE => {
                event.record(&mut fields);
                self.trace(*metadata.level(), fields);
            }
            _ => {}
        }
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(Open { began: Moment::now(), since: Instant::now(), fields });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            values.record(&mut open.fields);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        if let Some(open) = span.extensions().get::<Open>() {
            self.dependency(open);
        }
    }
}

/// The fields of an event or span, by name. A field that was never recorded reads as null.
#[derive(Default)]
struct Fields(Value);

impl Fields {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn set(&mut self, field: &Field, value: Value) {
        if self.0.is_null() {
            self.0 = Value::Object(Map::new());
        }
        self.0[field.name()] = value;
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.set(field, json!(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, json!(value));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn rows(folder: &Path, table: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(folder.join(table)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn gauges_and_dependencies_become_rows() {
        let folder = std::env::temp_dir().join(format!("tables-{}", std::process::id()));
        let layer = TableLayer::open(&folder, "app", "one", "acct.blob").unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(target: "gauge", name = r"\Process(??APP_WIN32_PROC??)\Private Bytes", value = 7_u64);
            tracing::info!(target: "gauge", name = "handler.front_rss", value = 8_u64);
            let id = "0af7651916cd43dd8448eb211c80319c";
            tracing::warn!(target: "trace", operation_id = id, host_operation_id = "h", past_events = 3_usize, "Episode x");
            let span = tracing::info_span!(
                target: "dependency", "dependency", name = "GET input/a", detail = "bytes=0-1",
                result_code = tracing::field::Empty, success = tracing::field::Empty
            );
            span.record("result_code", "206").record("success", true);
        });
        let counter = &rows(&folder, "performanceCounters.jsonl")[0];
        assert_eq!((&counter["counter"], &counter["value"]), (&json!("Private Bytes"), &json!(7)));
        assert_eq!((&counter["category"], &counter["cloud_RoleName"]), (&json!("Process"), &json!("app")));
        assert_eq!(rows(&folder, "customMetrics.jsonl")[0]["name"], "handler.front_rss");
        let trace = &rows(&folder, "traces.jsonl")[0];
        assert_eq!((&trace["message"], &trace["severityLevel"]), (&json!("Episode x"), &json!(2)));
        assert_eq!(
            (&trace["operation_Id"], &trace["operation_Name"]),
            (&json!("0af7651916cd43dd8448eb211c80319c"), &json!(""))
        );
        let dimensions =
            json!({"past_events": 3, "HostOperationId": "h", "instanceId": "0af7651916cd43dd8448eb211c80319c"});
        assert_eq!(trace["customDimensions"], dimensions);
        let call = &rows(&folder, "dependencies.jsonl")[0];
        assert_eq!((&call["resultCode"], &call["success"]), (&json!("206"), &json!("True")));
        assert!(
            call["duration"].as_f64().unwrap() >= 0.0 && call["type"] == "Azure blob" && call["target"] == "acct.blob"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn rows_that_a_full_disk_does_not_take_are_counted_and_have_both_clocks() {
        let folder = std::env::temp_dir().join(format!("full-tables-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.join("traces.jsonl")).unwrap();
        let layer = TableLayer::open(&folder, "app", "one", "acct.blob").unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for _ in 0..3 {
                tracing::info!(target: "trace", operation_id = "i", "lost");
            }
            tracing::info!(target: "gauge", name = "handler.front_rss", value = 8_u64);
        });
        let lost = LostRows::read(&folder).unwrap().unwrap();
        assert_eq!((lost.rows, lost.tables["traces"]), (3, 3));
        assert!(lost.why.starts_with("No space left on device"), "{lost:?}");
        let kept = &rows(&folder, "customMetrics.jsonl")[0];
        assert!(kept["timestamp"].is_string() && kept["monotonicMs"].as_f64() > Some(0.0), "{kept}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
