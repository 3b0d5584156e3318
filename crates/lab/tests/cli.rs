//! The command line, as its executable answers it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use walkdir::WalkDir;

#[test]
fn every_command_has_a_help_with_exit_codes() {
    let help = |arguments: &[&str]| {
        let run = Command::new(env!("CARGO_BIN_EXE_lab")).args(arguments).arg("--help").output().unwrap();
        assert!(run.status.success(), "{arguments:?}");
        String::from_utf8(run.stdout).unwrap()
    };
    let commands: [&[&str]; 14] = [
        &["process"],
        &["run", "oom"],
        &["run", "replay"],
        &["load", "oom"],
        &["load", "replay"],
        &["start"],
        &["stage"],
        &["package"],
        &["azurite"],
        &["bench"],
        &["redrive"],
        &["replay-check"],
        &["collect"],
        &["import"],
    ];
    for command in commands {
        assert!(help(command).contains("Exit codes:"), "{command:?}");
    }
}

/// Every command that takes a folder, without the folder, which comes last.
const TAKE_A_FOLDER: [&[&str]; 14] = [
    &["run", "oom", "--scale", "1/8", "--folder"],
    &["run", "oom", "--scale", "1/8", "--evidence"],
    &["run", "replay", "--folder"],
    &["run", "replay", "--evidence"],
    &["load", "oom", "--scale", "1/8", "--write"],
    &["load", "oom", "--scale", "1/8", "--out"],
    &["load", "replay", "--out"],
    &["start", "--folder"],
    &["stage", "--out"],
    &["package", "--out"],
    &["azurite", "--folder"],
    &["redrive", "--folder"],
    &["import", "telemetry.jsonl", "--folder"],
    &["import", "telemetry.jsonl", "--replace", "--folder"],
];

/// Everything in a folder, with the content of files.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = WalkDir::new(folder).into_iter().map(|it| it.unwrap().into_path());
    entries.map(|it| (it.clone(), fs::read(&it).unwrap_or_default())).collect()
}

#[test]
fn no_command_touches_a_folder_that_is_anothers() {
    let scratch = tempfile::tempdir().unwrap();
    let mine = scratch.path().join("mine");
    // What a staged app, a work folder and a run have, too.
    for file in
        ["host.json", "handler", "logs/diary", "tables/prices.csv", "azurite/stone", "oom/painting", "manifest.jsonl"]
    {
        fs::create_dir_all(mine.join(file).parent().unwrap()).unwrap();
        fs::write(mine.join(file), file).unwrap();
    }
    symlink("mine", scratch.path().join("link")).unwrap();
    let before = content(scratch.path());
    for arguments in TAKE_A_FOLDER {
        for folder in ["mine", "link", "mine/logs/..", "."] {
            let here = if folder == "." { mine.as_path() } else { scratch.path() };
            let run = Command::new(env!("CARGO_BIN_EXE_lab"))
                .args(arguments)
                .arg(folder)
                .current_dir(here)
                .env("AzureWebJobsStorage", "UseDevelopmentStorage=true")
                .output()
                .unwrap();
            let told = String::from_utf8(run.stderr).unwrap();
            assert_eq!(run.status.code(), Some(3), "{arguments:?} {folder}: {told}");
            let parts =
                ["holds what the lab did not make (azurite, handler, host.json and 4 more)", "choose an empty folder"];
            for part in parts {
                assert!(told.contains(part), "{arguments:?} {folder}: {told}");
            }
            assert_eq!(content(scratch.path()), before, "{arguments:?} {folder}");
        }
    }
}
