//! The memory cgroups this process stands in, and the memory it may use: the smallest limit of its own group, of every group
//! above it, and of the machine.
//!
//! Everything is read below a root folder: `/` in operation, a recorded tree in tests.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use super::memory::mem_total;

/// Folders that are looked at for a group whose place the kernel does not tell.
const SEARCHED_GROUPS: usize = 4096;
/// Version 1 writes "no limit" as the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 62;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// This process's group in one hierarchy, and the groups above it that can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub version: Version,
    pub path: PathBuf,
    /// The highest group that can be seen: where the hierarchy is mounted.
    pub top: PathBuf,
}

/// Memory that may be used, and what limits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    pub bytes: u64,
    pub by: Bound,
    /// Limits that apply and could not be read, one line each.
    pub unread: Vec<String>,
}

/// What a limit comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A file of a group.
    Group { path: PathBuf, file: &'static str },
    /// A group that cannot be seen, somewhere above this one.
    Above { path: PathBuf },
    /// `MemTotal`.
    Machine,
    /// Neither groups nor `MemTotal` say anything.
    Nothing,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group { path, file } => write!(f, "{file} of {}", path.display()),
            Self::Above { path } => write!(f, "hierarchical_memory_limit of {}", path.display()),
            Self::Machine => f.write_str("the machine's MemTotal"),
            Self::Nothing => f.write_str("no limit that can be read"),
        }
    }
}

impl Group {
    /// This group and those above it, the nearest first.
    pub fn upwards(&self) -> impl Iterator<Item = &Path> {
        self.path.ancestors().take_while(|it| it.starts_with(&self.top))
    }
}

/// The memory this process may use.
pub fn available(root: &Path) -> Available {
    let mut unread = Vec::new();
    let mut limits = Vec::new();
    for version in [Version::V2, Version::V1] {
        let Some(group) = find(root, version, &mut unread) else { continue };
        let mut found: Vec<_> = group.upwards().flat_map(|it| limits_of(root, version, it, &mut unread)).collect();
        if let Some(bytes) = hierarchical(root, &group).filter(|_| version == Version::V1) {
            // What is smaller is the limit of a group that does not hand it down.
            found.retain(|it| it.0 >= bytes);
            found.push((bytes, Bound::Above { path: group.path }));
        }
        limits.extend(found.into_iter().filter(|it| it.0 < NO_LIMIT));
    }
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    limits.extend(mem_total(&meminfo).map(|bytes| (bytes, Bound::Machine)));
    // The first of equal ones: the nearest group.
    let smallest = limits.into_iter().min_by_key(|it| it.0);
    let (bytes, by) = smallest.unwrap_or((u64::MAX >> 1, Bound::Nothing));
    Available { bytes, by, unread }
}

/// This process's group of a version; `None` where there is none with memory. What hides a limit is told.
pub fn find(root: &Path, version: Version, unread: &mut Vec<String>) -> Option<Group> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let own = own_path(&groups, version)?;
    let mounts = mounts(&fs::read_to_string(root.join("proc/self/mountinfo")).ok()?, version);
    // The mount with the shortest root shows the most groups.
    let exact = mounts.iter().filter_map(|it| Some((it, it.place_of(&own).filter(|it| is_group(root, it))?)));
    if let Some((mount, path)) = exact.min_by_key(|(it, _)| it.root.len()) {
        return Some(Group { version, path, top: mount.point.clone() });
    }
    let pid = own_pid(root);
    let searched = mounts.iter().find_map(|it| Some((it, holding(root, &it.point, pid?)?)));
    if let Some((mount, path)) = searched {
        return Some(Group { version, path, top: mount.point.clone() });
    }
    // A container that is shown its own group alone. Those between that and ours are out of sight.
    let mount = mounts.iter().find(|it| is_group(root, &it.point));
    // Where version 1 has the memory controller, version 2 has no limits.
    if version == Version::V1 || own_path(&groups, Version::V1).is_none() {
        unread.push(format!("the limits of memory cgroup {own} cannot be read: it is not below a mounted hierarchy"));
    }
    mount.map(|it| Group { version, path: it.point.clone(), top: it.point.clone() })
}

fn is_group(root: &Path, path: &Path) -> bool {
    below(root, path).join("cgroup.procs").exists()
}

/// An absolute path, looked for under the root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The path in `/proc/self/cgroup`.
fn own_path(text: &str, version: Version) -> Option<String> {
    let mut lines = text.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
    let is_wanted = |line: &[&str]| match version {
        Version::V1 => line[1].split(',').any(|it| it == "memory"),
        Version::V2 => line[0] == "0" && line[1].is_empty(),
    };
    let line = lines.find(|line| line.len() == 3 && is_wanted(line))?;
    // The kernel marks a group that was removed while a process was in it.
    Some(line[2].trim_end_matches(" (deleted)").to_owned())
}

#[derive(Debug)]
struct Mount {
    /// The group it shows at its top, in the words of `/proc/self/cgroup`.
    root: String,
    point: PathBuf,
}

impl Mount {
    /// Where this mount shows a group. A path with `..` leads out of the cgroup namespace: its names are not known.
    fn place_of(&self, own: &str) -> Option<PathBuf> {
        if [own, &self.root].iter().any(|it| it.split('/').any(|it| it == "..")) {
            return None;
        }
        let inside = match self.root.as_str() {
            "/" => own,
            root => own.strip_prefix(root).filter(|it| it.is_empty() || it.starts_with('/'))?,
        };
        let inside = inside.trim_start_matches('/');
        // A slash at the end would make another path.
        Some(if inside.is_empty() { self.point.clone() } else { self.point.join(inside) })
    }
}

/// The mounts of the hierarchy with memory, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
fn mounts(text: &str, version: Version) -> Vec<Mount> {
    let mount = |line: &str| {
        let (mount, system) = line.split_once(" - ")?;
        let mount: Vec<&str> = mount.split(' ').collect();
        let system: Vec<&str> = system.split(' ').collect();
        let is_wanted = match version {
            Version::V1 => system.first() == Some(&"cgroup") && system.get(2)?.split(',').any(|it| it == "memory"),
            Version::V2 => system.first() == Some(&"cgroup2"),
        };
        is_wanted.then_some(Mount { root: unescaped(mount.get(3)?), point: unescaped(mount.get(4)?).into() })
    };
    text.lines().filter_map(mount).collect()
}

/// The kernel writes blanks and the like as `\040`.
fn unescaped(text: &str) -> String {
    let mut pieces = text.split('\\');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let code = piece.get(..3).and_then(|it| u8::from_str_radix(it, 8).ok());
        match code {
            Some(code) => plain.extend([char::from(code)].into_iter().chain(piece[3..].chars())),
            None => plain.extend(['\\'].into_iter().chain(piece.chars())),
        }
    }
    plain
}

fn own_pid(root: &Path) -> Option<u32> {
    let status = fs::read_to_string(root.join("proc/self/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()
}

/// The group below `top` that this process is listed in.
fn holding(root: &Path, top: &Path, pid: u32) -> Option<PathBuf> {
    let mut waiting = vec![top.to_owned()];
    let mut looked_at = 0;
    while let Some(path) = waiting.pop() {
        looked_at += 1;
        if looked_at > SEARCHED_GROUPS {
            return None;
        }
        let processes = fs::read_to_string(below(root, &path).join("cgroup.procs")).unwrap_or_default();
        if processes.lines().any(|it| it.trim().parse() == Ok(pid)) {
            return Some(path);
        }
        let entries = fs::read_dir(below(root, &path)).into_iter().flatten().flatten();
        waiting.extend(entries.filter(|it| it.path().is_dir()).map(|it| path.join(it.file_name())));
    }
    None
}

/// The limits a group has itself.
fn limits_of(root: &Path, version: Version, path: &Path, unread: &mut Vec<String>) -> Vec<(u64, Bound)> {
    let files: &[&'static str] = match version {
        Version::V1 => &["memory.limit_in_bytes"],
        Version::V2 => &["memory.max", "memory.high"],
    };
    let folder = below(root, path);
    let mut limits = Vec::new();
    for &file in files {
        match fs::read_to_string(folder.join(file)) {
            Ok(text) => match text.trim().parse::<u64>() {
                Ok(bytes) => limits.push((bytes, Bound::Group { path: path.to_owned(), file })),
                Err(_) if text.trim() != "max" => {
                    unread.push(format!("{file} of {} is neither a number nor max", path.display()));
                }
                Err(_) => {}
            },
            // The top of a hierarchy has no limit, and a group without the memory controller has none of its own.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => unread.push(format!("{file} of {} cannot be read: {error}", path.display())),
        }
    }
    limits
}

/// What version 1 says about all groups above one, those out of sight included.
fn hierarchical(root: &Path, group: &Group) -> Option<u64> {
    let text = fs::read_to_string(below(root, &group.path).join("memory.stat")).ok()?;
    text.lines().find_map(|it| it.strip_prefix("hierarchical_memory_limit "))?.trim().parse().ok()
}
