//! Folders that labs take: whose they are, whether a lab has them at the moment, and what killed ones left behind.

use std::{fs, io, path::Path};

use rustix::fs::{Access, access};

use super::{Machine, unknown};
use crate::{
    doctor::{Examination, Finding, State},
    machine::{
        own_folder::{Purpose, check, purpose_of},
        workspace::{is_in_use, processes_of},
    },
};
use incident_labs::worker::cgroup;

pub(super) fn look(machine: &Machine<'_>, seen: &mut Examination) {
    for lab in machine.labs {
        let id = format!("machine.folder.{}", lab.name);
        seen.add(folder(id, &lab.work, Purpose::Work, "--folder").hinders_if_serious(&[lab.name]));
    }
    let id = "machine.folder.evidence".to_owned();
    seen.add(folder(id, machine.evidence, Purpose::Evidence, "--evidence").hinders_if_serious(&machine.all()));
    seen.add(processes(machine));
    seen.add(cgroups());
}

fn folder(id: String, path: &Path, purpose: Purpose, option: &str) -> Finding {
    let shown = path.display();
    let problem = |seen: String, mend: String| {
        Finding::new(id.clone(), State::Problem, seen).breaks("the run is refused before it begins").mend(mend)
    };
    if let Err(error) = check(path, purpose) {
        let source = std::error::Error::source(&error).map(|it| format!(": {it}")).unwrap_or_default();
        return problem(format!("{error}{source}"), format!("choose another folder with {option}"));
    }
    let there = path.ancestors().find(|it| it.is_dir()).unwrap_or(Path::new("."));
    if let Err(error) = access(there, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        return problem(
            format!("{} cannot be written: {error}", there.display()),
            format!("make it writable, or choose another folder with {option}"),
        );
    }
    match is_in_use(path) {
        Ok(false) if path.is_dir() => Finding::ok(id, format!("{shown} is the lab's own and not in use")),
        Ok(false) => Finding::ok(id, format!("{shown} will be made")),
        Ok(true) => {
            let mend = format!("let that lab end, stop it with Ctrl-C, or choose another folder with {option}");
            problem(format!("another lab uses {shown}"), mend)
        }
        Err(error) => {
            let why = format!("the lock of {shown} cannot be looked at: {error}");
            unknown(id, why, "another lab uses it", "look as the user whose folder it is")
        }
    }
}

/// Processes of labs that are gone, on any work folder beside those of the labs.
fn processes(machine: &Machine<'_>) -> Finding {
    let id = "machine.left-processes";
    let mut parents: Vec<&Path> = machine.labs.iter().filter_map(|it| it.work.parent()).collect();
    parents.dedup();
    let mut left = Vec::new();
    for parent in parents {
        match left_below(parent) {
            Ok(found) => left.extend(found),
            Err(error) => {
                let why = format!("{} cannot be listed: {error}", parent.display());
                return unknown(id, why, "some are left", "look as the user whose folder it is");
            }
        }
    }
    if left.is_empty() {
        return Finding::ok(id, "none");
    }
    Finding::new(id, State::Warning, left.join("; "))
        .breaks("they hold memory and ports")
        .mend("the next lab on that folder ends them")
}

fn left_below(parent: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let work = entries.into_iter().map(|it| it.path()).filter(|it| matches!(purpose_of(it), Ok(Some(Purpose::Work))));
    let left = work.filter(|it| !is_in_use(it).unwrap_or(true)).filter_map(|path| {
        let processes = processes_of(&path.canonicalize().ok()?);
        let names: Vec<String> = processes.iter().map(u32::to_string).collect();
        (!names.is_empty()).then(|| format!("process {} of {}", names.join(", "), path.display()))
    });
    Ok(left.collect())
}

fn cgroups() -> Finding {
    let id = "machine.left-cgroups";
    let left: Vec<String> = cgroup::leftovers().iter().map(|it| it.display().to_string()).collect();
    if left.is_empty() {
        return Finding::ok(id, "none");
    }
    Finding::new(id, State::Warning, left.join(", "))
        .breaks("nothing: the front that made them is gone")
        .mend("the next handler that starts here removes those without processes")
}
