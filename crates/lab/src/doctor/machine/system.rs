//! What the system grants every process: open files, and a clock that goes on.

use std::{fs, io};

use rustix::process::{Resource, getrlimit};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{Machine, unknown};
use crate::doctor::{Examination, Finding, State};
use custom_handler::clock;

/// Open files that a process of a run should be allowed. With the default scale Azurite had 399 open, all other processes 60 at
/// most; it opens more with more blobs.
const WITH_BLOBS: u64 = 1024;
const WITHOUT_BLOBS: u64 = 256;
/// The wall clock may differ from the monotonic one by this much while the doctor looks.
const STEP_MS: i128 = 100;

pub(super) fn look(machine: &Machine<'_>, seen: &mut Examination) {
    let id = "machine.open-files";
    let Some(limit) = getrlimit(Resource::Nofile).current else { return seen.add(Finding::ok(id, "not limited")) };
    let needed = |reads_blobs| if reads_blobs { WITH_BLOBS } else { WITHOUT_BLOBS };
    let short = machine.labs.iter().filter(|it| limit < needed(it.reads_blobs));
    let labs: Vec<&'static str> = short.map(|it| it.name).collect();
    if labs.is_empty() {
        return seen.add(Finding::ok(id, format!("{limit} for a process")));
    }
    let finding = Finding::new(
        id,
        State::Problem,
        format!("{limit} for a process, {WITH_BLOBS} needed with blobs, else {WITHOUT_BLOBS}"),
    )
    .breaks("files and connections cannot be opened in the middle of a run")
    .mend(format!("`ulimit -n {WITH_BLOBS}` in this shell; /etc/security/limits.conf sets it for good"));
    seen.add(finding.hinders(&labs));
}

/// Both clocks when the doctor began.
pub(super) struct Clock {
    wall: OffsetDateTime,
    monotonic: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { wall: clock::utc_now(), monotonic: Instant::now() }
    }

    /// Whether the wall clock went on as the monotonic one did, and is not behind the day this program was made.
    pub(super) fn look(self) -> Finding {
        let now = clock::utc_now();
        let stepped_ms = (now - self.wall).whole_milliseconds() - self.monotonic.elapsed().as_millis() as i128;
        let made = std::env::current_exe().and_then(fs::metadata).and_then(|it| it.modified());
        judge(now, stepped_ms, made.map(OffsetDateTime::from))
    }
}

fn judge(now: OffsetDateTime, stepped_ms: i128, made: io::Result<OffsetDateTime>) -> Finding {
    let id = "machine.clock";
    let warning = |seen: String, breaks: &str| {
        let mend = "`timedatectl` shows what sets it; let a time server do so";
        Finding::new(id, State::Warning, seen).breaks(breaks).mend(mend)
    };
    let shown = clock::timestamp(now);
    match made {
        _ if stepped_ms.abs() > STEP_MS => warning(
            format!("it was set by {stepped_ms} ms while the doctor looked"),
            "a run during which the clock is set is inconclusive",
        ),
        Ok(made) if made > now => warning(
            format!("{shown}, before this program was made"),
            "signatures and tokens of Azure are refused by another time",
        ),
        Ok(_) => Finding::ok(id, shown),
        Err(error) => {
            let seen = format!("{shown}; the date of this program cannot be read: {error}");
            unknown(id, seen, "the clock is right", "compare it with `date`")
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_clock_that_is_set_or_behind_is_found_and_one_that_goes_on_is_fine() {
        let (made, now) = (datetime!(2026-04-05 01:30 UTC), datetime!(2026-04-05 01:45 UTC));
        assert_eq!(judge(now, 99, Ok(made)).state, State::Ok);
        assert!(judge(now, -3_600_000, Ok(made)).seen.contains("set by -3600000 ms"));
        assert!(judge(made, 0, Ok(now)).seen.contains("before this program was made"));
        assert_eq!(judge(now, 0, Err(io::Error::other("no"))).state, State::Unknown);
    }
}
