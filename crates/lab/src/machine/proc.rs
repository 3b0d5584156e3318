//! The one reader of `/proc`: what the kernel says of the machine and of processes.

use std::{fs, io, path::Path, time::Duration};

pub(crate) const MEMINFO: &str = "/proc/meminfo";

/// A value of `/proc/meminfo`, in bytes; nothing for a name that is not there.
pub(crate) fn memory_bytes(name: &str) -> io::Result<Option<u64>> {
    Ok(kib_in(&fs::read_to_string(MEMINFO)?, name))
}

/// A value of a process's status, in bytes; nothing for a name that is not there.
pub(crate) fn status_bytes(pid: u32, name: &str) -> io::Result<Option<u64>> {
    Ok(kib_in(&fs::read_to_string(format!("/proc/{pid}/status"))?, name))
}

/// CPU time of a process and all its threads since its start, in user and kernel, in steps of 10 ms (`/proc/PID/stat`, proc(5)).
pub(crate) fn cpu_time(pid: u32) -> io::Result<Option<Duration>> {
    Ok(cpu_in(&fs::read_to_string(format!("/proc/{pid}/stat"))?))
}

fn cpu_in(stat: &str) -> Option<Duration> {
    /// `USER_HZ` of the kernel's interface on x86-64 and arm64.
    const TICK_MS: u64 = 10;
    // The name before it may hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map_while(|it| it.parse::<u64>().ok());
    Some(Duration::from_millis((ticks.next()? + ticks.next()?) * TICK_MS))
}

fn kib_in(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The release of the kernel.
pub(crate) fn kernel() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/osrelease").ok()?.trim().to_owned())
}

/// The first processor's model.
pub(crate) fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, model) = text.lines().find(|it| it.starts_with("model name"))?.split_once(':')?;
    Some(model.trim().to_owned())
}

/// Children of a process, of all its threads: the kernel lists a child with the thread that made it.
pub(crate) fn children(pid: u32) -> io::Result<Vec<u32>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?;
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    Ok(lists.flat_map(|it| it.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect())
}

/// Processes, this one left out, that have `variable` (`NAME=VALUE`) in the environment they were started with.
pub(crate) fn with_variable(variable: &str) -> Vec<u32> {
    pids().filter(|pid| *pid != std::process::id() && has_variable(*pid, variable.as_bytes())).collect()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
}

fn has_variable(pid: u32, variable: &[u8]) -> bool {
    let environment = fs::read(Path::new("/proc").join(pid.to_string()).join("environ"));
    environment.is_ok_and(|it| it.split(|byte| *byte == 0).any(|it| it == variable))
}

/// Whether a process listens on a TCP port of loopback, or of all addresses (IPv4).
pub(crate) fn listens(pid: u32, port: u16) -> bool {
    let sockets = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let inodes: Vec<&str> = sockets.lines().filter_map(|line| listener(line, port)).collect();
    has_socket(pid, &inodes)
}

/// Processes that listen on a TCP port, of IPv4 or IPv6: those that this user may look into.
pub(crate) fn listeners(port: u16) -> Vec<u32> {
    let sockets = ["tcp", "tcp6"].map(|it| fs::read_to_string(format!("/proc/net/{it}")).unwrap_or_default());
    let inodes: Vec<&str> = sockets.iter().flat_map(|it| it.lines()).filter_map(|line| listener(line, port)).collect();
    pids().filter(|pid| has_socket(*pid, &inodes)).collect()
}

/// Name of the program a process runs, as the kernel keeps it. Arguments may hold what is nobody's business.
pub(crate) fn program(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned()).filter(|it| !it.is_empty())
}

fn has_socket(pid: u32, inodes: &[&str]) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let links = open.flatten().filter_map(|it| fs::read_link(it.path()).ok());
    links.filter_map(|it| it.into_os_string().into_string().ok()).any(|link| {
        let inode = link.strip_prefix("socket:[").and_then(|it| it.strip_suffix(']'));
        inode.is_some_and(|it| inodes.contains(&it))
    })
}

/// The inode in a line of `/proc/net/tcp`, if the line is about a listener on the port.
fn listener(line: &str, port: u16) -> Option<&str> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, local) = fields.get(1)?.split_once(':')?;
    let is_it = u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == LISTEN;
    fields.get(9).copied().filter(|_| is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_whole_name() {
        let text = "MemTotal:  10 kB\nMemAvailable:     24683520 kB\nVmRSS:\t 3 kB\nHugePages_Total:       0\n";
        assert_eq!(kib_in(text, "MemAvailable"), Some(24_683_520 * 1024));
        assert_eq!(kib_in(text, "VmRSS"), Some(3 * 1024));
        assert_eq!(kib_in(text, "Mem"), None);
        assert_eq!(kib_in(text, "HugePages_Total"), None);
    }

    #[test]
    fn cpu_time_is_that_of_user_and_kernel() {
        let stat =
            "1234 (a) b (c) S 1 1234 1234 0 -1 4194304 300 0 2 0 41 7 900 900 20 0 4 0 5000 1000000 250 1844674407";
        assert_eq!(cpu_in(stat), Some(Duration::from_millis(480)));
        assert_eq!(cpu_in("1234 (a) S 1"), None);
        assert!(cpu_time(std::process::id()).unwrap().is_some());
    }

    #[test]
    fn a_listener_is_known_by_its_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut other = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        assert!(listens(std::process::id(), port));
        assert!(!listens(other.id(), port), "another process");
        assert_eq!(listeners(port), [std::process::id()]);
        assert_eq!(program(1 << 30), None);
        assert!(program(other.id()).is_some());
        other.kill().unwrap();
        other.wait().unwrap();
        drop(socket);
        assert!(!listens(std::process::id(), port), "closed");
    }

    #[test]
    fn a_process_is_known_by_memory_children_and_environment() {
        let mut child = std::process::Command::new("sleep").arg("600").env("PROC_TEST", "yes").spawn().unwrap();
        let me = std::process::id();
        assert!(status_bytes(me, "VmRSS").unwrap() > Some(1 << 20));
        assert!(memory_bytes("MemTotal").unwrap() > status_bytes(me, "VmRSS").unwrap());
        assert!(children(me).unwrap().contains(&child.id()));
        // The kernel shows a new program's environment a moment after its start has been reported.
        while !with_variable("PROC_TEST=yes").contains(&child.id()) {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(kernel().is_some());
    }
}
