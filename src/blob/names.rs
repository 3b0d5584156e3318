//! Names of blobs: which blob a URI means, which names a URI can carry, and what the record of each blob is called.

use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use url::Url;

use super::BlobName;

/// The service's limit for a name, in UTF-16 code units.
pub const LONGEST_NAME: usize = 1024;
const RECORD_ENDING: &str = ".json";
/// Stands between a shortened name and its hash.
const HASH_MARK: char = '~';
const HASH_LENGTH: usize = 64;

/// Why a name is refused. Each of these reaches storage as another blob, or as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a blob's name has 1 to {LONGEST_NAME} characters, this one has {0}")]
    Length(usize),
    #[error("a URL loses the path segments `.` and `..`")]
    DotSegment,
    #[error("storage takes `\\` for `/`")]
    Backslash,
    #[error("U+{:04X} is lost in URLs or listings", u32::from(*.0))]
    Character(char),
}

/// Why a URI means no blob that could be read under its own name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    #[error("it is not a URL: {0}")]
    NotAUrl(String),
    /// A name with an unescaped `?` or `#` would be read as a shorter name.
    #[error("it has a query or a fragment")]
    NotPlain,
    #[error("it is not in the account of AzureWebJobsStorage")]
    OtherAccount,
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("it names no blob")]
    NoBlob,
    #[error("{}/{}: {cause}", shown(.container), shown(.name))]
    Name { container: String, name: String, cause: NameError },
}

/// Checks that a name comes back from a URL, and from a listing, as it went in.
///
/// # Errors
/// What would be lost.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let length = utf16_length(name);
    if !(1..=LONGEST_NAME).contains(&length) {
        return Err(NameError::Length(length));
    }
    if name.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(NameError::DotSegment);
    }
    // Storage allows no control characters, and XML has neither them nor these two.
    let is_lost = |it: &char| it.is_control() || matches!(it, '\\' | '\u{FFFE}' | '\u{FFFF}');
    match name.chars().find(is_lost) {
        None => Ok(()),
        Some('\\') => Err(NameError::Backslash),
        Some(other) => Err(NameError::Character(other)),
    }
}

/// Writes a name on one line: control characters are escaped.
pub fn shown(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

/// Names the record of a blob: `<name>.json`, or the beginning of the name, `~` and its SHA-256 where that would be longer than
/// storage allows. A name that looks like a shortened one is shortened too, so no two blobs share a record.
pub fn record_name(name: &str) -> String {
    if utf16_length(name) + RECORD_ENDING.len() <= LONGEST_NAME && !looks_shortened(name) {
        return format!("{name}{RECORD_ENDING}");
    }
    let mut room = LONGEST_NAME - RECORD_ENDING.len() - HASH_LENGTH - HASH_MARK.len_utf16();
    let fits = |character: &char| {
        let left = room.checked_sub(character.len_utf16());
        room = left.unwrap_or(0);
        left.is_some()
    };
    let beginning: String = name.chars().take_while(fits).collect();
    format!("{beginning}{HASH_MARK}{:x}{RECORD_ENDING}", Sha256::digest(name))
}

/// A shortened name has the full length, or one less before half of a surrogate pair.
fn looks_shortened(name: &str) -> bool {
    let is_hash =
        |it: &str| it.len() == HASH_LENGTH && it.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    utf16_length(name) + RECORD_ENDING.len() + 1 >= LONGEST_NAME
        && name.rsplit_once(HASH_MARK).is_some_and(|(_, hash)| is_hash(hash))
}

fn utf16_length(text: &str) -> usize {
    text.encode_utf16().count()
}

impl BlobName {
    /// Reads which blob a URI means: its path below the account's endpoint, percent-decoded once. Its host is ignored.
    ///
    /// The text itself is taken apart. A URL parser folds `..`, drops TAB, CR and LF and turns `\` into `/`, which gives the name of
    /// another blob.
    ///
    /// # Errors
    /// When it means no blob, or one whose name is refused.
    pub fn from_uri(uri: &str, endpoint: &Url) -> Result<Self, UriError> {
        Url::parse(uri).map_err(|error| UriError::NotAUrl(error.to_string()))?;
        let (_, rest) = uri.split_once("://").ok_or_else(|| UriError::NotAUrl("it has no ://".to_owned()))?;
        if rest.contains(['?', '#']) {
            return Err(UriError::NotPlain);
        }
        let path = rest.find('/').and_then(|start| rest.get(start..)).ok_or(UriError::OtherAccount)?;
        let path = path
            .strip_prefix(endpoint.path().trim_end_matches('/'))
            .and_then(|path| path.strip_prefix('/'))
            .ok_or(UriError::OtherAccount)?;
        let (container, name) = path.split_once('/').ok_or(UriError::NoBlob)?;
        let (container, name) = (decoded(container)?, decoded(name)?);
        if container.is_empty() || name.is_empty() {
            return Err(UriError::NoBlob);
        }
        match check_name(&name) {
            Ok(()) => Ok(Self { container, name }),
            Err(cause) => Err(UriError::Name { container, name, cause }),
        }
    }
}

fn decoded(text: &str) -> Result<String, UriError> {
    percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| UriError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_that_a_url_or_a_listing_changes_is_refused() {
        for name in [".", "..", "../a", "a/./b", "a/..", "./a", "a/../../b"] {
            assert_eq!(check_name(name), Err(NameError::DotSegment), "{name}");
        }
        assert_eq!(check_name("a\\b"), Err(NameError::Backslash));
        for character in ['\t', '\r', '\n', '\0', '\u{1}', '\u{1f}', '\u{7f}', '\u{85}', '\u{fffe}', '\u{ffff}'] {
            assert_eq!(check_name(&format!("a{character}b")), Err(NameError::Character(character)));
        }
        for (name, length) in [(String::new(), 0), ("n".repeat(1025), 1025), ("😀".repeat(513), 1026)] {
            assert_eq!(check_name(&name), Err(NameError::Length(length)));
        }
    }

    #[test]
    fn every_other_name_is_accepted() {
        let names = [
            "...",
            "a..",
            ".a",
            "a/.../b",
            "%2e%2e/a",
            "%2F",
            " a ",
            "a//b",
            "/a",
            "a/",
            "é\u{301}😀",
            "{name}~",
            "'\"",
        ];
        for name in names.iter().copied().chain(["ü".repeat(1024).as_str(), "😀".repeat(512).as_str()]) {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_name_is_shown_on_one_line() {
        assert_eq!(shown("a\nb\t\u{1b}[31m\\ü"), "a\\nb\\t\\u{1b}[31m\\ü");
    }

    #[test]
    fn the_record_of_a_name_that_leaves_room_is_the_name_and_json() {
        for name in ["a", "a/b.txt", "a.json", "é😀", "n~0".repeat(300).as_str(), &"n".repeat(1019)] {
            assert_eq!(record_name(name), format!("{name}.json"));
        }
    }

    #[test]
    fn no_record_is_longer_than_storage_allows_and_none_is_shared() {
        let mut names: Vec<String> = Vec::new();
        for unit in ["n", "ü", "😀", "n/"] {
            let units = unit.encode_utf16().count();
            names.extend(
                (1010..=1024).map(|length| format!("{}{}", "x".repeat(length % units), unit.repeat(length / units))),
            );
        }
        // What a record is called is a legal name of a blob too.
        let records: Vec<String> = names.iter().map(|it| record_name(it)).collect();
        names.extend(records.iter().filter_map(|it| it.strip_suffix(".json").map(str::to_owned)));
        names.extend(records);
        names.sort();
        names.dedup();
        let records: BTreeSet<String> = names.iter().map(|it| record_name(it)).collect();
        assert_eq!(records.len(), names.len());
        for record in records {
            assert!(
                utf16_length(&record) <= LONGEST_NAME && check_name(&record).is_ok() && record.ends_with(".json"),
                "{record}"
            );
        }
    }
}
