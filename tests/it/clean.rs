//! `lab clean`: it removes what the lab has made and marked, asks first, and leaves alone what is another's or in use.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use custom_handler::clock;
use lab::{
    evidence::RunFolder,
    machine::{
        own_folder::{OwnFolder, Purpose},
        workspace::Workspace,
    },
};
use serde_json::Value;

use crate::harness::{LAB, LabProcess, Scratch};

/// A folder in which a lab has worked. Temporary files are looked for in it alone.
struct Desk(Scratch);

impl Desk {
    fn new() -> Self {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path().join("tmp")).unwrap();
        Self(scratch)
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// A run that has ended, with so many bytes of evidence.
    fn run(&self, lab: &str, bytes: usize) -> PathBuf {
        let run = RunFolder::create(&self.path("evidence"), lab, clock::utc_now()).unwrap();
        fs::create_dir(run.tables()).unwrap();
        fs::write(run.tables().join("requests.jsonl"), vec![b'\n'; bytes]).unwrap();
        run.path().to_owned()
    }

    async fn work(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.path(name);
        drop(Workspace::open(&path).await.unwrap());
        path
    }

    /// The cache of a checkout would be the one that these tests run with: it is never among the kinds here.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&*LAB);
        command.args(["clean", "runs", "work"]).args(arguments).current_dir(self.0.path());
        command.env("TMPDIR", self.path("tmp")).stdin(Stdio::null());
        command
    }

    /// Exit code, and the items by their path.
    fn items(&self, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
        json(self.command(arguments).arg("--json"))
    }
}

fn json(command: &mut Command) -> (Option<i32>, Vec<Value>) {
    let (code, out, err) = said(command);
    assert_eq!(out.lines().count(), 1, "{out}{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    (code, told["items"].as_array().unwrap().clone())
}

fn said(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// What became of a folder, by the end of its path.
fn state<'a>(items: &'a [Value], path: &str) -> &'a str {
    let item = items.iter().find(|it| it["path"].as_str().unwrap().ends_with(path));
    item.unwrap_or_else(|| panic!("{path}: {items:#?}"))["state"].as_str().unwrap()
}

#[tokio::test]
async fn runs_and_work_folders_are_listed_with_size_and_age_and_removed_with_yes_alone() {
    let desk = Desk::new();
    let (run, work) = (desk.run("oom", 3 << 20), desk.work(".lab/run-oom").await);
    let kept = desk.work("tmp/lab-process-x1").await;

    let (code, listed) = desk.items(&["--dry-run"]);
    assert_eq!((code, listed.len()), (Some(0), 3), "{listed:#?}");
    let first = &listed[0];
    assert_eq!((&first["kind"], &first["state"]), (&"runs".into(), &"listed".into()), "{first:#}");
    assert!((3 << 20..4 << 20).contains(&first["bytes"].as_u64().unwrap()), "{first:#}");
    assert!(first["lastWritten"].as_str().unwrap().starts_with("20"), "{first:#}");

    let (code, out, err) = said(&mut desk.command(&[]));
    assert_eq!(code, Some(64), "{out}{err}");
    assert!(err.contains("--yes") && out.contains("4 MiB  0 min ago") && out.contains(".lab/run-oom"), "{out}{err}");
    assert!([&run, &work, &kept].iter().all(|it| it.is_dir()), "nobody has agreed");
    assert_eq!(said(&mut desk.command(&["--json"])).0, Some(64), "JSON asks nothing");
    let (code, out, _) = said(&mut desk.command(&["--yes"]));
    assert_eq!(code, Some(0), "{out}");
    assert!(out.ends_with("removed 3, 4 MiB\n"), "{out}");
    assert!([&run, &work, &kept].iter().all(|it| !it.exists()));
    assert!(desk.path("evidence").is_dir(), "what runs lie in stays");
    assert!(desk.path("evidence/oom/latest").symlink_metadata().is_err(), "a link to nothing");
    let (code, out, _) = said(&mut desk.command(&["--yes"]));
    assert_eq!((code, out.as_str()), (Some(0), "nothing of the lab's is kept here\n"));
}

#[tokio::test]
async fn a_person_at_a_terminal_is_asked_and_no_answer_is_no() {
    let desk = Desk::new();
    let work = desk.work(".lab/start").await;
    for (answer, is_left) in [("n\n", true), ("\n", true), ("", true), ("Yes\n", false)] {
        let lab = format!("{} clean work", LAB.display());
        let mut terminal = Command::new("script");
        terminal.args(["--quiet", "--return", "--command", &lab, "/dev/null"]).current_dir(desk.0.path());
        terminal.env("TMPDIR", desk.path("tmp")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = terminal.spawn().unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), answer.as_bytes()).unwrap();
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.contains("remove 1 of these, ") && told.contains("[y/N]"), "{answer:?}: {told}");
        assert_eq!((output.status.code(), work.exists()), (Some(0), is_left), "{answer:?}: {told}");
    }
}

#[tokio::test]
async fn what_is_anothers_stays_links_are_not_followed_and_odd_names_are_removed() {
    let desk = Desk::new();
    desk.run("replay", 10);
    // Another's: without a marker, with one that is none, or of another purpose.
    for foreign in [".lab/mine", "evidence/oom/mine", "evidence/notes"] {
        fs::create_dir_all(desk.path(foreign)).unwrap();
        fs::write(desk.path(foreign).join("diary"), "today").unwrap();
    }
    fs::write(desk.path(".lab/mine/.incident-lab"), "{}").unwrap();
    OwnFolder::take(&desk.path(".lab/packages"), Purpose::Packages).unwrap();
    let elsewhere = desk.work("elsewhere").await;
    symlink(&elsewhere, desk.path(".lab/link")).unwrap();
    symlink(&elsewhere, desk.path("evidence/oom/link")).unwrap();
    // A link inside a folder of the lab's goes, and nothing behind it.
    let odd = desk.work(".lab/a\nb  ü").await;
    symlink(desk.path(".lab/mine"), odd.join("logs/mine")).unwrap();
    let bytes = desk.work(Path::new(".lab").join(OsStr::from_bytes(b"\xff\xfe"))).await;

    let (_, out, _) = said(&mut desk.command(&["--dry-run"]));
    assert!(out.contains(".lab/a\\nb  ü"), "one line each: {out}");
    let (code, items) = desk.items(&["--yes"]);
    assert_eq!((code, items.len()), (Some(0), 3), "{items:#?}");
    assert!(items.iter().all(|it| it["state"] == "removed"), "{items:#?}");
    assert!(!odd.exists() && !bytes.exists());
    for left in
        [".lab/mine/diary", "evidence/oom/mine/diary", "evidence/notes/diary", ".lab/packages", "elsewhere/logs"]
    {
        assert!(desk.path(left).exists(), "{left}");
    }
    assert!(desk.path(".lab/link").symlink_metadata().is_ok() && desk.path("evidence/oom/link").exists());
}

#[tokio::test]
async fn a_running_labs_folders_are_left_alone_and_latest_leads_to_what_is_left() {
    let desk = Desk::new();
    let lab = LabProcess::start(&desk.path(".lab/start"), &[]).await;
    let idle = desk.work(".lab/run-oom").await;
    let under_way = RunFolder::create(&desk.path("evidence"), "oom", clock::utc_now()).unwrap();
    let ended = desk.run("oom", 10);
    assert_eq!(desk.path("evidence/oom/latest").canonicalize().unwrap(), ended);

    let (code, items) = desk.items(&["--yes"]);
    assert_eq!(code, Some(0), "{items:#?}");
    assert_eq!(state(&items, ".lab/start"), "inUse");
    assert_eq!(state(&items, ".lab/run-oom"), "removed");
    assert_eq!(state(&items, under_way.path().file_name().unwrap().to_str().unwrap()), "inUse");
    assert!(!idle.exists() && !ended.exists() && under_way.path().is_dir());
    assert_eq!(desk.path("evidence/oom/latest").canonicalize().unwrap(), under_way.path());
    assert!(lab.storage.put("input", "still-there", "1", None).await.is_ok());
    lab.result("still-there", Duration::from_secs(60)).await;
    assert!(lab.interrupt().await.success());
    assert_eq!(state(&desk.items(&["--yes"]).1, ".lab/start"), "removed");
}

#[tokio::test]
async fn only_what_is_old_or_of_the_kind_is_chosen() {
    let desk = Desk::new();
    let (run, work) = (desk.run("oom", 10), desk.work(".lab/start").await);
    let old = clock::utc_now() - Duration::from_secs(8 * 86_400);
    for entry in walkdir::WalkDir::new(&work) {
        File::open(entry.unwrap().path()).unwrap().set_modified(old.into()).unwrap();
    }
    let (_, items) = desk.items(&["--dry-run", "--older-than", "7d"]);
    assert_eq!((items.len(), state(&items, ".lab/start")), (1, "listed"));
    let mut runs = Command::new(&*LAB);
    runs.args(["clean", "runs", "--yes", "--json"]).current_dir(desk.0.path()).env("TMPDIR", desk.path("tmp"));
    let (code, items) = json(&mut runs);
    assert_eq!((code, items.len()), (Some(0), 1), "{items:#?}");
    assert!(!run.exists() && work.is_dir());
    assert_eq!(said(&mut desk.command(&["--older-than", "soon"])).0, Some(64));

    // One run by its name, or by the link to it: it as a whole, and not its parts.
    let runs = [desk.run("oom", 10), desk.run("oom", 10)];
    OwnFolder::take(&runs[1].join("run-1"), Purpose::Evidence).unwrap();
    let (_, items) = desk.items(&["--yes", "--older-than", "0m", "--evidence", "evidence/oom/latest"]);
    assert_eq!(state(&items, runs[1].file_name().unwrap().to_str().unwrap()), "removed", "{items:#?}");
    assert_eq!(desk.path("evidence/oom/latest").canonicalize().unwrap(), runs[0]);
}

#[tokio::test]
async fn what_cannot_be_removed_is_named_with_its_cause_and_the_rest_is_removed() {
    let desk = Desk::new();
    let (run, work) = (desk.run("oom", 10), desk.work(".lab/start").await);
    let all = || walkdir::WalkDir::new(desk.0.path()).into_iter().map(|it| it.unwrap().into_path());
    all().for_each(|it| std::os::unix::fs::lchown(it, Some(65_534), Some(65_534)).unwrap());
    // Nobody's, but for one folder of the run, which is root's and closed.
    std::os::unix::fs::chown(run.join("tables"), Some(0), Some(0)).unwrap();
    fs::set_permissions(run.join("tables"), fs::Permissions::from_mode(0o700)).unwrap();
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&*LAB);
        command.args(["clean", "runs", "work"]).args(arguments).current_dir(desk.0.path());
        command.env("TMPDIR", desk.path("tmp")).env("HOME", "/nonexistent").stdin(Stdio::null());
        said(&mut command)
    };
    let (_, out, _) = nobody(&["--dry-run"]);
    assert!(out.contains("at least "), "{out}");
    let (code, out, err) = nobody(&["--yes"]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.contains("tables: Permission denied"), "{err}");
    assert!(run.join(".incident-lab").is_file(), "it is still known as the lab's");
    assert!(!work.exists(), "{out}{err}");
}

#[tokio::test]
async fn the_cache_is_found_where_no_checkout_is_and_left_while_azurite_runs_from_it() {
    let desk = Desk::new();
    let home = desk.path("cache/functions-incident-labs/azurite");
    let modules = home.join("node_modules");
    let script = modules.join("azurite/dist/src/azurite.js");
    fs::create_dir_all(script.parent().unwrap()).unwrap();
    fs::write(modules.join(".package-lock.json"), "{}").unwrap();
    fs::write(&script, "setTimeout(() => {}, 600000)").unwrap();
    // A lab beside the checkout would find that one's cache.
    let lab = desk.path("lab");
    fs::copy(&*LAB, &lab).unwrap();
    let clean = || {
        let mut command = Command::new(&lab);
        command.args(["clean", "caches", "--yes", "--json"]).current_dir(desk.0.path());
        json(command.env("XDG_CACHE_HOME", desk.path("cache")).env("TMPDIR", desk.path("tmp")))
    };
    let mut running = Command::new("node").arg(&script).spawn().unwrap();
    let (code, items) = clean();
    assert_eq!((code, state(&items, "node_modules")), (Some(0), "inUse"));
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(state(&clean().1, "node_modules"), "removed");
    assert!(home.is_dir() && !modules.exists());
}
