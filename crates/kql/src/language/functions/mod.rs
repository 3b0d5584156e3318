//! The scalar functions: one table of names, signatures, types and evaluation.

mod dynamic;
mod numbers;
mod text;
mod times;

pub(crate) use text::pattern;
pub(crate) use times::UNITS;

use crate::language::{
    limits::Env,
    value::{Type, Value},
};

/// What an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Any,
    Number,
    /// A number or a timespan.
    Size,
    /// A text or a dynamic value.
    Text,
    Bool,
    Time,
    Span,
    /// A whole number.
    Integer,
    /// A whole number, and Microsoft's parser says so in other words.
    Long,
    /// A text alone.
    String,
    Array,
    Bag,
    /// A text that the query states.
    Constant,
    Unit,
}

/// The type of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gives {
    Is(Type),
    /// That of the first argument.
    First,
    /// Whole numbers as long, else that of the first.
    Whole,
    /// The type all arguments have, or can be widened to; from this argument on, each second of them where `case` asks.
    Common,
    Branches,
    /// `bin`: long of whole numbers, else that of the first.
    Bin,
}

/// The column name that a call without one gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    None,
    /// The name of the first argument.
    First,
    /// That name behind the function's.
    Prefixed(&'static str),
}

pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) signature: &'static str,
    pub(crate) least: usize,
    pub(crate) most: usize,
    /// The last one stands for all that follow.
    pub(crate) takes: &'static [Takes],
    pub(crate) gives: Gives,
    pub(crate) naming: Naming,
    pub(crate) run: fn(&[Value], &Env) -> Value,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

type Run = fn(&[Value], &Env) -> Value;

/// One line of a table. `signature` lists the arguments, `…` for any number of them.
const fn f(
    name: &'static str,
    signature: &'static str,
    (least, most): (usize, usize),
    takes: &'static [Takes],
    gives: Gives,
    naming: Naming,
    run: Run,
) -> Function {
    Function { name, signature, least, most, takes, gives, naming, run }
}

const TABLES: [&[Function]; 5] = [CONDITIONS, dynamic::TABLE, numbers::TABLE, text::TABLE, times::TABLE];

pub(crate) fn all() -> impl Iterator<Item = &'static Function> {
    TABLES.into_iter().flatten()
}

pub(crate) fn find(name: &str) -> Option<&'static Function> {
    all().find(|it| it.name == name)
}

/// Functions of Kusto that the subset lacks, as far as a user of the labs may try them.
pub(crate) const OUTSIDE: [&str; 70] = [
    "acos",
    "array_iff",
    "array_rotate_left",
    "array_rotate_right",
    "array_shift_left",
    "array_shift_right",
    "array_split",
    "asin",
    "atan",
    "atan2",
    "bag_merge",
    "bag_remove_keys",
    "base64_decode_tostring",
    "base64_encode_tostring",
    "beta_cdf",
    "bin_at",
    "bin_auto",
    "binary_and",
    "binary_not",
    "binary_or",
    "binary_shift_left",
    "binary_shift_right",
    "binary_xor",
    "bitset_count_ones",
    "column_ifexists",
    "cos",
    "cot",
    "current_principal",
    "cursor_after",
    "degrees",
    "estimate_data_size",
    "exp10",
    "exp2",
    "extent_id",
    "extent_tags",
    "extract_all",
    "extract_json",
    "extractjson",
    "format_bytes",
    "format_ipv4",
    "gamma",
    "geo_distance_2points",
    "hash",
    "hash_md5",
    "hash_sha256",
    "ingestion_time",
    "ipv4_compare",
    "ipv4_is_private",
    "jaccard_index",
    "loggamma",
    "merge_tdigest",
    "new_guid",
    "parse_csv",
    "parse_path",
    "parse_url",
    "parse_urlquery",
    "parse_user_agent",
    "parse_version",
    "parse_xml",
    "pi",
    "radians",
    "rand",
    "repeat",
    "row_rank_dense",
    "row_rank_min",
    "row_window_session",
    "series_fit_line",
    "sin",
    "tan",
    "todecimal",
];

use Gives::{Branches, Common, Is};
use Naming::{First, None as Unnamed, Prefixed};
use Takes::Any;

/// As many as `strcat` takes; a function that takes so many takes any number.
pub(crate) const MANY: usize = 64;

const CONDITIONS: &[Function] = &[
    f("iff", "condition, then, else", (3, 3), &[Takes::Bool, Any], Branches, Unnamed, iff),
    f("iif", "condition, then, else", (3, 3), &[Takes::Bool, Any], Branches, Unnamed, iff),
    f("case", "condition, then, …, else", (3, 65), &[Any], Branches, Unnamed, case),
    f("coalesce", "value, …", (2, MANY), &[Any], Common, Unnamed, |a, _| {
        a.iter().find(|it| !it.is_empty()).or(a.last()).cloned().unwrap_or_default()
    }),
    f("not", "condition", (1, 1), &[Takes::Bool], Is(Type::Bool), Unnamed, |a, _| {
        Value::or_null(a[0].as_bool().map(|it| Value::Bool(!it)))
    }),
    f("isnull", "value", (1, 1), &[Any], Is(Type::Bool), Unnamed, |a, _| Value::Bool(a[0].is_null())),
    f("isnotnull", "value", (1, 1), &[Any], Is(Type::Bool), Unnamed, |a, _| Value::Bool(!a[0].is_null())),
    f("notnull", "value", (1, 1), &[Any], Is(Type::Bool), Unnamed, |a, _| Value::Bool(!a[0].is_null())),
    f("isempty", "value", (1, 1), &[Any], Is(Type::Bool), Unnamed, |a, _| Value::Bool(empty(&a[0]))),
    f("isnotempty", "value", (1, 1), &[Any], Is(Type::Bool), Unnamed, |a, _| Value::Bool(!empty(&a[0]))),
    f("notempty", "value", (1, 1), &[Any], Is(Type::Bool), Unnamed, |a, _| Value::Bool(!empty(&a[0]))),
    f("gettype", "value", (1, 1), &[Any], Is(Type::String), Prefixed("type_"), dynamic::gettype),
    f("tostring", "value", (1, 1), &[Any], Is(Type::String), First, |a, _| Value::text(a[0].to_string())),
    f("toint", "value", (1, 1), &[Any], Is(Type::Int), First, |a, _| convert(Type::Int, &a[0])),
    f("tolong", "value", (1, 1), &[Any], Is(Type::Long), First, |a, _| convert(Type::Long, &a[0])),
    f("toreal", "value", (1, 1), &[Any], Is(Type::Real), First, |a, _| convert(Type::Real, &a[0])),
    f("todouble", "value", (1, 1), &[Any], Is(Type::Real), First, |a, _| convert(Type::Real, &a[0])),
    f("tobool", "value", (1, 1), &[Any], Is(Type::Bool), First, |a, _| convert(Type::Bool, &a[0])),
    f("toboolean", "value", (1, 1), &[Any], Is(Type::Bool), First, |a, _| convert(Type::Bool, &a[0])),
    f("todatetime", "value", (1, 1), &[Any], Is(Type::DateTime), First, |a, _| convert(Type::DateTime, &a[0])),
    f("totimespan", "value", (1, 1), &[Any], Is(Type::TimeSpan), First, |a, _| convert(Type::TimeSpan, &a[0])),
    f("toguid", "value", (1, 1), &[Any], Is(Type::Guid), First, |a, _| convert(Type::Guid, &a[0])),
    f("todynamic", "text", (1, 1), &[Any], Is(Type::Dynamic), First, |a, _| convert(Type::Dynamic, &a[0])),
    f("parse_json", "text", (1, 1), &[Any], Is(Type::Dynamic), First, |a, _| convert(Type::Dynamic, &a[0])),
];

fn empty(value: &Value) -> bool {
    match value {
        Value::Dynamic(it) => it.as_str().is_some_and(str::is_empty),
        other => other.is_empty(),
    }
}

fn iff(args: &[Value], _: &Env) -> Value {
    args[if args[0].as_bool() == Some(true) { 1 } else { 2 }].clone()
}

fn case(args: &[Value], _: &Env) -> Value {
    let met = args.chunks(2).find(|it| it.len() == 1 || it[0].as_bool() == Some(true));
    met.and_then(<[Value]>::last).cloned().unwrap_or_default()
}

/// Kusto's conversions; what does not convert is null.
pub(crate) fn convert(kind: Type, value: &Value) -> Value {
    let unpacked;
    let value = match value {
        Value::Dynamic(it) if kind != Type::Dynamic => {
            unpacked = Value::or_null(Value::of_json(it));
            &unpacked
        }
        other => other,
    };
    let converted = match (kind, value) {
        (Type::String, value) => Some(Value::text(value.to_string())),
        (_, Value::Null) => None,
        (Type::Real, Value::String(text)) => Value::parse(kind, text),
        (Type::Int | Type::Long, Value::String(text)) => Value::parse(kind, text).or_else(|| {
            let number = text.trim().parse::<f64>().ok().filter(|it| it.is_finite())?;
            Some(convert(kind, &Value::Real(number)))
        }),
        (Type::TimeSpan, Value::String(text)) => crate::language::dates::parse_timespan(text).map(Value::TimeSpan),
        (kind, Value::String(text)) => Value::parse(kind, text),
        (Type::Int, value) => to_whole(value).and_then(|it| i32::try_from(it).ok()).map(Value::Int),
        (Type::Long, value) => to_whole(value).map(Value::Long),
        (Type::Real, Value::TimeSpan(it) | Value::DateTime(it)) => Some(Value::Real(*it as f64)),
        (Type::Real, Value::Bool(it)) => Some(Value::Real(f64::from(u8::from(*it)))),
        (Type::Real, value) => value.as_real().map(Value::Real),
        (Type::Bool, Value::Bool(it)) => Some(Value::Bool(*it)),
        (Type::Bool, value) => value.as_real().map(|it| Value::Bool(it != 0.0)),
        (Type::DateTime, Value::DateTime(it)) => Some(Value::DateTime(*it)),
        (Type::DateTime, value) => value.as_long().and_then(crate::language::dates::in_range).map(Value::DateTime),
        (Type::TimeSpan, Value::TimeSpan(it)) => Some(Value::TimeSpan(*it)),
        (Type::TimeSpan, value) => value.as_long().map(Value::TimeSpan),
        (Type::Guid, Value::Guid(it)) => Some(Value::Guid(*it)),
        (Type::Guid, _) => None,
        (Type::Dynamic, Value::Dynamic(it)) => Some(Value::Dynamic(it.clone())),
        (Type::Dynamic, value) => Some(Value::dynamic(value.to_json())),
    };
    Value::or_null(converted)
}

fn to_whole(value: &Value) -> Option<i64> {
    match value {
        Value::Real(it) if it.is_finite() && it.abs() < 9.3e18 => Some(it.trunc() as i64),
        Value::Bool(it) => Some((*it).into()),
        Value::DateTime(it) | Value::TimeSpan(it) => Some(*it),
        other => other.as_long(),
    }
}

/// The text of a value, bounded.
fn text_of(value: &Value) -> String {
    value.to_string()
}

/// A string the query makes: charged, and empty beyond the limits.
pub(crate) fn made(text: String, env: &Env) -> Value {
    if text.len() > crate::language::limits::MAX_STRING || !env.charge(text.len()) {
        Value::text("")
    } else {
        Value::text(text)
    }
}
