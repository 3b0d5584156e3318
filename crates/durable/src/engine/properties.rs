//! Values of `google.protobuf.Value` as JSON, and back.

use std::collections::BTreeMap;

use prost_types::{ListValue, Struct};
use serde_json::{Number, Value as Json};

use super::protocol::{Properties, Value, ValueKind};

pub(super) fn to_json(properties: &Properties) -> BTreeMap<String, Json> {
    properties.iter().map(|(name, value)| (name.clone(), json(value))).collect()
}

pub(super) fn from_json(properties: BTreeMap<String, Json>) -> Properties {
    properties.into_iter().map(|(name, value)| (name, message(value))).collect()
}

fn json(value: &Value) -> Json {
    match &value.kind {
        None | Some(ValueKind::NullValue(_)) => Json::Null,
        Some(ValueKind::BoolValue(it)) => Json::from(*it),
        Some(ValueKind::NumberValue(it)) => number(*it),
        Some(ValueKind::StringValue(it)) => Json::from(it.as_str()),
        Some(ValueKind::ListValue(it)) => it.values.iter().map(json).collect(),
        Some(ValueKind::StructValue(it)) => it.fields.iter().map(|(name, it)| (name.clone(), json(it))).collect(),
    }
}

/// The message has floating point alone; whole numbers are whole again.
fn number(value: f64) -> Json {
    let whole = value as i64;
    if whole as f64 == value && whole.unsigned_abs() < 1 << f64::MANTISSA_DIGITS {
        return Json::from(whole);
    }
    Number::from_f64(value).map_or(Json::Null, Json::Number)
}

fn message(json: Json) -> Value {
    let kind = match json {
        Json::Null => ValueKind::NullValue(0),
        Json::Bool(it) => ValueKind::BoolValue(it),
        Json::Number(it) => ValueKind::NumberValue(it.as_f64().unwrap_or(f64::NAN)),
        Json::String(it) => ValueKind::StringValue(it),
        Json::Array(it) => ValueKind::ListValue(ListValue { values: it.into_iter().map(message).collect() }),
        Json::Object(it) => {
            let fields = it.into_iter().map(|(name, it)| (name, message(it))).collect();
            ValueKind::StructValue(Struct { fields })
        }
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        let values = json!({"a": 7, "b": -1.5, "c": "x", "d": [true, null, {"e": 9_007_199_254_740_991_i64}], "f": {}});
        let properties: BTreeMap<String, Json> = serde_json::from_value(values).unwrap();
        assert_eq!(to_json(&from_json(properties.clone())), properties);
    }
}
