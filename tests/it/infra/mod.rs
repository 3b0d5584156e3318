//! The infrastructure, held without Azure: each rule on the files as they are, and on the faults it is there for.

mod bicep;
mod faults;
mod rules;

use std::{collections::BTreeMap, fs, path::Path};

use incident_labs::blob::Variant;
use lab::app::preset::preset;
use serde_json::{Value, json};

use self::{
    bicep::Bicep,
    rules::{ACCESS, APP, IP_RESTRICTION, MAIN, MONITORING, PARAMETERS, STORAGE},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Files by their path below `infra`, and the settings in `load/oom/*.json` by their preset.
struct Infra {
    files: BTreeMap<String, Bicep>,
    presets: Vec<(String, Value)>,
}

impl Infra {
    fn read() -> Self {
        Self::changed(|_, text| text)
    }

    /// With each file's text as `change` makes it.
    fn changed(change: impl Fn(&str, String) -> String) -> Self {
        let text = |folder: &str, path: &str| change(path, text(folder, path));
        let paths = [MAIN, PARAMETERS, ACCESS, APP, STORAGE, MONITORING, IP_RESTRICTION];
        let files = paths.map(|path| (path.to_owned(), parsed(path, &text("infra", path))));
        let preset = |name: &str| serde_json::from_str(&text("load/oom", &format!("{name}.json"))).unwrap();
        Self { files: files.into(), presets: PRESETS.map(|it| (it.name().to_owned(), preset(it.name()))).into() }
    }
}

const PRESETS: [Variant; 2] = [Variant::Buffering, Variant::Streaming];

type Rule = fn(&Infra) -> Vec<String>;

fn text(folder: &str, path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(folder).join(path)).unwrap()
}

fn parsed(path: &str, text: &str) -> Bicep {
    if path == PARAMETERS { Bicep::parse_parameters(text) } else { Bicep::parse(text) }
}

fn holds(rule: Rule) {
    assert_eq!(rule(&Infra::read()), Vec::<String>::new());
}

#[test]
fn every_file_is_bicep() {
    holds(rules::syntax);
    let files =
        walkdir::WalkDir::new(Path::new(ROOT).join("infra")).into_iter().filter_entry(|it| it.file_name() != "local");
    let files = files
        .map(Result::unwrap)
        .filter(|it| it.path().extension().is_some_and(|it| it == "bicep" || it == "bicepparam"));
    assert_eq!(files.count(), Infra::read().files.len(), "a file is not looked at");
}

#[test]
fn every_name_is_declared_and_used() {
    holds(rules::names);
}

#[test]
fn modules_get_what_they_ask_for_and_give_what_is_used() {
    holds(rules::modules);
}

#[test]
fn parameters_say_what_they_are() {
    holds(rules::descriptions);
}

#[test]
fn the_identity_has_every_role_before_there_is_an_app() {
    holds(rules::roles);
}

#[test]
fn every_setting_is_read_and_every_needed_one_is_set() {
    holds(rules::settings);
}

#[test]
fn no_output_holds_a_secret() {
    holds(rules::secrets);
}

#[test]
fn api_versions_come_from_one_list() {
    holds(rules::api_versions);
}

#[test]
fn there_is_one_instance_and_no_password() {
    holds(rules::configuration);
}

/// The handler's own numbers are what an app on Azure is given, and with the laptop's memory limit what a laptop starts with.
#[test]
fn presets_are_the_same_everywhere() {
    for ((name, settings), variant) in Infra::read().presets.iter().zip(PRESETS) {
        let mut local: BTreeMap<String, String> = preset(variant).into_iter().collect();
        let env = text("load/oom", &format!("{name}.env"));
        let pairs = env.lines().filter(|it| !it.starts_with('#')).filter_map(|it| it.split_once('='));
        let env: BTreeMap<String, String> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(local, env, "{name}.env");
        assert_eq!(local.remove("WORKER_MEMORY_LIMIT_MIB").as_deref(), Some("896"), "{name}");
        assert_eq!(json!(local), *settings, "{name}.json");
    }
}

/// An action is fixed by its commit, because a tag can be moved; the linter's every rule is an error.
#[test]
fn the_workflow_pins_and_the_linter_fails() {
    let workflow = text(".github/workflows", "infra.yml");
    let uses: Vec<&str> = workflow.lines().filter_map(|it| it.split_once("uses: ")).map(|it| it.1).collect();
    assert!(!uses.is_empty());
    for it in uses {
        let commit = it.split_once('@').unwrap().1.split(' ').next().unwrap();
        assert!(commit.len() == 40 && commit.chars().all(|it| it.is_ascii_hexdigit()), "{it}");
    }
    for command in ["bicep build", "bicep lint", "bicep build-params"] {
        assert!(workflow.contains(command), "{command}");
    }
    let config: Value = serde_json::from_str(&text("infra", "bicepconfig.json")).unwrap();
    let rules = config["analyzers"]["core"]["rules"].as_object().unwrap();
    assert!(rules.len() > 10 && rules.values().all(|it| it["level"] == "error"));
}
