//! One envelope, as any SDK sends it: when, from where, and one item of a kind.

use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::evidence::schema::{ReadTime, read_time};

/// Characters quoted of what is wrong.
const QUOTED: usize = 200;

/// Why an envelope gives no rows.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("cut or not JSON: {0}")]
    Cut(String),
    #[error("not an envelope: {0}")]
    NotAnEnvelope(&'static str),
    #[error("the kind {0:?} has no table here")]
    UnknownKind(String),
    #[error("its time is not readable: {0:?}")]
    Time(String),
    #[error("its time {0} is before 1970")]
    Old(String),
    #[error("{field} of {kind} is {value}")]
    Field { kind: String, field: &'static str, value: String },
    #[error("no table is told by {0}: name one with --table")]
    NoTable(String),
    #[error("not read: {0}")]
    Body(String),
    #[error("the disk did not take it: {0}")]
    NotStored(String),
}

impl Refusal {
    /// Of text that is not JSON. A line is a line to its reader, so its number is not repeated.
    pub fn cut(error: &serde_json::Error) -> Self {
        let told = error.to_string();
        let what = told.split(" at line ").next().unwrap_or_default();
        let line = if error.line() > 1 { format!(" of its line {}", error.line()) } else { String::new() };
        Self::Cut(format!("{what} at column {}{line}", error.column()))
    }

    pub(super) fn unknown_kind(kind: &str) -> Self {
        Self::UnknownKind(clipped(kind))
    }

    /// The group it is counted in.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Cut(_) => "cut",
            Self::NotAnEnvelope(_) => "not an envelope",
            Self::UnknownKind(_) => "unknown kind",
            Self::Time(_) => "unreadable time",
            Self::Old(_) => "older than the clock",
            Self::Field { .. } => "unreadable field",
            Self::NoTable(_) => "no table",
            Self::Body(_) => "unread body",
            Self::NotStored(_) => "not stored",
        }
    }

    /// The status its sender is told: what asks for another try, or what does not.
    pub fn status(&self) -> u16 {
        if let Self::NotStored(_) = self { 503 } else { 400 }
    }
}

/// An envelope whose head was understood.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub time: ReadTime,
    pub instrumentation_key: String,
    pub tags: Map<String, Value>,
    /// Items that this one stands for, from the rate of sampling.
    pub item_count: i64,
    pub item: Item,
}

/// What is told: `data.baseType` and `data.baseData`.
#[derive(Clone, Debug)]
pub struct Item {
    pub kind: String,
    pub fields: Map<String, Value>,
}

impl Envelope {
    /// Takes an envelope apart.
    ///
    /// # Errors
    /// When it is none, or its time cannot be.
    pub fn read(value: Value) -> Result<Self, Refusal> {
        let Value::Object(mut envelope) = value else { return Err(Refusal::NotAnEnvelope("it is no JSON object")) };
        let mut data = object(envelope.remove("data"));
        let Some(Value::String(kind)) = data.remove("baseType") else {
            return Err(Refusal::NotAnEnvelope("it has no data.baseType"));
        };
        let Some(Value::Object(fields)) = data.remove("baseData") else {
            return Err(Refusal::NotAnEnvelope("it has no data.baseData"));
        };
        let time = time(envelope.get("time"))?;
        let instrumentation_key = envelope.get("iKey").and_then(Value::as_str).unwrap_or_default().to_owned();
        let item_count = item_count(envelope.get("sampleRate"));
        let tags = object(envelope.remove("tags"));
        Ok(Self { time, instrumentation_key, tags, item_count, item: Item { kind, fields } })
    }

    /// A tag; empty where there is none.
    pub fn tag(&self, name: &str) -> &str {
        self.tags.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn time(value: Option<&Value>) -> Result<ReadTime, Refusal> {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    match read_time(text) {
        None => Err(Refusal::Time(clipped(text))),
        Some(time) if time.at < OffsetDateTime::UNIX_EPOCH => Err(Refusal::Old(time.text)),
        Some(time) => Ok(time),
    }
}

/// A rate is the percentage that was kept.
fn item_count(rate: Option<&Value>) -> i64 {
    let rate = rate.and_then(|it| it.as_f64().or_else(|| it.as_str()?.parse().ok())).unwrap_or(100.0);
    if rate > 0.0 && rate < 100.0 { i64::from((100.0 / rate).round() as i32) } else { 1 }
}

impl Item {
    /// A field as text; numbers and truth values are written out.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.fields.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// An object, `properties` for example; empty where there is none.
    pub fn object(&self, name: &str) -> Value {
        self.fields.get(name).filter(|it| it.is_object()).cloned().unwrap_or_else(|| Value::Object(Map::new()))
    }

    /// What is said of a field that is not what it should be.
    pub fn refusal(&self, field: &'static str) -> Refusal {
        refusal(&self.kind, field, self.fields.get(field))
    }
}

/// As much of a text as a reason quotes.
pub(super) fn clipped(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}

/// As [`Item::refusal`], of a field deeper inside.
pub(super) fn refusal(kind: &str, field: &'static str, value: Option<&Value>) -> Refusal {
    let value = value.map_or_else(|| "missing".to_owned(), |it| clipped(&it.to_string()));
    Refusal::Field { kind: kind.to_owned(), field, value }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn envelope() -> Value {
        json!({
            "name": "AppTraces", "time": "2026-11-25T13:31:34.7950509Z", "iKey": "k", "sampleRate": 25.0,
            "tags": {"ai.operation.id": "1"}, "data": {"baseType": "MessageData", "baseData": {"message": "m"}},
        })
    }

    #[test]
    fn a_whole_envelope_is_taken_apart() {
        let read = Envelope::read(envelope()).unwrap();
        assert_eq!((read.time.text.as_str(), read.item_count), ("2026-11-25T13:31:34.7950509Z", 4));
        assert_eq!((read.tag("ai.operation.id"), read.tag("ai.cloud.role")), ("1", ""));
        assert_eq!((read.item.kind.as_str(), read.item.text("message").as_deref()), ("MessageData", Some("m")));
        for (rate, count) in [
            (json!(100), 1),
            (json!(null), 1),
            (json!(0), 1),
            (json!(33.3), 3),
            (json!("50"), 2),
            (json!(1e-300), 2_147_483_647),
        ] {
            assert_eq!(item_count(Some(&rate)), count, "{rate}");
        }
    }

    #[test]
    fn what_is_no_envelope_or_has_no_time_is_refused_for_what_it_is() {
        let changed = |change: fn(&mut Value)| {
            let mut value = envelope();
            change(&mut value);
            Envelope::read(value).unwrap_err()
        };
        assert_eq!(Envelope::read(json!(7)).unwrap_err().reason(), "not an envelope");
        assert_eq!(changed(|it| it["data"] = json!(null)).reason(), "not an envelope");
        assert_eq!(changed(|it| it["data"]["baseData"] = json!("x")).reason(), "not an envelope");
        assert_eq!(changed(|it| it["time"] = json!("soon")), Refusal::Time("soon".to_owned()));
        assert_eq!(changed(|it| it["time"] = json!(12)).reason(), "unreadable time");
        assert_eq!(changed(|it| it["time"] = json!("0001-01-01T00:00:00Z")).reason(), "older than the clock");
        assert_eq!(changed(|it| it["time"] = json!("1969-12-31T23:59:59.9Z")).reason(), "older than the clock");
    }
}
