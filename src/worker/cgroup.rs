//! The cgroups workers run in: where they may be made, what they are called, and that none is left behind.

use std::{
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
    remove_leftovers();
    let path = parent.join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir(&path).ok()?;
    if configure(&path).is_err() {
        let _ = fs::remove_dir(&path);
        return None;
    }
    Some(path)
}

/// Removes the cgroups of fronts that were killed and could not do it themselves; says how many still hold a process.
///
/// Looked at are our own cgroup, its parent and its siblings: each terminal or service may have one.
pub fn remove_leftovers() -> usize {
    let own = [own_v1(), own_v2()].into_iter().flatten().map(|it| it.path);
    let near = own.flat_map(|own| {
        let siblings = own.parent().map(children).unwrap_or_default();
        own.parent().map(Path::to_owned).into_iter().chain([own]).chain(siblings)
    });
    let left = near.flat_map(|it| children(&it)).filter(|it| is_leftover(it)).filter(|it| fs::remove_dir(it).is_err());
    // One that is seen twice is gone the second time.
    left.filter(|it| it.exists()).count()
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
