//! What the Markdown files promise: the settings are the handler's own, links resolve, and output fits on a page.

use std::fs;

use incident_labs::settings::SETTINGS;
use walkdir::WalkDir;

use crate::tidy::{holds_block, root};

const START: &str = "<!-- settings: written by `UPDATE=1 cargo test readme` -->\n";
const END: &str = "<!-- /settings -->";
/// What a terminal and a page on the web show without scrolling.
const COLUMNS_MAX: usize = 100;

fn table() -> String {
    let rows = SETTINGS.iter().map(|setting| {
        let secret = if setting.secret { " (secret)" } else { "" };
        let default = if setting.default.is_empty() { "" } else { setting.default };
        format!("| `{}` | {default} | {}{secret} |\n", setting.name, setting.meaning)
    });
    format!("| setting | default | meaning |\n|---|---|---|\n{}", rows.collect::<String>())
}

#[test]
fn the_settings_table_is_the_handlers_own() {
    holds_block("docs/settings.md", (START, END), &table(), "readme");
}

/// The project's own Markdown, as `(path below the root, text)`.
pub(crate) fn pages() -> Vec<(String, String)> {
    let not_ours = ["target", "node_modules", "evidence", "artifacts"];
    let mut walk = WalkDir::new(root()).sort_by_file_name().into_iter();
    let mut pages = Vec::new();
    while let Some(entry) = walk.next() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_str().unwrap();
        let is_hidden = name.starts_with('.') && name != ".github";
        if entry.file_type().is_dir() && entry.depth() > 0 && (not_ours.contains(&name) || is_hidden) {
            walk.skip_current_dir();
        } else if name.ends_with(".md") {
            let path = entry.path().strip_prefix(root()).unwrap().display().to_string();
            pages.push((path, fs::read_to_string(entry.path()).unwrap()));
        }
    }
    assert!(pages.len() > 8, "the pages are elsewhere");
    pages
}

/// A line of Markdown with its number from 1.
pub(crate) type Line<'a> = (usize, &'a str);

/// Lines of prose, and lines of code blocks with the language of their block. Fences belong to neither.
pub(crate) fn split(text: &str) -> (Vec<Line<'_>>, Vec<(Line<'_>, &str)>) {
    let (mut prose, mut code, mut language) = (Vec::new(), Vec::new(), None);
    for (at, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), language) {
            (Some(name), None) => language = Some(name),
            (Some(_), Some(_)) => language = None,
            (None, None) => prose.push((at + 1, line)),
            (None, Some(name)) => code.push(((at + 1, line), name)),
        }
    }
    assert!(language.is_none(), "a code block is not closed: {text}");
    (prose, code)
}

#[test]
fn terminal_output_fits_on_a_page() {
    let mut lines = 0;
    // `src` has drawings for the crate's documentation, no output; rustfmt looks after code.
    for (path, text) in pages().iter().filter(|(path, _)| !path.starts_with("src/")) {
        for ((number, line), _) in split(text).1.into_iter().filter(|(_, language)| *language != "rust") {
            let columns = line.chars().count();
            assert!(columns <= COLUMNS_MAX, "{path}:{number} has {columns} columns, more than {COLUMNS_MAX}: {line}");
            lines += 1;
        }
    }
    assert!(lines > 100, "{lines} lines of output");
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn anchors(text: &str) -> Vec<String> {
    let headings = split(text).0.into_iter().filter(|(_, line)| line.starts_with('#'));
    headings.map(|(_, line)| anchor(line.trim_start_matches('#'))).collect()
}

/// Targets of `[text](target)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|it| Some(it.split_once(')')?.0))
}

#[test]
fn links_between_pages_resolve() {
    let mut links = 0;
    for (path, text) in pages() {
        for (number, line) in split(&text).0 {
            for target in targets(line).filter(|it| !it.contains("://")) {
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let folder = root().join(&path).parent().unwrap().to_owned();
                let linked = if file.is_empty() { root().join(&path) } else { folder.join(file) };
                assert!(linked.exists(), "{path}:{number} links {target}, which does not exist");
                if !heading.is_empty() {
                    let headings = anchors(&fs::read_to_string(&linked).unwrap());
                    assert!(
                        headings.iter().any(|it| it == heading),
                        "{path}:{number} links {target}: no such heading in {headings:?}"
                    );
                }
                links += 1;
            }
        }
    }
    assert!(links > 20, "{links} links");
}

#[test]
fn anchors_are_those_of_github() {
    for (heading, want) in [
        (" What never ran on Azure", "what-never-ran-on-azure"),
        (" Does the identity have its roles?", "does-the-identity-have-its-roles"),
        (" Blobs: beside `curl | openssl`", "blobs-beside-curl--openssl"),
    ] {
        assert_eq!(anchor(heading), want);
    }
}
