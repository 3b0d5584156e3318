//! Types and values: conversion from text and JSON, text as Kusto prints it, and how values compare.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

use serde_json::Value as Json;

use crate::language::dates;

/// A type of the query language. `Display` is Kusto's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Type {
    Bool,
    DateTime,
    Dynamic,
    Guid,
    Int,
    Long,
    Real,
    String,
    TimeSpan,
}

impl Type {
    pub(crate) const ALL: [(Self, &'static str); 9] = [
        (Self::Bool, "bool"),
        (Self::DateTime, "datetime"),
        (Self::Dynamic, "dynamic"),
        (Self::Guid, "guid"),
        (Self::Int, "int"),
        (Self::Long, "long"),
        (Self::Real, "real"),
        (Self::String, "string"),
        (Self::TimeSpan, "timespan"),
    ];

    /// Kusto's name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(it, _)| *it == self).map_or("", |(_, name)| name)
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Long | Self::Real)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no type; the types are bool, datetime, dynamic, guid, int, long, real, string and timespan")]
pub struct UnknownType(String);

impl FromStr for Type {
    type Err = UnknownType;

    /// Reads Kusto's names and their synonyms.
    fn from_str(text: &str) -> Result<Self, UnknownType> {
        Ok(match text {
            "boolean" => Self::Bool,
            "date" => Self::DateTime,
            "uuid" | "uniqueid" => Self::Guid,
            "double" => Self::Real,
            "time" => Self::TimeSpan,
            name => match Self::ALL.iter().find(|(_, it)| *it == name) {
                Some((kind, _)) => *kind,
                None => return Err(UnknownType(name.to_owned())),
            },
        })
    }
}

/// One cell. A string is never null: an absent one is empty.
#[derive(Clone, Debug, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Real(f64),
    String(Arc<str>),
    /// Ticks of 100 ns since 0001-01-01.
    DateTime(i64),
    /// Ticks of 100 ns.
    TimeSpan(i64),
    Dynamic(Arc<Json>),
    /// The 128 bits as they are written.
    Guid(u128),
}

impl Value {
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::String(Arc::from(text.as_ref()))
    }

    pub(crate) fn dynamic(json: Json) -> Self {
        if json.is_null() { Self::Null } else { Self::Dynamic(Arc::new(json)) }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(crate) fn or_null(value: Option<Self>) -> Self {
        value.unwrap_or(Self::Null)
    }

    /// Whole numbers, whichever their type.
    pub(crate) fn as_long(&self) -> Option<i64> {
        match self {
            Self::Int(it) => Some((*it).into()),
            Self::Long(it) => Some(*it),
            Self::Dynamic(it) => it.as_i64(),
            _ => None,
        }
    }

    /// Numbers, whichever their type.
    pub(crate) fn as_real(&self) -> Option<f64> {
        match self {
            Self::Int(it) => Some((*it).into()),
            Self::Long(it) => Some(*it as f64),
            Self::Real(it) => Some(*it),
            Self::Dynamic(it) => it.as_f64(),
            _ => None,
        }
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(it) => Some(*it),
            Self::Dynamic(it) => it.as_bool(),
            _ => None,
        }
    }

    /// Reads a text as a value of a type. `None`: it does not convert, so its cell is null.
    pub fn parse(kind: Type, text: &str) -> Option<Self> {
        let trimmed = text.trim();
        if kind != Type::String && (trimmed.is_empty() || trimmed == "null") {
            return Some(Self::Null);
        }
        Some(match kind {
            Type::String => Self::text(text),
            Type::Bool if trimmed.eq_ignore_ascii_case("true") || trimmed == "1" => Self::Bool(true),
            Type::Bool if trimmed.eq_ignore_ascii_case("false") || trimmed == "0" => Self::Bool(false),
            Type::Bool => return None,
            Type::Int => Self::Int(trimmed.parse().ok().or_else(|| hex(trimmed)?.try_into().ok())?),
            Type::Long => Self::Long(trimmed.parse().ok().or_else(|| hex(trimmed))?),
            Type::Real => Self::Real(parse_real(trimmed)?),
            Type::DateTime => Self::DateTime(dates::parse_datetime(trimmed)?),
            Type::TimeSpan => match trimmed.parse::<f64>() {
                Ok(number) => Self::TimeSpan(milliseconds(number)?),
                Err(_) => Self::TimeSpan(dates::parse_timespan(trimmed)?),
            },
            Type::Guid => Self::Guid(parse_guid(trimmed)?),
            Type::Dynamic => Self::dynamic(parse_json(text)),
        })
    }

    /// Reads JSON as a value of a type. `None`: it does not convert, so its cell is null.
    /// A timespan may be a number of milliseconds.
    pub fn from_json(kind: Type, json: &Json) -> Option<Self> {
        Some(match (kind, json) {
            (Type::Dynamic, Json::String(text)) => Self::dynamic(parse_json(text)),
            (Type::Dynamic, json) => Self::dynamic(json.clone()),
            (Type::String, Json::Null) => Self::text(""),
            (_, Json::Null) => Self::Null,
            (kind, Json::String(text)) => return Self::parse(kind, text),
            (Type::String, json) => Self::text(json.to_string()),
            (Type::Bool, Json::Bool(it)) => Self::Bool(*it),
            (Type::Bool, Json::Number(it)) => Self::Bool(it.as_f64()? != 0.0),
            (Type::Int, Json::Number(it)) => Self::Int(whole(it)?.try_into().ok()?),
            (Type::Long, Json::Number(it)) => Self::Long(whole(it)?),
            (Type::Real, Json::Number(it)) => Self::Real(it.as_f64()?),
            (Type::TimeSpan, Json::Number(it)) => Self::TimeSpan(milliseconds(it.as_f64()?)?),
            _ => return None,
        })
    }

    /// JSON as `lab query` writes it: datetimes and timespans are texts, NaN and infinity too.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(it) => Json::Bool(*it),
            Self::Int(it) => (*it).into(),
            Self::Long(it) => (*it).into(),
            Self::Real(it) if it.is_finite() => (*it).into(),
            Self::Dynamic(it) => Json::clone(it),
            Self::TimeSpan(it) => {
                let text = dates::show_timespan(*it);
                if text.contains('.') && it % dates::SECOND != 0 { text.into() } else { (text + ".0000000").into() }
            }
            other => other.to_string().into(),
        }
    }

    /// Null, an empty text, an empty array or object: what `isempty` asks for.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::String(it) => it.is_empty(),
            Self::Dynamic(it) => match &**it {
                Json::String(it) => it.is_empty(),
                Json::Array(it) => it.is_empty(),
                Json::Object(it) => it.is_empty(),
                _ => false,
            },
            _ => false,
        }
    }

    /// `None`: one of them is null, or the types do not compare.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::DateTime(a), Self::DateTime(b)) | (Self::TimeSpan(a), Self::TimeSpan(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            (Self::Long(a), Self::Long(b)) => Some(a.cmp(b)),
            (Self::Real(a), Self::Real(b)) => a.partial_cmp(b),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Guid(a), Self::Guid(b)) => Some(a.cmp(b)),
            (Self::Null, _) | (_, Self::Null) => None,
            (Self::Dynamic(a), b) => Self::of_json(a).and_then(|a| a.compare(b)),
            (a, Self::Dynamic(b)) => Self::of_json(b).and_then(|b| a.compare(&b)),
            (Self::Bool(a), b) => i64::from(*a).partial_cmp(&b.as_long()?),
            (a, Self::Bool(b)) => a.as_long()?.partial_cmp(&i64::from(*b)),
            (a, b) => match (a.as_long(), b.as_long()) {
                (Some(a), Some(b)) => Some(a.cmp(&b)),
                _ => a.as_real()?.partial_cmp(&b.as_real()?),
            },
        }
    }

    /// The scalar in a JSON value; arrays and objects are none.
    pub(crate) fn of_json(json: &Json) -> Option<Self> {
        Some(match json {
            Json::Bool(it) => Self::Bool(*it),
            Json::Number(it) => it.as_i64().map(Self::Long).or_else(|| it.as_f64().map(Self::Real))?,
            Json::String(it) => Self::text(it),
            _ => return None,
        })
    }

    /// Kusto's `==`: null when one is null; a text against another type compares as text, `true` and `false` in any case.
    pub(crate) fn equals(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::String(a), Self::String(b)) => Some(a == b),
            (Self::Null, _) | (_, Self::Null) => None,
            (Self::Dynamic(a), Self::Dynamic(b)) => Some(a == b),
            (Self::String(text), other) | (other, Self::String(text)) => Some(match other {
                Self::DateTime(it) => dates::parse_datetime(text) == Some(*it),
                Self::TimeSpan(it) => dates::parse_timespan(text) == Some(*it),
                Self::Guid(it) => parse_guid(text) == Some(*it),
                Self::Bool(it) => text.eq_ignore_ascii_case(if *it { "true" } else { "false" }),
                other => **text == *other.to_string(),
            }),
            (a, b) => Some(a.compare(b) == Some(Ordering::Equal)),
        }
    }

    /// The order of `order by`: nulls first, then NaN, then the rest.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Null, _) => Ordering::Less,
            (_, Self::Null) => Ordering::Greater,
            (Self::Real(a), Self::Real(b)) if a.is_nan() || b.is_nan() => b.is_nan().cmp(&a.is_nan()),
            _ => self.compare(other).unwrap_or(Ordering::Equal),
        }
    }
}

/// Groups by value: numbers of one type, NaN equal to itself.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Int(a), Self::Long(b)) | (Self::Long(b), Self::Int(a)) => i64::from(*a) == *b,
            (Self::Long(a), Self::Long(b)) => a == b,
            (Self::Real(a), Self::Real(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Self::String(a), Self::String(b)) => a == b,
            (Self::DateTime(a), Self::DateTime(b)) | (Self::TimeSpan(a), Self::TimeSpan(b)) => a == b,
            (Self::Dynamic(a), Self::Dynamic(b)) => a == b,
            (Self::Guid(a), Self::Guid(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Null => state.write_u8(0),
            Self::Bool(it) => it.hash(state),
            Self::Int(it) => i64::from(*it).hash(state),
            Self::Long(it) | Self::DateTime(it) | Self::TimeSpan(it) => it.hash(state),
            Self::Real(it) if *it == 0.0 => state.write_u64(0),
            Self::Real(it) if it.is_nan() => state.write_u64(1),
            Self::Real(it) => state.write_u64(it.to_bits()),
            Self::String(it) => it.hash(state),
            Self::Dynamic(it) => it.to_string().hash(state),
            Self::Guid(it) => it.hash(state),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Bool(it) => f.write_str(if *it { "true" } else { "false" }),
            Self::Int(it) => write!(f, "{it}"),
            Self::Long(it) => write!(f, "{it}"),
            Self::Real(it) if it.is_nan() => f.write_str("NaN"),
            Self::Real(it) if it.is_infinite() => f.write_str(if *it > 0.0 { "Infinity" } else { "-Infinity" }),
            Self::Real(it) if it.fract() == 0.0 && it.abs() < 1e15 => write!(f, "{it:.1}"),
            Self::Real(it) => write!(f, "{it}"),
            Self::String(it) => f.write_str(it),
            Self::DateTime(it) => f.write_str(&dates::show_datetime(*it)),
            Self::TimeSpan(it) => f.write_str(&dates::show_timespan(*it)),
            Self::Dynamic(it) => match &**it {
                Json::String(it) => f.write_str(it),
                json => write!(f, "{json}"),
            },
            Self::Guid(it) => {
                let hex = format!("{it:032x}");
                write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
            }
        }
    }
}

fn hex(text: &str) -> Option<i64> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    u64::from_str_radix(digits, 16).ok().map(|it| it as i64)
}

fn parse_real(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        "nan" => Some(f64::NAN),
        "inf" | "+inf" | "infinity" | "+infinity" => Some(f64::INFINITY),
        "-inf" | "-infinity" => Some(f64::NEG_INFINITY),
        other => other.parse().ok(),
    }
}

fn milliseconds(number: f64) -> Option<i64> {
    let ticks = number * dates::MILLISECOND as f64;
    (ticks.abs() < 9.2e18).then_some(ticks.round() as i64)
}

fn whole(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| number.as_f64().filter(|it| it.fract() == 0.0 && it.abs() < 9.2e18).map(|it| it as i64))
}

/// 32 hex digits, with hyphens or without, in braces or without.
pub(crate) fn parse_guid(text: &str) -> Option<u128> {
    let body = text.trim().trim_start_matches('{').trim_end_matches('}');
    let digits: String = body.chars().filter(|it| *it != '-').collect();
    let fits = digits.len() == 32 && digits.bytes().all(|it| it.is_ascii_hexdigit());
    fits.then(|| u128::from_str_radix(&digits, 16).ok()).flatten()
}

/// What is no JSON is a string, as `parse_json` has it.
pub(crate) fn parse_json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.to_owned()))
}
