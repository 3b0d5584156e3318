//! Packages: equal from equal input, complete, and checked for what kills deployments.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use lab::app::{
    AppSource,
    package::{PACKAGES, check, package},
};
use rustix::process::Signal;
use serde_json::Value;
use zip::{ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::{
    handler::{free_port, http_client, send_signal},
    harness::{HANDLER, LAB, Scratch, eventually},
};

/// The head of a static program for x86-64, and nothing else of it.
const STATIC: [u8; 64] = {
    let mut elf = [0; 64];
    (elf[0], elf[1], elf[2], elf[3], elf[4], elf[5]) = (0x7F, b'E', b'L', b'F', 2, 1);
    elf[18] = 62;
    elf
};

/// What passes for a handler that is linked statically.
pub(crate) fn static_handler(scratch: &Scratch) -> PathBuf {
    let path = scratch.path().join("handler");
    fs::write(&path, STATIC).unwrap();
    path
}

/// Name, mode and content of each entry.
fn entries(zip: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let mut archive = ZipArchive::new(fs::File::open(zip).unwrap()).unwrap();
    (0..archive.len())
        .map(|at| {
            let mut file = archive.by_index(at).unwrap();
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            (file.name().unwrap().into_owned(), file.unix_mode().unwrap() & 0o777, content)
        })
        .collect()
}

#[test]
fn the_three_packages_hold_what_is_deployed_and_nothing_else() {
    let scratch = Scratch::new();
    let handler = static_handler(&scratch);
    for (it, functions) in PACKAGES.iter().zip([
        vec!["BlobBufferProcessor", "storage_access"],
        vec!["BlobBufferProcessor", "storage_access"],
        vec!["replay_lab_activity", "replay_status", "replay_storm_orchestrator", "start_replay_lab", "storage_access"],
    ]) {
        let written = package(it, &AppSource::carried(), &handler, &scratch.path()).unwrap();
        let entries = entries(&written.path);
        let mut names: Vec<String> = functions.iter().map(|it| format!("{it}/function.json")).collect();
        names.extend(["handler".to_owned(), "host.json".to_owned()]);
        names.sort();
        assert_eq!(entries.iter().map(|it| it.0.clone()).collect::<Vec<_>>(), names, "{}", it.file);
        assert!(entries.iter().all(|(name, mode, _)| *mode == if name == "handler" { 0o755 } else { 0o644 }));
        let (_, _, host) = entries.iter().find(|it| it.0 == "host.json").unwrap();
        let host: Value = serde_json::from_slice(host).unwrap();
        let arguments = &host["customHandler"]["description"]["arguments"];
        assert_eq!(arguments[1].as_str(), it.variant.map(|it| it.name()), "{}", it.file);
        assert_eq!(check(&written.path).unwrap(), [], "{}", it.file);
    }
}

#[test]
fn equal_input_gives_equal_packages() {
    let scratch = Scratch::new();
    let handler = static_handler(&scratch);
    let make =
        |folder: &str| package(&PACKAGES[2], &AppSource::carried(), &handler, &scratch.path().join(folder)).unwrap();
    let first = make("one");
    // Another time, another mode, another folder.
    fs::set_permissions(&handler, fs::Permissions::from_mode(0o600)).unwrap();
    fs::File::open(&handler).unwrap().set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    let second = make("two");
    assert_eq!(first.sha256, second.sha256);
    assert_eq!(fs::read(first.path).unwrap(), fs::read(second.path).unwrap());
}

/// Writes a package anew with a change.
fn changed(scratch: &Scratch, change: impl Fn(&mut Vec<(String, u32, Vec<u8>)>)) -> Vec<String> {
    let written = package(&PACKAGES[0], &AppSource::carried(), &static_handler(scratch), &scratch.path()).unwrap();
    let mut entries = entries(&written.path);
    change(&mut entries);
    let path = scratch.path().join("changed.zip");
    let mut zip = ZipWriter::new(fs::File::create(&path).unwrap());
    for (name, mode, content) in entries {
        zip.start_file(name, SimpleFileOptions::default().unix_permissions(mode)).unwrap();
        zip.write_all(&content).unwrap();
    }
    zip.finish().unwrap();
    check(&path).unwrap().into_iter().map(|it| it.0).collect()
}

#[test]
fn a_cleared_exec_bit_is_found() {
    let scratch = Scratch::new();
    let found = changed(&scratch, |entries| entries[1].1 = 0o644);
    assert!(found.len() == 1 && found[0].contains("not executable"), "{found:?}");
}

#[test]
fn what_else_kills_deployments_is_found() {
    type Change = fn(&mut Vec<(String, u32, Vec<u8>)>);
    let cases: [(Change, &str); 7] = [
        (|it| it[0].0 = "BlobBufferProcessor/functions.json".to_owned(), "no function.json"),
        (|it| it.retain(|(name, ..)| !name.ends_with("/function.json")), "no function in the zip"),
        (|it| drop(it.remove(2)), "host.json is not at the top"),
        (|it| it[2].2 = b"{".to_vec(), "host.json is not JSON"),
        (
            |it| it[2].2 = br#"{"customHandler":{"description":{"defaultExecutablePath":"app"}}}"#.to_vec(),
            "starts \"app\"",
        ),
        (|it| it[1].2 = b"#!/bin/sh".to_vec(), "no ELF"),
        (|it| it.push(("local.settings.json".to_owned(), 0o644, b"{}".to_vec())), "connection strings"),
    ];
    for (change, says) in cases {
        let found = changed(&Scratch::new(), change);
        assert!(found.iter().any(|it| it.contains(says)), "{says}: {found:?}");
    }
}

#[test]
fn a_handler_that_needs_this_machines_libraries_is_found_by_the_command() {
    let scratch = Scratch::new();
    let written = package(&PACKAGES[0], &AppSource::carried(), &small_handler(&scratch), &scratch.path()).unwrap();
    let run = Command::new(&*LAB).args(["package", "--check"]).arg(&written.path).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    assert!(said.contains("linked dynamically (/lib64/ld-linux-x86-64.so.2)"), "{said}");
}

/// The handler under test without what only a debugger needs.
fn small_handler(scratch: &Scratch) -> PathBuf {
    let small = scratch.path().join("small");
    let stripped = Command::new("strip").arg("-o").arg(&small).arg(HANDLER).status();
    assert!(stripped.is_ok_and(|it| it.success()), "strip (binutils) is needed");
    small
}

/// A package as the platform mounts it: another owner, nothing of it writable.
struct Mounted(PathBuf);

impl Mounted {
    fn new(zip: &Path, root: PathBuf) -> Self {
        for (name, mode, content) in entries(zip) {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o555)).unwrap();
        }
        let mounted = Self(root);
        mounted.set_mode(0o555);
        mounted
    }

    fn set_mode(&self, mode: u32) {
        let folders = walkdir::WalkDir::new(&self.0).into_iter().map(Result::unwrap).filter(|it| it.path().is_dir());
        folders.for_each(|it| fs::set_permissions(it.path(), fs::Permissions::from_mode(mode)).unwrap());
    }

    /// The executable its host.json names, with its arguments, for nobody, with a home that is not there.
    fn start(&self, port: u16) -> std::process::Child {
        let host: Value = serde_json::from_slice(&fs::read(self.0.join("host.json")).unwrap()).unwrap();
        let description = &host["customHandler"]["description"];
        let arguments = description["arguments"].as_array().into_iter().flatten().map(|it| it.as_str().unwrap());
        Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(self.0.join(description["defaultExecutablePath"].as_str().unwrap()))
            .args(arguments)
            .current_dir(&self.0)
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .env("FUNCTIONS_APP_ROOT_PATH", &self.0)
            .env("AzureWebJobsStorage__accountName", "nowhere")
            // There is no token to be had: no request goes to that account.
            .envs([("IDENTITY_ENDPOINT", "http://127.0.0.1:1/token"), ("IDENTITY_HEADER", "x")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.set_mode(0o755);
    }
}

#[tokio::test]
async fn unzipped_packages_run_for_nobody_in_a_folder_of_somebody_elses() {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (small, http) = (small_handler(&scratch), http_client());
    for (it, says) in PACKAGES.iter().zip(["buffering variant (the package's", "streaming variant (the package's", ""])
    {
        let written = package(it, &AppSource::carried(), &small, &scratch.path()).unwrap();
        let mounted = Mounted::new(&written.path, scratch.path().join(it.file.trim_end_matches(".zip")));
        let port = free_port().await;
        let mut child = mounted.start(port);
        let answered = async || http.get(format!("http://127.0.0.1:{port}/")).send().await.ok();
        let answer = eventually(Duration::from_secs(20), answered).await;
        assert_eq!(answer.status(), 200);
        send_signal(child.id().cast_signed(), Signal::TERM);
        let code = eventually(Duration::from_secs(20), async || child.try_wait().unwrap()).await.code();
        let output = child.wait_with_output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((code, err.as_ref()), (Some(200), ""), "{}", it.file);
        assert!(out.contains(says), "{}: {out}", it.file);
    }
}
