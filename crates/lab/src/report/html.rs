//! Text as HTML: what evidence says is never markup, and a table is a table.

use std::fmt::Write;

use serde_json::Value;

/// Characters of a cell; a longer text is cut.
const CELL: usize = 400;

/// Text as it may stand in an element or an attribute.
pub(super) fn esc(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}

/// JSON as it may stand in a `script` element: nothing in it ends the element or opens a comment.
pub(super) fn script_json(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// A JSON value as a reader wants it.
pub(super) fn plain(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(CELL) {
        None => text,
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

/// A text as a part of an `id`.
pub(super) fn id(text: &str) -> String {
    text.chars().map(|it| if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '-' }).collect()
}

/// A table in a box of its own that scrolls where it is too wide; the box is reached by keyboard.
pub(super) fn table(caption: &str, heads: &[String], rows: &[Vec<String>]) -> String {
    let mut text = format!(
        "<div class=scroll tabindex=0 role=region aria-label=\"{0}\"><table><caption>{0}</caption><thead><tr>",
        esc(caption)
    );
    let is_right = |at: usize| {
        let mut cells =
            rows.iter().filter_map(|it| it.get(at)).filter(|it| !matches!(it.as_str(), "" | "–")).peekable();
        cells.peek().is_some() && cells.all(|it| it.parse::<f64>().is_ok())
    };
    let classes: Vec<&str> = (0..heads.len()).map(|at| if is_right(at) { " class=n" } else { "" }).collect();
    for (head, class) in heads.iter().zip(&classes) {
        let _ = write!(text, "<th scope=col{class}>{}</th>", esc(head));
    }
    text += "</tr></thead><tbody>";
    for row in rows {
        text += "<tr>";
        for (cell, class) in row.iter().zip(&classes) {
            let _ = write!(text, "<td{class}>{}</td>", esc(cell));
        }
        text += "</tr>";
    }
    text + "</tbody></table></div>"
}

/// A section with its heading; empty content makes no section.
pub(super) fn section(name: &str, heading: &str, content: &str) -> String {
    let hidden = if content.is_empty() { " hidden" } else { "" };
    format!(
        "<section id=\"{name}\" data-part=\"{name}\" aria-labelledby=\"{name}-h\"{hidden}>\n<h2 id=\"{name}-h\">{heading}</h2>\n\
         <div data-content>{content}</div>\n</section>\n"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        let hostile = "</script><img onerror=\"x()\" src='y'>&";
        assert_eq!(
            esc(hostile),
            "&lt;/script&gt;&lt;img onerror=&quot;x()&quot; src=&#39;y&#39;&gt;&amp;",
            "no markup and no end of an attribute"
        );
        let safe = script_json(&json!({ hostile: "<!--" }));
        assert!(!safe.contains(['<', '>', '&']), "{safe}");
        assert_eq!(serde_json::from_str::<Value>(&safe).unwrap(), json!({ hostile: "<!--" }));
    }

    #[test]
    fn a_cell_is_cut_between_characters_and_numbers_are_set_to_the_right() {
        assert_eq!(plain(&json!("ä".repeat(500))).chars().count(), 401);
        let table =
            table("t", &["a".into(), "b".into()], &[vec!["1.5".into(), "x".into()], vec!["–".into(), "2".into()]]);
        assert!(table.contains("<th scope=col class=n>a</th><th scope=col>b</th>"), "{table}");
        assert!(table.contains("<td class=n>1.5</td><td>x</td>"), "{table}");
    }
}
