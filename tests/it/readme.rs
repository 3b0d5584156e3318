//! The README's tables: the settings are the handler's own, and what the runbooks' table points to is there.

use std::{path::Path, process::Command};

use incident_labs::settings::SETTINGS;

use crate::harness::LAB;

const START: &str = "<!-- settings: written by `UPDATE=1 cargo test readme` -->\n";
const END: &str = "<!-- /settings -->";

fn table() -> String {
    let rows = SETTINGS.iter().map(|setting| {
        let secret = if setting.secret { " (secret)" } else { "" };
        let default = if setting.default.is_empty() { "" } else { setting.default };
        format!("| `{}` | {default} | {}{secret} |\n", setting.name, setting.meaning)
    });
    format!("| setting | default | meaning |\n|---|---|---|\n{}", rows.collect::<String>())
}

#[test]
#[expect(clippy::disallowed_methods, reason = "UPDATE is for the person who runs the tests")]
fn the_settings_table_is_the_handlers_own() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (before, rest) = readme.split_once(START).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(path, format!("{before}{START}{}{END}{after}", table())).unwrap();
    } else {
        assert_eq!(shown, table(), "run `UPDATE=1 cargo test readme`");
    }
}

/// Files must exist, commands of the lab must be understood.
#[test]
fn what_the_runbooks_table_points_to_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let table = readme.split_once("<!-- runbooks").unwrap().1.split_once("<!-- /runbooks -->").unwrap().0;
    let here = table.lines().filter_map(|it| it.strip_prefix("| ")?.split(" | ").nth(2));
    let quoted = here.flat_map(|it| it.split('`').skip(1).step_by(2)).collect::<Vec<_>>();
    let (mut files, mut commands) = (0, 0);
    for it in quoted {
        let (first, _) = it.split_once('/').unwrap_or_default();
        if ["infra", "load", "src", "functions"].contains(&first) {
            assert!(root.join(it).exists(), "{it} does not exist");
            files += 1;
        } else if let Some(arguments) = it.strip_prefix("cargo lab ") {
            let arguments = arguments.split(' ').map(|it| it.replace('…', "http://127.0.0.1"));
            let run = Command::new(&*LAB).args(arguments).arg("--help").output().unwrap();
            assert!(run.status.success(), "{it}: {run:?}");
            commands += 1;
        }
    }
    assert!(files > 10 && commands > 5, "{files} files, {commands} commands");
}
