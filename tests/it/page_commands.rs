//! The commands that the pages print: taken from there, and carried out as a reader would, page by page in one copy of the checkout.
//!
//! Each command has a row that says how. A new command without a row fails, and so does a row without a command.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    example_app::BUILT_ONCE,
    harness::{HANDLER, LAB, Scratch, WELL_KNOWN_PORTS},
    readme::{pages, split},
    tidy::root,
};

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// It is carried out, and ends well.
    Done,
    /// It is carried out, and may end with any of the exit codes up to this one: findings and verdicts are for other tests.
    UpTo(u8),
    /// It serves until Ctrl-C: it is started, awaited by this text, and ended when its block is over.
    Serves(&'static str),
    /// It takes minutes: `cargo test page_commands -- --ignored` carries it out.
    Long(u8),
    /// It is not carried out, because of this.
    Not(&'static str),
}

use How::*;

const AZURE: How = Not("it needs Azure: tests with scripted endpoints are about the requests of these");
const ITS_OWN_TESTS: How = Not("it runs this project's tests, of which this is one");
const FETCHES: How = Not("it fetches from a registry: .ci/run carries it out");
const NAMES_YOURS: How = Not("it names executables of the reader's own");
const MEASURES: How = Not("it measures optimised code for minutes on an idle machine");
/// Exit code 2 is a verdict that is inconclusive.
const VERDICT: u8 = 2;

/// `(page, how its command begins, what becomes of it)`, in the order in which blocks are carried out. An empty beginning is all of a page.
const COMMANDS: &[(&str, &str, How)] = &[
    ("README.md", "cargo lab doctor", UpTo(2)),
    ("README.md", "cargo lab process Cargo.toml", Done),
    ("README.md", "cargo lab run replay", UpTo(VERDICT)),
    ("README.md", "cargo lab query --param binSize=5s", Done),
    ("README.md", "cargo lab verify evidence/replay/latest", Done),
    ("README.md", "cargo lab run oom", Long(VERDICT)),
    ("README.md", "cargo lab run roles", Long(VERDICT)),
    ("load/oom/LAB.md", "cargo lab run oom  ", Long(VERDICT)),
    ("load/oom/LAB.md", "cargo lab run oom --remedy none", Long(VERDICT)),
    ("load/oom/LAB.md", "cargo lab run oom --ablation", Long(VERDICT)),
    ("load/oom/LAB.md", "cargo lab run oom --runs 3", Long(VERDICT)),
    ("load/oom/LAB.md", "cargo lab run oom --scale 1/2", Long(VERDICT)),
    ("load/oom/LAB.md", "cargo lab run oom --json", Long(VERDICT)),
    ("load/oom/LAB.md", "cargo lab start --preset buffering", Serves("stop     Ctrl-C")),
    ("load/oom/LAB.md", "STORAGE=https", AZURE),
    ("load/oom/LAB.md", "cargo lab load oom --storage-url", AZURE),
    ("load/oom/LAB.md", "az ", AZURE),
    ("load/oom/LAB.md", "cargo lab redrive --storage-url", AZURE),
    (
        "load/oom/LAB.md",
        "cargo lab load oom --scale 1 --write load-files",
        Not("it writes load of 9 GiB; tests/it/oom.rs writes less"),
    ),
    ("load/replay/LAB.md", "cargo lab run replay  ", Long(VERDICT)),
    ("load/replay/LAB.md", "cargo lab run replay --continue-as-new-every 0", Long(VERDICT)),
    ("load/replay/LAB.md", "cargo lab run replay --iterations 500 --instances 10", Long(VERDICT)),
    ("load/replay/LAB.md", "cargo lab run replay --json", Long(VERDICT)),
    ("load/replay/LAB.md", "cargo lab start", Serves("stop     Ctrl-C")),
    ("load/replay/LAB.md", "BASE=", Done),
    ("load/replay/LAB.md", "curl ", Done),
    ("load/roles/LAB.md", "cargo lab run roles", Long(VERDICT)),
    ("docs/evidence.md", "cargo lab verify evidence/oom/latest", Long(0)),
    ("docs/evidence.md", "(grep -B1", Done),
    ("docs/evidence.md", "cargo lab import telemetry.jsonl", Done),
    ("docs/evidence.md", "cargo lab judge replay", UpTo(VERDICT)),
    ("docs/diagnose.md", "cargo lab import telemetry.jsonl", Done),
    ("docs/diagnose.md", "cargo lab diagnose", UpTo(1)),
    ("docs/telemetry.md", "cargo lab collect", Serves("Ctrl-C stops it")),
    ("docs/telemetry.md", "cargo lab import", Done),
    ("docs/microsoft-host.md", "cargo lab stage", Done),
    ("docs/microsoft-host.md", "cargo lab azurite", Serves("Ctrl-C stops it")),
    (
        "docs/microsoft-host.md",
        "func start",
        Not("it is Microsoft's: tests/it/func_start.rs sets the same environment"),
    ),
    ("docs/replay-check.md", "curl -s", Done),
    ("docs/replay-check.md", "cargo lab replay-check", Done),
    ("crates/custom-handler/examples/README.md", "", Done),
    ("crates/custom-handler/examples/README.md", "lab start", Serves("stop     Ctrl-C")),
    ("docs/azure.md", "", AZURE),
    ("docs/benchmarks.md", "cargo lab bench blob  ", Long(1)),
    ("docs/benchmarks.md", "cargo lab bench hub  ", Long(1)),
    ("docs/benchmarks.md", "cargo lab bench hub --instances", Long(1)),
    ("docs/benchmarks.md", "cargo lab bench exporter", Long(1)),
    ("docs/benchmarks.md", "cargo lab bench blob --handler", NAMES_YOURS),
    ("docs/benchmarks.md", "cargo lab bench hub --lab", NAMES_YOURS),
    ("docs/benchmarks.md", "cargo run --release", NAMES_YOURS),
    ("docs/benchmarks.md", "valgrind", NAMES_YOURS),
    ("docs/benchmarks.md", "cargo bench", MEASURES),
    ("docs/benchmarks.md", "bash tests/python/install", FETCHES),
    ("CONTRIBUTING.md", "cargo test", ITS_OWN_TESTS),
    ("CONTRIBUTING.md", "PROPTEST_CASES", ITS_OWN_TESTS),
    ("CONTRIBUTING.md", "UPDATE=1", ITS_OWN_TESTS),
    ("CONTRIBUTING.md", "bash tests/python/install", FETCHES),
    ("CONTRIBUTING.md", "npm ci", FETCHES),
    ("crates/durable/tests/it/oracle/README.md", "DOTNET_PEER", ITS_OWN_TESTS),
];

/// `(page, how its block begins, what a reader has done before)`.
const BEFORE: &[(&str, &str, &str)] = &[
    ("docs/evidence.md", "(grep", "cd evidence/replay/latest"),
    ("docs/evidence.md", "cargo lab import", "recorded replay replay"),
    ("docs/diagnose.md", "cargo lab import", "recorded telemetry telemetry"),
    ("docs/telemetry.md", "cargo lab collect", "rm -f telemetry.jsonl"),
    ("docs/telemetry.md", "cargo lab import", "rm -rf evidence/mine\nrecorded telemetry telemetry"),
    (
        "docs/replay-check.md",
        "curl",
        "serve 'stop     Ctrl-C' cargo lab start
mkdir -p tests/histories
started=$(curl -sSf -d '{\"iterations\":3}' $URL/api/durable/start-replay-lab)
APP=$URL KEY=none ID=$(echo \"$started\" | id)
until curl -sS $APP/api/durable/status/$ID | grep -q Completed; do sleep 0.1; done",
    ),
    ("crates/custom-handler/examples/README.md", "cargo new", "cd .."),
    (
        "crates/custom-handler/examples/README.md",
        "cargo build",
        "cd ../orders
cp \"$ROOT\"/Cargo.lock .
ln -s \"$CARGO_TARGET_DIR\" target
cp -r \"$EXAMPLE\"/functions \"$EXAMPLE\"/host.json \"$EXAMPLE\"/local.settings.json .
cp \"$EXAMPLE\"/main.rs src/main.rs",
    ),
    (
        "crates/custom-handler/examples/README.md",
        "curl",
        "cd ../orders
serve 'stop     Ctrl-C' lab start --script-root app",
    ),
];

/// What stands for something that only a reader knows, and what it is here.
const MEANT: &[(&str, &str)] = &[
    ("…/crates/custom-handler", "\"$ROOT\"/crates/custom-handler"),
    ("http://127.0.0.1:7071", "$URL"),
    ("INSTANCE_ID", "$(id < out)"),
    ("5d2b…", "$(id < out)"),
];

/// Variables of the Azure page, with values of their kinds.
const KNOWN_ON_AZURE: &[(&str, &str)] = &[
    ("$STORAGE", "https://account.blob.core.windows.net"),
    ("$WORKSPACE", "00000000-0000-4000-8000-000000000000"),
    ("$RG", "rg-incident-labs"),
    ("$APP", "incidentlabs-app"),
    ("$ME", "203.0.113.7/32"),
];

/// Functions of every block: a server in the background, the id in an answer, telemetry that was recorded.
const HEAD: &str = r#"set -eu -o pipefail
served=
trap 'for it in $served; do kill -TERM $it; wait $it; done' EXIT
serve() {
    until=$1; shift
    : > served
    ("$@" > served 2>&1) & served="$served $!"
    until grep -q "$until" served; do kill -0 $! || { cat served; exit 1; }; sleep 0.1; done
    URL=$(grep -o 'http://127.0.0.1:[0-9]*/\(api\|runtime\)' served | head -1 | cut -d/ -f1-3 || true)
}
id() { grep -o '[0-9a-f]\{32\}' | head -1; }
recorded() {
    gzip -dc "$ROOT/tests/it/golden/real-run/$1.jsonl.gz" > telemetry.jsonl
    cp "$ROOT/tests/it/golden/real-run/$2.phases.json" phases.json
}
"#;

/// A command as a page has it, its continuation lines included, without the prompt.
#[derive(Debug)]
struct Printed {
    page: String,
    /// Line of the page's first command in the same block.
    block: usize,
    text: String,
}

fn printed() -> Vec<Printed> {
    let mut all: Vec<Printed> = Vec::new();
    for (page, text) in pages() {
        let (mut block, mut last, mut goes_on) = (0, 0, false);
        for ((number, line), _) in split(&text).1.into_iter().filter(|it| it.1 == "console") {
            if number != last + 1 {
                block = number;
            }
            last = number;
            match (line.trim_start().strip_prefix("$ "), goes_on) {
                (Some(command), false) => all.push(Printed { page: page.clone(), block, text: command.to_owned() }),
                (_, true) => all.last_mut().unwrap().text += &format!("\n{line}"),
                _ => continue,
            }
            goes_on = line.ends_with('\\');
        }
    }
    assert!(all.len() > 40, "the pages are elsewhere");
    all
}

/// The row of a command: the longest beginning that it has.
fn row(command: &Printed) -> Option<usize> {
    let fits = |row: &(&str, &str, How)| row.0 == command.page && format!("{}  ", command.text).starts_with(row.1);
    (0..COMMANDS.len()).filter(|it| fits(&COMMANDS[*it])).max_by_key(|it| COMMANDS[*it].1.len())
}

#[test]
fn every_command_of_the_pages_is_carried_out_or_has_its_reason() {
    let printed = printed();
    let rows: Vec<Option<usize>> = printed.iter().map(row).collect();
    let without: Vec<&Printed> = printed.iter().zip(&rows).filter(|it| it.1.is_none()).map(|it| it.0).collect();
    assert!(without.is_empty(), "commands without a row: {without:#?}");
    let idle: Vec<_> = (0..COMMANDS.len()).filter(|it| !rows.contains(&Some(*it))).map(|it| COMMANDS[it]).collect();
    assert!(idle.is_empty(), "rows without a command: {idle:#?}");
    let reasons = COMMANDS.iter().filter_map(|it| if let Not(why) = it.2 { Some(why) } else { None });
    assert!(reasons.into_iter().all(|why| why.len() > 20), "a reason is a sentence");
}

/// Those that are not carried out here, too, in whatever kind of block: the command line knows their options.
#[test]
fn every_command_of_the_lab_is_understood() {
    let mut understood = 0;
    let pages = pages();
    let scripts = pages.iter().flat_map(|(page, text)| {
        let lines = split(text).1.into_iter().filter(|it| it.1 == "sh");
        lines.map(|((block, line), _)| Printed { page: page.clone(), block, text: line.to_owned() })
    });
    for command in printed().into_iter().chain(scripts) {
        let text = command.text.replace("\\\n", " ");
        let text = KNOWN_ON_AZURE.iter().fold(text, |text, (name, value)| text.replace(name, value));
        let text = text.split('#').next().unwrap();
        let Some(arguments) = text.strip_prefix("cargo lab ") else { continue };
        let run = Command::new(&*LAB).args(arguments.split_whitespace()).arg("--help").output().unwrap();
        assert!(run.status.success(), "{}: {text}: {}", command.page, String::from_utf8_lossy(&run.stderr));
        understood += 1;
    }
    assert!(understood > 40, "{understood} commands");
}

/// The part of the checkout that a reader's commands need, and programs that answer to the names they use.
struct Copy(Scratch);

impl Copy {
    fn make() -> Self {
        let scratch = Scratch::new();
        let tree = scratch.path().join("tree");
        for part in ["Cargo.toml", "host.json", "functions", "load", "infra/local"] {
            copy(&root().join(part), &tree.join(part));
        }
        // Where the real checkout has it installed; another one would be fetched.
        let modules = root().join("infra/local/node_modules");
        assert!(modules.is_dir(), "Azurite is installed by the first test with storage");
        std::os::unix::fs::symlink(modules, tree.join("infra/local/node_modules")).unwrap();
        let programs = scratch.path().join("bin");
        fs::create_dir(&programs).unwrap();
        // The handler beside the lab is the one under test: without cargo it is not built again.
        let lab = format!("CARGO=/nonexistent exec {:?} \"$@\"", *LAB);
        let cargo = format!("if [ \"$1\" = lab ]; then shift; {lab}; fi\nexec {:?} \"$@\"", env!("CARGO"));
        for (name, script) in [("lab", lab), ("cargo", cargo)] {
            let path = programs.join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&path, executable).unwrap();
        }
        Self(scratch)
    }

    /// Carries out a block in bash, and fails with all that was printed.
    fn carry_out(&self, name: &str, script: &str) {
        let target = Path::new(HANDLER).ancestors().nth(2).unwrap().join("stranger");
        let path = format!("{}:{}", self.0.path().join("bin").display(), inherited("PATH"));
        let mut bash = Command::new("timeout");
        bash.args(["--kill-after=20", "3000", "bash", "-c", &format!("{HEAD}{script}")]);
        bash.current_dir(self.0.path().join("tree")).env("PATH", path).env("ROOT", root());
        bash.env("EXAMPLE", root().join("crates/custom-handler/examples/orders"));
        bash.env("CARGO_NET_OFFLINE", "true").env("CARGO_TARGET_DIR", target).env_remove("RUSTUP_TOOLCHAIN");
        bash.envs(BUILT_ONCE);
        let output = bash.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name}: {}\n{script}\n{out}\n{err}", output.status);
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell's own search path, with programs of the test before it")]
fn inherited(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn copy(from: &Path, to: &Path) {
    let is_ours = |it: &walkdir::DirEntry| it.file_name() != "node_modules";
    for entry in walkdir::WalkDir::new(from).into_iter().filter_entry(is_ours) {
        let entry = entry.unwrap();
        let target: PathBuf = match entry.path().strip_prefix(from).unwrap() {
            below if below.as_os_str().is_empty() => to.to_owned(),
            below => to.join(below),
        };
        if entry.file_type().is_file() {
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A block's commands as a script: those that `wanted` gives an end to.
fn script(block: &[&Printed], wanted: impl Fn(How) -> Option<How>) -> Option<String> {
    let first = block.first()?;
    let before = BEFORE.iter().find(|it| it.0 == first.page && first.text.starts_with(it.1)).map_or("", |it| it.2);
    let mut script = format!("{before}\n");
    let mut is_empty = true;
    for command in block {
        let Some(how) = wanted(COMMANDS[row(command).unwrap()].2) else { continue };
        is_empty = false;
        let text = MEANT.iter().fold(command.text.clone(), |text, (from, to)| text.replace(from, to));
        // An answer that says no is an end like any other to it.
        let text = if text.starts_with("curl ") { text.replacen("curl ", "curl -sSf ", 1) } else { text };
        script += &match how {
            Serves(until) => format!("serve '{until}' {text}\n"),
            UpTo(code) => format!("set +e\n{text}\n[ $? -le {code} ] || exit 1\nset -e\n"),
            // The last answer is looked into by the next command.
            _ if text.starts_with("curl") && !text.contains('>') => format!("{text} > new; mv new out; cat out\n"),
            _ => format!("{text}\n"),
        };
    }
    (!is_empty).then_some(script)
}

/// All blocks, in the order of their rows.
fn blocks(printed: &[Printed]) -> Vec<Vec<&Printed>> {
    let mut blocks: Vec<Vec<&Printed>> = Vec::new();
    for command in printed {
        match blocks.last_mut().filter(|it| (&it[0].page, it[0].block) == (&command.page, command.block)) {
            Some(block) => block.push(command),
            None => blocks.push(vec![command]),
        }
    }
    blocks.sort_by_key(|block| row(block[0]));
    blocks
}

#[tokio::test]
async fn the_commands_of_the_pages_work_as_they_are_printed() {
    let _ports = WELL_KNOWN_PORTS.lock().await;
    let (copy, printed) = (Copy::make(), printed());
    let mut carried_out = 0;
    for block in blocks(&printed) {
        let now = |how| matches!(how, Done | UpTo(_) | Serves(_)).then_some(how);
        if let Some(script) = script(&block, now) {
            copy.carry_out(&format!("{}:{}", block[0].page, block[0].block), &script);
            carried_out += 1;
        }
    }
    assert!(carried_out >= 15, "{carried_out} blocks");
}

#[test]
#[ignore = "takes about an hour: the OOM lab in all its forms, and benchmarks"]
fn the_long_commands_of_the_pages_work_as_they_are_printed() {
    let (copy, printed) = (Copy::make(), printed());
    for block in blocks(&printed) {
        let long = |how| if let Long(code) = how { Some(UpTo(code)) } else { None };
        if let Some(script) = script(&block, long) {
            copy.carry_out(&format!("{}:{}", block[0].page, block[0].block), &script);
        }
    }
}
