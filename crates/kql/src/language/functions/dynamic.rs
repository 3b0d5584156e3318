//! Functions of dynamic values.

use serde_json::{Map, Value as Json};

use super::{
    Function,
    Gives::Is,
    MANY,
    Naming::None as Unnamed,
    Takes::{Any, Array, Bag, Long},
    f,
};
use crate::language::{
    limits::Env,
    value::{Type, Value},
};

const DYNAMIC: super::Gives = Is(Type::Dynamic);
/// Levels of arrays and objects that a query may build.
const MAX_NEST: usize = 100;

pub(super) const TABLE: &[Function] = &[
    f("array_length", "array", (1, 1), &[Array], Is(Type::Long), Unnamed, |a, _| {
        Value::or_null(array(&a[0]).map(|it| Value::Long(it.len() as i64)))
    }),
    f("array_concat", "array, …", (1, MANY), &[Array], DYNAMIC, Unnamed, |a, env| {
        build(env, a, Json::Array(a.iter().filter_map(array).flatten().cloned().collect()))
    }),
    f("array_slice", "array, start, end", (3, 3), &[Array, Long], DYNAMIC, Unnamed, slice),
    f("array_index_of", "array, value", (2, 2), &[Array, Any], Is(Type::Long), Unnamed, index_of),
    f("array_sum", "array", (1, 1), &[Array], Is(Type::Real), Unnamed, |a, _| {
        Value::or_null(array(&a[0]).map(|it| Value::Real(it.iter().filter_map(Json::as_f64).sum())))
    }),
    f("array_reverse", "array", (1, 1), &[Array], DYNAMIC, Unnamed, |a, env| {
        array(&a[0]).map_or(Value::Null, |it| build(env, a, Json::Array(it.iter().rev().cloned().collect())))
    }),
    f("set_has_element", "array, value", (2, 2), &[Array, Any], Is(Type::Bool), Unnamed, |a, _| {
        Value::or_null(array(&a[0]).map(|it| Value::Bool(it.contains(&a[1].to_json()))))
    }),
    f("pack", "key, value, …", (2, MANY), &[Any], DYNAMIC, Unnamed, pack),
    f("bag_pack", "key, value, …", (2, MANY), &[Any], DYNAMIC, Unnamed, pack),
    f("pack_array", "value, …", (1, MANY), &[Any], DYNAMIC, Unnamed, |a, env| {
        build(env, a, Json::Array(a.iter().map(Value::to_json).collect()))
    }),
    f("bag_keys", "bag", (1, 1), &[Bag, Any], DYNAMIC, Unnamed, |a, env| {
        bag(&a[0]).map_or(Value::Null, |it| build(env, a, Json::Array(it.keys().map(|it| it.clone().into()).collect())))
    }),
    f("bag_has_key", "bag, key", (2, 2), &[Bag, Any], Is(Type::Bool), Unnamed, |a, _| {
        Value::or_null(bag(&a[0]).map(|it| Value::Bool(it.contains_key(&a[1].to_string()))))
    }),
];

fn array(value: &Value) -> Option<&Vec<Json>> {
    if let Value::Dynamic(it) = value { it.as_array() } else { None }
}

fn bag(value: &Value) -> Option<&Map<String, Json>> {
    if let Value::Dynamic(it) = value { it.as_object() } else { None }
}

/// Bytes, about, and levels of a value.
fn size(json: &Json) -> (usize, usize) {
    match json {
        Json::String(it) => (32 + it.len(), 0),
        Json::Array(items) => items.iter().map(size).fold((32, 1), |all, it| (all.0 + it.0, all.1.max(it.1 + 1))),
        Json::Object(items) => {
            items.iter().fold((32, 1), |all, (key, it)| (all.0 + size(it).0 + key.len(), all.1.max(size(it).1 + 1)))
        }
        _ => (32, 0),
    }
}

/// A value the query makes: charged, and null beyond the limits.
fn build(env: &Env, args: &[Value], json: Json) -> Value {
    let nest = args.iter().map(|it| if let Value::Dynamic(it) = it { size(it).1 } else { 0 }).max().unwrap_or(0);
    let bytes = size(&json).0;
    if nest >= MAX_NEST || bytes > crate::language::limits::MAX_STRING * 16 || !env.charge(bytes) {
        Value::Null
    } else {
        Value::dynamic(json)
    }
}

fn slice(args: &[Value], env: &Env) -> Value {
    let (Some(items), Some(start), Some(end)) = (array(&args[0]), args[1].as_long(), args[2].as_long()) else {
        return Value::Null;
    };
    let len = items.len() as i64;
    let place = |it: i64| if it < 0 { (len.saturating_add(it)).max(0) } else { it.min(len) };
    let (start, end) = (place(start), place(end).saturating_add(1).min(len));
    build(env, args, Json::Array(items.get(start as usize..end.max(start) as usize).unwrap_or_default().to_vec()))
}

fn index_of(args: &[Value], _: &Env) -> Value {
    let Some(items) = array(&args[0]) else { return Value::Null };
    let wanted = args[1].to_json();
    Value::Long(items.iter().position(|it| *it == wanted).map_or(-1, |it| it as i64))
}

fn pack(args: &[Value], env: &Env) -> Value {
    let pairs = args.chunks_exact(2).map(|it| (it[0].to_string(), it[1].to_json()));
    build(env, args, Json::Object(pairs.collect()))
}

pub(super) fn gettype(args: &[Value], _: &Env) -> Value {
    Value::text(match &args[0] {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Long(_) => "long",
        Value::Real(_) => "real",
        Value::String(_) => "string",
        Value::DateTime(_) => "datetime",
        Value::TimeSpan(_) => "timespan",
        Value::Guid(_) => "guid",
        Value::Dynamic(it) => match &**it {
            Json::Array(_) => "array",
            Json::Object(_) => "dictionary",
            Json::String(_) => "string",
            Json::Bool(_) => "bool",
            Json::Number(it) if it.is_f64() => "double",
            Json::Number(_) => "long",
            Json::Null => "null",
        },
    })
}
