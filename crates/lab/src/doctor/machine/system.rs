//! What the system grants every process: open files, and a clock that goes on.

use std::fs;

use rustix::process::{Resource, getrlimit};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::Machine;
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
        let id = "machine.clock";
        let now = clock::utc_now();
        let stepped_ms = (now - self.wall).whole_milliseconds() - self.monotonic.elapsed().as_millis() as i128;
        let mend = "`timedatectl` shows what sets it; let a time server do so";
        if stepped_ms.abs() > STEP_MS {
            return Finding::new(id, State::Warning, format!("it was set by {stepped_ms} ms while the doctor looked"))
                .breaks("a run during which the clock is set is inconclusive")
                .mend(mend);
        }
        let made = std::env::current_exe().and_then(fs::metadata).and_then(|it| it.modified());
        match made.map(OffsetDateTime::from) {
            Ok(made) if made > now => {
                Finding::new(id, State::Warning, format!("{}, before this program was made", shown(now)))
                    .breaks("signatures and tokens of Azure are refused by another time")
                    .mend(mend)
            }
            Ok(_) => Finding::ok(id, shown(now)),
            Err(error) => Finding::new(id, State::Unknown, format!("the date of this program cannot be read: {error}")),
        }
    }
}

fn shown(at: OffsetDateTime) -> String {
    clock::timestamp(at)
}
