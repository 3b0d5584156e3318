//! `lab package`: makes the zips that are deployed, or looks into one.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use super::{
    EXIT_OK, EXIT_WRONG,
    stage::{build_with, source},
};
use crate::app::package::{PACKAGES, check, package};

/// Static, so that it runs whatever C library the platform has.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// Makes all packages.
///
/// # Errors
/// When the handler does not build, or the app is refused.
pub fn make(handler: Option<PathBuf>, out: &Path) -> anyhow::Result<u8> {
    let handler = handler.map_or_else(build, Ok)?;
    let mut is_good = true;
    for it in &PACKAGES {
        let written = package(it, source(), &handler, out)?;
        println!("{}  {:>9} bytes  {}", written.sha256, written.bytes, written.path.display());
        is_good &= tell_findings(&written.path)?;
    }
    Ok(if is_good { EXIT_OK } else { EXIT_WRONG })
}

/// Looks for what kills deployments.
///
/// # Errors
/// When the zip cannot be read.
pub fn look_into(zip: &Path) -> anyhow::Result<u8> {
    let is_good = tell_findings(zip).with_context(|| format!("read {}", zip.display()))?;
    if is_good {
        println!("{}: nothing found that would keep it from running", zip.display());
    }
    Ok(if is_good { EXIT_OK } else { EXIT_WRONG })
}

fn tell_findings(zip: &Path) -> anyhow::Result<bool> {
    let findings = check(zip)?;
    findings.iter().for_each(|it| println!("  {}", it.0));
    Ok(findings.is_empty())
}

/// Builds the handler as it is deployed: static, optimised, without the lab.
fn build() -> anyhow::Result<PathBuf> {
    let rustc = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    let libdir = rustc.ok().and_then(|it| String::from_utf8(it.stdout).ok()).unwrap_or_default();
    if !Path::new(libdir.trim()).is_dir() {
        bail!(
            "the Rust target {TARGET} is not installed: rustup target add {TARGET} (and apt install musl-tools), or give a handler \
             that was built elsewhere with --handler"
        );
    }
    let target = build_with(&["--locked", "--target", TARGET])?;
    Ok(target.join(TARGET).join("release/handler"))
}
