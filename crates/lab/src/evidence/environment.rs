//! What a run ran on: without it no number can be compared with another.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde::Serialize;
use serde_json::{Value, json};

use crate::machine::{elf, proc};

/// Facts about machine, software and settings, by name.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Environment(pub BTreeMap<String, Value>);

impl Environment {
    /// Reads what the machine says of itself. What cannot be found out is left out.
    pub fn of_machine() -> Self {
        let mut facts = BTreeMap::new();
        let mut note = |name: &str, value: Option<Value>| value.map(|value| facts.insert(name.to_owned(), value));
        note("lab", Some(json!(env!("CARGO_PKG_VERSION"))));
        note("kernel", proc::kernel().map(Value::from));
        note("system", field("/etc/os-release", "PRETTY_NAME=").map(|it| json!(it.trim_matches('"'))));
        note("architecture", Some(json!(std::env::consts::ARCH)));
        note("cpu", proc::cpu().map(Value::from));
        note("cores", std::thread::available_parallelism().ok().map(|it| json!(it.get())));
        note("memory_mib", proc::memory_bytes("MemTotal").ok().flatten().map(|it| json!(it >> 20)));
        note("node", output("node", &["--version"]).map(Value::from));
        Self(facts)
    }

    pub fn note(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Adds how a handler was linked.
    pub fn note_handler(&mut self, handler: &Path) {
        let size = fs::metadata(handler).map(|it| it.len()).unwrap_or_default();
        self.note("handler_bytes", size);
        self.note("handler_libc", libc(handler));
    }
}

fn field(path: &str, start: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().find_map(|line| line.strip_prefix(start))?.to_owned())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned()).filter(|it| !it.is_empty())
}

/// Which C library the program asks its loader for.
fn libc(handler: &Path) -> String {
    match fs::read(handler).map(|bytes| elf::libc(&bytes)) {
        Ok(Some(libc)) => format!("{libc}, dynamic"),
        Ok(None) => "static".to_owned(),
        Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_says_what_it_is() {
        let mut environment = Environment::of_machine();
        environment.note_handler(&std::env::current_exe().unwrap());
        for name in ["kernel", "cores", "memory_mib", "architecture", "handler_libc"] {
            assert!(environment.0.contains_key(name), "{name} in {environment:?}");
        }
        assert!(environment.0["handler_bytes"].as_u64() > Some(1000));
    }
}
