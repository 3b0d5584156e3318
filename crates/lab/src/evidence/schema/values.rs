//! Values of a column's type, from what envelopes, CSV and the forms of JSON have for them.

use serde_json::{Number, Value};
use time::{Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset, format_description::well_known::Rfc3339};

use custom_handler::clock;
use kql::Type;

/// Digits of a second that a time has in Kusto: its tick is 100 ns.
const DIGITS: usize = 7;
const TICKS_A_MS: f64 = 10_000.0;

/// A value that is not of its column's type.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{shown} is no {kind}")]
pub struct Unfit {
    kind: &'static str,
    /// The value, at most 60 characters of it.
    shown: String,
}

/// A time as it was read, and as rows have it: in UTC, with the digits that were given, at most seven.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadTime {
    pub at: OffsetDateTime,
    pub text: String,
}

/// The JSON of a value in a column of a type; nothing for a null. Numbers, truth values, times and objects may be texts.
///
/// # Errors
/// When the value is not of that type.
pub fn typed(kind: Type, value: &Value) -> Result<Option<Value>, Unfit> {
    if let Type::String = kind {
        return Ok(Some(Value::String(text(value))));
    }
    if is_null(value) {
        return Ok(None);
    }
    let (name, read) = match kind {
        Type::Bool => ("truth value", truth(value).map(Value::Bool)),
        Type::Int | Type::Long => ("whole number", whole(value).map(Value::from)),
        Type::Real => ("number", real(value).map(Value::Number)),
        Type::TimeSpan => ("timespan", real(value).map(Value::Number)),
        Type::DateTime => ("time", value.as_str().and_then(read_time).map(|it| Value::String(it.text))),
        Type::Dynamic | Type::Guid | Type::String => ("JSON", Some(dynamic(value))),
    };
    let shown = || text(value).chars().take(60).collect::<String>().escape_debug().to_string();
    read.map(Some).ok_or_else(|| Unfit { kind: name, shown: shown() })
}

/// Nulls as the exports spell them: CSV has empty texts, and `az` prints Python's `None`.
fn is_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => matches!(text.trim(), "" | "None" | "null"),
        _ => false,
    }
}

/// A string of Kusto is never null.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}

fn truth(value: &Value) -> Option<bool> {
    match text(value).trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn whole(value: &Value) -> Option<i64> {
    let is_whole = |it: &f64| it.fract() == 0.0 && it.abs() < 9e15;
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().filter(is_whole).map(|it| it as i64)),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| text.parse().ok().filter(is_whole).map(|it| it as i64))
        }
        _ => None,
    }
}

/// A number; a timespan in its place is its milliseconds.
fn real(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => Some(number.clone()),
        Value::String(text) => {
            let text = text.trim();
            let number = text.parse().ok().or_else(|| duration_ms(text))?;
            Number::from_f64(number)
        }
        _ => None,
    }
}

/// Exports have objects and arrays as texts of JSON.
fn dynamic(value: &Value) -> Value {
    match value {
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            serde_json::from_str(text).unwrap_or_else(|_| value.clone())
        }
        other => other.clone(),
    }
}

/// Milliseconds of a .NET timespan: `00:00:00.366`, `1.02:03:04.5`, `-00:00:01`.
pub fn duration_ms(text: &str) -> Option<f64> {
    let text = text.trim();
    let (sign, text) = text.strip_prefix('-').map_or((1.0, text), |it| (-1.0, it));
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let (days, hours) = hours.split_once('.').unwrap_or(("0", hours));
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let number = |it: &str| it.bytes().all(|byte| byte.is_ascii_digit()).then(|| it.parse::<u32>().ok()).flatten();
    let (days, hours, minutes, seconds) = (number(days)?, number(hours)?, number(minutes)?, number(seconds)?);
    let is_fraction = !fraction.is_empty() && fraction.bytes().all(|it| it.is_ascii_digit());
    if parts.next().is_some() || hours > 24 || minutes > 59 || seconds > 59 || !is_fraction {
        return None;
    }
    let digits: String = fraction.chars().chain("0000000".chars()).take(DIGITS).collect();
    let whole = ((u64::from(days) * 24 + u64::from(hours)) * 60 + u64::from(minutes)) * 60 + u64::from(seconds);
    let ticks = whole as f64 * 1e7 + digits.parse::<f64>().ok()?;
    Some(sign * ticks / TICKS_A_MS)
}

/// Reads a time: ISO 8601, without an offset in UTC, or as the portal writes it into CSV (`4/5/2026, 1:30:00.123 AM`).
pub fn read_time(text: &str) -> Option<ReadTime> {
    let text = text.trim();
    // `2026-04-05 01:30:00+00:00`, as Python prints it.
    let with_t = text.replacen(' ', "T", 1);
    for iso in [text.to_owned(), format!("{with_t}Z"), with_t] {
        if let Ok(at) = OffsetDateTime::parse(&iso, &Rfc3339) {
            // The last hours of the year 9999 may be none in UTC.
            let at = at.checked_to_offset(UtcOffset::UTC)?;
            let is_exact = iso.ends_with('Z') && iso.contains('T') && digits(&iso) <= DIGITS;
            return Some(ReadTime { at, text: if is_exact { iso } else { clock::timestamp(at) } });
        }
    }
    let at = portal_time(text)?;
    Some(ReadTime { at, text: clock::timestamp(at) })
}

/// Digits behind the point.
fn digits(text: &str) -> usize {
    text.split_once('.').map_or(0, |(_, it)| it.bytes().take_while(u8::is_ascii_digit).count())
}

/// Month, day and year, and a clock of twelve hours.
fn portal_time(text: &str) -> Option<OffsetDateTime> {
    let (date, clock) = text.split_once(", ").or_else(|| text.split_once(' '))?;
    let mut date = date.split('/').map(|it| it.parse::<u16>().ok());
    let (month, day, year) = (date.next()??, date.next()??, date.next()??);
    let (clock, half) = clock.trim().split_once([' ', '\u{202f}'])?;
    let mut parts = clock.split(':');
    let (hour, minute) = (parts.next()?.parse::<u8>().ok()?, parts.next()?.parse::<u8>().ok()?);
    let (second, fraction) = parts.next().map(|it| it.split_once('.').unwrap_or((it, "0")))?;
    let hour = match (hour, half) {
        (12, "AM") => 0,
        (1..12, "AM") | (12, "PM") => hour,
        (1..12, "PM") => hour + 12,
        _ => return None,
    };
    let nanoseconds: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let time = Time::from_hms_nano(hour, minute, second.parse().ok()?, nanoseconds.parse().ok()?).ok()?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = time::Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn timespans_are_milliseconds_to_the_tick() {
        for (text, ms) in [
            ("00:00:00.366", 366.0),
            ("00:00:00.3662066", 366.2066),
            ("0.00:00:00.016247", 16.247),
            ("1.02:03:04.5", 93_784_500.0),
            ("00:00:00", 0.0),
            ("00:00:00.0000001", 0.0001),
            ("-00:00:01.5", -1500.0),
            ("365.23:59:59.9990000", 31_622_399_999.0),
        ] {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
        }
        for text in ["", "1", "00:00", "00:00:00:00", "00:61:00", "00:00:61", "a:b:c", "00:00:00.x", "00:00:00.", "1.5"]
        {
            assert_eq!(duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn times_keep_their_digits_and_are_in_utc() {
        for (text, wanted) in [
            ("2026-11-25T13:31:34.7950509Z", "2026-11-25T13:31:34.7950509Z"),
            ("2026-11-25T13:31:34.837Z", "2026-11-25T13:31:34.837Z"),
            ("2026-11-25T13:31:34Z", "2026-11-25T13:31:34Z"),
            ("2026-11-25T13:31:34.123456789Z", "2026-11-25T13:31:34.1234567Z"),
            ("2026-11-25T15:31:34.5+02:00", "2026-11-25T13:31:34.5000000Z"),
            ("2026-11-25T13:31:34.795", "2026-11-25T13:31:34.795Z"),
            ("2026-11-25 13:31:34", "2026-11-25T13:31:34Z"),
            ("2026-11-25 13:31:34.5+00:00", "2026-11-25T13:31:34.5000000Z"),
            ("4/5/2026, 1:30:00.123 AM", "2026-04-05T01:30:00.1230000Z"),
            ("4/5/2026, 12:30:00 PM", "2026-04-05T12:30:00.0000000Z"),
            ("12/31/2026, 12:00:00.000 AM", "2026-12-31T00:00:00.0000000Z"),
        ] {
            assert_eq!(read_time(text).map(|it| it.text).as_deref(), Some(wanted), "{text}");
        }
        for text in
            ["", "yesterday", "13/5/2026, 1:30:00 AM", "4/5/2026, 13:30:00 PM", "2026-13-01T00:00:00Z", "1764077494"]
        {
            assert_eq!(read_time(text), None, "{text}");
        }
    }

    #[test]
    fn values_are_of_their_columns_type_or_named() {
        let of = |kind, value: Value| typed(kind, &value).unwrap();
        for value in [json!(null), json!(""), json!("None"), json!("null")] {
            assert_eq!(of(Type::Real, value), None);
        }
        assert_eq!(of(Type::Int, json!("3")), Some(json!(3)));
        assert_eq!(of(Type::Int, json!(3.0)), Some(json!(3)));
        assert_eq!(of(Type::Real, json!("3.5")), Some(json!(3.5)));
        assert_eq!(of(Type::Real, json!("00:00:01.5")), Some(json!(1500.0)));
        assert_eq!(of(Type::Bool, json!("True")), Some(json!(true)));
        assert_eq!(of(Type::Bool, json!(0)), Some(json!(false)));
        assert_eq!(of(Type::String, json!(true)), Some(json!("True")));
        assert_eq!(of(Type::String, json!(404)), Some(json!("404")));
        assert_eq!(of(Type::String, json!(null)), Some(json!("")));
        assert_eq!(of(Type::Dynamic, json!(r#"{"a":"1"}"#)), Some(json!({"a": "1"})));
        assert_eq!(of(Type::Dynamic, json!("{cut")), Some(json!("{cut")));
        for (kind, value) in [
            (Type::Int, json!("3.5")),
            (Type::Int, json!(true)),
            (Type::Real, json!("fast")),
            (Type::Real, json!("NaN")),
            (Type::Bool, json!("maybe")),
            (Type::DateTime, json!(5)),
        ] {
            assert!(typed(kind, &value).is_err(), "{kind:?} {value}");
        }
        assert_eq!(typed(Type::Int, &json!("x")).unwrap_err().to_string(), "x is no whole number");
    }
}
