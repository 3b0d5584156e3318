//! The lab away from its source tree: it stages the app it carries, with the handler beside itself.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use lab::machine::azurite;
use serde_json::Value;

use crate::harness::{HANDLER, LAB, Scratch};

/// A folder with a copy of the lab, a current folder, and the user's cache.
struct Elsewhere(Scratch);

impl Elsewhere {
    fn new() -> Self {
        let elsewhere = Self(Scratch::new());
        for folder in ["bin", "here", "cache/functions-incident-labs/azurite"] {
            fs::create_dir_all(elsewhere.path(folder)).unwrap();
        }
        elsewhere.copy(&LAB, "lab");
        elsewhere
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn copy(&self, program: &Path, name: &str) {
        let target = self.path("bin").join(name);
        // These programs are large; a second name for one is as much a copy as it needs.
        fs::hard_link(program, &target).or_else(|_| fs::copy(program, &target).map(drop)).unwrap();
    }

    fn lab(&self, arguments: &[&str]) -> Output {
        let run = Command::new(self.path("bin/lab"))
            .args(arguments)
            .current_dir(self.path("here"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env_remove("CARGO")
            .output()
            .unwrap();
        let text = [&run.stdout[..], &run.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "the builder's folder is of no use here: {text}");
        run
    }
}

#[tokio::test]
async fn a_copied_lab_processes_files_with_the_app_it_carries_and_the_handler_beside_it() {
    let elsewhere = Elsewhere::new();
    elsewhere.copy(Path::new(HANDLER), "handler");
    let installed = azurite::install().await.unwrap().join("node_modules");
    symlink(installed, elsewhere.path("cache/functions-incident-labs/azurite/node_modules")).unwrap();
    fs::write(elsewhere.path("here/file.txt"), "abc").unwrap();

    let run = elsewhere.lab(&["process", "--json", "file.txt"]);
    assert!(run.status.success(), "{run:?}");
    let record: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(record["sha256"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");

    let run = elsewhere.lab(&["stage", "--out", "stage"]);
    assert!(run.status.success(), "{run:?}");
    assert!(elsewhere.path("here/stage/BlobBufferProcessor/function.json").is_file());
    assert_eq!(fs::read(elsewhere.path("here/stage/host.json")).unwrap(), fs::read("host.json").unwrap());
}

#[test]
fn without_a_handler_it_says_how_to_give_one() {
    let elsewhere = Elsewhere::new();
    for arguments in [&["stage", "--out", "stage"][..], &["process", "../bin/lab"], &["bench", "blob"]] {
        let run = elsewhere.lab(arguments);
        let text = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(3), "{arguments:?}: {text}");
        assert!(text.contains("there is no handler: give one with --handler"), "{arguments:?}: {text}");
    }
    let run = elsewhere.lab(&["package"]);
    let text = String::from_utf8_lossy(&run.stderr);
    assert!(text.contains("a static handler is built in a checkout") && text.contains("--handler"), "{text}");
}

#[test]
fn an_app_above_the_current_folder_comes_before_the_carried_one() {
    let elsewhere = Elsewhere::new();
    elsewhere.copy(Path::new(HANDLER), "handler");
    let app = elsewhere.path("here");
    let function = "functions/BlobBufferProcessor";
    fs::create_dir_all(app.join(function)).unwrap();
    fs::write(app.join("host.json"), fs::read_to_string("host.json").unwrap().replace("ReplayLab", "Mine")).unwrap();
    let json = format!("{function}/function.json");
    fs::copy(&json, app.join(&json)).unwrap();

    let run = elsewhere.lab(&["stage", "--out", "stage"]);
    let text = String::from_utf8_lossy(&run.stderr);
    assert!(text.contains("there is no functions/start_replay_lab/function.json"), "not the carried app: {text}");

    for folder in fs::read_dir("functions").unwrap().map(|it| it.unwrap().file_name()) {
        let json = Path::new("functions").join(folder).join("function.json");
        fs::create_dir_all(app.join(&json).parent().unwrap()).unwrap();
        fs::copy(&json, app.join(&json)).unwrap();
    }
    let run = elsewhere.lab(&["stage", "--out", "stage"]);
    assert!(run.status.success(), "{run:?}");
    assert!(fs::read_to_string(app.join("stage/host.json")).unwrap().contains("Mine"));
}
