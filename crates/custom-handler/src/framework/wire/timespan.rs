//! Lengths of time as `host.json`, app settings and the host's messages write them: a .NET `TimeSpan`.

use std::time::Duration;

/// Why a text is no length of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TimeSpanError {
    #[error("is no time span: write hh:mm:ss, or d.hh:mm:ss from a day on")]
    Malformed,
    #[error("has a part out of range: hours end at 23, minutes and seconds at 59; write days as d.hh:mm:ss")]
    OutOfRange,
    #[error("is longer than a .NET TimeSpan, which ends at 10675199.02:48:05.4775807")]
    TooLong,
    #[error("is negative, and only -1, no limit, may be")]
    Negative,
}

const TICKS_PER_SECOND: i128 = 10_000_000;
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
/// Digits of a fraction of a second.
const FRACTION_DIGITS: usize = 7;

/// Reads `[d.]hh:mm[:ss[.fffffff]]`, `d:hh:mm:ss`, or whole days. `-1`, which is minus one day and means no limit, is
/// [`Duration::MAX`]. Of three parts without a day the first is days if it is no hour: `24:00:00` are 24 days.
///
/// # Errors
/// What keeps it from being one.
pub fn parse(text: &str) -> Result<Duration, TimeSpanError> {
    let ticks = ticks(text)?;
    if ticks == -i128::from(SECONDS_PER_DAY) * TICKS_PER_SECOND {
        return Ok(Duration::MAX);
    }
    let ticks = u64::try_from(ticks).map_err(|_| TimeSpanError::Negative)?;
    let per_second = TICKS_PER_SECOND as u64;
    Ok(Duration::new(ticks / per_second, (ticks % per_second) as u32 * 100))
}

/// The value in steps of 100 ns.
fn ticks(text: &str) -> Result<i128, TimeSpanError> {
    let text = text.trim();
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (days, hours, minutes, rest) = parts(text)?;
    let (seconds, fraction) = match rest.split_once('.') {
        Some((seconds, fraction)) => (number(seconds)?, hundred_nanoseconds(fraction)?),
        None => (number(rest)?, 0),
    };
    let [days, hours, minutes] = [number(days)?, number(hours)?, number(minutes)?];
    if hours > 23 || minutes > 59 || seconds > 59 {
        return Err(TimeSpanError::OutOfRange);
    }
    let seconds = i128::from(days) * i128::from(SECONDS_PER_DAY) + i128::from(hours * 3600 + minutes * 60 + seconds);
    let ticks = sign * (seconds * TICKS_PER_SECOND + i128::from(fraction));
    i64::try_from(ticks).map(i128::from).map_err(|_| TimeSpanError::TooLong)
}

/// Days, hours, minutes, and seconds with their fraction.
fn parts(text: &str) -> Result<(&str, &str, &str, &str), TimeSpanError> {
    let parts: Vec<&str> = text.split(':').collect();
    let first = parts[0].split_once('.');
    Ok(match (first, parts.as_slice()) {
        (None, [days]) => (days, "0", "0", "0"),
        (None, [hours, minutes]) => ("0", hours, minutes, "0"),
        (Some((days, hours)), [_, minutes]) => (days, hours, minutes, "0"),
        (Some((days, hours)), [_, minutes, seconds]) => (days, hours, minutes, seconds),
        (None, [days, hours, minutes]) if number(days)? > 23 && !minutes.contains('.') => (days, hours, minutes, "0"),
        (None, [hours, minutes, seconds]) => ("0", hours, minutes, seconds),
        (None, [days, hours, minutes, seconds]) => (days, hours, minutes, seconds),
        _ => return Err(TimeSpanError::Malformed),
    })
}

fn number(digits: &str) -> Result<u64, TimeSpanError> {
    if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return Err(TimeSpanError::Malformed);
    }
    digits.parse::<u32>().map(u64::from).map_err(|_| TimeSpanError::TooLong)
}

/// A fraction of a second. More digits than .NET keeps are an error to it too.
fn hundred_nanoseconds(digits: &str) -> Result<u64, TimeSpanError> {
    if digits.len() > FRACTION_DIGITS {
        return Err(TimeSpanError::Malformed);
    }
    Ok(number(digits)? * 10_u64.pow((FRACTION_DIGITS - digits.len()) as u32))
}

/// `00:00:20`, `1.00:00:00`, or `00:00:00.5000000`: a .NET `TimeSpan` in its messages.
pub fn print(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, rest) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    let day = if days > 0 { format!("{days}.") } else { String::new() };
    let whole = format!("{day}{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match duration.subsec_nanos() / 100 {
        0 => whole,
        ticks => format!("{whole}.{ticks:07}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_read_and_printed_as_dotnet_does() {
        for (text, want) in [
            ("00:10:00", 600_000),
            ("01:00:01.5", 3_601_500),
            ("00:00:00.300", 300),
            ("0:1", 60_000),
            (" 23:59:59 ", 86_399_000),
            ("1.00:00:00", 86_400_000),
            ("1.02:03", 93_780_000),
            ("10", 864_000_000),
            ("1:00:00:00.0010000", 86_400_001),
            ("24:00:00", 24 * 86_400_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(want)), "{text}");
        }
        for text in ["-1", "-1.00:00:00", " -1 "] {
            assert_eq!(parse(text), Ok(Duration::MAX), "{text}");
        }
        let longest = "10675199.02:48:05.4775807";
        assert_eq!(print(parse(longest).unwrap()), longest);
        assert_eq!(print(Duration::from_secs(1_800)), "00:30:00");
        assert_eq!(print(Duration::from_millis(500)), "00:00:00.5000000");
        assert_eq!(print(Duration::from_secs(90_061)), "1.01:01:01");
    }

    #[test]
    fn what_is_no_time_span_is_an_error_and_never_a_panic() {
        use TimeSpanError::{Malformed, Negative, OutOfRange, TooLong};
        for (text, want) in [
            ("", Malformed),
            ("-", Malformed),
            ("ten", Malformed),
            ("1.5", Malformed),
            ("+1", Malformed),
            ("1:2:", Malformed),
            ("00:00:00.", Malformed),
            ("00:00:00.12345678", Malformed),
            ("1:2:3:4:5", Malformed),
            ("1. 2:3", Malformed),
            ("00:60", OutOfRange),
            ("24:00", OutOfRange),
            ("1.24:00:00", OutOfRange),
            ("00:00:60", OutOfRange),
            ("24:00:00.5", OutOfRange),
            ("10675199.02:48:05.4775808", TooLong),
            ("10675200", TooLong),
            ("99999999999999999999", TooLong),
            ("00:00:18446744073709549568", TooLong),
            ("-2", Negative),
            ("-00:00:01", Negative),
        ] {
            assert_eq!(parse(text), Err(want), "{text}");
        }
    }
}
