//! What is known to kill a deployment, looked for in a zip before it is sent.

mod archive;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
};

use self::archive::{Archive, Limits};
use crate::{
    app::{
        source::{Start, is_inside},
        stage::{Entry, rules},
    },
    machine::elf,
};
use custom_handler::files::HostJson;

/// What is wrong with a package: the thing, the cause, the way out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding(pub String);

/// Looks into a zip. An empty answer is a good one. However large it says its files are, little of it is in memory at a time.
///
/// # Errors
/// When the file cannot be read, or is no zip.
pub fn check(path: &Path) -> anyhow::Result<Vec<Finding>> {
    check_within(path, Limits::default())
}

fn check_within(path: &Path, limits: Limits) -> anyhow::Result<Vec<Finding>> {
    let mut archive = match Archive::open(File::open(path)?, limits)? {
        Ok(archive) => archive,
        Err(refusal) => return Ok(vec![Finding(refusal)]),
    };
    let mut findings = archive.read_all();
    if !findings.is_empty() {
        // What was not read is not judged.
        return Ok(findings.into_iter().map(Finding).collect());
    }
    let start = start(&archive);
    findings.extend(names(&archive));
    findings.extend(host_json(&archive, start.as_ref()));
    findings.extend(rules_of_staging(&archive, start.as_ref()));
    findings.extend(functions(&archive, start.as_ref()));
    findings.extend(secrets(&archive));
    if let Some(start) = &start {
        findings.extend(working_directory(&archive, start));
        findings.extend(executable(&mut archive, start));
    }
    Ok(findings.into_iter().map(Finding).collect())
}

/// What host.json starts, where it says so.
fn start(archive: &Archive) -> Option<Start> {
    let text = archive.text("host.json")?;
    HostJson::of(Path::new("host.json"), text).and_then(|host| Start::of(&host)).ok()
}

/// Names that Linux makes other files of than the zip's maker meant.
fn names(archive: &Archive) -> Vec<String> {
    let mut findings: Vec<String> = Vec::new();
    if archive.has_duplicates() {
        findings.push("two entries of the zip have one name: which of them the app gets is left to chance".to_owned());
    }
    for name in archive.names() {
        let path = Path::new(name);
        if name.contains('\\') {
            let way_out = "make the zip with / between folder and file (`lab package` does)";
            findings.push(format!("{name:?} has a \\ in its name, which is no folder on Linux: {way_out}"));
        } else if !is_inside(path) {
            findings.push(format!("{name:?} leads out of the app's folder: leave it out"));
        }
    }
    findings
}

fn host_json(archive: &Archive, start: Option<&Start>) -> Option<String> {
    if !archive.has("host.json") {
        return Some(
            "host.json is not at the top of the zip: zip the content of the folder, not the folder".to_owned(),
        );
    }
    let executable = &start?.executable;
    let shown = executable.display();
    if shown.to_string().contains('%') {
        return Some(format!("host.json starts \"{shown}\", which a setting decides: name the file itself"));
    }
    (!archive.has(&shown.to_string())).then(|| {
        format!("host.json starts \"{shown}\", which is not in the zip: put it there, or name the one that is")
    })
}

/// The rules an app is staged by, over the same files of the zip.
fn rules_of_staging(archive: &Archive, start: Option<&Start>) -> Vec<String> {
    let entry = |name: &str| Some(Entry { content: archive.text(name)?.to_vec(), mode: 0o644 });
    let functions = functions_of(archive);
    let names = functions.iter().map(|it| format!("{it}/function.json")).chain(["host.json".to_owned()]);
    let entries: BTreeMap<PathBuf, Entry> = names.filter_map(|it| Some((it.clone().into(), entry(&it)?))).collect();
    // Whether each function has code is known of no handler in a zip.
    let known: Vec<&str> = functions.iter().copied().collect();
    let place = start.map(|it| it.executable.clone()).unwrap_or_default();
    rules::problems(&entries, &place, &known)
}

/// Folders of functions.
fn functions_of(archive: &Archive) -> BTreeSet<&str> {
    let folders = archive.names().filter_map(|it| it.strip_suffix("/function.json"));
    folders.filter(|it| !it.contains('/')).collect()
}

fn functions(archive: &Archive, start: Option<&Start>) -> Vec<String> {
    let functions = functions_of(archive);
    // These hold what is started, and need not be functions.
    let others = start.into_iter().flat_map(|it| [&it.executable, &it.working_directory]);
    let others: Vec<&Path> =
        others.filter_map(|it| it.components().next()).map(|it| Path::new(it.as_os_str())).collect();
    let folders: BTreeSet<&str> = archive.names().filter_map(|it| it.split_once('/')).map(|it| it.0).collect();
    let stray = folders.iter().filter(|it| !functions.contains(**it) && !others.contains(&Path::new(it)));
    let mut findings: Vec<String> =
        stray.map(|it| format!("{it}/ has no function.json at its top: the host does not look deeper")).collect();
    if functions.is_empty() {
        findings.push("there is no function in the zip: each needs a folder with a function.json".to_owned());
    }
    findings
}

fn secrets(archive: &Archive) -> Vec<String> {
    let is_secret = |it: &&str| it.to_ascii_lowercase().ends_with("local.settings.json");
    archive.names().filter(is_secret).map(|it| format!("{it} holds connection strings: leave it out")).collect()
}

fn working_directory(archive: &Archive, start: &Start) -> Option<String> {
    let folder = &start.working_directory;
    let is_there = archive.names().any(|it| Path::new(it).starts_with(folder));
    (is_inside(folder) && !is_there).then(|| {
        format!(
            "host.json starts the handler in {:?}, a folder that is not in the zip: the host could not start it there",
            folder.display().to_string()
        )
    })
}

fn executable(archive: &mut Archive, start: &Start) -> Vec<String> {
    let name = start.executable.display().to_string();
    let Some(mode) = archive.mode(&name) else { return Vec::new() };
    let mut findings = Vec::new();
    if archive.is_link(&name) {
        return vec![format!("{name} is a symbolic link: a package carries files alone, so put the file in its place")];
    }
    // Missing where the zip was made on Windows, or by a tool that keeps no modes.
    if mode.is_none_or(|mode| mode & 0o111 == 0) {
        findings.push(format!(
            "{name} is not executable (mode 0755): the host could not start it; make the zip with `lab package`"
        ));
    }
    let mut read = |offset, length| archive.range(&name, offset, length);
    if !read(0, elf::HEAD_BYTES).is_some_and(|it| elf::is_for_x86_64(&it)) {
        findings.push(format!("{name} is no ELF executable for x86-64"));
    } else if let Some(interpreter) = elf::interpreter_of(&mut read) {
        findings.push(format!(
            "{name} is linked dynamically ({interpreter}): the platform's C library may be older than this machine's; build it \
             for x86_64-unknown-linux-musl"
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    const HOST: &str = r#"{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"./bin/app"}}}"#;
    const FUNCTION: &str = r#"{"bindings":[{"type":"httpTrigger","name":"req"}]}"#;
    const MIB: usize = 1 << 20;

    fn zip(entries: &[(&str, &[u8])]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut zip = ZipWriter::new(file.reopen().unwrap());
        for (name, content) in entries {
            zip.start_file(*name, SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap();
        file
    }

    fn found(file: &tempfile::NamedTempFile, limits: Limits) -> Vec<String> {
        check_within(file.path(), limits).unwrap().into_iter().map(|it| it.0).collect()
    }

    fn elf() -> Vec<u8> {
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(&[0x7F, b'E', b'L', b'F', 2, 1]);
        elf[18] = 62;
        elf
    }

    #[test]
    fn an_executable_below_a_folder_is_found_and_its_folder_is_no_function() {
        let file =
            zip(&[("host.json", HOST.as_bytes()), ("F/function.json", FUNCTION.as_bytes()), ("bin/app", &elf())]);
        assert_eq!(found(&file, Limits::default()), Vec::<String>::new());
    }

    #[test]
    fn what_unpacks_to_more_than_a_package_may_have_is_refused_by_name() {
        let zeros = vec![0; 4 * MIB];
        let file = zip(&[
            ("host.json", HOST.as_bytes()),
            ("F/function.json", FUNCTION.as_bytes()),
            ("bin/app", &elf()),
            ("bin/zeros", &zeros),
        ]);
        for limits in
            [Limits { unpacked_bytes: 3 << 20, ..Limits::default() }, Limits { entries: 3, ..Limits::default() }]
        {
            let found = found(&file, limits);
            assert!(
                found.len() == 1 && (found[0].contains("bin/zeros") || found[0].contains("4 entries")),
                "{found:?}"
            );
        }
        let found = found(&zip(&[("host.json", &zeros)]), Limits::default());
        assert!(found.iter().any(|it| it.contains("host.json is larger than 1 MiB")), "{found:?}");
    }

    #[test]
    fn a_header_that_lies_about_a_size_is_not_believed() {
        let zeros = vec![0; 4 * MIB];
        let file = zip(&[("F/function.json", FUNCTION.as_bytes()), ("zeros", &zeros), ("host.json", HOST.as_bytes())]);
        let mut bytes = std::fs::read(file.path()).unwrap();
        let size = (zeros.len() as u32).to_le_bytes();
        for at in 0..bytes.len() - 4 {
            if bytes[at..at + 4] == size {
                bytes[at..at + 4].copy_from_slice(&100_u32.to_le_bytes());
            }
        }
        std::fs::write(file.path(), bytes).unwrap();
        let found = found(&file, Limits { unpacked_bytes: 1 << 20, ..Limits::default() });
        assert!(found.iter().any(|it| it.contains("zeros")), "{found:?}");
    }
}
