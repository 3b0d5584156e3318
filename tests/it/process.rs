//! `lab process`: real files through everything, and what is said when they cannot be.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    process::{Command, Output},
};

use serde_json::Value;

use crate::harness::{HANDLER, LAB, Scratch};

fn process(arguments: &[&str]) -> Output {
    Command::new(&*LAB).args(["process", "--handler", HANDLER]).args(arguments).output().unwrap()
}

#[test]
fn odd_names_and_sizes_come_out_right_in_both_variants() {
    let scratch = Scratch::new();
    let files = scratch.path().join("files");
    fs::create_dir_all(files.join("a/b c")).unwrap();
    for (name, size) in [
        ("empty", 0),
        ("a/b c/ä #1 %.txt", 3),
        ("a/100%25.txt", 4),
        ("a/q'uo\"te&<x>+?.txt", 5),
        ("block", 8 << 20),
        ("blocks", (17 << 20) + 3),
    ] {
        fs::write(files.join(name), vec![7_u8; size]).unwrap();
    }
    for variant in ["streaming", "buffering"] {
        let run = process(&["--json", "--variant", variant, files.to_str().unwrap()]);
        assert!(run.status.success(), "{run:?}");
        let text = String::from_utf8(run.stdout).unwrap();
        let records: Vec<Value> = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        assert_eq!(records.len(), 6, "{text}");
        for record in records {
            assert_eq!(record["variant"], variant);
            for field in ["name", "etag", "size_bytes", "sha256", "duration_ms", "worker"] {
                assert!(!record[field].is_null(), "{field} of {record}");
            }
        }
    }
}

/// Records of `--json` with an error, by name; and how many have none.
fn judged(run: &Output) -> (Vec<(String, String)>, usize) {
    let text = std::str::from_utf8(&run.stdout).unwrap();
    let records: Vec<Value> = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let (wrong, right): (Vec<_>, Vec<_>) = records.into_iter().partition(|it| it["error"].is_string());
    let of = |record: &Value, field: &str| record[field].as_str().unwrap().to_owned();
    let mut wrong: Vec<_> = wrong.iter().map(|it| (of(it, "name"), of(it, "error"))).collect();
    wrong.sort();
    (wrong, right.len())
}

#[test]
fn a_file_that_cannot_be_a_blob_is_named_and_the_others_are_processed() {
    let scratch = Scratch::new();
    let files = scratch.path().join("files");
    fs::create_dir_all(files.join("a")).unwrap();
    let refused = [r"a\b.txt", "c\rd", "c\nd", "c\td", "e\u{1}", "f\u{ffff}"];
    let right = ["a/b.txt", " lead", "trail ", " ", "dots...", "%2e%2e", "n~"];
    for name in refused.iter().chain(&right) {
        fs::write(files.join(name), name).unwrap();
    }
    fs::write(files.join(OsStr::from_bytes(b"\xff")), "not UTF-8").unwrap();
    let folder = files.join(["n".repeat(203).as_str(); 5].join("/"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("123"), "1,023 characters").unwrap();
    let run = process(&["--json", files.to_str().unwrap()]);
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    let (wrong, count) = judged(&run);
    let mut wanted: Vec<String> = refused.map(str::to_owned).into();
    wanted.push("\u{fffd}".to_owned());
    wanted.sort();
    assert_eq!(wrong.iter().map(|it| it.0.clone()).collect::<Vec<_>>(), wanted);
    assert!(wrong.iter().all(|(_, error)| error.starts_with("cannot be a blob: ")), "{wrong:?}");
    assert_eq!(count, right.len() + 1);
    assert!(String::from_utf8_lossy(&run.stderr).contains("8 of 15 right, 7 wrong"), "{run:?}");
}

#[test]
fn files_of_which_none_can_be_a_blob_are_told_at_once() {
    let scratch = Scratch::new();
    let file = scratch.path().join("a\tb");
    fs::write(&file, "x").unwrap();
    // Nothing is started: there is no node to start it with.
    let run = Command::new(&*LAB)
        .args(["process", "--handler", HANDLER])
        .arg(&file)
        .arg("/dev/null")
        .env("PATH", scratch.path())
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(
        text.contains(r"a\tb") && text.contains("WRONG: cannot be a blob: U+0009 is lost in URLs or listings"),
        "{text}"
    );
    assert!(text.contains("WRONG: cannot be a blob: it is not a file"), "{text}");
}

#[test]
fn two_files_that_would_be_one_blob_are_an_error() {
    let scratch = Scratch::new();
    for folder in ["one", "two"] {
        fs::create_dir(scratch.path().join(folder)).unwrap();
        fs::write(scratch.path().join(folder).join("x"), folder).unwrap();
    }
    let path = |name: &str| scratch.path().join(name).display().to_string();
    for pair in [[path("one"), path("two")], [path("one/x"), path("two/x")], [path("one"), path("one/x")]] {
        let run = process(&[&pair[0], &pair[1]]);
        assert_eq!(run.status.code(), Some(64), "{run:?}");
        assert!(String::from_utf8_lossy(&run.stderr).contains("would be the same blob"), "{run:?}");
    }
}

#[test]
fn a_missing_file_is_named_before_anything_starts() {
    let run = process(&["Cargo.toml", "no-such-file"]);
    assert_eq!(run.status.code(), Some(64));
    let text = String::from_utf8(run.stderr).unwrap();
    assert!(text.starts_with("error: ") && text.contains("no-such-file") && text.lines().count() == 1, "{text}");
}

#[test]
fn a_wrong_command_line_is_exit_64() {
    assert_eq!(process(&["--set", "novalue", "Cargo.toml"]).status.code(), Some(64));
    assert_eq!(process(&[]).status.code(), Some(64));
}

#[test]
fn without_node_it_says_what_to_install() {
    let scratch = Scratch::new();
    let run = Command::new(&*LAB)
        .args(["process", "--handler", HANDLER, HANDLER])
        .env("PATH", scratch.path())
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(3));
    let text = String::from_utf8(run.stderr).unwrap();
    assert!(text.contains("error: node is not installed: `apt install nodejs npm`"), "{text}");
}
