//! `lab stage`: the script root, with a handler built for it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};

use super::EXIT_OK;
use crate::app::stage::{stage_some, write_local_settings};
use incident_labs::{
    functions::{FUNCTIONS, REPLAY_FUNCTIONS},
    settings::Variant,
};

/// The source tree this lab was built from.
pub fn source() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Stages the app, building the handler unless one is given.
///
/// # Errors
/// When the handler does not build, or the app is refused.
pub fn run(out: &Path, handler: Option<PathBuf>, local: Option<Variant>) -> anyhow::Result<u8> {
    make(out, handler)?;
    if let Some(variant) = local {
        write_local_settings(out, variant)?;
    }
    println!("staged in {}", out.display());
    if local.is_some() {
        println!("next: `cargo lab azurite` in one terminal, `func start --script-root {}` in another", out.display());
    }
    Ok(EXIT_OK)
}

/// Stages the app without a word on stdout.
///
/// # Errors
/// When the handler does not build, or the app is refused.
pub fn make(out: &Path, handler: Option<PathBuf>) -> anyhow::Result<()> {
    make_of(out, handler, FUNCTIONS)
}

/// Stages the replay lab's functions alone: without the blob function there is no worker and no storage to start.
///
/// # Errors
/// When the handler does not build, or the app is refused.
pub fn make_replay(out: &Path, handler: Option<PathBuf>) -> anyhow::Result<()> {
    make_of(out, handler, REPLAY_FUNCTIONS)
}

/// Stages some of the functions.
///
/// # Errors
/// When the handler does not build, or the app is refused.
pub fn make_of(out: &Path, handler: Option<PathBuf>, functions: &[&str]) -> anyhow::Result<()> {
    let handler = handler.map_or_else(build, Ok)?;
    Ok(stage_some(source(), &handler, out, FUNCTIONS, functions)?)
}

/// Builds the handler as it is deployed: optimised, without the lab.
///
/// # Errors
/// When cargo is not there, or fails.
pub fn build() -> anyhow::Result<PathBuf> {
    Ok(build_with(&[])?.join("release/handler"))
}

/// The same with more options for cargo; gives the target folder.
pub(super) fn build_with(options: &[&str]) -> anyhow::Result<PathBuf> {
    let target = source().join("target");
    let status = Command::new(option_env!("CARGO").unwrap_or("cargo"))
        .args(["build", "--release", "--bin", "handler", "--no-default-features", "--target-dir"])
        .arg(&target)
        .args(options)
        .current_dir(source())
        .stdin(Stdio::null())
        .status()
        .context("run cargo to build the handler (or give one with --handler)")?;
    ensure!(status.success(), "the handler does not build: cargo's own message is above");
    Ok(target)
}
