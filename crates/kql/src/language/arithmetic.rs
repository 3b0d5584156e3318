//! Operators on values: types of their results, and evaluation.

use std::cmp::Ordering;

use crate::language::{
    dates::in_range,
    ex::Operation,
    value::{Type, Value},
};

/// The result's type and the evaluation of an operator on two types; `None`: it is not defined for them.
pub(crate) fn operation(op: &str, left: Type, right: Type) -> Option<(Type, Operation)> {
    let kind = match op {
        "==" | "!=" | "<>" => Some(Type::Bool),
        "<" | "<=" | ">" | ">=" => ordered(left, right).then_some(Type::Bool),
        _ => arithmetic_type(op, left, right),
    }?;
    let run: Operation = match op {
        "==" => |a, b| Value::or_null(a.equals(b).map(Value::Bool)),
        "!=" | "<>" => |a, b| Value::or_null(a.equals(b).map(|it| Value::Bool(!it))),
        "<" => |a, b| compared(a, b, Ordering::is_lt),
        "<=" => |a, b| compared(a, b, Ordering::is_le),
        ">" => |a, b| compared(a, b, Ordering::is_gt),
        ">=" => |a, b| compared(a, b, Ordering::is_ge),
        "+" => add,
        "-" => subtract,
        "*" => multiply,
        "/" => divide,
        "%" => remainder,
        _ => return None,
    };
    Some((kind, run))
}

/// Whether `<` is defined.
pub(crate) fn ordered(left: Type, right: Type) -> bool {
    let counted = |it: Type| it.is_number() || matches!(it, Type::Bool | Type::Dynamic);
    let timed = left == right && matches!(left, Type::DateTime | Type::TimeSpan);
    // A bool counts as 0 or 1, but a dynamic value against a bool is refused.
    let mixed = matches!((left, right), (Type::Bool, Type::Dynamic) | (Type::Dynamic, Type::Bool));
    timed || (counted(left) && counted(right) && !mixed)
}

fn arithmetic_type(op: &str, left: Type, right: Type) -> Option<Type> {
    use Type::{DateTime, Dynamic, Int, Long, Real, TimeSpan};
    Some(match (op, left, right) {
        ("+" | "-" | "*" | "/" | "%", Real, it) | ("+" | "-" | "*" | "/" | "%", it, Real) if it.is_number() => Real,
        ("+" | "-" | "*" | "/" | "%", Int | Long, Int | Long) => Long,
        ("+" | "-" | "%", TimeSpan, TimeSpan) | ("-", DateTime, DateTime) => TimeSpan,
        ("+", DateTime, TimeSpan) | ("+", TimeSpan, DateTime) | ("-", DateTime, TimeSpan) => DateTime,
        ("*", TimeSpan, it) | ("*", it, TimeSpan) | ("/", TimeSpan, it) if it.is_number() => TimeSpan,
        ("/", TimeSpan, TimeSpan) => Real,
        ("+" | "-" | "*" | "/" | "%", Dynamic, it) | ("+" | "-" | "*" | "/" | "%", it, Dynamic)
            if it.is_number() || it == Dynamic =>
        {
            it
        }
        _ => return None,
    })
}

fn compared(a: &Value, b: &Value, test: fn(Ordering) -> bool) -> Value {
    match a.compare(b) {
        Some(it) => Value::Bool(test(it)),
        // NaN compares with nothing; null makes null.
        None if a.is_null() || b.is_null() => Value::Null,
        None => Value::Bool(false),
    }
}

/// On two whole numbers, or on two reals.
fn numbers(a: &Value, b: &Value, whole: fn(i64, i64) -> Option<i64>, real: fn(f64, f64) -> f64) -> Value {
    match (a.as_long(), b.as_long()) {
        (Some(a), Some(b)) => Value::or_null(whole(a, b).map(Value::Long)),
        _ => Value::or_null(a.as_real().zip(b.as_real()).map(|(a, b)| Value::Real(real(a, b)))),
    }
}

fn add(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::DateTime(a), Value::TimeSpan(b)) | (Value::TimeSpan(a), Value::DateTime(b)) => {
            Value::or_null(a.checked_add(*b).and_then(in_range).map(Value::DateTime))
        }
        (Value::TimeSpan(a), Value::TimeSpan(b)) => Value::or_null(a.checked_add(*b).map(Value::TimeSpan)),
        _ => numbers(a, b, |a, b| Some(a.wrapping_add(b)), |a, b| a + b),
    }
}

fn subtract(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::DateTime(a), Value::DateTime(b)) => Value::TimeSpan(a - b),
        (Value::DateTime(a), Value::TimeSpan(b)) => {
            Value::or_null(a.checked_sub(*b).and_then(in_range).map(Value::DateTime))
        }
        (Value::TimeSpan(a), Value::TimeSpan(b)) => Value::or_null(a.checked_sub(*b).map(Value::TimeSpan)),
        _ => numbers(a, b, |a, b| Some(a.wrapping_sub(b)), |a, b| a - b),
    }
}

fn scaled(ticks: i64, by: f64) -> Value {
    let ticks = ticks as f64 * by;
    Value::or_null((ticks.abs() < 9.2e18).then(|| Value::TimeSpan(ticks.round() as i64)))
}

fn multiply(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::TimeSpan(ticks), it) | (it, Value::TimeSpan(ticks)) => match it.as_long() {
            Some(it) => Value::or_null(ticks.checked_mul(it).map(Value::TimeSpan)),
            None => it.as_real().map_or(Value::Null, |it| scaled(*ticks, it)),
        },
        _ => numbers(a, b, |a, b| Some(a.wrapping_mul(b)), |a, b| a * b),
    }
}

/// Whole numbers truncate, and give null by zero; reals give infinity or NaN.
fn divide(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::TimeSpan(a), Value::TimeSpan(b)) => Value::Real(*a as f64 / *b as f64),
        (Value::TimeSpan(a), b) => match b.as_long() {
            Some(b) => Value::or_null(a.checked_div(b).map(Value::TimeSpan)),
            None => b.as_real().map_or(Value::Null, |b| scaled(*a, 1.0 / b)),
        },
        _ => numbers(a, b, i64::checked_div, |a, b| a / b),
    }
}

/// Kusto's remainder of whole numbers is never negative.
fn remainder(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::TimeSpan(a), Value::TimeSpan(b)) => Value::or_null(a.checked_rem(*b).map(Value::TimeSpan)),
        _ => numbers(a, b, i64::checked_rem_euclid, |a, b| a % b),
    }
}

/// The type that values of all these types have in common.
pub(crate) fn common(kinds: &[Type]) -> Type {
    let mut typed = kinds.iter().filter(|it| **it != Type::Dynamic);
    let Some(first) = typed.next().copied() else { return Type::Dynamic };
    typed.fold(first, |all, it| match (all, *it) {
        (a, b) if a == b => a,
        (Type::Real, b) | (b, Type::Real) if b.is_number() => Type::Real,
        (a, b) if a.is_number() && b.is_number() => Type::Long,
        _ => Type::Dynamic,
    })
}
