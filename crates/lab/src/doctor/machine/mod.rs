//! What on this machine hinders a lab. Each check looks for itself; what one makes to find out, it takes away again.

mod folders;
mod memory_limit;
mod network;
mod programs;
mod room;
mod system;

use std::path::PathBuf;

pub use network::Port;

use super::{Examination, Finding, State};

/// What a lab needs of this machine when it runs with its defaults.
#[derive(Clone, Debug)]
pub struct LabNeeds {
    pub name: &'static str,
    /// Its work folder.
    pub work: PathBuf,
    /// Whether its app reads blobs: then it needs storage, and a worker under a memory limit.
    pub reads_blobs: bool,
    /// Without so much memory it is refused; `None` where that is not worth checking.
    pub memory_bytes: Option<u64>,
    /// What it needs of the disk of its work folder.
    pub disk_bytes: u64,
}

/// What is examined.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    pub labs: &'a [LabNeeds],
    pub ports: &'a [Port],
    /// Where runs leave their evidence.
    pub evidence: &'a std::path::Path,
    /// Arguments that lead this program to `incident_labs::worker::proof::take_memory`.
    pub allocator: &'a [&'a str],
}

impl Machine<'_> {
    /// Makes all checks. `on_step` is told what is looked at next.
    pub async fn examine(&self, mut on_step: impl FnMut(&str)) -> Examination {
        let mut seen = Examination::default();
        let clock = system::Clock::start();
        on_step("programs");
        programs::look(self, &mut seen).await;
        on_step("memory limit of a throw-away process");
        seen.add(memory_limit::look(self).await);
        on_step("ports");
        network::look(self, &mut seen).await;
        on_step("memory, disk and folders");
        room::look(self, &mut seen);
        folders::look(self, &mut seen);
        on_step("limits and clock");
        system::look(self, &mut seen);
        seen.add(clock.look());
        seen
    }

    fn all(&self) -> Vec<&'static str> {
        self.labs.iter().map(|it| it.name).collect()
    }

    /// Labs whose app reads blobs.
    fn with_blobs(&self) -> Vec<&'static str> {
        self.labs.iter().filter(|it| it.reads_blobs).map(|it| it.name).collect()
    }

    /// The same, and the commands that start storage without a lab.
    fn with_storage(&self) -> Vec<&'static str> {
        [&self.with_blobs()[..], &["process", "start", "azurite"]].concat()
    }
}

/// A check that could not be made: why, what stays open, and how to find out.
fn unknown(id: impl Into<String>, why: impl Into<String>, open: &str, mend: impl Into<String>) -> Finding {
    Finding::new(id, State::Unknown, why).breaks(format!("it is not known whether {open}")).mend(mend)
}

impl Finding {
    /// Names what it hinders, where it is more than a surprise.
    #[must_use]
    fn hinders_if_serious(self, labs: &[&'static str]) -> Self {
        if self.state >= State::Unknown { self.hinders(labs) } else { self }
    }
}
