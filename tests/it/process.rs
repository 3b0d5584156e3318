//! `lab process`: real files through everything, and what is said when they cannot be.

use std::{
    fs,
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
