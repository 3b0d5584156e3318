//! Functions of numbers.

use super::{
    Function,
    Gives::{Bin, Common, First as Same, Is, Whole},
    MANY,
    Naming::{First, None as Unnamed},
    Takes::{Any, Integer, Long, Number, Size},
    f,
};
use crate::language::{
    limits::Env,
    value::{Type, Value},
};

const REAL: super::Gives = Is(Type::Real);

pub(super) const TABLE: &[Function] = &[
    f("bin", "value, step", (2, 2), &[Any], Bin, First, |a, _| bin(&a[0], &a[1])),
    f("floor", "value, step", (2, 2), &[Any], Bin, First, |a, _| bin(&a[0], &a[1])),
    f("ceiling", "number", (1, 1), &[Number], Whole, First, |a, _| match &a[0] {
        Value::Real(it) => Value::Real(it.ceil()),
        other => other.clone(),
    }),
    f("round", "number [, digits]", (1, 2), &[Number, Long], Same, First, |a, _| round(&a[0], a.get(1))),
    f("abs", "value", (1, 1), &[Size], Whole, First, |a, _| match &a[0] {
        Value::Int(it) => Value::Long(i64::from(*it).abs()),
        Value::Long(it) => Value::Long(it.wrapping_abs()),
        Value::Real(it) => Value::Real(it.abs()),
        Value::TimeSpan(it) => Value::TimeSpan(it.wrapping_abs()),
        _ => Value::Null,
    }),
    f("sign", "number", (1, 1), &[Number], REAL, Unnamed, |a, _| {
        real(a, |it| if it == 0.0 { 0.0 } else { it.signum() })
    }),
    f("sqrt", "number", (1, 1), &[Number], REAL, First, |a, _| real(a, f64::sqrt)),
    f("pow", "base, exponent", (2, 2), &[Number], REAL, First, |a, _| {
        Value::or_null(a[0].as_real().zip(a[1].as_real()).map(|(a, b)| Value::Real(a.powf(b))))
    }),
    f("exp", "number", (1, 1), &[Number], REAL, First, |a, _| real(a, f64::exp)),
    f("log", "number", (1, 1), &[Number], REAL, First, |a, _| real(a, f64::ln)),
    f("log10", "number", (1, 1), &[Number], REAL, First, |a, _| real(a, f64::log10)),
    f("log2", "number", (1, 1), &[Number], REAL, First, |a, _| real(a, f64::log2)),
    f("min_of", "value, …", (2, MANY), &[Any], Common, Unnamed, |a, _| extreme(a, std::cmp::Ordering::Less)),
    f("max_of", "value, …", (2, MANY), &[Any], Common, Unnamed, |a, _| extreme(a, std::cmp::Ordering::Greater)),
    f("isnan", "number", (1, 1), &[Number], Is(Type::Bool), Unnamed, |a, _| test(a, f64::is_nan)),
    f("isinf", "number", (1, 1), &[Number], Is(Type::Bool), Unnamed, |a, _| test(a, f64::is_infinite)),
    f("isfinite", "number", (1, 1), &[Number], Is(Type::Bool), Unnamed, |a, _| test(a, f64::is_finite)),
    f("tohex", "number [, digits]", (1, 2), &[Integer], Is(Type::String), First, tohex),
];

fn real(args: &[Value], run: fn(f64) -> f64) -> Value {
    Value::or_null(args[0].as_real().map(|it| Value::Real(run(it))))
}

fn test(args: &[Value], run: fn(f64) -> bool) -> Value {
    Value::or_null(args[0].as_real().map(|it| Value::Bool(run(it))))
}

fn extreme(args: &[Value], wanted: std::cmp::Ordering) -> Value {
    let mut values = args.iter().filter(|it| !it.is_null());
    let Some(first) = values.next() else { return Value::Null };
    values.fold(first, |best, it| if it.compare(best) == Some(wanted) { it } else { best }).clone()
}

/// Rounds down to a multiple of the step; negative values too. A step that is not positive gives null.
pub(crate) fn bin(value: &Value, step: &Value) -> Value {
    let whole = |value: i64, step: i64| (step > 0).then(|| value.div_euclid(step).checked_mul(step)).flatten();
    Value::or_null(match (value, step) {
        (Value::DateTime(it), Value::TimeSpan(step)) => whole(*it, *step).map(Value::DateTime),
        (Value::TimeSpan(it), Value::TimeSpan(step)) => whole(*it, *step).map(Value::TimeSpan),
        (value, step) => match (value.as_long(), step.as_long()) {
            (Some(value), Some(step)) => whole(value, step).map(Value::Long),
            _ => value
                .as_real()
                .zip(step.as_real())
                .filter(|(_, step)| *step > 0.0)
                .map(|(value, step)| Value::Real((value / step).floor() * step)),
        },
    })
}

/// Half away from zero. Digits may be negative.
fn round(value: &Value, digits: Option<&Value>) -> Value {
    let digits = match digits {
        None => 0,
        Some(it) => match it.as_real() {
            Some(it) => it.clamp(-400.0, 400.0) as i32,
            None => return Value::Null,
        },
    };
    match value {
        Value::Real(it) if !it.is_finite() => Value::Real(*it),
        Value::Real(it) => Value::Real(round_real(*it, digits)),
        Value::Int(_) | Value::Long(_) if digits >= 0 => value.clone(),
        Value::Int(it) => Value::Int(round_real((*it).into(), digits) as i32),
        Value::Long(it) => Value::Long(round_real(*it as f64, digits) as i64),
        _ => Value::Null,
    }
}

fn round_real(value: f64, digits: i32) -> f64 {
    if digits > 15 {
        return value;
    }
    let scale = 10_f64.powi(digits.abs());
    if digits < 0 {
        return if scale.is_finite() { (value / scale).round() * scale } else { 0.0 };
    }
    let scaled = value * scale;
    if scaled.is_finite() { scaled.round() / scale } else { value }
}

fn tohex(args: &[Value], _: &Env) -> Value {
    let Some(number) = args[0].as_long() else { return Value::text("") };
    let width = args.get(1).and_then(Value::as_long).unwrap_or(0).clamp(0, 64) as usize;
    let text = match args[0] {
        Value::Int(it) => format!("{it:x}"),
        _ => format!("{number:x}"),
    };
    Value::text(format!("{text:0>width$}"))
}
