//! Plain lines for the host: it turns stdout into Information and stderr into Error, or Warning where "warn" occurs
//! (host: `WorkerProcess.cs`). Each line is one write, so that lines of two tasks never mix.

use std::io::Write;

/// Writes a line to stdout. A reader that went away is no reason to fail.
pub fn out(line: &str) {
    let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}

/// Writes a line to stderr. A reader that went away is no reason to fail.
pub fn err(line: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}
