//! Staging: what comes out, and what is refused because the host would silently ignore it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use incident_labs::{
    blob::Variant,
    functions::{self, BLOB_FUNCTION},
};
use lab::app::{
    AppSource,
    preset::preset,
    stage::{StageError, stage, write_local_settings},
};
use lab::machine::own_folder::MARKER;
use serde_json::{Value, json};

use crate::harness::{HANDLER, LAB, Scratch};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn app() -> AppSource {
    AppSource::read(Path::new(ROOT)).unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// All files but the lab's marker.
fn files_of(root: &Path) -> Vec<String> {
    let mut found: Vec<String> = walkdir::WalkDir::new(root)
        .into_iter()
        .map(|it| it.unwrap())
        .filter(|it| it.file_type().is_file() && it.file_name() != MARKER)
        .map(|it| it.path().strip_prefix(root).unwrap().display().to_string())
        .collect();
    found.sort();
    found
}

/// All functions' declarations, and these.
fn app_files(more: &[&str]) -> Vec<String> {
    let functions = functions::names().into_iter().map(|it| format!("{it}/function.json"));
    let mut files: Vec<String> = functions.chain(more.iter().map(|it| (*it).to_owned())).collect();
    files.sort();
    files
}

#[test]
fn the_app_is_staged_flat_and_complete() {
    let scratch = Scratch::new();
    let out = scratch.path().join("stage");
    for _ in 0..2 {
        stage(&app(), Path::new(HANDLER), &out, &functions::names()).unwrap();
        assert_eq!(files_of(&out), app_files(&["handler", "host.json"]));
        let mode = |file: &str| fs::metadata(out.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("handler"), mode("host.json")), (0o755, 0o644));
    }
    write_local_settings(&out, preset(Variant::Streaming)).unwrap();
    let values = &read(&out.join("local.settings.json"))["Values"];
    assert_eq!(values["MAX_CONCURRENT_INVOCATIONS"], "12");
    assert_eq!(values["FUNCTIONS_WORKER_RUNTIME"], "custom");
}

#[test]
fn a_folder_with_something_else_in_it_is_left_alone() {
    let scratch = Scratch::new();
    fs::write(scratch.path().join("thesis.txt"), "").unwrap();
    let error = stage(&app(), Path::new(HANDLER), &scratch.path(), &functions::names()).unwrap_err();
    assert!(matches!(error, StageError::Occupied(_)), "{error}");
    assert!(scratch.path().join("thesis.txt").exists());
}

#[test]
fn what_was_put_into_a_staged_app_by_hand_outlives_the_next_staging() {
    let scratch = Scratch::new();
    let out = scratch.path().join("stage");
    let again = || stage(&app(), Path::new(HANDLER), &out, &functions::names());
    again().unwrap();
    write_local_settings(&out, preset(Variant::Streaming)).unwrap();
    fs::write(out.join("thesis.txt"), "mine").unwrap();
    again().unwrap();
    assert_eq!(
        files_of(&out),
        app_files(&["handler", "host.json", "thesis.txt"]),
        "the lab's settings go with its app"
    );
    fs::write(out.join("local.settings.json"), "mine").unwrap();
    let error = write_local_settings(&out, preset(Variant::Streaming)).unwrap_err().to_string();
    assert!(error.contains("(local.settings.json)"), "{error}");
    again().unwrap();
    for name in ["thesis.txt", "local.settings.json"] {
        assert_eq!(fs::read_to_string(out.join(name)).unwrap(), "mine");
    }
}

#[test]
fn staging_into_a_clone_of_the_project_leaves_it_as_it_is() {
    let scratch = Scratch::new();
    let clone = scratch.path().join("clone");
    for folder in [".git", "functions/BlobBufferProcessor", "src"] {
        fs::create_dir_all(clone.join(folder)).unwrap();
    }
    for file in ["host.json", "functions/BlobBufferProcessor/function.json", "src/main.rs"] {
        fs::copy(Path::new(ROOT).join(file), clone.join(file)).unwrap();
    }
    fs::write(clone.join(".git/HEAD"), "ref: refs/heads/main").unwrap();
    let before = files_of(&clone);
    let run =
        Command::new(&*LAB).args(["stage", "--handler", HANDLER, "--out", "."]).current_dir(&clone).output().unwrap();
    let told = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(3), "{told}");
    for part in
        ["error: . holds what the lab did not make", ".git, functions, host.json and 1 more", "choose an empty folder"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(files_of(&clone), before);
}

/// An app with one change, and what is then said about it.
struct Refusal {
    claim: &'static str,
    change: fn(&Path),
    says: &'static str,
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut json = read(path);
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

fn edit_blob(app: &Path, change: impl FnOnce(&mut Vec<Value>)) {
    edit(&app.join("functions/BlobBufferProcessor/function.json"), |it| {
        change(it["bindings"].as_array_mut().unwrap());
    });
}

fn add_function(app: &Path, name: &str, bindings: Value) {
    let folder = app.join("functions").join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("function.json"), json!({ "bindings": bindings }).to_string()).unwrap();
}

fn http(name: &str) -> Value {
    json!([{"type": "httpTrigger", "name": "req", "route": name, "methods": ["GET"]}])
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        claim: "a bad function name",
        change: |app| add_function(app, "1st", http("x")),
        says: "\"1st\" is no function name",
    },
    Refusal {
        claim: "a function folder without code",
        change: |app| add_function(app, "Ghost", http("x")),
        says: "functions/Ghost has no function in the handler",
    },
    Refusal {
        claim: "code without a function folder",
        change: |app| fs::remove_dir_all(app.join("functions/BlobBufferProcessor")).unwrap(),
        says: "there is no functions/BlobBufferProcessor/function.json",
    },
    Refusal { claim: "no bindings", change: |app| edit_blob(app, Vec::clear), says: "has no bindings" },
    Refusal {
        claim: "two triggers",
        change: |app| edit_blob(app, |it| it.push(json!({"type": "queueTrigger", "name": "msg"}))),
        says: "has 2 triggers",
    },
    Refusal {
        claim: "no trigger",
        change: |app| edit_blob(app, |it| it[0]["type"] = json!("blob")),
        says: "has 0 triggers",
    },
    Refusal {
        claim: "a route twice",
        change: |app| {
            add_function(app, "One", http("same"));
            add_function(app, "Two", http("/Same/"));
        },
        says: "GET same is the route of both One and Two",
    },
    Refusal {
        claim: "$return on a durable function",
        change: |app| {
            let bindings = json!([
                {"type": "activityTrigger", "name": "input"},
                {"type": "blob", "name": "$return", "direction": "out"}
            ]);
            add_function(app, "Act", bindings);
        },
        says: "Act is a durable function with a $return binding",
    },
    Refusal {
        claim: "a binding name with an underscore",
        change: |app| edit_blob(app, |it| it[0]["name"] = json!("my_blob")),
        says: "binding name \"my_blob\" is invalid",
    },
    Refusal {
        claim: "an empty route prefix",
        change: |app| edit(&app.join("host.json"), |it| it["extensions"]["http"]["routePrefix"] = json!("")),
        says: "empty routePrefix",
    },
    Refusal {
        claim: "another executable",
        change: |app| {
            let path = "/customHandler/description/defaultExecutablePath";
            edit(&app.join("host.json"), |it| *it.pointer_mut(path).unwrap() = json!("bin/other"));
        },
        says: "defaultExecutablePath must be \"handler\"",
    },
    Refusal {
        claim: "a binary for another machine",
        change: |app| fs::write(app.join("handler"), b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0").unwrap(),
        says: "not an ELF executable for x86-64",
    },
    Refusal {
        claim: "an expression beside a deferred blob trigger",
        change: |app| {
            edit_blob(app, |it| {
                it.push(json!({"type": "blob", "name": "out", "direction": "out", "path": "out/{name}"}));
            });
        },
        says: "turns deferred binding off",
    },
    Refusal {
        claim: "a path the trigger cannot follow",
        change: |app| edit_blob(app, |it| it[0]["path"] = json!("input/{a}/{b}")),
        says: "is not container/{name}",
    },
];

#[test]
fn what_the_host_would_ignore_is_refused() {
    for refusal in REFUSALS {
        let scratch = Scratch::new();
        let app = scratch.path().join("app");
        let function = app.join("functions/BlobBufferProcessor");
        fs::create_dir_all(&function).unwrap();
        fs::copy(Path::new(ROOT).join("host.json"), app.join("host.json")).unwrap();
        let json = "functions/BlobBufferProcessor/function.json";
        fs::copy(Path::new(ROOT).join(json), app.join(json)).unwrap();
        fs::write(app.join("handler"), b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0").unwrap();
        let attempt = || {
            let source = AppSource::read(&app).unwrap();
            stage(&source, &app.join("handler"), &scratch.path().join("out"), &[BLOB_FUNCTION])
        };
        attempt().unwrap_or_else(|error| panic!("the app is fine before {}: {error}", refusal.claim));

        (refusal.change)(&app);
        let error = attempt().expect_err(refusal.claim).to_string();
        assert!(error.contains(refusal.says), "{}: {error}", refusal.claim);
    }
}

#[test]
fn the_command_stages_for_the_core_tools() {
    let scratch = Scratch::new();
    let out = scratch.path().join("stage");
    let run = Command::new(&*LAB)
        .args(["stage", "--handler", HANDLER, "--local", "--preset", "buffering", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    assert_eq!(files_of(&out), app_files(&["handler", "host.json", "local.settings.json"]));
}
