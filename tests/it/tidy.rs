//! The house rules that a compiler does not know: headers, sizes, dependency direction, clean text.

use std::{
    fs,
    path::{Path, PathBuf},
};

use syn::{
    ImplItemFn, Item, ItemFn, ItemMod, ItemUse, UseTree,
    spanned::Spanned,
    visit::{self, Visit},
};
use walkdir::{DirEntry, WalkDir};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// `(folder or file, text that must not appear, why)`. Longer lists belong into the design, not here.
const BANNED: &[(&str, &str, &str)] = &[
    ("crates/lab/src", "incident_labs::worker::Worker", "the bench knows the handler as a process alone"),
    ("crates/lab/src", "incident_labs::functions::app", "the bench knows the functions by their names and wire alone"),
    ("crates/lab/src", "CARGO_MANIFEST_DIR", "the lab works where it is copied to"),
    ("crates/lab/src", "println!", "it panics when its reader goes away: use machine::terminal"),
    ("crates/lab/src", "eprintln!", "it panics when its reader goes away: use machine::terminal"),
    ("crates/lab/src", "print!", "it panics when its reader goes away: use machine::terminal"),
    ("src", "println!", "it panics when its reader goes away: use console"),
    ("src", "eprintln!", "it panics when its reader goes away: use console"),
    ("crates/custom-handler/src", "println!", "it panics when its reader goes away: use console"),
    ("crates/custom-handler/src", "eprintln!", "it panics when its reader goes away: use console"),
    ("src/blob", "axum", "reading blobs knows no HTTP server"),
    ("src/worker", "axum", "the worker is reached through its socket pair"),
    ("crates/custom-handler/src/framework/wire", "tokio", "the wire contract has no behaviour"),
    ("crates/custom-handler/src/framework/wire", "axum", "the wire contract has no behaviour"),
    ("crates/durable/src", "axum", "the replay engine knows no HTTP"),
    ("crates/durable/src", "tokio", "the replay engine does no I/O"),
    ("crates/durable/src", "Instant::now", "the replay engine has no clock"),
    ("crates/kql/src", "std::fs", "the query language does no I/O"),
    ("crates/kql/src", "println!", "the query language does no I/O"),
    ("src", "azure_storage_blobs", "its successor azure_storage_blob is used"),
    ("crates", "azure_storage_blobs", "its successor azure_storage_blob is used"),
    ("crates/lab/src/azure", "/load/", "queries, criteria and scenarios are the labs', wherever an app runs"),
    ("crates/lab/src/azure", "VerdictFile", "a run on Azure is judged as any other"),
    ("crates/lab/src/azure", "crate::report", "a run on Azure has the page that any other has"),
    ("crates/lab/src/azure", "Bundle::make", "a run on Azure leaves the bundle that any other leaves"),
    ("src/lib.rs", "pub use", "a thing has one path"),
    ("crates/lab/src/lib.rs", "pub use", "a thing has one path"),
];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn files(folders: &[&str], extensions: &[&str]) -> Vec<(String, String)> {
    let is_ours = |entry: &DirEntry| !matches!(entry.file_name().to_str(), Some("node_modules" | "target"));
    let found = folders.iter().flat_map(|folder| WalkDir::new(root().join(folder)).into_iter().filter_entry(is_ours));
    let paths = found.filter_map(|it| it.ok().map(DirEntry::into_path));
    let has_extension = |path: &PathBuf| {
        path.is_file() && path.extension().is_some_and(|it| extensions.iter().any(|wanted| it == *wanted))
    };
    let mut files: Vec<(String, String)> = paths
        .filter(has_extension)
        .map(|path| (path.strip_prefix(root()).unwrap().display().to_string(), fs::read_to_string(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Holds the block of a page between two marks to what a test writes there, or writes it with `UPDATE=1`.
#[expect(clippy::disallowed_methods, reason = "UPDATE is for the person who runs the tests")]
pub(crate) fn holds_block(page: &str, (start, end): (&str, &str), wanted: &str, test: &str) {
    let path = root().join(page);
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(start).unwrap();
    let (shown, after) = rest.split_once(end).unwrap();
    if std::env::var("UPDATE").is_ok() {
        fs::write(path, format!("{before}{start}{wanted}{end}{after}")).unwrap();
    } else {
        assert_eq!(shown, wanted, "run `UPDATE=1 cargo test {test}`");
    }
}

fn rust() -> Vec<(String, String)> {
    let files = files(&["src", "crates", "tests", "load"], &["rs"]);
    assert!(files.len() > 20, "the tree is elsewhere");
    files
}

fn is_under(path: &str, folder: &str) -> bool {
    path == folder || path.starts_with(&format!("{folder}/"))
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in rust() {
        let purpose = text.lines().next().and_then(|it| it.strip_prefix("//! ")).unwrap_or_default();
        assert!(purpose.len() > 15, "{path} does not open with `//! ` and what it is for");
    }
}

#[test]
fn dependencies_point_one_way() {
    for (path, text) in rust() {
        for (folder, banned, why) in BANNED {
            if !is_under(&path, folder) {
                continue;
            }
            // Prose may name what code may not use.
            let code = text.lines().filter(|it| !it.trim_start().starts_with("//")).map(str::to_owned);
            let found = code.chain(imports(&text)).find(|line| contains_word(line, banned));
            assert!(found.is_none(), "{path} uses {banned}: {why}: {found:?}");
        }
    }
}

/// Paths of all imports, groups written out: `use crate::{lab::x}` is `crate::lab::x`.
fn imports(text: &str) -> Vec<String> {
    #[derive(Default)]
    struct Imports(Vec<String>);
    impl<'ast> Visit<'ast> for Imports {
        fn visit_item_use(&mut self, item: &'ast ItemUse) {
            self.0.extend(imports_of(item));
        }
    }
    let mut imports = Imports::default();
    imports.visit_file(&syn::parse_file(text).unwrap());
    imports.0
}

pub(crate) fn imports_of(item: &ItemUse) -> Vec<String> {
    let mut paths = Vec::new();
    write_out(&item.tree, "", &mut paths);
    paths
}

fn write_out(tree: &UseTree, prefix: &str, paths: &mut Vec<String>) {
    match tree {
        UseTree::Path(path) => write_out(&path.tree, &format!("{prefix}{}::", path.ident), paths),
        UseTree::Group(group) => group.items.iter().for_each(|it| write_out(it, prefix, paths)),
        UseTree::Name(name) => paths.push(format!("{prefix}{}", name.ident)),
        UseTree::Rename(rename) => paths.push(format!("{prefix}{}", rename.ident)),
        UseTree::Glob(_) => paths.push(format!("{prefix}*")),
    }
}

#[test]
fn a_ban_sees_into_groups() {
    assert_eq!(imports("use crate::{a, lab::{b, c as d}};"), ["crate::a", "crate::lab::b", "crate::lab::c"]);
}

/// Whether a line has the text, not as a part of a longer name.
fn contains_word(line: &str, word: &str) -> bool {
    let is_name = |it: char| it.is_alphanumeric() || it == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[at + word.len()..].starts_with(is_name) && !line[..at].ends_with(is_name))
}

#[test]
fn a_ban_looks_at_whole_names() {
    for (line, word, want) in [
        ("use crate::lab::x;", "crate::lab", true),
        ("use crate::label;", "crate::lab", false),
        ("tokio::spawn()", "tokio", true),
        ("tokio_util::x", "tokio", false),
        ("not_tokio", "tokio", false),
    ] {
        assert_eq!(contains_word(line, word), want, "{line}");
    }
}

/// Line spans of functions outside of test modules, and the number of lines those modules take.
#[derive(Default)]
struct Sizes {
    functions: Vec<(String, usize)>,
    test_lines: usize,
}

fn lines_of(item: &impl Spanned) -> usize {
    let span = item.span();
    span.end().line - span.start().line + 1
}

impl<'ast> Visit<'ast> for Sizes {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.functions.push((item.sig.ident.to_string(), lines_of(item) - doc_lines(&item.attrs)));
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.functions.push((item.sig.ident.to_string(), lines_of(item) - doc_lines(&item.attrs)));
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if item.ident == "tests" && item.content.is_some() {
            self.test_lines += lines_of(item);
        } else {
            visit::visit_item_mod(self, item);
        }
    }
}

fn doc_lines(attributes: &[syn::Attribute]) -> usize {
    attributes.iter().filter(|it| it.path().is_ident("doc")).count()
}

#[test]
fn files_and_functions_stay_small() {
    for (path, text) in rust() {
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut sizes = Sizes::default();
        sizes.visit_file(&file);
        let lines = text.lines().count() - sizes.test_lines;
        assert!(lines <= FILE_LINES_MAX, "{path} has {lines} lines without its tests");
        for (name, lines) in sizes.functions {
            assert!(lines <= FUNCTION_LINES_MAX, "{name} in {path} has {lines} lines");
        }
        assert!(
            !file.items.iter().any(|it| matches!(it, Item::Mod(it) if it.ident == "utils")),
            "{path}: name it by role"
        );
    }
}

#[test]
fn the_load_folder_is_data() {
    let code = files(&["load"], &["rs", "py", "sh", "mjs", "js"]);
    let stray: Vec<_> = code.iter().filter(|(path, _)| !is_under(path, "load/bench")).map(|(path, _)| path).collect();
    assert!(stray.is_empty(), "scenarios are data, programs are in src: {stray:?}");
    for (path, text) in files(&["load"], &["env"]) {
        for line in text.lines().filter(|it| !it.is_empty() && !it.starts_with('#')) {
            let name = line.split_once('=').unwrap_or_else(|| panic!("{path}: {line:?} is not NAME=VALUE")).0;
            let is_known = incident_labs::settings::SETTINGS.iter().any(|it| it.name == name);
            assert!(is_known, "{path} sets {name}, which the handler does not read");
        }
    }
}

#[test]
fn text_has_no_trailing_space_and_ends_with_one_newline() {
    let folders = [".ci", ".cargo", ".devcontainer", ".github", "crates", "docs", "functions", "infra", "load", "src"];
    let mut all = files(&folders, &["rs", "toml", "json", "md", "env", "kql", "bicep", "bicepparam", "yml"]);
    all.extend(files(&["tests"], &["rs"]));
    let names = [
        "Cargo.toml",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "clippy.toml",
        "deny.toml",
        "host.json",
    ];
    for name in names.into_iter().chain([".ci/run", ".editorconfig"]) {
        if let Ok(text) = fs::read_to_string(root().join(name)) {
            all.push((name.to_owned(), text));
        }
    }
    for (path, text) in all {
        let bad = text.lines().position(|it| it.ends_with([' ', '\t', '\r']));
        assert!(bad.is_none(), "{path}:{} has trailing space", bad.unwrap_or_default() + 1);
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{path} does not end with one newline");
    }
}
