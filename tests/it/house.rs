//! The house as its own imports draw it: which rooms there are, and that none imports what stands above it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::{
    Attribute, ItemMod, ItemUse,
    visit::{self, Visit},
};

use crate::tidy::{files, holds_block, imports_of, root};

/// Rooms from the ground up: each imports only what stands before it. `src/ARCHITECTURE.md` says what they are for.
const ORDER: [(&str, &str); 21] = [
    ("kql", "language"),
    ("durable", "engine"),
    ("custom_handler", "framework"),
    ("incident_labs", "blob"),
    ("incident_labs", "settings"),
    ("incident_labs", "telemetry"),
    ("incident_labs", "worker"),
    ("incident_labs", "functions"),
    ("lab", "machine"),
    ("lab", "evidence"),
    ("lab", "judgement"),
    ("lab", "diagnosis"),
    ("lab", "ingestion"),
    ("lab", "report"),
    ("lab", "app"),
    ("lab", "doctor"),
    ("lab", "emulator"),
    ("lab", "azure"),
    ("lab", "labs"),
    ("lab", "bench"),
    ("lab", "commands"),
];

/// `(room, what it must not import although it stands before it, why)`.
const CLOSED: &[(&str, &str, &str)] = &[
    ("labs", "emulator", "a lab drives an app through an interface, wherever the app runs"),
    ("labs", "azure", "a lab drives an app through an interface, wherever the app runs"),
    ("azure", "emulator", "the stand-in and Azure are two implementations of one interface"),
    ("app", "evidence", "an app's files know nothing of runs"),
    ("telemetry", "blob", "telemetry knows names and numbers alone"),
];

/// Library names of the packages, and where their code is.
const PACKAGES: [(&str, &str); 5] = [
    ("kql", "crates/kql/src"),
    ("durable", "crates/durable/src"),
    ("custom_handler", "crates/custom-handler/src"),
    ("incident_labs", "src"),
    ("lab", "crates/lab/src"),
];

const START: &str = "<!-- house: written by `UPDATE=1 cargo test house` -->\n";
const END: &str = "<!-- /house -->";

/// Modules declared in the roots of a package.
fn rooms(source: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for name in ["lib.rs", "main.rs"] {
        let Ok(text) = fs::read_to_string(root().join(source).join(name)) else { continue };
        let file = syn::parse_file(&text).unwrap();
        rooms.extend(file.items.iter().filter_map(|item| match item {
            syn::Item::Mod(it) => Some(it.ident.to_string()),
            _ => None,
        }));
    }
    rooms
}

/// Everything a file outside of its tests names by a path.
#[derive(Default)]
struct Paths(Vec<String>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !item.attrs.iter().any(is_for_tests) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.0.extend(imports_of(item));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|it| it.ident.to_string()).collect();
        self.0.push(names.join("::"));
        visit::visit_path(self, path);
    }
}

fn is_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|it| it.is_ident("test"))
}

/// The room a path leads to, seen from a module of a package.
fn target(package: &str, module: &[&str], path: &str) -> Option<(String, String)> {
    let names: Vec<&str> = path.split("::").collect();
    let (package, names) = match names[0] {
        "crate" => (package, names[1..].to_vec()),
        "super" => {
            let ups = names.iter().take_while(|it| **it == "super").count();
            let base = &module[..module.len().checked_sub(ups)?];
            (package, [base, &names[ups..]].concat())
        }
        other => (PACKAGES.iter().find(|(it, _)| *it == other)?.0, names[1..].to_vec()),
    };
    let rooms = ORDER.iter().filter(|(it, _)| *it == package);
    // The engine and the framework are one room each, whatever of them is named.
    let room = match rooms.clone().count() {
        1 => rooms.clone().next()?,
        _ => rooms.clone().find(|(_, room)| names.first() == Some(room))?,
    };
    Some((room.0.to_owned(), room.1.to_owned()))
}

type Room = (String, String);

/// What each room imports.
fn drawn() -> BTreeMap<Room, BTreeSet<Room>> {
    let mut house: BTreeMap<Room, BTreeSet<Room>> = BTreeMap::new();
    for (package, source) in PACKAGES {
        for (path, text) in files(&[source], &["rs"]) {
            let inside = Path::new(&path).strip_prefix(source).unwrap().with_extension("");
            let mut module: Vec<&str> = inside.to_str().unwrap().split('/').collect();
            module.retain(|it| !matches!(*it, "lib" | "main" | "mod"));
            let Some(from) = target(package, &[], &format!("crate::{}", module.join("::"))) else { continue };
            if module.is_empty() {
                continue;
            }
            let mut paths = Paths::default();
            paths.visit_file(&syn::parse_file(&text).unwrap());
            // `super` in `a/mod.rs` is what contains `a`; in `a/b.rs` it is `a`.
            let found = paths.0.iter().filter_map(|it| target(package, &module, it));
            house.entry(from.clone()).or_default().extend(found.filter(|to| *to != from));
        }
    }
    house
}

fn place(room: &Room) -> usize {
    ORDER.iter().position(|(package, name)| (*package, *name) == (&*room.0, &*room.1)).unwrap()
}

#[test]
fn the_roots_declare_the_rooms_and_no_more() {
    for (package, source) in PACKAGES {
        let wanted: BTreeSet<String> =
            ORDER.iter().filter(|(it, _)| *it == package).map(|(_, room)| (*room).to_owned()).collect();
        assert_eq!(rooms(source), wanted, "modules directly under the roots of {package}");
    }
}

#[test]
fn no_room_imports_what_stands_above_it() {
    let house = drawn();
    assert!(house.len() == ORDER.len(), "the tree is elsewhere");
    for (from, targets) in &house {
        for to in targets {
            assert!(
                place(to) < place(from),
                "{}::{} imports {}::{}, which stands above it",
                from.0,
                from.1,
                to.0,
                to.1
            );
            let closed = CLOSED.iter().find(|(one, other, _)| from.1 == *one && to.1 == *other);
            assert!(closed.is_none(), "{closed:?}");
        }
    }
}

/// One line for each room, the top first, with what it imports.
fn picture() -> String {
    let house = drawn();
    let shown = |(package, room): &Room| match package.as_str() {
        "kql" | "durable" | "custom_handler" => package.replace('_', "-"),
        _ => room.clone(),
    };
    let mut text = String::from("```text\n");
    for (package, room) in ORDER.iter().rev() {
        let key = ((*package).to_owned(), (*room).to_owned());
        let mut targets: Vec<&Room> = house[&key].iter().collect();
        targets.sort_by_key(|it| std::cmp::Reverse(place(it)));
        let names: Vec<String> = targets.into_iter().map(shown).collect();
        let arrow = if names.is_empty() { "" } else { " -> " };
        let line = format!("{:<15} {:<15}{arrow}{}", package.replace('_', "-"), shown(&key), names.join(", "));
        text += &format!("{}\n", line.trim_end());
    }
    text + "```\n"
}

#[test]
fn the_picture_of_the_house_is_drawn_from_its_imports() {
    holds_block("src/ARCHITECTURE.md", (START, END), &picture(), "house");
}

#[test]
fn paths_lead_to_rooms() {
    let room = |package: &str, module: &[&str], path: &str| target(package, module, path).map(|it| it.1);
    assert_eq!(room("lab", &["labs", "oom"], "crate::machine::storage").as_deref(), Some("machine"));
    assert_eq!(room("lab", &["labs", "oom", "driver"], "super::live::Live").as_deref(), Some("labs"));
    assert_eq!(room("lab", &["labs", "oom"], "super::super::app::X").as_deref(), Some("app"));
    assert_eq!(room("lab", &["labs", "oom"], "durable::Error").as_deref(), Some("engine"));
    assert_eq!(room("lab", &["labs", "oom"], "incident_labs::blob::MIB").as_deref(), Some("blob"));
    assert_eq!(room("lab", &["labs"], "std::fs"), None);
}

/// A dependency of the engine is one of everybody who uses it.
#[test]
fn the_engine_stands_on_these_alone() {
    let allowed = ["base64", "futures-util", "memchr", "prost", "serde", "serde_json", "time", "uuid"];
    let manifest: toml::Table = fs::read_to_string(root().join("crates/durable/Cargo.toml")).unwrap().parse().unwrap();
    for name in manifest["dependencies"].as_table().unwrap().keys() {
        assert!(allowed.contains(&name.as_str()), "the engine depends on {name}");
    }
    for package in ["custom-handler", "durable", "kql"] {
        let manifest: toml::Table =
            fs::read_to_string(root().join(format!("crates/{package}/Cargo.toml"))).unwrap().parse().unwrap();
        let ours = ["functions-incident-labs", "incident_labs", "lab"];
        assert!(manifest["dependencies"].as_table().unwrap().keys().all(|it| !ours.contains(&it.as_str())));
    }
}
