//! Functions of datetimes and timespans.

use super::{
    Function,
    Gives::Is,
    Naming::{First, None as Unnamed},
    Takes::{Any, Integer, Long, Number, Span, Time, Unit},
    f,
};
use crate::language::{
    dates::{self, DAY, EPOCH, HOUR, MILLISECOND, MINUTE, SECOND},
    limits::Env,
    value::{Type, Value},
};

const TIME: super::Gives = Is(Type::DateTime);
const INT: super::Gives = Is(Type::Int);
pub(crate) const UNITS: [&str; 11] =
    ["year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond", "microsecond", "nanosecond"];

pub(super) const TABLE: &[Function] = &[
    f("now", "[offset]", (0, 1), &[Span], TIME, Unnamed, |a, env| shift(env.now, a.first().map_or(Some(0), span), 1)),
    f("ago", "timespan", (1, 1), &[Span], TIME, Unnamed, |a, env| shift(env.now, span(&a[0]), -1)),
    f("startofday", "datetime [, offset]", (1, 2), &[Time, Long], TIME, First, |a, _| edge(a, Period::Day, false)),
    f("startofweek", "datetime [, offset]", (1, 2), &[Time, Long], TIME, Unnamed, |a, _| edge(a, Period::Week, false)),
    f("startofmonth", "datetime [, offset]", (1, 2), &[Time, Long], TIME, Unnamed, |a, _| {
        edge(a, Period::Months(1), false)
    }),
    f("startofyear", "datetime [, offset]", (1, 2), &[Time, Long], TIME, Unnamed, |a, _| {
        edge(a, Period::Months(12), false)
    }),
    f("endofday", "datetime [, offset]", (1, 2), &[Time, Long], TIME, Unnamed, |a, _| edge(a, Period::Day, true)),
    f("endofweek", "datetime [, offset]", (1, 2), &[Time, Long], TIME, Unnamed, |a, _| edge(a, Period::Week, true)),
    f("endofmonth", "datetime [, offset]", (1, 2), &[Time, Long], TIME, Unnamed, |a, _| {
        edge(a, Period::Months(1), true)
    }),
    f("endofyear", "datetime [, offset]", (1, 2), &[Time, Long], TIME, Unnamed, |a, _| {
        edge(a, Period::Months(12), true)
    }),
    f("datetime_diff", "unit, datetime, datetime", (3, 3), &[Unit, Time], Is(Type::Long), Unnamed, diff),
    f("datetime_add", "unit, amount, datetime", (3, 3), &[Unit, Long, Time], TIME, Unnamed, add),
    f("datetime_part", "unit, datetime", (2, 2), &[Any, Time], INT, Unnamed, |a, _| part(&a[0].to_string(), &a[1])),
    f("dayofweek", "datetime", (1, 1), &[Time], Is(Type::TimeSpan), Unnamed, |a, _| {
        Value::or_null(ticks(&a[0]).map(|it| Value::TimeSpan((it.div_euclid(DAY) + 1).rem_euclid(7) * DAY)))
    }),
    f("dayofmonth", "datetime", (1, 1), &[Time], INT, Unnamed, |a, _| part("day", &a[0])),
    f("dayofyear", "datetime", (1, 1), &[Time], INT, Unnamed, |a, _| part("dayofyear", &a[0])),
    f("hourofday", "datetime", (1, 1), &[Time], INT, Unnamed, |a, _| part("hour", &a[0])),
    f("getmonth", "datetime", (1, 1), &[Time], INT, Unnamed, |a, _| part("month", &a[0])),
    f("monthofyear", "datetime", (1, 1), &[Time], INT, Unnamed, |a, _| part("month", &a[0])),
    f("getyear", "datetime", (1, 1), &[Time], INT, Unnamed, |a, _| part("year", &a[0])),
    f("week_of_year", "datetime", (1, 1), &[Time], INT, Unnamed, |a, _| part("week_of_year", &a[0])),
    f("format_datetime", "datetime, format", (2, 2), &[Time, Any], Is(Type::String), First, |a, _| {
        let text = ticks(&a[0]).and_then(|it| format(it, dates::date(it), &a[1].to_string(), DATETIME_UNITS));
        Value::text(text.unwrap_or_default())
    }),
    f("format_timespan", "timespan, format", (2, 2), &[Span, Any], Is(Type::String), First, |a, _| {
        let text = span(&a[0]).and_then(|it| format(it.saturating_abs(), None, &a[1].to_string(), TIMESPAN_UNITS));
        Value::text(text.unwrap_or_default())
    }),
    f(
        "make_datetime",
        "year, month, day [, hour, minute [, second]]",
        (3, 6),
        &[Integer, Integer, Integer, Integer, Integer, Number],
        TIME,
        Unnamed,
        make_datetime,
    ),
    f(
        "make_timespan",
        "[day,] hour, minute [, second]",
        (2, 4),
        &[Integer, Integer, Number],
        Is(Type::TimeSpan),
        Unnamed,
        make_timespan,
    ),
    f("unixtime_seconds_todatetime", "number", (1, 1), &[Number], TIME, Unnamed, |a, _| unix(&a[0], 1e7)),
    f("unixtime_milliseconds_todatetime", "number", (1, 1), &[Number], TIME, Unnamed, |a, _| unix(&a[0], 1e4)),
    f("unixtime_microseconds_todatetime", "number", (1, 1), &[Number], TIME, Unnamed, |a, _| unix(&a[0], 10.0)),
    f("unixtime_nanoseconds_todatetime", "number", (1, 1), &[Number], TIME, Unnamed, |a, _| unix(&a[0], 0.01)),
];

fn ticks(value: &Value) -> Option<i64> {
    if let Value::DateTime(it) = value { Some(*it) } else { None }
}

fn span(value: &Value) -> Option<i64> {
    if let Value::TimeSpan(it) = value { Some(*it) } else { None }
}

fn shift(now: i64, by: Option<i64>, sign: i64) -> Value {
    Value::or_null(
        by.and_then(|it| now.checked_add(it.checked_mul(sign)?)).and_then(dates::in_range).map(Value::DateTime),
    )
}

#[derive(Clone, Copy)]
enum Period {
    Day,
    Week,
    Months(i64),
}

/// The first tick of the period `offset` periods away; `periods_after` one more.
fn start(ticks: i64, period: Period, offset: i64) -> Option<i64> {
    match period {
        Period::Day => (ticks - ticks.rem_euclid(DAY)).checked_add(offset.checked_mul(DAY)?),
        Period::Week => {
            let day = ticks.div_euclid(DAY);
            ((day - (day + 1).rem_euclid(7)) * DAY).checked_add(offset.checked_mul(7 * DAY)?)
        }
        Period::Months(months) => {
            let it = dates::parts(ticks)?;
            let month = if months == 12 { 1 } else { it.month };
            dates::add_months(dates::day_ticks(it.year, month, 1)?, offset.checked_mul(months)?)
        }
    }
}

fn edge(args: &[Value], period: Period, end: bool) -> Value {
    let offset = args.get(1).map_or(Some(0), Value::as_long);
    let edge = ticks(&args[0]).zip(offset).and_then(|(it, offset)| {
        if end { start(it, period, offset.checked_add(1)?).map(|it| it - 1) } else { start(it, period, offset) }
    });
    Value::or_null(edge.and_then(dates::in_range).map(Value::DateTime))
}

/// Borders of the unit between the two, as Kusto counts.
fn diff(args: &[Value], _: &Env) -> Value {
    let (Some(a), Some(b)) = (ticks(&args[1]), ticks(&args[2])) else { return Value::Null };
    let steps = |unit: i64| Some(a.div_euclid(unit) - b.div_euclid(unit));
    let months = |unit: i64| {
        let of = |it: i64| dates::parts(it).map(|it| (it.year * 12 + it.month - 1).div_euclid(unit));
        Some(of(a)? - of(b)?)
    };
    let found = match &*args[0].to_string().to_lowercase() {
        "year" => months(12),
        "quarter" => months(3),
        "month" => months(1),
        "week" => start(a, Period::Week, 0).zip(start(b, Period::Week, 0)).map(|(a, b)| (a - b) / (7 * DAY)),
        "day" => steps(DAY),
        "hour" => steps(HOUR),
        "minute" => steps(MINUTE),
        "second" => steps(SECOND),
        "millisecond" => steps(MILLISECOND),
        "microsecond" => steps(10),
        "nanosecond" => (a - b).checked_mul(100),
        _ => None,
    };
    Value::or_null(found.map(Value::Long))
}

fn add(args: &[Value], _: &Env) -> Value {
    let (Some(amount), Some(it)) = (args[1].as_long(), ticks(&args[2])) else { return Value::Null };
    let steps = |unit: i64| amount.checked_mul(unit).and_then(|by| it.checked_add(by));
    let moved = match &*args[0].to_string().to_lowercase() {
        "year" => amount.checked_mul(12).and_then(|by| dates::add_months(it, by)),
        "quarter" => amount.checked_mul(3).and_then(|by| dates::add_months(it, by)),
        "month" => dates::add_months(it, amount),
        "week" => steps(7 * DAY),
        "day" => steps(DAY),
        "hour" => steps(HOUR),
        "minute" => steps(MINUTE),
        "second" => steps(SECOND),
        "millisecond" => steps(MILLISECOND),
        "microsecond" => steps(10),
        "nanosecond" => it.checked_add(amount / 100),
        _ => None,
    };
    Value::or_null(moved.and_then(dates::in_range).map(Value::DateTime))
}

fn part(unit: &str, value: &Value) -> Value {
    let found = ticks(value).and_then(|it| {
        let parts = dates::parts(it)?;
        let rest = parts.rest;
        Some(match unit.to_lowercase().as_str() {
            "year" => parts.year,
            "quarter" => (parts.month - 1) / 3 + 1,
            "month" => parts.month,
            "week_of_year" | "week" => dates::date(it)?.iso_week().into(),
            "day" => parts.day,
            "dayofyear" => dates::date(it)?.ordinal().into(),
            "hour" => rest / HOUR,
            "minute" => rest / MINUTE % 60,
            "second" => rest / SECOND % 60,
            "millisecond" => rest / MILLISECOND % 1000,
            "microsecond" => rest % SECOND / 10,
            "nanosecond" => rest % SECOND * 100,
            _ => return None,
        })
    });
    Value::or_null(found.and_then(|it| i32::try_from(it).ok()).map(Value::Int))
}

const DATETIME_UNITS: &str = "yMdHhmsfFt";
const TIMESPAN_UNITS: &str = "dHhmsfF";

/// Runs of unit letters become numbers, all else stands for itself. `None`: a format that is none.
fn format(ticks: i64, date: Option<time::Date>, format: &str, units: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = format.chars().take(256).peekable();
    while let Some(unit) = chars.next() {
        if !units.contains(unit) {
            if unit.is_alphabetic() {
                return None;
            }
            out.push(unit);
            continue;
        }
        let mut width = 1;
        while chars.peek() == Some(&unit) {
            chars.next();
            width += 1;
        }
        let hour = ticks.rem_euclid(DAY) / HOUR;
        let number = match unit {
            'y' => {
                let year = i64::from(date?.year());
                if width <= 2 { year % 100 } else { year }
            }
            'M' => u8::from(date?.month()).into(),
            'd' => date.map_or(ticks / DAY, |it| it.day().into()),
            'h' if date.is_some() => (hour + 11) % 12 + 1,
            'H' | 'h' => hour,
            'm' => ticks / MINUTE % 60,
            's' => ticks / SECOND % 60,
            't' => {
                out.push_str(if hour < 12 { "AM" } else { "PM" });
                continue;
            }
            _ => {
                let fraction: String = format!("{:07}", ticks % SECOND).chars().take(width).collect();
                out.push_str(if unit == 'F' { fraction.trim_end_matches('0') } else { &fraction });
                continue;
            }
        };
        out.push_str(&format!("{number:0width$}"));
    }
    Some(out)
}

fn make_datetime(args: &[Value], _: &Env) -> Value {
    let whole = |at: usize| args.get(at).map_or(Some(0), Value::as_long);
    let made = (|| {
        let (hour, minute) = (whole(3)?, whole(4)?);
        let second = args.get(5).map_or(Some(0.0), Value::as_real)?;
        let fits = (0..24).contains(&hour) && (0..60).contains(&minute) && (0.0..60.0).contains(&second);
        let clock = hour * HOUR + minute * MINUTE + (second * SECOND as f64).round() as i64;
        fits.then_some(dates::day_ticks(whole(0)?, whole(1)?, whole(2)?)? + clock)
    })();
    Value::or_null(made.map(Value::DateTime))
}

fn make_timespan(args: &[Value], _: &Env) -> Value {
    let (days, clock) = if args.len() == 4 { (args[0].as_long(), &args[1..]) } else { (Some(0), args) };
    let made = (|| {
        let (hour, minute) = (clock[0].as_long()?, clock[1].as_long()?);
        let second = clock.get(2).map_or(Some(0.0), Value::as_real)?;
        let fits = (0..24).contains(&hour) && (0..60).contains(&minute) && (0.0..60.0).contains(&second);
        let clock = hour * HOUR + minute * MINUTE + (second * SECOND as f64).round() as i64;
        fits.then_some(days?.checked_mul(DAY)?.checked_add(clock)?)
    })();
    Value::or_null(made.map(Value::TimeSpan))
}

fn unix(value: &Value, ticks: f64) -> Value {
    let exact = match (value.as_long(), ticks >= 1.0) {
        (Some(it), true) => it.checked_mul(ticks as i64),
        (Some(it), false) => Some(it / 100),
        _ => value.as_real().map(|it| (it * ticks).round() as i64),
    };
    Value::or_null(exact.and_then(|it| it.checked_add(EPOCH)).and_then(dates::in_range).map(Value::DateTime))
}
