//! The one place that asks for the time, so that everything else can take it as an argument.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use time::{OffsetDateTime, format_description::FormatItem, macros::format_description};

/// By how much [`step`] has set this process's clock, in nanoseconds.
static STEPPED: AtomicI64 = AtomicI64::new(0);

/// Wall-clock time, for rows and file names. It can be set at any moment, so durations are measured with
/// `tokio::time::Instant`.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn utc_now() -> OffsetDateTime {
    OffsetDateTime::now_utc() + time::Duration::nanoseconds(STEPPED.load(Ordering::Relaxed))
}

/// Sets the wall clock of this process, as a person or a time server sets the machine's: for tests.
pub fn step(by: time::Duration) {
    let nanoseconds = i64::try_from(by.whole_nanoseconds()).unwrap_or(i64::MAX);
    STEPPED.fetch_add(nanoseconds, Ordering::Relaxed);
}

/// `2026-11-20T20:05:14.0700355Z`, as the host and Application Insights write it.
pub fn timestamp(at: OffsetDateTime) -> String {
    const FORMAT: &[FormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]Z");
    at.to_offset(time::UtcOffset::UTC).format(FORMAT).unwrap_or_default()
}

/// `00:00:09.102`, as the host prints a duration in its log lines.
pub fn hms(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_are_written_as_the_host_writes_them() {
        assert_eq!(hms(Duration::from_millis(9_102)), "00:00:09.102");
        assert_eq!(hms(Duration::from_secs(3_661)), "01:01:01.000");
        assert_eq!(timestamp(OffsetDateTime::UNIX_EPOCH), "1970-01-01T00:00:00.0000000Z");
    }
}
