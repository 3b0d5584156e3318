//! The worker's memory limit: how much, and by what means it is enforced on this machine.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

use super::cgroup;
use super::group::{self, Available, Bound, Group, Version};

/// A memory limit and its enforcement. The cgroup, where there is one, is removed on drop.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    bytes: u64,
    /// What the machine allows, where that is the limit.
    by: Option<Bound>,
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

/// What enforces a memory limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Enforcer {
    CgroupV2,
    CgroupV1,
    SystemdScope,
    /// The front itself.
    FrontWatch,
}

impl fmt::Display for Enforcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CgroupV2 => "cgroup v2",
            Self::CgroupV1 => "cgroup v1",
            Self::SystemdScope => "a systemd scope",
            Self::FrontWatch => "the front watching at 20 Hz: no memory cgroup can be written here",
        })
    }
}

/// What the kernel has counted so far, to tell a later kill from it.
#[derive(Debug)]
pub(super) struct Counted {
    /// Kills in the worker's cgroup.
    kills: u64,
    /// How often the worker's cgroup and each one above it reached its limit, the nearest first.
    reached: Vec<(PathBuf, u64)>,
}

/// The file of version 1 with the most that was used; writing to it starts anew.
const MOST_USED: &str = "memory.max_usage_in_bytes";
/// The kernel takes memory for a group in portions of 64 pages.
const CHARGED_AT_ONCE_BYTES: u64 = 64 * 4096;

impl MemoryLimit {
    /// Takes `setting`, or what the machine allows if that is less, and prepares the best enforcement there is. Removes nothing
    /// that another front has left.
    pub(super) async fn establish(setting: Option<u64>) -> Self {
        let Available { bytes, by, unread } = group::available(Path::new("/"));
        for line in unread {
            tracing::warn!("{line}");
        }
        let (bytes, by) = match setting {
            Some(setting) if setting <= bytes => (setting, None),
            _ => (bytes, Some(by)),
        };
        let group = || v2_cgroup(bytes).map(Mechanism::CgroupV2).or_else(|| v1_cgroup(bytes).map(Mechanism::CgroupV1));
        let mechanism = match group() {
            Some(mechanism) => mechanism,
            None if systemd_scope_works().await => Mechanism::SystemdScope,
            None => Mechanism::FrontWatch,
        };
        Self { bytes, by, mechanism }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the front itself has to kill a worker above the limit.
    pub(super) fn is_watched_by_front(&self) -> bool {
        self.enforcer() == Enforcer::FrontWatch
    }

    pub(super) fn enforcer(&self) -> Enforcer {
        match self.mechanism {
            Mechanism::CgroupV2(_) => Enforcer::CgroupV2,
            Mechanism::CgroupV1(_) => Enforcer::CgroupV1,
            Mechanism::SystemdScope => Enforcer::SystemdScope,
            Mechanism::FrontWatch => Enforcer::FrontWatch,
        }
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

    /// Begins to count for a new worker; `None` where the kernel does not.
    pub(super) fn begin_to_count(&self) -> Option<Counted> {
        let (path, _) = self.cgroup()?;
        // The last worker may have used all of it. Version 2 has neither file.
        for file in
            [MOST_USED, "memory.memsw.max_usage_in_bytes"].map(|it| path.join(it)).iter().filter(|it| it.exists())
        {
            let _ = fs::write(file, "0");
        }
        self.counted()
    }

    fn counted(&self) -> Option<Counted> {
        let (path, version) = self.cgroup()?;
        let (file, kills) = match version {
            Version::V1 => ("memory.oom_control", "oom_kill "),
            Version::V2 => ("memory.events", "oom_kill "),
        };
        let kills = count(&path.join(file), kills)?;
        let top = match version {
            Version::V1 => cgroup::own_v1(),
            Version::V2 => cgroup::own_v2(),
        }
        .map_or_else(|| path.to_owned(), |it| it.top);
        let group = Group { version, path: path.to_owned(), top };
        let reached = group.upwards().filter_map(|it| Some((it.to_owned(), times_reached(it, version)?))).collect();
        Some(Counted { kills, reached })
    }

    /// The sentence about a kill since `before`: at which limit, of which group. `None` when the kernel has killed nothing.
    pub(super) fn kill_since(&self, before: &Counted) -> Option<String> {
        let now = self.counted().filter(|it| it.kills > before.kills)?;
        let (own, version) = self.cgroup()?;
        let count_before = |path: &Path| before.reached.iter().find(|it| it.0 == path).map_or(0, |it| it.1);
        let group = now.reached.iter().find(|(path, count)| *count > count_before(path)).map(|it| it.0.as_path());
        let place = match group {
            Some(group) if group == own => format!("{self} in {}", own.display()),
            Some(group) => {
                let (bytes, file) = limit_of(group, version);
                format!("{} MiB, {file} of {}", bytes >> 20, group.display())
            }
            None => format!("{self}; which group's limit was reached cannot be told"),
        };
        Some(format!("the kernel killed the worker at its memory limit of {place} (oom_kill {})", now.kills))
    }

    fn cgroup(&self) -> Option<(&Path, Version)> {
        match &self.mechanism {
            Mechanism::CgroupV2(path) => Some((path, Version::V2)),
            Mechanism::CgroupV1(path) => Some((path, Version::V1)),
            Mechanism::SystemdScope | Mechanism::FrontWatch => None,
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.by.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
        write!(f, "{} MiB{from}, enforced by {}", self.bytes >> 20, self.enforcer())
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        if let Mechanism::CgroupV2(path) | Mechanism::CgroupV1(path) = &self.mechanism {
            let _ = fs::remove_dir(path);
        }
    }
}

/// A line of a counter file, for example `oom_kill 3`.
fn count(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// How often a group's own limit was reached. Version 2 counts it; of version 1 it is how often the counter says so, and whether the
/// most that was used is the limit: the counter of the limit with swap, which is looked at first, stays at 0 in newer kernels.
fn times_reached(group: &Path, version: Version) -> Option<u64> {
    let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
    let is_reached = |most: &str, limit: &str| {
        number(most).zip(number(limit)).is_some_and(|(most, limit)| most.saturating_add(CHARGED_AT_ONCE_BYTES) >= limit)
    };
    match version {
        Version::V1 => {
            let with_swap = is_reached("memory.memsw.max_usage_in_bytes", "memory.memsw.limit_in_bytes");
            let without = is_reached(MOST_USED, "memory.limit_in_bytes");
            Some(number("memory.failcnt")? + u64::from(with_swap || without))
        }
        Version::V2 => count(&group.join("memory.events.local"), "oom "),
    }
}

/// The limit whose reaching kills in a group.
fn limit_of(group: &Path, version: Version) -> (u64, &'static str) {
    let file = match version {
        Version::V1 => "memory.limit_in_bytes",
        Version::V2 => "memory.max",
    };
    let bytes = fs::read_to_string(group.join(file)).ok().and_then(|it| it.trim().parse().ok());
    (bytes.unwrap_or_default(), file)
}

/// A child of our own cgroup, or a sibling of it: a cgroup that holds processes cannot hand its memory controller down,
/// but its parent (a systemd slice, say) usually does already.
fn v2_cgroup(bytes: u64) -> Option<PathBuf> {
    let own = cgroup::own_v2()?;
    own.upwards().take(2).find_map(|parent| {
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
    cgroup::make(&cgroup::own_v1()?.path, |path| {
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
