//! Texts as they may leave this process: short enough for the exporter, without signatures, on one line where a line is one row.

use std::{borrow::Cow, fmt};

/// Longest text of a row, in bytes. The exporter cuts at 8192 wherever that is, and panics inside a character.
pub(super) const LONGEST: usize = 8_000;
/// Longest name of a dependency, host or result code; the exporter cuts them at 1024.
pub(super) const LONGEST_NAME: usize = 1_000;
/// Longest role name; the exporter cuts it at 256.
pub(super) const LONGEST_ROLE: usize = 250;

/// The beginning of a text, whole characters of it.
pub(super) fn clip(text: &str, longest: usize) -> &str {
    &text[..text.floor_char_boundary(longest)]
}

/// Formats a value and keeps its beginning, however long it would be.
pub(super) fn formatted(value: &dyn fmt::Debug) -> String {
    let mut kept = Kept(String::new());
    // The error only says that enough is kept.
    let _ = fmt::Write::write_fmt(&mut kept, format_args!("{value:?}"));
    kept.0
}

struct Kept(String);

impl fmt::Write for Kept {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let kept = clip(text, LONGEST - self.0.len());
        self.0.push_str(kept);
        if kept.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// A text as a row has it: clipped, the query of each signed URL left out.
pub(super) fn presentable(text: &str, longest: usize) -> Cow<'_, str> {
    match unsigned(text) {
        Cow::Borrowed(text) => Cow::Borrowed(clip(text, longest)),
        Cow::Owned(text) => Cow::Owned(clip(&text, longest).to_owned()),
    }
}

/// Leaves out the query of a URL that carries a signature, and the signature of a query that stands alone.
fn unsigned(text: &str) -> Cow<'_, str> {
    let Some(first) = find_signature(text, 0) else { return Cow::Borrowed(text) };
    let (mut kept, mut done, mut signature) = (String::with_capacity(text.len()), 0, Some(first));
    while let Some(at) = signature {
        let is_end = |it: char| it.is_whitespace() || it.is_control() || "\"'<>`\\".contains(it);
        let word = text[done..at]
            .rfind(is_end)
            .map_or(done, |it| done + it + text[done + it..].chars().next().map_or(1, char::len_utf8));
        let query = text[word..at].find('?').map_or(at, |it| word + it);
        let end = text[at..].find(is_end).map_or(text.len(), |it| at + it);
        kept.push_str(&text[done..query]);
        done = end;
        signature = find_signature(text, end);
    }
    kept.push_str(&text[done..]);
    Cow::Owned(kept)
}

/// Where the next `sig=` of a query begins. The name is a whole one: `design=` is another.
fn find_signature(text: &str, from: usize) -> Option<usize> {
    let is_signature = |at: &usize| {
        let bytes = text.as_bytes();
        let before = at.checked_sub(1).map(|it| bytes[it]);
        bytes[*at..].get(..4).is_some_and(|it| it.eq_ignore_ascii_case(b"sig="))
            && before.is_none_or(|it| !it.is_ascii_alphanumeric() && it != b'_')
    };
    let encoded = |at: &usize| text.as_bytes()[*at..].get(..6).is_some_and(|it| it.eq_ignore_ascii_case(b"sig%3d"));
    (from..text.len()).find(|at| text.is_char_boundary(*at) && (is_signature(at) || encoded(at)))
}

/// A text on one line: what would end a line is written as in a program.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    let breaks = |it: char| matches!(it, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let text = text.trim_end_matches(breaks);
    if !text.contains(breaks) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for it in text.chars() {
        if breaks(it) { line.extend(it.escape_default()) } else { line.push(it) }
    }
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_never_above_the_bound() {
        for (text, longest) in [("äöü", 3), ("日本語", 4), ("abc", 9), ("", 0), ("é", 1)] {
            let cut = clip(text, longest);
            assert!(cut.len() <= longest.max(text.len().min(longest)) && text.starts_with(cut), "{cut}");
        }
        let long = "ü".repeat(9_000);
        assert_eq!(presentable(&long, LONGEST).len(), 8_000);
        assert_eq!(formatted(&format_args!("x{long}")).len(), 7_999, "a character is whole or not there");
        assert_eq!(formatted(&format_args!("{}", "y".repeat(9_000))).len(), 8_000);
    }

    #[test]
    fn a_signature_is_left_out_wherever_it_stands() {
        for (text, shown) in [
            ("https://a.blob/c/b?sv=2024&sig=abc%2F&se=1", "https://a.blob/c/b"),
            (
                "GET https://a/b?SIG=abc failed, then \"http://c/d?se=1&sig=x\" too",
                "GET https://a/b failed, then \"http://c/d\" too",
            ),
            ("sv=1&sig=abc rest", "sv=1& rest"),
            ("https://a/b?next=https%3A%2F%2Fc%3Fsig%3Dabc", "https://a/b"),
            ("https://a/b?page=2&design=flat", "https://a/b?page=2&design=flat"),
            ("ü?sig=ü ü", "ü ü"),
            ("no URL at all", "no URL at all"),
        ] {
            assert_eq!(presentable(text, LONGEST), shown, "{text}");
        }
    }

    #[test]
    fn a_text_of_many_lines_is_one_line() {
        assert_eq!(one_line("a\nb\r\nc\u{2028}ü\n"), "a\\nb\\r\\nc\\u{2028}ü");
        assert_eq!(one_line("日本"), "日本");
    }
}
