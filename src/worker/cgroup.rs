//! The cgroups workers run in: where they may be made, what they are called, and that none is left behind.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::group::{self, Group, Version};

/// Name of a worker's cgroup, followed by its front's pid.
const PREFIX: &str = "handler-worker-";

/// Our own cgroup of version 2, where there is one.
pub(super) fn own_v2() -> Option<Group> {
    group::find(Path::new("/"), Version::V2, &mut Vec::new())
}

/// Our own memory cgroup of version 1, where there is one.
pub(super) fn own_v1() -> Option<Group> {
    group::find(Path::new("/"), Version::V1, &mut Vec::new())
}

/// Makes the cgroup of this process's worker and sets it up; nothing is left where that fails.
pub fn make(parent: &Path, configure: impl Fn(&Path) -> io::Result<()>) -> Option<PathBuf> {
    let path = parent.join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir(&path).ok()?;
    if configure(&path).is_err() {
        let _ = fs::remove_dir(&path);
        return None;
    }
    Some(path)
}

/// Removes the cgroups of fronts that were killed and could not do it themselves; says how many still hold a process.
pub fn remove_leftovers() -> usize {
    leftovers().iter().filter(|it| fs::remove_dir(it).is_err() && it.exists()).count()
}

/// Cgroups of fronts that are gone, each once.
///
/// Looked at are our own cgroup, its parent and its siblings: each terminal or service may have one.
pub fn leftovers() -> BTreeSet<PathBuf> {
    near().filter(|it| is_leftover(it)).collect()
}

/// What the kernel tells of a worker's cgroup.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Processes that were killed for memory.
    pub oom_kills: u64,
    /// The most that was used, since the last worker was started in it; not every kernel tells.
    pub peak_bytes: Option<u64>,
}

/// Reads the cgroup of a front's worker; none where the worker has none of its own.
pub fn usage(front_pid: u32) -> Option<Usage> {
    let name = format!("{PREFIX}{front_pid}");
    let group = near().find(|it| it.file_name().is_some_and(|it| it == name.as_str()))?;
    let text = |file: &str| fs::read_to_string(group.join(file)).ok();
    let events = text("memory.oom_control").or_else(|| text("memory.events"))?;
    let oom_kills = events.lines().find_map(|it| it.strip_prefix("oom_kill "))?.trim().parse().ok()?;
    let peak = text("memory.max_usage_in_bytes").or_else(|| text("memory.peak"));
    Some(Usage { oom_kills, peak_bytes: peak.and_then(|it| it.trim().parse().ok()) })
}

/// Groups where workers' groups are made: in our own, in the one around it, and in those beside it.
fn near() -> impl Iterator<Item = PathBuf> {
    let own = [own_v1(), own_v2()].into_iter().flatten().map(|it| it.path);
    let around = own.flat_map(|own| {
        let siblings = own.parent().map(children).unwrap_or_default();
        own.parent().map(Path::to_owned).into_iter().chain([own]).chain(siblings)
    });
    around.flat_map(|it| children(&it))
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|it| it.path()).filter(|it| it.is_dir()).collect()
}

fn is_leftover(cgroup: &Path) -> bool {
    let name = cgroup.file_name().and_then(|it| it.to_str());
    let pid = name.and_then(|it| it.strip_prefix(PREFIX)).and_then(|it| it.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}
