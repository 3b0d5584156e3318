//! What the kernel says of a process's memory, from `/proc/<pid>/status`.

use std::{
    fs::File,
    io::{self, Read, Seek},
};

/// Private Bytes of a process over time: `RssAnon + VmSwap`, 9 µs a sample because the file stays open.
#[derive(Debug)]
pub(super) struct PrivateBytes {
    status: File,
    text: String,
}

impl PrivateBytes {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { status: File::open(format!("/proc/{pid}/status"))?, text: String::new() })
    }

    /// Bytes right now; an error once the process is gone.
    pub(super) fn sample(&mut self) -> io::Result<u64> {
        self.text.clear();
        self.status.rewind()?;
        self.status.read_to_string(&mut self.text)?;
        match (field(&self.text, "RssAnon:"), field(&self.text, "VmSwap:")) {
            (Some(anonymous), swapped) => Ok(anonymous + swapped.unwrap_or(0)),
            // A zombie has no memory lines.
            (None, _) => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Size of this process's data segment, the quantity that `RLIMIT_DATA` limits.
pub(super) fn data_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "VmData:").unwrap_or(0)
}

/// `MemTotal` of `/proc/meminfo`.
pub(super) fn mem_total(meminfo: &str) -> Option<u64> {
    field(meminfo, "MemTotal:")
}

/// A line like `RssAnon: 1234 kB`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_status_are_read_in_bytes() {
        assert_eq!(field("Name:\tx\nRssAnon:\t    12 kB\n", "RssAnon:"), Some(12 * 1024));
        assert_eq!(field("Name:\tx\n", "RssAnon:"), None);
        assert_eq!(mem_total("MemTotal:       24684084 kB\n"), Some(24_684_084 * 1024));
    }

    /// In a process that runs nothing beside it: other tests of this program give memory back at any time.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "no setting, but a word to its other self")]
    fn touched_memory_shows_in_private_bytes() {
        const ALONE: &str = "MEMORY_TEST_RUNS_ALONE";
        if std::env::var_os(ALONE).is_none() {
            let name = "worker::memory::tests::touched_memory_shows_in_private_bytes";
            let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
            let output = alone.args(["--exact", name]).env(ALONE, "1").output().unwrap();
            let told = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && told.contains("1 passed"), "{told}");
            return;
        }
        let mut own = PrivateBytes::of(std::process::id()).unwrap();
        let before = own.sample().unwrap();
        let touched = std::hint::black_box(vec![1_u8; 32 << 20]);
        let grown = own.sample().unwrap() - before;
        assert!(grown >= 30 << 20, "{grown} for {} bytes", touched.len());
        assert!(data_bytes() > 0);
    }
}
