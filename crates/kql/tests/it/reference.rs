//! The reference for users lists what the code has, no more and no less.

use std::fs;

use crate::support::{printed_error, root};

const START: &str = "<!-- kql: written by `UPDATE=1 cargo test -p kql reference` -->\n";
const END: &str = "<!-- /kql -->";

fn lists() -> String {
    let mut text = String::new();
    for (kind, items) in kql::reference() {
        let shown = items.iter().map(|(name, signature)| match kind {
            "operators" => format!("`{name}`"),
            _ => format!("`{name}({signature})`"),
        });
        text += &format!("\n**{kind}**\n\n");
        let mut line = String::new();
        for item in shown {
            if line.len() + item.len() > 120 {
                text += &format!("{}\n", line.trim_end());
                line.clear();
            }
            line += &format!("{item} ");
        }
        text += &format!("{}\n", line.trim_end());
    }
    text + "\n"
}

#[test]
#[expect(clippy::disallowed_methods, reason = "UPDATE is for the person who runs the tests")]
fn the_reference_lists_what_there_is() {
    let path = root().join("docs/kql.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(START).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    if std::env::var("UPDATE").is_ok() {
        fs::write(path, format!("{before}{START}{}{END}{after}", lists())).unwrap();
    } else {
        assert_eq!(shown, lists(), "run `UPDATE=1 cargo test -p kql reference`");
    }
}

#[test]
fn no_name_is_listed_as_known_and_as_outside() {
    for (kind, items) in kql::reference() {
        for (name, _) in items.into_iter().filter(|_| kind != "operators") {
            let error = printed_error(&format!("{name}(1, 2, 3, 4, 5, 6, 7, 8, 9)"));
            assert!(!error.contains("outside the subset"), "{name}: {error}");
            assert!(!error.contains("any known function"), "{name}: {error}");
        }
    }
}
