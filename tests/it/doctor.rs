//! `lab doctor` on this machine, with things really wrong: each is found, says whom it hinders and how it is mended, and nothing but
//! the doctor's own is touched.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use incident_labs::worker::group::{self, Version};
use lab::machine::workspace::{MARK, Workspace};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    full_disk::Disk,
    harness::{LAB, Scratch, WELL_KNOWN_PORTS, eventually},
    memory_limit::Groups,
};

const SOON: Duration = Duration::from_secs(60);

/// The doctor in a folder of its own.
fn doctor(folder: &Path) -> Command {
    let mut command = Command::new(&*LAB);
    command.arg("doctor").current_dir(folder).stdin(Stdio::null());
    command
}

/// A folder with room for every lab, however full the machine's own disk is. It takes memory for what is written into it alone.
struct Roomy {
    _disk: Disk,
    scratch: Scratch,
}

impl Roomy {
    fn new() -> Self {
        let scratch = Scratch::new();
        Self { _disk: Disk::mount(scratch.path().join("roomy"), 16 << 10), scratch }
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("roomy")
    }
}

/// What it found, by id, and its exit code.
struct Found {
    findings: BTreeMap<String, Value>,
    code: Option<i32>,
    pid: u32,
}

impl Found {
    fn by(command: &mut Command) -> Self {
        let child = command.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        assert_eq!(out.lines().count(), 1, "one line of JSON: {out}{err}");
        let seen: Value = serde_json::from_str(&out).unwrap();
        let findings = seen["findings"].as_array().unwrap().iter();
        let findings = findings.map(|it| (it["id"].as_str().unwrap().to_owned(), it.clone())).collect();
        Self { findings, code: status.code(), pid }
    }

    fn of(&self, id: &str) -> &Value {
        self.findings.get(id).unwrap_or_else(|| panic!("{id}: {:?}", self.findings.keys()))
    }

    /// The finding of that id, which must be in that state and say these texts; what is not fine has a way out.
    fn holds(&self, id: &str, state: &str, texts: &[&str]) {
        let finding = self.of(id);
        assert_eq!(finding["state"], state, "{finding:#}");
        let said = finding.to_string();
        texts.iter().for_each(|text| assert!(said.contains(text), "{text}: {finding:#}"));
        if state != "ok" {
            let says = |name: &str| finding[name].as_str().is_some_and(|it| it.len() > 10);
            assert!(says("breaks") && says("mend"), "{finding:#}");
        }
    }

    fn hindered(&self, id: &str) -> Vec<&str> {
        self.of(id)["hinders"].as_array().map(|it| it.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
    }
}

/// A folder with programs; a `PATH` of its own.
fn programs(scratch: &Scratch, scripts: &[(&str, &str)], also: &[&str]) -> PathBuf {
    let path = scratch.path().join("bin");
    fs::create_dir(&path).unwrap();
    for (name, script) in scripts {
        fs::write(path.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    for name in also {
        let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).output().unwrap().stdout;
        symlink(String::from_utf8(found).unwrap().trim(), path.join(name)).unwrap();
    }
    path
}

/// Where a front of that number makes its worker's group.
fn worker_groups(front: u32) -> Vec<PathBuf> {
    let own = [Version::V1, Version::V2].map(|it| group::find(Path::new("/"), it, &mut Vec::new()));
    own.into_iter().flatten().map(|it| it.path.join(format!("handler-worker-{front}"))).collect()
}

#[test]
fn a_throw_away_process_is_killed_at_its_limit_by_the_kernel_and_nothing_is_left_of_it() {
    let scratch = Roomy::new();
    let found = Found::by(&mut doctor(&scratch.path()));
    found.holds("machine.memory-limit", "ok", &["exit code 137", "64 MiB, enforced by cgroup v", "(oom_kill 1)"]);
    for (id, finding) in &found.findings {
        let state = finding["state"].as_str().unwrap();
        assert!(["ok", "warning", "unknown", "problem"].contains(&state), "{id}: {state}");
        assert!(finding["seen"].as_str().is_some_and(|it| !it.is_empty()), "{id} saw nothing");
        assert!(state == "ok" || (finding["mend"].is_string() && finding["breaks"].is_string()), "{finding:#}");
    }
    assert_eq!(found.code, Some(0), "{:#?}", found.findings);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "something was written");
    assert!(worker_groups(found.pid).iter().all(|it| !it.exists()), "its group is left");

    let told = doctor(&scratch.path()).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("\noom: nothing hinders it\nreplay: nothing hinders it"), "{told}");
    assert!(!told.contains('\x1b'), "colours off a terminal");
}

#[test]
fn where_no_cgroup_can_be_made_the_fronts_own_watch_kills_and_that_is_said() {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&*LAB).arg("doctor");
    let found = Found::by(command.current_dir(scratch.path()).env("HOME", "/nonexistent"));
    let texts = ["exit code 137", "the front watching at 20 Hz", "Delegate=yes"];
    found.holds("machine.memory-limit", "warning", &texts);
    assert_eq!(found.hindered("machine.memory-limit"), [""; 0]);
}

#[test]
fn without_node_what_needs_storage_is_hindered_and_the_replay_lab_is_not() {
    let scratch = Scratch::new();
    let path = programs(&scratch, &[], &["cargo", "rustc"]);
    let roomy = Roomy::new();
    let work = roomy.path();
    let found = Found::by(doctor(&work).env("PATH", &path));
    found.holds("machine.node", "problem", &["not installed", "Azurite", "apt install nodejs npm"]);
    assert_eq!(found.hindered("machine.node"), ["oom", "roles", "process", "start", "azurite"]);
    assert_eq!(found.code, Some(1));
    let told = String::from_utf8(doctor(&work).env("PATH", &path).output().unwrap().stdout).unwrap();
    assert!(told.contains("\noom: hindered by machine.node\nreplay: nothing hinders it"), "{told}");
}

#[test]
fn an_old_node_is_a_problem_and_one_that_does_not_say_its_version_is_unknown() {
    let scratch = Scratch::new();
    let roomy = Roomy::new();
    let work = roomy.path();
    let path = programs(&scratch, &[("node", "echo v18.19.1")], &["npm", "cargo", "rustc"]);
    let found = Found::by(doctor(&work).env("PATH", &path));
    found.holds("machine.node", "problem", &["v18.19.1, older than 20"]);

    for (script, why) in [("exit 7", "ended with exit status: 7"), ("echo soon", "\\\"soon\\\"")] {
        fs::write(path.join("node"), format!("#!/bin/sh\n{script}\n")).unwrap();
        let found = Found::by(doctor(&work).env("PATH", &path));
        found.holds("machine.node", "unknown", &[why]);
        assert_eq!(found.code, Some(2), "{:#?}", found.findings);
    }
}

#[tokio::test]
async fn a_taken_port_names_who_has_it_who_wants_it_and_another_one() {
    let _ports = WELL_KNOWN_PORTS.lock().await;
    let scratch = Roomy::new();
    let _taken = std::net::TcpListener::bind("127.0.0.1:10002").unwrap();
    let found = Found::by(&mut doctor(&scratch.path()));
    let me = format!("(process {})", std::process::id());
    found.holds("machine.port-10002", "warning", &["taken by ", &me, "cargo lab azurite", "cargo lab start"]);
    assert_eq!(found.hindered("machine.port-10002"), ["azurite"]);
    assert_eq!(found.code, Some(0), "the labs take free ports");
}

#[test]
fn a_proxy_that_keeps_requests_to_this_machine_is_found_and_its_address_is_not_told() {
    let scratch = Scratch::new();
    let behind = |no_proxy: &str| {
        let mut command = doctor(&scratch.path());
        Found::by(command.env("HTTP_PROXY", "http://me:secret@127.0.0.1:9").env("NO_PROXY", no_proxy))
    };
    let found = behind("localhost");
    found.holds("machine.proxy", "problem", &["HTTP_PROXY", "NO_PROXY=127.0.0.1"]);
    assert!(found.hindered("machine.proxy").contains(&"replay") && found.code == Some(1));
    assert!(!format!("{:?}", found.findings).contains("secret"));
    let found = behind("127.0.0.1");
    found.holds("machine.proxy", "ok", &["HTTP_PROXY, NO_PROXY"]);
}

#[test]
fn a_small_disk_hinders_each_lab_that_needs_more() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("disk");
    let _disk = Disk::mount(folder.clone(), 300);
    let found = Found::by(&mut doctor(&folder));
    found.holds("machine.disk.oom", "problem", &["300 MiB free under .lab/run-oom", "--scale"]);
    found.holds("machine.disk.replay", "ok", &[]);
    found.holds("machine.disk.evidence", "ok", &[]);
    assert_eq!((found.hindered("machine.disk.oom"), found.code), (vec!["oom"], Some(1)));
}

#[test]
fn limits_of_the_shell_and_of_the_group_are_seen() {
    let scratch = Scratch::new();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 512 && exec \"$0\" doctor \"$@\""]).arg(&*LAB).current_dir(scratch.path());
    let found = Found::by(&mut command);
    found.holds("machine.open-files", "problem", &["512 for a process", "ulimit -n 1024"]);
    assert_eq!((found.hindered("machine.open-files"), found.code), (vec!["oom", "roles"], Some(1)));

    let groups = Groups::make(300 << 20);
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$0\" && exec \"$1\" doctor \"$2\""]);
    command.arg(groups.inner.join("cgroup.procs")).arg(&*LAB).current_dir(scratch.path());
    let found = Found::by(&mut command);
    found.holds("machine.memory.oom", "problem", &["300 MiB available, ", "--scale"]);
    found.holds("machine.memory-limit", "ok", &["(oom_kill 1)"]);
}

#[tokio::test]
async fn folders_in_use_foreign_ones_and_leftovers_are_found_and_left_as_they_are() {
    let scratch = Scratch::new();
    let (oom, replay) = (scratch.path().join(".lab/run-oom"), scratch.path().join(".lab/replay"));
    let lock = Workspace::open(&oom).await.unwrap();
    fs::create_dir_all(&replay).unwrap();
    fs::write(replay.join("diary"), "today").unwrap();
    let found = Found::by(&mut doctor(&scratch.path()));
    found.holds("machine.folder.oom", "problem", &["another lab uses .lab/run-oom", "--folder"]);
    found.holds("machine.folder.replay", "problem", &["what the lab did not make (diary)"]);
    assert_eq!((found.hindered("machine.folder.oom"), found.code), (vec!["oom"], Some(1)));
    assert_eq!(fs::read_to_string(replay.join("diary")).unwrap(), "today");

    let mark = lock.mark();
    assert_eq!(mark.0, MARK);
    drop(lock);
    let mut left = Command::new("sleep").arg("600").envs([mark]).spawn().unwrap();
    // As a front leaves it that was killed: no process has its number. One that holds a process is nobody's to remove.
    let group = worker_groups(999_999_999).remove(0);
    fs::create_dir(&group).unwrap();
    fs::write(group.join("cgroup.procs"), left.id().to_string()).unwrap();
    let found = eventually(SOON, async || {
        let found = Found::by(&mut doctor(&scratch.path()));
        // The kernel shows a new program's environment a moment after its start has been reported.
        (found.of("machine.left-processes")["state"] != "ok").then_some(found)
    })
    .await;
    found.holds("machine.left-processes", "warning", &[&format!("process {} of .lab/run-oom", left.id())]);
    found.holds("machine.left-cgroups", "warning", &[&group.display().to_string()]);
    found.holds("machine.folder.oom", "ok", &[]);
    assert!(group.exists(), "another's group was removed");
    assert_eq!(left.try_wait().unwrap(), None, "another's process was ended");
    left.kill().unwrap();
    left.wait().unwrap();
    // Another test's front may have been quicker.
    let _ = fs::remove_dir(group);
}

#[tokio::test]
async fn ctrl_c_leaves_neither_a_process_nor_a_group() {
    let scratch = Scratch::new();
    let work = scratch.path().join("work");
    fs::create_dir(&work).unwrap();
    let path = programs(&scratch, &[("node", "exec sleep 600")], &["sleep"]);
    let mut doctor = doctor(&work).env("PATH", path).stderr(Stdio::piped()).spawn().unwrap();
    let sleeps = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", doctor.id())).unwrap().flatten();
        let children = tasks.filter_map(|it| fs::read_to_string(it.path().join("children")).ok()).collect::<String>();
        children.split_whitespace().next().map(str::to_owned)
    };
    let child = eventually(SOON, async || sleeps()).await;
    kill_process(Pid::from_raw(doctor.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    let status = eventually(SOON, async || doctor.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(3));
    eventually(SOON, async || (!Path::new("/proc").join(&child).exists()).then_some(())).await;
}

#[tokio::test]
async fn ctrl_c_in_the_middle_of_the_proof_takes_its_group_away() {
    let scratch = Scratch::new();
    let mut doctor = doctor(&scratch.path()).stdout(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_raw(doctor.id().cast_signed()).unwrap();
    let places = worker_groups(doctor.id());
    // As soon as its group is there; a doctor that was quicker has ended well.
    while doctor.try_wait().unwrap().is_none() && !places.iter().any(|it| it.exists()) {}
    let _ = kill_process(pid, Signal::INT);
    let status = eventually(SOON, async || doctor.try_wait().unwrap()).await;
    assert!([Some(0), Some(3)].contains(&status.code()), "{status}");
    assert!(places.iter().all(|it| !it.exists()), "{places:?}");
}
