//! Whether a worker that takes too much is really killed here, by what, and whether the kernel's count of it can be read.

use super::{Machine, unknown};
use crate::doctor::{Finding, State};
use incident_labs::{
    blob::MIB,
    worker::proof::{End, Enforcer, Proof, prove},
};

/// The limit of the throw-away process.
const LIMIT_BYTES: u64 = 64 * MIB;
const ID: &str = "machine.memory-limit";
const GET_A_CGROUP: &str =
    "run as root, or below a cgroup of your own: `systemd-run --user --scope -p Delegate=yes -- cargo lab run oom`";

pub(super) async fn look(machine: &Machine<'_>) -> Finding {
    let finding = match prove(LIMIT_BYTES, machine.allocator).await {
        Ok(proof) => judge(&proof),
        Err(error) => open(format!("a process to prove it with could not be started or watched: {error}")),
    };
    finding.hinders_if_serious(&machine.with_blobs())
}

fn judge(proof: &Proof) -> Finding {
    match (&proof.end, proof.enforcer) {
        (End::Killed { counted: Some(counted) }, _) => Finding::ok(ID, format!("{proof}; {counted}")),
        (End::Killed { counted: None }, Enforcer::FrontWatch) => {
            Finding::new(ID, State::Warning, proof.to_string())
                .breaks("the front looks every 50 ms: a worker may be above its limit for as long, and no kernel counts the kills")
                .mend(GET_A_CGROUP)
        }
        (End::Killed { counted: None }, _) => {
            Finding::new(ID, State::Warning, format!("{proof}; the kernel's count of it cannot be read"))
                .breaks("a run cannot tell kills for memory from others")
                .mend(GET_A_CGROUP)
        }
        (End::Survived { .. }, _) => Finding::new(ID, State::Problem, proof.to_string())
            .breaks("the limit does not hold: no worker is killed, and the machine may run out of memory")
            .mend(format!("switch swap off where the kernel does not limit it (`swapoff -a`), or {GET_A_CGROUP}")),
        (End::Exited { .. } | End::Undecided { .. }, _) => open(proof.to_string()),
    }
}

fn open(why: String) -> Finding {
    unknown(ID, why, "workers are killed at their limit", GET_A_CGROUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_of_the_process_has_its_finding() {
        let counted = End::Killed { counted: Some("counted".to_owned()) };
        for (end, enforcer, state) in [
            (counted, Enforcer::CgroupV2, State::Ok),
            (End::Killed { counted: None }, Enforcer::SystemdScope, State::Warning),
            (End::Killed { counted: None }, Enforcer::FrontWatch, State::Warning),
            (End::Survived { bytes: 96 * MIB }, Enforcer::CgroupV1, State::Problem),
            (End::Exited { code: 134 }, Enforcer::CgroupV1, State::Unknown),
            (End::Undecided { bytes: 1 }, Enforcer::FrontWatch, State::Unknown),
        ] {
            let proof = Proof { limit: format!("64 MiB, enforced by {enforcer}"), enforcer, end };
            let finding = judge(&proof);
            assert_eq!(finding.state, state, "{finding:?}");
            assert!(finding.seen.contains(&enforcer.to_string()), "{finding:?}");
            assert_eq!(finding.mend.is_some(), state != State::Ok, "{finding:?}");
        }
    }
}
