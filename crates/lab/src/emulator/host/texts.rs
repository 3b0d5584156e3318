//! JSON as .NET's Newtonsoft passes it on: times are recognised and written anew, numbers get .NET's exponent.

use serde_json::{Map, Value};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::binding_data::encoded;

/// An activity's result as JSON text; `None` where it returned nothing.
pub(crate) fn result(value: &Value) -> Option<String> {
    if value.is_null() { None } else { Some(text(value)) }
}

/// What the host adds to an invocation's metadata from its input: the input's own properties, arrays and nulls left out.
pub(crate) fn properties(input: &Value) -> Map<String, Value> {
    let fields = input.as_object().into_iter().flatten();
    let properties = fields.filter_map(|(name, value)| {
        let value = match value {
            Value::Null | Value::Array(_) => return None,
            Value::Object(_) => serde_json::from_str(&text(value)).unwrap_or_default(),
            Value::Bool(truth) => encoded(if *truth { "True" } else { "False" }),
            Value::Number(number) => encoded(&number.to_string()),
            Value::String(text) => encoded(&short_date(text).unwrap_or_else(|| text.clone())),
        };
        Some((name.clone(), value))
    });
    properties.collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.as_f64().filter(|_| number.is_f64()).map_or_else(|| number.to_string(), float),
        Value::String(text) => Value::from(date(text).unwrap_or_else(|| text.clone())).to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), text(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
    }
}

/// `1.5e-7` is `1.5E-07`, and what is whole keeps its `.0`.
fn float(number: f64) -> String {
    let plain = format!("{number:?}");
    match plain.split_once('e') {
        None => plain,
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |it| ('-', it));
            format!("{digits}E{sign}{exponent:0>2}")
        }
    }
}

/// A time with an offset comes back in the host's own zone, without zeros at the end; one in UTC (`Z`) stays.
fn date(text: &str) -> Option<String> {
    let at = parse(text).filter(|_| !text.ends_with('Z'))?.to_offset(UtcOffset::UTC);
    let written = at.format(&Rfc3339).ok()?;
    Some(format!("{}+00:00", written.trim_end_matches('Z')))
}

/// The same as `DateTime.ToString` with the invariant culture.
fn short_date(text: &str) -> Option<String> {
    let format = time::macros::format_description!("[month]/[day]/[year] [hour]:[minute]:[second]");
    parse(text)?.to_offset(UtcOffset::UTC).format(&format).ok()
}

fn parse(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_are_written_as_recorded() {
        for (value, wanted) in [
            (json!("str"), Some(r#""str""#)),
            (json!(5), Some("5")),
            (json!(null), None),
            (json!("2026-04-07T12:28:36.120000+00:00"), Some(r#""2026-04-07T12:28:36.12+00:00""#)),
            (json!("2026-04-07T12:28:36Z"), Some(r#""2026-04-07T12:28:36Z""#)),
            (json!([1, "a"]), Some(r#"[1,"a"]"#)),
            (json!(true), Some("true")),
            (
                json!({"when": "2026-04-07T12:28:36.500+02:00", "f": 1.5e-7}),
                Some(r#"{"when":"2026-04-07T10:28:36.5+00:00","f":1.5E-07}"#),
            ),
            (json!({}), Some("{}")),
        ] {
            assert_eq!(result(&value).as_deref(), wanted);
        }
    }

    #[test]
    fn properties_are_written_as_recorded() {
        let input = json!({"k": "rv", "v": 5, "t": true, "n": null, "a": [1], "o": {"a": 1}, "d": "2026-04-07T12:28:36.12+00:00"});
        let wanted =
            json!({"k": "\"rv\"", "v": "\"5\"", "t": "\"True\"", "o": {"a": 1}, "d": "\"04/07/2026 12:28:36\""});
        assert_eq!(Value::Object(properties(&input)), wanted);
        assert!(properties(&json!([1])).is_empty());
    }
}
