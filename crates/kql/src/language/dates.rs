//! Datetimes and timespans as ticks of 100 ns: reading, writing and the calendar.

use time::{Date, Month};

pub(crate) const MICROSECOND: i64 = 10;
pub(crate) const MILLISECOND: i64 = 10_000;
pub(crate) const SECOND: i64 = 1_000 * MILLISECOND;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;
/// 9999-12-31T23:59:59.9999999Z, in ticks since 0001-01-01.
pub(crate) const LAST: i64 = 3_155_378_975_999_999_999;
/// 1970-01-01, in ticks since 0001-01-01.
pub(crate) const EPOCH: i64 = 621_355_968_000_000_000;

/// A datetime taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) rest: i64,
}

fn first_day() -> i64 {
    i64::from(Date::from_calendar_date(1, Month::January, 1).map_or(0, Date::to_julian_day))
}

pub(crate) fn date(ticks: i64) -> Option<Date> {
    let day = first_day() + ticks.div_euclid(DAY);
    Date::from_julian_day(i32::try_from(day).ok()?).ok()
}

pub(crate) fn parts(ticks: i64) -> Option<Parts> {
    let it = date(ticks)?;
    Some(Parts {
        year: it.year().into(),
        month: u8::from(it.month()).into(),
        day: it.day().into(),
        rest: ticks.rem_euclid(DAY),
    })
}

/// Ticks of a calendar day; `None` where there is no such day.
pub(crate) fn day_ticks(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=9999).contains(&year) {
        return None;
    }
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let it = Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()?;
    Some((i64::from(it.to_julian_day()) - first_day()) * DAY)
}

/// Ticks if they are a datetime Kusto can hold.
pub(crate) fn in_range(ticks: i64) -> Option<i64> {
    (0..=LAST).contains(&ticks).then_some(ticks)
}

pub(crate) fn add_months(ticks: i64, months: i64) -> Option<i64> {
    let it = parts(ticks)?;
    let all = (it.year * 12 + it.month - 1).checked_add(months)?;
    let (year, month) = (all.div_euclid(12), all.rem_euclid(12) + 1);
    (1..=it.day).rev().find_map(|day| day_ticks(year, month, day)).map(|day| day + it.rest)
}

/// Reads ISO 8601 with or without time, fraction and offset; a space may stand for the `T`.
pub(crate) fn parse_datetime(text: &str) -> Option<i64> {
    let text = text.trim();
    let (day, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], text[at + 1..].trim()),
        None => (text, ""),
    };
    let separator = if day.contains('/') { '/' } else { '-' };
    let fields: Vec<&str> = day.split(separator).collect();
    let whole = |it: &str| digits(it, 4);
    let day = match (separator, fields.as_slice()) {
        ('-', [year]) if year.len() == 4 && time.is_empty() => day_ticks(whole(year)?, 1, 1)?,
        ('-', [year, month]) if year.len() == 4 => day_ticks(whole(year)?, whole(month)?, 1)?,
        ('-', [year, month, day]) if year.len() == 4 => day_ticks(whole(year)?, whole(month)?, whole(day)?)?,
        ('/', [month, day, year]) if year.len() == 4 => day_ticks(whole(year)?, whole(month)?, whole(day)?)?,
        _ => return None,
    };
    let (time, offset) = split_offset(time)?;
    let time = if time.is_empty() { 0 } else { clock(time)? };
    in_range(day + time - offset)
}

fn digits(text: &str, most: usize) -> Option<i64> {
    let fits = !text.is_empty() && text.len() <= most && text.bytes().all(|it| it.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

/// The time of day, and the offset from UTC in ticks.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time.trim_end(), 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let offset = &time[at + 1..];
    let (hours, minutes) = match offset.split_once(':') {
        Some((hours, minutes)) => (digits(hours, 2)?, digits(minutes, 2)?),
        None if offset.len() == 4 => (digits(&offset[..2], 2)?, digits(offset.get(2..)?, 2)?),
        None => (digits(offset, 2)?, 0),
    };
    let ticks = hours * HOUR + minutes * MINUTE;
    let fits = hours <= 14 && minutes < 60;
    fits.then_some((time[..at].trim_end(), if time.as_bytes()[at] == b'-' { -ticks } else { ticks }))
}

/// `hh:mm[:ss[.fffffff]]`, in ticks.
fn clock(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fields: Vec<i64> = clock.split(':').map(|it| digits(it, 2)).collect::<Option<_>>()?;
    let (hours, minutes, seconds) = match fields.as_slice() {
        [hours, minutes] if fraction.is_empty() => (*hours, *minutes, 0),
        [hours, minutes, seconds] => (*hours, *minutes, *seconds),
        _ => return None,
    };
    let fits = hours < 24 && minutes < 60 && seconds < 60;
    let fraction = if text.contains('.') { fraction_ticks(fraction)? } else { 0 };
    fits.then_some(hours * HOUR + minutes * MINUTE + seconds * SECOND + fraction)
}

fn fraction_ticks(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let kept: String = text.chars().chain("0000000".chars()).take(7).collect();
    kept.parse().ok()
}

/// Reads `[-][d.]hh:mm[:ss[.fffffff]]`, a number of days, or a literal such as `1.5h`.
pub(crate) fn parse_timespan(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, body) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let ticks = if body.contains(':') {
        match body.split_once('.') {
            Some((days, rest)) if !days.contains(':') => {
                digits(days, 8)?.checked_mul(DAY)?.checked_add(clock(rest)?)?
            }
            _ => clock(body)?,
        }
    } else if let Some(days) = digits(body, 8) {
        days.checked_mul(DAY)?
    } else {
        let unit_at = body.find(|it: char| it.is_alphabetic())?;
        span_literal(&body[..unit_at], &body[unit_at..])?
    };
    Some(if negative { -ticks } else { ticks })
}

/// Ticks of a number with one of Kusto's units.
pub(crate) fn span_literal(number: &str, unit: &str) -> Option<i64> {
    let unit = match unit {
        "d" | "day" | "days" => DAY,
        "h" | "hr" | "hrs" | "hour" | "hours" => HOUR,
        "m" | "min" | "minute" | "minutes" => MINUTE,
        "s" | "sec" | "second" | "seconds" => SECOND,
        "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => MILLISECOND,
        "micro" | "micros" | "microsecond" | "microseconds" => MICROSECOND,
        "tick" | "ticks" => 1,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(unit);
    }
    let ticks = number.parse::<f64>().ok()? * unit as f64;
    (ticks.abs() < 9.2e18).then_some(ticks.round() as i64)
}

/// ISO 8601 with seven digits and `Z`.
pub(crate) fn show_datetime(ticks: i64) -> String {
    let Some(Parts { year, month, day, rest }) = parts(ticks) else { return String::new() };
    let (hour, minute, second) = (rest / HOUR, rest / MINUTE % 60, rest / SECOND % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:07}Z", rest % SECOND)
}

/// `[-][d.]hh:mm:ss[.fffffff]`, as Kusto prints it.
pub(crate) fn show_timespan(ticks: i64) -> String {
    let all = ticks.unsigned_abs();
    let unit = |it: i64| it.unsigned_abs();
    let (days, rest) = (all / unit(DAY), all % unit(DAY));
    let sign = if ticks < 0 { "-" } else { "" };
    let days = if days == 0 { String::new() } else { format!("{days}.") };
    let (hour, minute, second) = (rest / unit(HOUR), rest / unit(MINUTE) % 60, rest / unit(SECOND) % 60);
    let fraction = rest % unit(SECOND);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:07}") };
    format!("{sign}{days}{hour:02}:{minute:02}:{second:02}{fraction}")
}
