//! What is known to kill a deployment, looked for in a zip before it is sent.

use std::{collections::BTreeMap, io::Read, path::Path};

use serde_json::Value;
use zip::ZipArchive;

use crate::{app::stage::HANDLER, machine::elf};

/// What is wrong with a package: the thing, the cause, the way out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding(pub String);

struct Entry {
    content: Vec<u8>,
    mode: Option<u32>,
}

/// Looks into a zip. An empty answer is a good one.
///
/// # Errors
/// When the file cannot be read, or is no zip.
pub fn check(path: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut archive = ZipArchive::new(std::fs::File::open(path)?)?;
    let mut entries = BTreeMap::new();
    for at in 0..archive.len() {
        let mut file = archive.by_index(at)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let name = file.name()?.into_owned();
        entries.insert(name, Entry { content, mode: file.unix_mode() });
    }
    let findings = [host_json(&entries), functions(&entries), secrets(&entries), executable(&entries)];
    Ok(findings.into_iter().flatten().map(Finding).collect())
}

fn host_json(entries: &BTreeMap<String, Entry>) -> Vec<String> {
    let Some(entry) = entries.get("host.json") else {
        return vec![
            "host.json is not at the top of the zip: zip the content of the folder, not the folder".to_owned(),
        ];
    };
    let Ok(host) = serde_json::from_slice::<Value>(&entry.content) else {
        return vec!["host.json is not JSON: the host would not start".to_owned()];
    };
    let name = host["customHandler"]["description"]["defaultExecutablePath"].as_str().unwrap_or_default();
    if entries.contains_key(name) {
        return Vec::new();
    }
    vec![format!("host.json starts {name:?}, which is not in the zip: set defaultExecutablePath to {HANDLER:?}")]
}

fn functions(entries: &BTreeMap<String, Entry>) -> Vec<String> {
    let folders: Vec<&str> = entries.keys().filter_map(|it| it.split_once('/')).map(|(folder, _)| folder).collect();
    let has = |folder: &str| entries.contains_key(&format!("{folder}/function.json"));
    let mut findings: Vec<String> = folders
        .iter()
        .filter(|it| !has(it))
        .map(|it| format!("{it}/ has no function.json at its top: the host does not look deeper"))
        .collect();
    findings.dedup();
    if !folders.iter().any(|it| has(it)) {
        findings.push("there is no function in the zip: each needs a folder with a function.json".to_owned());
    }
    findings
}

fn secrets(entries: &BTreeMap<String, Entry>) -> Vec<String> {
    let names = entries.keys().filter(|it| it.ends_with("local.settings.json"));
    names.map(|it| format!("{it} holds connection strings: leave it out")).collect()
}

fn executable(entries: &BTreeMap<String, Entry>) -> Vec<String> {
    let Some(entry) = entries.get(HANDLER) else {
        return vec![format!("there is no {HANDLER} in the zip")];
    };
    let mut findings = Vec::new();
    // Missing where the zip was made on Windows, or by a tool that keeps no modes.
    if entry.mode.is_none_or(|mode| mode & 0o111 == 0) {
        findings.push(format!(
            "{HANDLER} is not executable (mode 0755): the host could not start it; make the zip with `lab package`"
        ));
    }
    if !elf::is_for_x86_64(&entry.content) {
        findings.push(format!("{HANDLER} is no ELF executable for x86-64"));
    } else if let Some(interpreter) = elf::interpreter(&entry.content) {
        findings.push(format!(
            "{HANDLER} is linked dynamically ({interpreter}): the platform's C library may be older than this machine's; build it \
             for x86_64-unknown-linux-musl"
        ));
    }
    findings
}
