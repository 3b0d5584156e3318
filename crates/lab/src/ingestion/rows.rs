//! The rows that an envelope becomes, with the columns of `load/kql_schema.json` that it fills.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{
    counters::{metric_rows, performance_counter},
    envelope::{Envelope, Item, Refusal},
    exceptions::exception_columns,
};
use crate::evidence::{schema::duration_ms, table_writer::Table};

/// A row and the table it belongs to.
#[derive(Clone, Debug)]
pub struct TableRow {
    pub table: Table,
    pub at: OffsetDateTime,
    pub columns: Map<String, Value>,
}

/// Columns of a row, filled one after the other.
pub(super) type Columns = Map<String, Value>;

/// Tags and the columns that have them.
const TAGS: [(&str, &str); 14] = [
    ("ai.application.ver", "application_Version"),
    ("ai.device.model", "client_Model"),
    ("ai.device.osVersion", "client_OS"),
    ("ai.device.type", "client_Type"),
    ("ai.internal.sdkVersion", "sdkVersion"),
    ("ai.location.city", "client_City"),
    ("ai.location.country", "client_CountryOrRegion"),
    ("ai.location.ip", "client_IP"),
    ("ai.location.province", "client_StateOrProvince"),
    ("ai.operation.syntheticSource", "operation_SyntheticSource"),
    ("ai.session.id", "session_Id"),
    ("ai.user.accountId", "user_AccountId"),
    ("ai.user.authUserId", "user_AuthenticatedId"),
    ("ai.user.id", "user_Id"),
];
/// Tags whose columns queries compare: they are there when the tag is not.
const COMPARED_TAGS: [(&str, &str); 5] = [
    ("ai.cloud.role", "cloud_RoleName"),
    ("ai.cloud.roleInstance", "cloud_RoleInstance"),
    ("ai.operation.id", "operation_Id"),
    ("ai.operation.name", "operation_Name"),
    ("ai.operation.parentId", "operation_ParentId"),
];

/// Upper ends of `performanceBucket`, in milliseconds.
const BUCKETS: [(f64, &str); 10] = [
    (250.0, "<250ms"),
    (500.0, "250ms-500ms"),
    (1000.0, "500ms-1sec"),
    (3000.0, "1sec-3sec"),
    (7000.0, "3sec-7sec"),
    (15_000.0, "7sec-15sec"),
    (30_000.0, "15sec-30sec"),
    (60_000.0, "30sec-1min"),
    (120_000.0, "1min-2min"),
    (300_000.0, "2min-5min"),
];
const LONGEST_BUCKET: &str = ">=5min";

/// The rows of an envelope: one, or one for each metric it holds.
///
/// # Errors
/// When its kind has no table, or a field is not what it should be.
pub fn rows_of(envelope: &Envelope) -> Result<Vec<TableRow>, Refusal> {
    let item = &envelope.item;
    let one = |table: Table, item_type: &str, own: Columns| {
        let mut columns = common(envelope, item_type);
        columns.extend(own);
        TableRow { table, at: envelope.time.at, columns }
    };
    let counted = |table: Table, item_type: &str, own: Columns| {
        let mut row = one(table, item_type, own);
        row.columns.insert("itemCount".to_owned(), json!(envelope.item_count));
        if item.fields.contains_key("measurements") {
            row.columns.insert("customMeasurements".to_owned(), item.object("measurements"));
        }
        vec![row]
    };
    Ok(match item.kind.as_str() {
        "RequestData" => counted(Table::Requests, "request", request(item)?),
        "RemoteDependencyData" => counted(Table::Dependencies, "dependency", dependency(item)?),
        "MessageData" => counted(Table::Traces, "trace", trace(item)?),
        "ExceptionData" => counted(Table::Exceptions, "exception", exception_columns(item)?),
        "EventData" => counted(Table::CustomEvents, "customEvent", copied(item, &[("name", "name")])),
        "PerformanceCounterData" => {
            vec![one(Table::PerformanceCounters, "performanceCounter", performance_counter(item)?)]
        }
        "MetricData" => {
            let rows = metric_rows(item)?.into_iter();
            rows.map(|(table, item_type, own)| one(table, item_type, own)).collect()
        }
        other => return Err(Refusal::unknown_kind(other)),
    })
}

/// What every row has.
fn common(envelope: &Envelope, item_type: &str) -> Columns {
    let mut columns = Columns::new();
    columns.insert("timestamp".to_owned(), json!(envelope.time.text));
    columns.insert("itemType".to_owned(), json!(item_type));
    for (tag, column) in COMPARED_TAGS {
        columns.insert(column.to_owned(), json!(envelope.tag(tag)));
    }
    for (tag, column) in TAGS {
        let text = envelope.tag(tag);
        if !text.is_empty() {
            columns.insert(column.to_owned(), json!(text));
        }
    }
    if !envelope.instrumentation_key.is_empty() {
        columns.insert("iKey".to_owned(), json!(envelope.instrumentation_key));
    }
    columns.insert("customDimensions".to_owned(), envelope.item.object("properties"));
    columns
}

/// Texts that an item has, under the names of their columns.
pub(super) fn copied(item: &Item, fields: &[(&str, &str)]) -> Columns {
    let texts = fields.iter().filter_map(|(field, column)| Some(((*column).to_owned(), json!(item.text(field)?))));
    texts.collect()
}

fn request(item: &Item) -> Result<Columns, Refusal> {
    let fields = [("id", "id"), ("name", "name"), ("responseCode", "resultCode"), ("source", "source"), ("url", "url")];
    let mut columns = copied(item, &fields);
    outcome(item, &mut columns)?;
    Ok(columns)
}

fn dependency(item: &Item) -> Result<Columns, Refusal> {
    let same = ["data", "id", "name", "resultCode", "target", "type"].map(|it| (it, it));
    let mut columns = copied(item, &same);
    outcome(item, &mut columns)?;
    Ok(columns)
}

/// How long it took and whether it succeeded: without a word, it did.
fn outcome(item: &Item, columns: &mut Columns) -> Result<(), Refusal> {
    if let Some(text) = item.text("duration") {
        let ms = duration_ms(&text).ok_or_else(|| item.refusal("duration"))?;
        columns.insert("duration".to_owned(), json!(ms));
        columns.insert("performanceBucket".to_owned(), json!(bucket(ms)));
    }
    let success = match item.text("success").as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("true") => "True",
        Some("false") => "False",
        Some(_) => return Err(item.refusal("success")),
    };
    columns.insert("success".to_owned(), json!(success));
    Ok(())
}

/// `performanceBucket`, which the service adds.
pub(crate) fn bucket(ms: f64) -> &'static str {
    BUCKETS.iter().find(|(end, _)| ms < *end).map_or(LONGEST_BUCKET, |it| it.1)
}

fn trace(item: &Item) -> Result<Columns, Refusal> {
    let mut columns = copied(item, &[("message", "message")]);
    if let Some(level) = severity(item)? {
        columns.insert("severityLevel".to_owned(), json!(level));
    }
    Ok(columns)
}

/// `severityLevel` as a number, whether it was sent as one or by its name.
pub(super) fn severity(item: &Item) -> Result<Option<u8>, Refusal> {
    const NAMES: [&str; 5] = ["verbose", "information", "warning", "error", "critical"];
    let Some(text) = item.text("severityLevel") else { return Ok(None) };
    let text = text.trim().to_ascii_lowercase();
    let by_name = NAMES.iter().position(|it| *it == text).map(|it| it as u8);
    let level = by_name.or_else(|| text.parse().ok().filter(|it| usize::from(*it) < NAMES.len()));
    level.map(Some).ok_or_else(|| item.refusal("severityLevel"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The columns of the only row.
    fn row(kind: &str, fields: Value) -> Result<Value, Refusal> {
        let envelope = json!({
            "name": "x", "time": "2026-11-25T13:31:34.7Z", "iKey": "k", "sampleRate": 50,
            "tags": {"ai.operation.id": "op", "ai.location.ip": "0.0.0.0", "ai.cloud.role": "app"},
            "data": {"baseType": kind, "baseData": fields},
        });
        let rows = rows_of(&Envelope::read(envelope).unwrap())?;
        assert_eq!(rows.len(), 1);
        Ok(Value::Object(rows[0].columns.clone()))
    }

    #[test]
    fn a_request_has_every_column_its_envelope_fills() {
        let fields = json!({
            "id": "1", "name": "f", "duration": "00:00:00.3662066", "success": false, "responseCode": 500, "url": "u",
            "properties": {"Category": "Host.Results"}, "measurements": {"m": 1.5},
        });
        let wanted = json!({
            "timestamp": "2026-11-25T13:31:34.7Z", "itemType": "request", "cloud_RoleName": "app",
            "cloud_RoleInstance": "", "operation_Id": "op", "operation_Name": "", "operation_ParentId": "",
            "client_IP": "0.0.0.0", "iKey": "k", "customDimensions": {"Category": "Host.Results"}, "id": "1",
            "name": "f", "resultCode": "500", "url": "u", "duration": 366.2066, "performanceBucket": "250ms-500ms",
            "success": "False", "itemCount": 2, "customMeasurements": {"m": 1.5},
        });
        assert_eq!(row("RequestData", fields).unwrap(), wanted);
    }

    #[test]
    fn success_that_is_not_told_is_success_and_what_is_unreadable_is_named() {
        let success = |value: Value| row("RemoteDependencyData", json!({"name": "d", "success": value}));
        assert_eq!(row("RemoteDependencyData", json!({"name": "d"})).unwrap()["success"], "True");
        for (value, wanted) in [(json!(true), "True"), (json!("False"), "False"), (json!(null), "True")] {
            assert_eq!(success(value).unwrap()["success"], wanted);
        }
        assert_eq!(success(json!("so so")).unwrap_err().to_string(), "success of RemoteDependencyData is \"so so\"");
        let slow = row("RequestData", json!({"duration": "quick"})).unwrap_err();
        assert_eq!(slow.to_string(), "duration of RequestData is \"quick\"");
    }

    #[test]
    fn a_severity_is_a_number_whether_it_was_sent_as_one_or_not() {
        let of = |value: Value| row("MessageData", json!({"message": "m", "severityLevel": value}));
        for (value, wanted) in
            [(json!("Verbose"), 0), (json!("information"), 1), (json!(2), 2), (json!("3"), 3), (json!("Critical"), 4)]
        {
            assert_eq!(of(value).unwrap()["severityLevel"], wanted);
        }
        assert_eq!(of(json!(null)).unwrap().get("severityLevel"), None);
        assert!(of(json!(5)).is_err() && of(json!("loud")).is_err());
    }

    #[test]
    fn buckets_are_named_as_the_service_names_them() {
        let names = [0.0, 249.9, 250.0, 999.0, 299_999.0, 300_000.0].map(bucket);
        assert_eq!(names, ["<250ms", "<250ms", "250ms-500ms", "500ms-1sec", "2min-5min", ">=5min"]);
    }

    #[test]
    fn an_event_is_kept_and_a_kind_without_a_table_is_named() {
        assert_eq!(row("EventData", json!({"name": "started"})).unwrap()["name"], "started");
        for kind in ["PageViewData", "AvailabilityData", "messagedata", ""] {
            assert_eq!(row(kind, json!({})).unwrap_err(), Refusal::UnknownKind(kind.to_owned()));
        }
    }
}
