//! How the end of a process is counted.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

/// The exit code of a process, as shells and .NET count: 128 + signal if one ended it.
pub fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_process_has_128_plus_the_signal() {
        for (raw, code) in [(9, 137), (6, 134), (11, 139), (15, 143), (101 << 8, 101), (0, 0)] {
            assert_eq!(exit_code(ExitStatus::from_raw(raw)), code);
        }
    }
}
