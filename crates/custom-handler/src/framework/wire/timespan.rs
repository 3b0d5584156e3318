//! Lengths of time as `host.json`, app settings and the host's messages write them: a .NET `TimeSpan`.

use std::time::Duration;

/// Reads `hh:mm:ss[.fff]`; `-1`, no limit, is [`Duration::MAX`].
pub fn parse(text: &str) -> Option<Duration> {
    if text == "-1" {
        return Some(Duration::MAX);
    }
    let parts: Vec<&str> = text.split(':').collect();
    let [hours, minutes, seconds] = parts.as_slice() else {
        return None;
    };
    let (hours, minutes) = (hours.parse::<u32>().ok()?, minutes.parse::<u32>().ok()?);
    let seconds = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
    Some(Duration::from_secs(u64::from(hours) * 3600 + u64::from(minutes) * 60) + seconds)
}

/// `00:00:20`, or `00:00:00.5000000`: a .NET `TimeSpan` in its messages.
pub fn print(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let whole = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
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
        for (text, want) in [("00:10:00", 600_000), ("01:00:01.5", 3_601_500), ("00:00:00.300", 300)] {
            assert_eq!(parse(text), Some(Duration::from_millis(want)), "{text}");
        }
        assert_eq!(parse("-1"), Some(Duration::MAX));
        assert_eq!(parse("10"), None);
        assert_eq!(print(Duration::from_secs(1_800)), "00:30:00");
        assert_eq!(print(Duration::from_millis(500)), "00:00:00.5000000");
    }
}
