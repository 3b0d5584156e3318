//! Memory and disk, against what each lab needs at its default scale.

use std::path::Path;

use super::{Machine, unknown};
use crate::{
    doctor::{Examination, Finding, State},
    machine::capacity::{RoomError, free_disk, free_memory},
};
use incident_labs::blob::MIB;

/// Free disk that a run's evidence should find. With its defaults a run of the replay lab left 45 MiB, one of the OOM lab 9.
const EVIDENCE_BYTES: u64 = 128 * MIB;

pub(super) fn look(machine: &Machine<'_>, seen: &mut Examination) {
    for lab in machine.labs {
        if let Some(needed) = lab.memory_bytes {
            let id = format!("machine.memory.{}", lab.name);
            let finding = judge(id, free_memory(), needed, "available");
            seen.add(finding.hinders_if_serious(&[lab.name]));
        }
        let id = format!("machine.disk.{}", lab.name);
        seen.add(disk(id, &lab.work, lab.disk_bytes).hinders_if_serious(&[lab.name]));
    }
    seen.add(
        disk("machine.disk.evidence".to_owned(), machine.evidence, EVIDENCE_BYTES).hinders_if_serious(&machine.all()),
    );
}

fn disk(id: String, path: &Path, needed: u64) -> Finding {
    judge(id, free_disk(path), needed, &format!("free under {}", path.display()))
}

fn judge(id: String, free: Result<u64, RoomError>, needed: u64, what: &str) -> Finding {
    let free = match free {
        Ok(free) => free,
        Err(error) => return unknown(id, chain(&error), "there is room", "look at it yourself: `df`, `free`"),
    };
    let seen = format!("{} MiB {what}, {} MiB needed", free / MIB, needed / MIB);
    if free >= needed {
        return Finding::ok(id, seen);
    }
    let is_evidence = id.ends_with("evidence");
    let finding = Finding::new(id, State::Problem, seen);
    if is_evidence {
        let finding = finding.breaks("rows that find no room are lost, and the run is inconclusive");
        return finding.mend("make room (`cargo lab clean` lists old runs), or choose another disk with --evidence");
    }
    finding.breaks("the run is refused before it begins, or ends in the middle").mend(
        "take a smaller --scale, make room (`cargo lab clean` lists old runs), or choose another disk with --folder",
    )
}

fn chain(error: &RoomError) -> String {
    let source = std::error::Error::source(error).map(|it| format!(": {it}")).unwrap_or_default();
    format!("could not {error}{source}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_held_against_what_is_needed_and_what_cannot_be_read_is_unknown() {
        let seen = |free, needed| judge("machine.disk.oom".to_owned(), Ok(free), needed, "free");
        assert_eq!(seen(10 * MIB, 10 * MIB).state, State::Ok);
        let short = seen(9 * MIB, 10 * MIB);
        assert_eq!((short.state, short.seen.as_str()), (State::Problem, "9 MiB free, 10 MiB needed"));
        let error = RoomError::Unknown { path: "/x".to_owned(), source: std::io::Error::other("no") };
        let unknown = judge("machine.memory.oom".to_owned(), Err(error), 1, "available");
        assert_eq!(unknown.state, State::Unknown);
        assert_eq!(unknown.seen, "could not find out how much room there is under /x: no");
    }
}
