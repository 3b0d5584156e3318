//! The worker's memory limit: how much, and by what means it is enforced on this machine.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

use super::cgroup;
use super::memory::machine_bytes;

/// A memory limit and its enforcement. The cgroup, where there is one, is removed on drop.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    bytes: u64,
    mechanism: Mechanism,
}

/// What enforces the limit, best first.
#[derive(Debug)]
enum Mechanism {
    CgroupV2(PathBuf),
    CgroupV1(PathBuf),
    /// A transient scope of the user's systemd.
    SystemdScope,
    /// The front looks at 20 Hz and sends SIGKILL.
    FrontWatch,
}

impl MemoryLimit {
    /// Takes `setting`, or what the machine allows, and prepares the best enforcement there is.
    pub(super) async fn establish(setting: Option<u64>) -> Self {
        let bytes = setting.unwrap_or_else(available_bytes);
        let group = || v2_cgroup(bytes).map(Mechanism::CgroupV2).or_else(|| v1_cgroup(bytes).map(Mechanism::CgroupV1));
        let mechanism = match group() {
            Some(mechanism) => mechanism,
            None if systemd_scope_works().await => Mechanism::SystemdScope,
            None => Mechanism::FrontWatch,
        };
        Self { bytes, mechanism }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the front itself has to kill a worker above the limit.
    pub(super) fn is_watched_by_front(&self) -> bool {
        matches!(self.mechanism, Mechanism::FrontWatch)
    }

    /// The command that starts the worker under this limit; arguments of the worker follow.
    pub(super) fn command(&self) -> io::Result<Command> {
        match self.mechanism {
            Mechanism::SystemdScope => {
                let mut command = Command::new("systemd-run");
                command.args(scope_arguments(self.bytes)).arg("--").arg(fs::read_link("/proc/self/exe")?);
                Ok(command)
            }
            // The running binary, even if a deployment has replaced its file.
            _ => Ok(Command::new("/proc/self/exe")),
        }
    }

    /// Puts a worker that has not allocated anything yet under the limit.
    pub(super) fn admit(&mut self, pid: u32) {
        // The kernel should take the worker before anything else on a machine that runs out of memory.
        let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), "1000");
        let (Mechanism::CgroupV2(path) | Mechanism::CgroupV1(path)) = &self.mechanism else { return };
        if let Err(error) = fs::write(path.join("cgroup.procs"), pid.to_string()) {
            tracing::warn!("the worker cannot join its memory cgroup ({error}); the front watches its memory instead");
            self.mechanism = Mechanism::FrontWatch;
        }
    }

    /// Kernel kills in the worker's cgroup so far; `None` where they are not counted.
    pub(super) fn oom_kills(&self) -> Option<u64> {
        let file = match &self.mechanism {
            Mechanism::CgroupV2(path) => path.join("memory.events"),
            Mechanism::CgroupV1(path) => path.join("memory.oom_control"),
            Mechanism::SystemdScope | Mechanism::FrontWatch => return None,
        };
        let text = fs::read_to_string(file).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.mechanism {
            Mechanism::CgroupV2(_) => "cgroup v2",
            Mechanism::CgroupV1(_) => "cgroup v1",
            Mechanism::SystemdScope => "a systemd scope",
            Mechanism::FrontWatch => "the front watching at 20 Hz: no memory cgroup can be written here",
        };
        write!(f, "{} MiB, enforced by {by}", self.bytes >> 20)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        if let Mechanism::CgroupV2(path) | Mechanism::CgroupV1(path) = &self.mechanism {
            let _ = fs::remove_dir(path);
        }
    }
}

/// The smallest of cgroup v2, cgroup v1 and the machine's memory.
fn available_bytes() -> u64 {
    let v2 = cgroup::own_v2().and_then(|path| number(&path.join("memory.max")));
    let v1 = cgroup::own_v1().and_then(|path| number(&path.join("memory.limit_in_bytes")));
    [v2, v1, machine_bytes()].into_iter().flatten().min().unwrap_or(u64::MAX >> 1)
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A child of our own cgroup, or a sibling of it: a cgroup that holds processes cannot hand its memory controller down,
/// but its parent (a systemd slice, say) usually does already.
fn v2_cgroup(bytes: u64) -> Option<PathBuf> {
    let own = cgroup::own_v2()?;
    [Some(own.as_path()), own.parent()].into_iter().flatten().find_map(|parent| {
        cgroup::make(parent, |path| {
            if !path.join("memory.max").exists() {
                fs::write(parent.join("cgroup.subtree_control"), "+memory")?;
            }
            fs::write(path.join("memory.max"), bytes.to_string())?;
            fs::write(path.join("memory.oom.group"), "0")?;
            // Missing where the kernel does not account swap.
            let _ = fs::write(path.join("memory.swap.max"), "0");
            Ok(())
        })
    })
}

fn v1_cgroup(bytes: u64) -> Option<PathBuf> {
    cgroup::make(&cgroup::own_v1()?, |path| {
        fs::write(path.join("memory.limit_in_bytes"), bytes.to_string())?;
        // Missing where the kernel does not account swap.
        let _ = fs::write(path.join("memory.memsw.limit_in_bytes"), bytes.to_string());
        Ok(())
    })
}

fn scope_arguments(bytes: u64) -> Vec<String> {
    let properties = [
        format!("MemoryMax={bytes}"),
        "MemorySwapMax=0".to_owned(),
        "Delegate=yes".to_owned(),
        // Without it systemd stops the whole scope after one kernel kill; known since version 253.
        "OOMPolicy=continue".to_owned(),
    ];
    let mut arguments: Vec<String> = ["--user", "--scope", "--quiet"].map(str::to_owned).into();
    arguments.extend(properties.into_iter().flat_map(|it| ["-p".to_owned(), it]));
    arguments
}

async fn systemd_scope_works() -> bool {
    let mut probe = Command::new("systemd-run");
    probe.args(scope_arguments(64 << 20)).arg("true");
    probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().await.is_ok_and(|it| it.success())
}
