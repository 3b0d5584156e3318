//! The README's generated part: the settings table is the handler's own.

use incident_labs::settings::SETTINGS;

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
