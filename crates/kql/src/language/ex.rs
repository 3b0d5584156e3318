//! Bound expressions, and what they are worth on a row.

use std::{borrow::Cow, cell::Cell, collections::HashSet};

use regex::Regex;
use serde_json::Value as Json;

use crate::language::{
    functions::{Function, convert},
    limits::Env,
    table::Batch,
    terms::{Match, Needle},
    value::{Type, Value},
};

pub(crate) type Operation = fn(&Value, &Value) -> Value;

#[derive(Debug)]
pub(crate) enum Ex {
    Const(Value),
    Column(usize),
    Operation(Operation, Box<Ex>, Box<Ex>),
    And(Box<Ex>, Box<Ex>),
    Or(Box<Ex>, Box<Ex>),
    Call(&'static Function, Vec<Ex>),
    /// A text against needles that the query states.
    Terms {
        value: Box<Ex>,
        needles: Vec<Needle>,
        all: bool,
        negated: bool,
    },
    /// A text against a needle of the row.
    Term {
        value: Box<Ex>,
        needle: Box<Ex>,
        how: Match,
        negated: bool,
    },
    /// `in` a list that the query states.
    Member {
        value: Box<Ex>,
        set: HashSet<Value>,
        ignoring_case: bool,
        negated: bool,
    },
    /// `in` a list of the row.
    Listed {
        value: Box<Ex>,
        list: Vec<Ex>,
        ignoring_case: bool,
        negated: bool,
    },
    Matches(Box<Ex>, Option<Regex>),
    Path(Box<Ex>, String),
    Index(Box<Ex>, Box<Ex>),
    Cast(Type, Box<Ex>),
    /// A value of the row so many rows ahead.
    Neighbour {
        value: Box<Ex>,
        ahead: i64,
        default: Box<Ex>,
    },
    RowNumber(i64),
    RowSum {
        value: Box<Ex>,
        restart: Option<Box<Ex>>,
        whole: bool,
        done: Cell<(usize, f64, i64)>,
    },
}

/// A row of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) at: usize,
    pub(crate) env: &'a Env,
}

impl Ex {
    pub(crate) fn constant(&self) -> Option<&Value> {
        if let Self::Const(it) = self { Some(it) } else { None }
    }

    /// Whether a `where` keeps the row: null is no.
    pub(crate) fn holds(&self, row: Row<'_>) -> bool {
        match self {
            Self::And(a, b) => a.holds(row) && b.holds(row),
            Self::Or(a, b) => a.holds(row) || b.holds(row),
            other => matches!(&*other.eval(row), Value::Bool(true)),
        }
    }

    pub(crate) fn eval<'a>(&'a self, row: Row<'a>) -> Cow<'a, Value> {
        match self {
            Self::Const(it) => Cow::Borrowed(it),
            Self::Column(column) => Cow::Borrowed(row.batch.columns[*column].at(row.at)),
            other => Cow::Owned(other.compute(row)),
        }
    }

    fn compute(&self, row: Row<'_>) -> Value {
        match self {
            Self::Operation(run, a, b) => run(&a.eval(row), &b.eval(row)),
            Self::And(a, b) => both(&a.eval(row), || b.eval(row).into_owned(), false),
            Self::Or(a, b) => both(&a.eval(row), || b.eval(row).into_owned(), true),
            Self::Call(function, args) => {
                let args: Vec<Value> = args.iter().map(|it| it.eval(row).into_owned()).collect();
                (function.run)(&args, row.env)
            }
            Self::Terms { value, needles, all, negated } => {
                let value = value.eval(row);
                let text = text_of(&value);
                let found = if *all {
                    needles.iter().all(|it| it.found(&text))
                } else {
                    needles.iter().any(|it| it.found(&text))
                };
                Value::Bool(found != *negated)
            }
            Self::Term { value, needle, how, negated } => {
                let (value, needle) = (value.eval(row), needle.eval(row));
                Value::Bool(Needle::new(&text_of(&needle), *how).found(&text_of(&value)) != *negated)
            }
            Self::Matches(value, regex) => {
                let value = value.eval(row);
                Value::Bool(regex.as_ref().is_some_and(|it| it.is_match(&text_of(&value))))
            }
            Self::Member { value, set, ignoring_case, negated } => {
                let value = value.eval(row);
                let found = if *ignoring_case { set.contains(&folded(&value)) } else { set.contains(&*value) };
                Value::Bool(found != *negated)
            }
            Self::Listed { value, list, ignoring_case, negated } => {
                let value = value.eval(row);
                Value::Bool(list.iter().any(|it| within(&value, &it.eval(row), *ignoring_case)) != *negated)
            }
            Self::Cast(kind, value) => convert(*kind, &value.eval(row)),
            Self::Path(value, name) => step(&value.eval(row), |json| json.get(name)),
            Self::Index(value, index) => {
                let index = index.eval(row);
                step(&value.eval(row), |json| element(json, &index))
            }
            Self::Neighbour { value, ahead, default } => {
                let at = i64::try_from(row.at).unwrap_or(i64::MAX).saturating_add(*ahead);
                match usize::try_from(at).ok().filter(|at| *at < row.batch.len) {
                    Some(at) => value.eval(Row { at, ..row }).into_owned(),
                    None => default.eval(row).into_owned(),
                }
            }
            Self::RowNumber(start) => Value::Long(i64::try_from(row.at).unwrap_or(i64::MAX).saturating_add(*start)),
            Self::RowSum { value, restart, whole, done } => row_sum(value, restart.as_deref(), *whole, done, row),
            Self::Const(_) | Self::Column(_) => self.eval(row).into_owned(),
        }
    }
}

/// Three-valued `and` (`winner` false) and `or` (`winner` true).
fn both(a: &Value, b: impl FnOnce() -> Value, winner: bool) -> Value {
    let a = a.as_bool();
    if a == Some(winner) {
        return Value::Bool(winner);
    }
    let b = b().as_bool();
    match (a, b) {
        (_, Some(b)) if b == winner => Value::Bool(winner),
        (Some(_), Some(_)) => Value::Bool(!winner),
        _ => Value::Null,
    }
}

/// The running sum up to this row; rows are asked for in order, else it is summed again.
fn row_sum(value: &Ex, restart: Option<&Ex>, whole: bool, done: &Cell<(usize, f64, i64)>, row: Row<'_>) -> Value {
    let (mut next, mut sum, mut long) = done.get();
    if next > row.at + 1 || row.at == 0 {
        (next, sum, long) = (0, 0.0, 0);
    }
    for at in next..=row.at {
        let here = Row { at, ..row };
        if row.env.spend(1).is_err() {
            return Value::Null;
        }
        if restart.is_some_and(|it| it.holds(here)) {
            (sum, long) = (0.0, 0);
        }
        let value = value.eval(here);
        sum += value.as_real().unwrap_or(0.0);
        long = long.wrapping_add(value.as_long().unwrap_or(0));
    }
    done.set((row.at + 1, sum, long));
    if whole { Value::Long(long) } else { Value::Real(sum) }
}

pub(crate) fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(it) => Cow::Borrowed(it),
        other => Cow::Owned(other.to_string()),
    }
}

/// The text of a value in small letters, for `in~`.
pub(crate) fn folded(value: &Value) -> Value {
    Value::text(text_of(value).to_lowercase())
}

/// Whether a value is one of those an argument of `in` stands for: a dynamic array stands for its elements.
fn within(value: &Value, of: &Value, ignoring_case: bool) -> bool {
    let same = |it: &Value| {
        if ignoring_case { folded(value) == folded(it) } else { value.equals(it) == Some(true) }
    };
    match of {
        Value::Dynamic(json) => match &**json {
            Json::Array(items) => items.iter().filter_map(Value::of_json).any(|it| same(&it)),
            json => Value::of_json(json).is_some_and(|it| same(&it)),
        },
        other => same(other),
    }
}

fn step(value: &Value, next: impl for<'j> FnOnce(&'j Json) -> Option<&'j Json>) -> Value {
    let Value::Dynamic(json) = value else { return Value::Null };
    next(json).map_or(Value::Null, |it| Value::dynamic(it.clone()))
}

/// By key, or by number; negative numbers count from the end.
fn element<'a>(json: &'a Json, index: &Value) -> Option<&'a Json> {
    if let Some(number) = index.as_long() {
        let items = json.as_array()?;
        let at = if number < 0 { i64::try_from(items.len()).ok()? + number } else { number };
        return items.get(usize::try_from(at).ok()?);
    }
    json.get(&*text_of(index))
}
