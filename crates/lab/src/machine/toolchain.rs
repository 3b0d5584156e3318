//! What of the Rust toolchain packages are made with.

use std::{io, path::Path, process::Command};

/// The target of packages: static, so that they run whatever C library the platform has.
pub const STATIC: &str = "x86_64-unknown-linux-musl";
/// The way out where it is missing.
pub const INSTALL_STATIC: &str = "rustup target add x86_64-unknown-linux-musl (and apt install musl-tools), or give a handler \
                                  that was built elsewhere with --handler";

/// Whether the standard library of [`STATIC`] is installed.
///
/// # Errors
/// When `rustc` cannot be asked.
pub fn has_static_target() -> io::Result<bool> {
    let rustc = Command::new("rustc").args(["--print", "target-libdir", "--target", STATIC]).output()?;
    Ok(Path::new(String::from_utf8_lossy(&rustc.stdout).trim()).is_dir())
}
