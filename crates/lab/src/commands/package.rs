//! `lab package`: makes the zips that are deployed, or looks into one.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{app::AppArgs, handler};
use crate::{
    app::package::{self, PACKAGES, check},
    machine::{
        checkout,
        exit::{EXIT_OK, EXIT_WRONG},
        own_folder::{self, OwnFolder, Purpose},
        terminal::out,
        toolchain::{self, INSTALL_STATIC, STATIC},
    },
};

/// Make the zips a Functions app is deployed from: the OOM lab's two, and the replay lab's.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab package && cargo lab package --check artifacts/replay-app.zip
Exit codes:  0 made, and nothing found that would keep them from running; 1 something was; 3 it could not run; 64 usage")]
pub struct Package {
    /// Where to.
    #[arg(long, default_value = "artifacts")]
    out: PathBuf,
    /// Use this handler instead of building a static one.
    #[arg(long)]
    handler: Option<PathBuf>,
    /// Only look into this zip.
    #[arg(long, value_name = "ZIP", conflicts_with_all = ["out", "handler"])]
    check: Option<PathBuf>,
}

impl Package {
    /// Makes all packages, or looks into one.
    ///
    /// # Errors
    /// When the handler does not build, the app is refused, or the zip cannot be read.
    pub fn run(self) -> anyhow::Result<u8> {
        match self.check {
            Some(zip) => look_into(&zip),
            None => make(self.handler, &self.out),
        }
    }
}

fn make(handler: Option<PathBuf>, folder: &Path) -> anyhow::Result<u8> {
    own_folder::check(folder, Purpose::Packages)?;
    let app = AppArgs::default().own()?;
    let handler = handler.map_or_else(build, Ok)?;
    OwnFolder::take(folder, Purpose::Packages)?;
    let mut is_good = true;
    for it in &PACKAGES {
        let written = package::package(it, &app, &handler, folder)?;
        out(&format!("{}  {:>9} bytes  {}", written.sha256, written.bytes, written.path.display()));
        is_good &= tell_findings(&written.path)?;
    }
    Ok(if is_good { EXIT_OK } else { EXIT_WRONG })
}

/// Makes one package of the labs' own app.
///
/// # Errors
/// As [`Package::run`].
pub(super) fn make_one(it: &package::Package, handler: Option<PathBuf>, folder: &Path) -> anyhow::Result<PathBuf> {
    own_folder::check(folder, Purpose::Packages)?;
    let app = AppArgs::default().own()?;
    let handler = handler.map_or_else(build, Ok)?;
    OwnFolder::take(folder, Purpose::Packages)?;
    Ok(package::package(it, &app, &handler, folder)?.path)
}

/// Looks for what kills deployments.
fn look_into(zip: &Path) -> anyhow::Result<u8> {
    let is_good = tell_findings(zip).with_context(|| format!("read {}", zip.display()))?;
    if is_good {
        out(&format!("{}: nothing found that would keep it from running", zip.display()));
    }
    Ok(if is_good { EXIT_OK } else { EXIT_WRONG })
}

pub(super) fn tell_findings(zip: &Path) -> anyhow::Result<bool> {
    let findings = check(zip)?;
    findings.iter().for_each(|it| out(&format!("  {}", it.0)));
    Ok(findings.is_empty())
}

/// Builds the handler as it is deployed: static, optimised, with no feature that only the lab asks for.
fn build() -> anyhow::Result<PathBuf> {
    let checkout = checkout::find().context(
        "a static handler is built in a checkout of the project: run the lab there, or give one with --handler",
    )?;
    if !toolchain::has_static_target().unwrap_or(false) {
        bail!("the Rust target {STATIC} is not installed: {INSTALL_STATIC}");
    }
    handler::build(&checkout, handler::RELEASE, &["--locked", "--target", STATIC])?
        .context("cargo is not installed (https://rustup.rs): install it, or give a handler with --handler")
}
