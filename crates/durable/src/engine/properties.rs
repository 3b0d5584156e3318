//! Values of `google.protobuf.Value` as JSON, and back.

use std::collections::BTreeMap;

use serde_json::{Number, Value as Json};

use super::protocol::{ListValue, Properties, Struct, Value, ValueKind};

pub(super) fn to_json(properties: &Properties) -> BTreeMap<String, Json> {
    properties.iter().map(|(name, value)| (name.clone(), json(value))).collect()
}

pub(super) fn from_json(properties: BTreeMap<String, Json>) -> Properties {
    properties.into_iter().map(|(name, value)| (name, message(value))).collect()
}

fn json(value: &Value) -> Json {
    match &value.kind {
        None | Some(ValueKind::Null(_)) => Json::Null,
        Some(ValueKind::Bool(it)) => Json::from(*it),
        Some(ValueKind::Number(it)) => number(*it),
        Some(ValueKind::String(it)) => Json::from(it.as_str()),
        Some(ValueKind::List(it)) => it.values.iter().map(json).collect(),
        Some(ValueKind::Struct(it)) => it.fields.iter().map(|(name, it)| (name.clone(), json(it))).collect(),
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
        Json::Null => ValueKind::Null(0),
        Json::Bool(it) => ValueKind::Bool(it),
        Json::Number(it) => ValueKind::Number(it.as_f64().unwrap_or(f64::NAN)),
        Json::String(it) => ValueKind::String(it),
        Json::Array(it) => ValueKind::List(ListValue { values: it.into_iter().map(message).collect() }),
        Json::Object(it) => {
            let fields = it.into_iter().map(|(name, it)| (name, message(it))).collect();
            ValueKind::Struct(Struct { fields })
        }
    };
    kind.into()
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
