//! The handler of the project's own app: built where its source is, else found beside the lab.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::{
    app::stage::HANDLER,
    machine::checkout::{self, PROJECT},
};
use incident_labs::settings::process_environment;

/// The profile `cargo lab` is built with, quick to compile.
pub(super) const LAB: &str = "lab";
/// The profile of packages and benchmarks.
pub(super) const RELEASE: &str = "release";

/// Builds it in a checkout, where the one beside the lab may be older than its source; elsewhere that one is taken.
///
/// # Errors
/// When it does not build, or there is none.
pub(super) fn find(profile: &str) -> anyhow::Result<PathBuf> {
    // The selection has the lab in it so that both are built with the same features, hence from the same dependencies.
    if let Some(checkout) = checkout::find()
        && let Some(built) = build(&checkout, profile, &["-p", "lab"])?
    {
        return Ok(built);
    }
    let lab = std::env::current_exe().context("find this program")?;
    let beside = lab.with_file_name(HANDLER);
    if !beside.is_file() {
        bail!(
            "there is no handler: give one with --handler, put one named {HANDLER} into {}, or run the lab in a checkout of the \
             project with cargo installed, where it builds one",
            lab.parent().unwrap_or(Path::new("/")).display()
        );
    }
    Ok(beside)
}

/// Builds the handler in a checkout, with more options for cargo; nothing where cargo is not installed.
///
/// # Errors
/// When it does not build.
pub(super) fn build(checkout: &Path, profile: &str, options: &[&str]) -> anyhow::Result<Option<PathBuf>> {
    let environment = process_environment();
    let run = Command::new(environment.get("CARGO").map_or("cargo", String::as_str))
        .args(["build", "--message-format", "json-render-diagnostics", "--profile", profile])
        .args(["-p", PROJECT, "--bin", HANDLER])
        .args(options)
        .current_dir(checkout)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = match run {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.context("run cargo to build the handler (or give one with --handler)")?,
    };
    ensure!(output.status.success(), "the handler does not build: cargo's own message is above");
    let messages = output.stdout.split(|it| *it == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let built =
        messages.filter(|it| it["target"]["name"] == HANDLER).find_map(|it| Some(it["executable"].as_str()?.into()));
    Ok(Some(built.context("cargo does not say where the handler is: give one with --handler")?))
}
