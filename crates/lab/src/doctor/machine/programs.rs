//! Programs that the lab starts: node and npm for Azurite, cargo for the handler, the static target for packages.

use std::{io, path::Path, process::Stdio, time::Duration};

use rustix::fs::{Access, access};
use tokio::{process::Command, time::timeout};

use super::{Machine, unknown};
use crate::{
    app::stage::HANDLER,
    doctor::{Examination, Finding, State},
    machine::{
        azurite::{INSTALL_NODE, Installation, OLDEST_NODE},
        checkout,
        toolchain::{INSTALL_STATIC, STATIC, has_static_target},
    },
};

/// How long a program may take to tell its version.
const LONGEST: Duration = Duration::from_secs(20);
const NO_STORAGE: &str = "Azurite, the storage of these, does not start";

const WOULD_START: &str = "Azurite, the storage of these, starts";

/// What a program says of itself.
enum Version {
    Told(String),
    Absent,
    /// It is there, and said nothing that helps.
    Unclear(String),
}

pub(super) async fn look(machine: &Machine<'_>, seen: &mut Examination) {
    let azurite = Installation::find();
    let (node, npm, cargo) = (version("node").await, version("npm").await, version("cargo").await);
    let asked = azurite.as_ref().ok().and_then(|it| it.node_major);
    let installed = azurite.as_ref().is_ok_and(|it| it.is_installed);
    seen.add(self::node(&node, asked).hinders_if_serious(&machine.with_storage()));
    seen.add(self::npm(&npm, installed).hinders_if_serious(&machine.with_storage()));
    seen.add(self::azurite(&azurite, &npm).hinders_if_serious(&machine.with_storage()));
    seen.add(handler(&cargo).hinders_if_serious(&machine.all()));
    let target = static_target();
    let is_fine = target.state == State::Ok;
    seen.add(if is_fine { target } else { target.hinders(&["package", "deploy"]) });
}

async fn version(program: &str) -> Version {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match timeout(LONGEST, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Version::Told(text.lines().next().unwrap_or_default().trim().to_owned())
        }
        Ok(Ok(output)) => Version::Unclear(format!("`{program} --version` ended with {}", output.status)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Version::Absent,
        Ok(Err(error)) => Version::Unclear(format!("`{program} --version` could not be started: {error}")),
        Err(_) => Version::Unclear(format!("`{program} --version` said nothing for {} s", LONGEST.as_secs())),
    }
}

/// The first number of `v20.1.2` or `20.1`.
fn major(version: &str) -> Option<u32> {
    version.trim_start_matches('v').split('.').next()?.parse().ok()
}

fn node(version: &Version, asked: Option<u32>) -> Finding {
    let id = "machine.node";
    let missing = |seen: String| Finding::new(id, State::Problem, seen).breaks(NO_STORAGE).mend(INSTALL_NODE);
    let told = match version {
        Version::Told(told) => told,
        Version::Absent => return missing("not installed".to_owned()),
        Version::Unclear(why) => return unknown(id, why, WOULD_START, INSTALL_NODE),
    };
    match (major(told), asked) {
        (None, _) => unknown(id, format!("a version that is none: {told:?}"), WOULD_START, INSTALL_NODE),
        (Some(major), _) if major < OLDEST_NODE => missing(format!("{told}, older than {OLDEST_NODE}")),
        (Some(major), Some(asked)) if major < asked => {
            Finding::new(id, State::Warning, format!("{told}; Azurite asks for {asked} or newer"))
                .breaks("nothing that the lab's tests use; npm warns (EBADENGINE), and refuses with `engine-strict`")
                .mend(format!("Node.js {asked} or newer: https://nodejs.org"))
        }
        _ => Finding::ok(id, told),
    }
}

fn npm(version: &Version, is_azurite_installed: bool) -> Finding {
    let id = "machine.npm";
    match version {
        Version::Told(told) => Finding::ok(id, told),
        Version::Absent if is_azurite_installed => Finding::ok(id, "not installed, and not needed: Azurite is"),
        Version::Absent => Finding::new(id, State::Problem, "not installed").breaks(NO_STORAGE).mend(INSTALL_NODE),
        Version::Unclear(why) => unknown(id, why, WOULD_START, INSTALL_NODE),
    }
}

fn azurite(found: &io::Result<Installation>, npm: &Version) -> Finding {
    let id = "machine.azurite";
    let Installation { version, home, is_installed, .. } = match found {
        Ok(found) => found,
        Err(error) => {
            let seen = format!("no folder to install it in: {error}");
            return Finding::new(id, State::Problem, seen).breaks(NO_STORAGE).mend("set HOME, or work in a checkout");
        }
    };
    let place = home.display();
    if *is_installed {
        return Finding::ok(id, format!("{version} in {place}"));
    }
    let there = home.ancestors().find(|it| it.is_dir()).unwrap_or(Path::new("/"));
    let absent = |state, seen: String| Finding::new(id, state, seen);
    if let Err(error) = access(there, Access::WRITE_OK | Access::EXEC_OK) {
        return absent(State::Problem, format!("not installed, and {} cannot be written: {error}", there.display()))
            .breaks(NO_STORAGE)
            .mend(format!("make {place} writable, or set XDG_CACHE_HOME outside a checkout"));
    }
    match npm {
        Version::Absent => {
            absent(State::Problem, "not installed, and npm is missing".to_owned()).breaks(NO_STORAGE).mend(INSTALL_NODE)
        }
        _ => absent(State::Warning, format!("not installed yet: {version} would go to {place}"))
            .breaks("the first run that needs storage asks npm's registry; without a network it fails")
            .mend("`cargo lab process FILE` once, with a network"),
    }
}

/// Where the labs take the handler from, without `--handler`.
fn handler(cargo: &Version) -> Finding {
    let id = "machine.handler";
    let beside = std::env::current_exe().ok().map(|it| it.with_file_name(HANDLER)).filter(|it| it.is_file());
    match (checkout::find(), cargo, beside) {
        (Some(checkout), Version::Told(told), _) => {
            Finding::ok(id, format!("built by {told} in {}", checkout.display()))
        }
        (_, _, Some(beside)) => Finding::ok(id, beside.display().to_string()),
        (Some(_), Version::Unclear(why), None) => {
            unknown(id, why, "the handler can be built", "ask it yourself: `cargo --version`")
        }
        _ => Finding::new(id, State::Problem, "neither a checkout with cargo nor a handler beside the lab")
            .breaks("there is no app to run")
            .mend("install Rust (https://rustup.rs) and work in a checkout, or give a handler with --handler"),
    }
}

fn static_target() -> Finding {
    let id = "machine.static-target";
    let broken = |seen: String| {
        let finding = Finding::new(id, State::Warning, seen).breaks("packages are made of a static handler");
        finding.mend(INSTALL_STATIC)
    };
    match has_static_target() {
        Ok(true) => Finding::ok(id, STATIC),
        Ok(false) => broken(format!("{STATIC} is not installed")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => broken("rustc is not installed".to_owned()),
        Err(error) => unknown(id, format!("rustc cannot be asked: {error}"), "packages can be made", INSTALL_STATIC),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_is_held_against_what_is_tested_and_what_azurite_asks_for() {
        let told = |it: &str| Version::Told(it.to_owned());
        let states = [
            (told("v22.1.0"), State::Ok),
            (told("v20.20.2"), State::Warning),
            (told("v18.0.0"), State::Problem),
            (told("what?"), State::Unknown),
            (Version::Absent, State::Problem),
            (Version::Unclear("it hangs".to_owned()), State::Unknown),
        ];
        for (version, state) in states {
            let finding = node(&version, Some(22));
            assert_eq!(finding.state, state, "{finding:?}");
            assert_eq!(finding.mend.is_some(), state != State::Ok, "{finding:?}");
        }
        assert_eq!(node(&told("v20.20.2"), None).state, State::Ok);
    }

    #[test]
    fn without_npm_an_azurite_that_is_installed_is_enough() {
        assert_eq!(npm(&Version::Absent, true).state, State::Ok);
        assert_eq!(npm(&Version::Absent, false).state, State::Problem);
    }
}
