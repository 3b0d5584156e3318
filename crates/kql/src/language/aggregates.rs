//! The aggregate functions: one table of names, signatures, types and evaluation.

use std::{borrow::Cow, cmp::Ordering, collections::HashSet};

use serde_json::{Map, Value as Json};

use crate::language::{
    ex::{Ex, Row},
    limits::{Env, MAX_LIST},
    table::Batch,
    value::{Type, Value},
};

/// The type of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gives {
    Is(Type),
    First,
    /// Int is widened to long.
    Whole,
    /// Numbers give real; datetimes and timespans stay what they are.
    Mean,
}

/// What the first argument must be, with Microsoft's code where it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Any,
    Summable,
    Averaged,
    Orderable,
    Bool,
    Bag,
}

pub(crate) struct Aggregate {
    pub(crate) name: &'static str,
    pub(crate) signature: &'static str,
    pub(crate) least: usize,
    pub(crate) most: usize,
    pub(crate) takes: Takes,
    pub(crate) gives: Gives,
    /// Before the argument's name, in a column without one; empty: the argument's name alone.
    pub(crate) prefix: &'static str,
    /// Which argument is the condition of an `…if`.
    pub(crate) condition: Option<usize>,
    pub(crate) run: fn(&[Ex], &Rows<'_>) -> Value,
}

impl std::fmt::Debug for Aggregate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The rows of a group.
pub(crate) struct Rows<'a> {
    pub(crate) batches: &'a [Batch],
    pub(crate) at: &'a [(u32, u32)],
    pub(crate) env: &'a Env,
}

impl<'a> Rows<'a> {
    fn each(&self) -> impl Iterator<Item = Row<'a>> {
        let (batches, env) = (self.batches, self.env);
        self.at.iter().map(move |(batch, at)| Row { batch: &batches[*batch as usize], at: *at as usize, env })
    }

    /// Values that are not null, of rows where the condition holds.
    fn values<'e>(&self, value: &'e Ex, condition: Option<&'e Ex>) -> impl Iterator<Item = Cow<'e, Value>>
    where
        'a: 'e,
    {
        self.each()
            .filter(move |row| condition.is_none_or(|it| it.holds(*row)))
            .map(move |row| value.eval(row))
            .filter(|it| !it.is_null())
    }
}

type Run = fn(&[Ex], &Rows<'_>) -> Value;

const fn a(
    name: &'static str,
    signature: &'static str,
    (least, most): (usize, usize),
    takes: Takes,
    gives: Gives,
    prefix: &'static str,
    run: Run,
) -> Aggregate {
    Aggregate { name, signature, least, most, takes, gives, prefix, condition: None, run }
}

/// The same with a condition behind its first argument.
const fn conditional(name: &'static str, takes: Takes, gives: Gives, prefix: &'static str, run: Run) -> Aggregate {
    Aggregate { name, signature: "value, condition", least: 2, most: 2, takes, gives, prefix, condition: Some(1), run }
}

use Gives::{First, Is, Mean, Whole};
use Takes::{Any, Averaged, Orderable, Summable};

const LONG: Gives = Is(Type::Long);
const REAL: Gives = Is(Type::Real);
const LIST: Gives = Is(Type::Dynamic);

pub(crate) const TABLE: &[Aggregate] = &[
    a("count", "", (0, 0), Any, LONG, "count_", |_, rows| Value::Long(rows.at.len() as i64)),
    Aggregate {
        condition: Some(0),
        ..a("countif", "condition", (1, 1), Takes::Bool, LONG, "countif_", |args, rows| {
            Value::Long(rows.each().filter(|it| args[0].holds(*it)).count() as i64)
        })
    },
    a("sum", "value", (1, 1), Summable, Whole, "sum_", sum),
    conditional("sumif", Summable, Whole, "sumif_", sum),
    a("avg", "value", (1, 1), Averaged, Mean, "avg_", avg),
    conditional("avgif", Averaged, Mean, "avgif_", avg),
    a("min", "value", (1, 1), Orderable, First, "min_", |args, rows| extreme(args, rows, Ordering::Less)),
    conditional("minif", Orderable, First, "minif_", |args, rows| extreme(args, rows, Ordering::Less)),
    a("max", "value", (1, 1), Orderable, First, "max_", |args, rows| extreme(args, rows, Ordering::Greater)),
    conditional("maxif", Orderable, First, "maxif_", |args, rows| extreme(args, rows, Ordering::Greater)),
    a("percentile", "value, percentile", (2, 2), Any, Whole, "percentile_", percentile),
    a("percentiles", "value, percentile, …", (2, 64), Any, Whole, "percentile_", percentile),
    a("dcount", "value [, accuracy]", (1, 2), Any, LONG, "dcount_", |args, rows| distinct(&args[0], None, rows)),
    Aggregate {
        most: 3,
        signature: "value, condition [, accuracy]",
        ..conditional("dcountif", Any, LONG, "dcountif_", |args, rows| distinct(&args[0], args.get(1), rows))
    },
    a("count_distinct", "value", (1, 1), Any, LONG, "count_distinct_", |args, rows| distinct(&args[0], None, rows)),
    conditional("count_distinctif", Any, LONG, "count_distinctif_", |args, rows| distinct(&args[0], args.get(1), rows)),
    a("stdev", "number", (1, 1), Summable, REAL, "stdev_", |args, rows| spread(args, rows, 1.0, f64::sqrt)),
    conditional("stdevif", Summable, REAL, "stdevif_", |args, rows| spread(args, rows, 1.0, f64::sqrt)),
    a("stdevp", "number", (1, 1), Summable, REAL, "stdevp_", |args, rows| spread(args, rows, 0.0, f64::sqrt)),
    a("variance", "number", (1, 1), Summable, REAL, "variance_", |args, rows| spread(args, rows, 1.0, |it| it)),
    conditional("varianceif", Summable, REAL, "varianceif_", |args, rows| spread(args, rows, 1.0, |it| it)),
    a("variancep", "number", (1, 1), Summable, REAL, "variancep_", |args, rows| spread(args, rows, 0.0, |it| it)),
    a("arg_max", "maximized [, returned, …|*]", (1, 64), Orderable, First, "", |args, rows| {
        arg(args, rows, Ordering::Greater)
    }),
    a("arg_min", "minimized [, returned, …|*]", (1, 64), Orderable, First, "", |args, rows| {
        arg(args, rows, Ordering::Less)
    }),
    a("make_list", "value [, most]", (1, 2), Any, LIST, "list_", |args, rows| list(args, None, args.get(1), rows)),
    Aggregate {
        most: 3,
        signature: "value, condition [, most]",
        ..conditional("make_list_if", Any, LIST, "list_", |args, rows| list(args, args.get(1), args.get(2), rows))
    },
    a("make_set", "value [, most]", (1, 2), Any, LIST, "set_", |args, rows| set(args, None, args.get(1), rows)),
    Aggregate {
        most: 3,
        signature: "value, condition [, most]",
        ..conditional("make_set_if", Any, LIST, "set_", |args, rows| set(args, args.get(1), args.get(2), rows))
    },
    a("make_bag", "bag [, most]", (1, 2), Takes::Bag, LIST, "bag_", bag),
    a("take_any", "value, …|*", (1, 64), Any, First, "", any),
    conditional("take_anyif", Any, First, "", any),
    a("any", "value, …", (1, 64), Any, First, "any_", any),
    conditional("anyif", Any, First, "anyif_", any),
];

pub(crate) fn find(name: &str) -> Option<&'static Aggregate> {
    TABLE.iter().find(|it| it.name == name)
}

/// Aggregates of Kusto that the subset lacks.
pub(crate) const OUTSIDE: [&str; 17] = [
    "binary_all_and",
    "binary_all_or",
    "binary_all_xor",
    "buildschema",
    "covariance",
    "hll",
    "hll_if",
    "hll_merge",
    "make_bag_if",
    "make_list_with_nulls",
    "percentiles_array",
    "percentilesw",
    "percentilew",
    "tdigest",
    "tdigest_merge",
    "stdevpif",
    "variancepif",
];

/// Of no rows: 0, as Kusto has it.
fn sum(args: &[Ex], rows: &Rows<'_>) -> Value {
    let (mut whole, mut real, mut kind) = (0_i64, 0.0, Type::Long);
    for value in rows.values(&args[0], args.get(1)) {
        match &*value {
            Value::TimeSpan(it) => {
                kind = Type::TimeSpan;
                whole = whole.wrapping_add(*it);
            }
            Value::Real(it) => {
                kind = Type::Real;
                real += it;
            }
            other => whole = whole.wrapping_add(other.as_long().unwrap_or(0)),
        }
    }
    match kind {
        Type::TimeSpan => Value::TimeSpan(whole),
        Type::Real => Value::Real(real),
        _ => Value::Long(whole),
    }
}

fn ticks(value: &Value) -> Option<i64> {
    if let Value::DateTime(it) | Value::TimeSpan(it) = value { Some(*it) } else { None }
}

fn avg(args: &[Ex], rows: &Rows<'_>) -> Value {
    let (mut count, mut real, mut whole, mut timed) = (0_i64, 0.0, 0_i128, None);
    for value in rows.values(&args[0], args.get(1)) {
        count += 1;
        match ticks(&value) {
            Some(it) => {
                whole += i128::from(it);
                timed.get_or_insert_with(|| value.into_owned());
            }
            None => real += value.as_real().unwrap_or(0.0),
        }
    }
    if count == 0 {
        return Value::Null;
    }
    let mean = (whole / i128::from(count)) as i64;
    match timed {
        Some(Value::DateTime(_)) => Value::DateTime(mean),
        Some(_) => Value::TimeSpan(mean),
        None => Value::Real(real / count as f64),
    }
}

fn extreme(args: &[Ex], rows: &Rows<'_>, wanted: Ordering) -> Value {
    let mut values = rows.values(&args[0], args.get(1));
    let Some(mut best) = values.next() else { return Value::Null };
    for value in values {
        let nan = matches!(&*best, Value::Real(it) if it.is_nan());
        if nan || value.compare(&best) == Some(wanted) {
            best = value;
        }
    }
    best.into_owned()
}

/// Nearest rank: a value that is there.
fn percentile(args: &[Ex], rows: &Rows<'_>) -> Value {
    let Some(percent) = args[1].constant().and_then(Value::as_real) else { return Value::Null };
    let mut values: Vec<Cow<'_, Value>> = rows.values(&args[0], None).collect();
    if values.is_empty() {
        return Value::Null;
    }
    let rank = (percent.clamp(0.0, 100.0) / 100.0 * values.len() as f64 - 1e-9).ceil().max(1.0) as usize;
    let at = rank.min(values.len()) - 1;
    let (_, found, _) = values.select_nth_unstable_by(at, |a, b| a.order(b));
    match &**found {
        Value::Int(it) => Value::Long((*it).into()),
        other => other.clone(),
    }
}

fn distinct(value: &Ex, condition: Option<&Ex>, rows: &Rows<'_>) -> Value {
    let values: HashSet<Cow<'_, Value>> = rows.values(value, condition).collect();
    Value::Long(values.len() as i64)
}

/// `fewer` is 1 for a sample, 0 for a whole population. Of one value, a sample's spread is 0.
fn spread(args: &[Ex], rows: &Rows<'_>, fewer: f64, last: fn(f64) -> f64) -> Value {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in rows.values(&args[0], args.get(1)).filter_map(|it| it.as_real()) {
        count += 1.0;
        let away = value - mean;
        mean += away / count;
        squares += away * (value - mean);
    }
    match count {
        0.0 => Value::Null,
        1.0 => Value::Real(0.0),
        count => Value::Real(last(squares / (count - fewer))),
    }
}

/// The second argument where the first is greatest or least; nulls are passed over unless all are null.
fn arg(args: &[Ex], rows: &Rows<'_>, wanted: Ordering) -> Value {
    let mut best: Option<(Cow<'_, Value>, Row<'_>)> = None;
    for row in rows.each() {
        let value = args[0].eval(row);
        let better =
            best.as_ref().is_none_or(|(it, _)| (it.is_null() && !value.is_null()) || value.compare(it) == Some(wanted));
        if better {
            best = Some((value, row));
        }
    }
    best.map_or(Value::Null, |(_, row)| args[1].eval(row).into_owned())
}

fn most(limit: Option<&Ex>) -> usize {
    let limit = limit.and_then(Ex::constant).and_then(Value::as_long);
    limit.map_or(MAX_LIST, |it| usize::try_from(it).unwrap_or(0).min(MAX_LIST))
}

fn collected(items: Vec<Json>, env: &Env) -> Value {
    if env.charge(items.len() * 32) { Value::dynamic(Json::Array(items)) } else { Value::Null }
}

fn list(args: &[Ex], condition: Option<&Ex>, limit: Option<&Ex>, rows: &Rows<'_>) -> Value {
    collected(rows.values(&args[0], condition).take(most(limit)).map(|it| it.to_json()).collect(), rows.env)
}

fn set(args: &[Ex], condition: Option<&Ex>, limit: Option<&Ex>, rows: &Rows<'_>) -> Value {
    let mut known = HashSet::new();
    let fresh = rows.values(&args[0], condition).filter(|it| known.insert(it.clone().into_owned()));
    collected(fresh.take(most(limit)).map(|it| it.to_json()).collect(), rows.env)
}

/// The first bag with a key gives its value.
fn bag(args: &[Ex], rows: &Rows<'_>) -> Value {
    let limit = most(args.get(1));
    let mut all = Map::new();
    for value in rows.values(&args[0], None) {
        let Value::Dynamic(json) = &*value else { continue };
        for (key, value) in json.as_object().into_iter().flatten() {
            if all.len() < limit && !all.contains_key(key) {
                all.insert(key.clone(), value.clone());
            }
        }
    }
    if rows.env.charge(all.len() * 64) { Value::dynamic(Json::Object(all)) } else { Value::Null }
}

/// The first that is not empty, where there is one.
fn any(args: &[Ex], rows: &Rows<'_>) -> Value {
    let mut first = None;
    for value in rows.values(&args[0], args.get(1)) {
        if !value.is_empty() {
            return value.into_owned();
        }
        first.get_or_insert(value);
    }
    first.map_or(Value::Null, Cow::into_owned)
}
