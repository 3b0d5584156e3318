//! Names compared as .NET does it with `OrdinalIgnoreCase`: in any case of any script, character by character.

/// Whether two names are the same but for case.
pub(super) fn are_equal(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || (!(one.is_ascii() && other.is_ascii()) && upper(one) == upper(other))
}

/// The same text for all names that are equal but for case.
pub(super) fn upper(name: &str) -> String {
    if name.is_ascii() { name.to_ascii_uppercase() } else { name.chars().map(upper_char).collect() }
}

/// Unicode's simple mapping, of one character to one. Rust has the full one, which makes two letters of an ß.
fn upper_char(letter: char) -> char {
    let code = letter as u32;
    match letter {
        // The dotless i and the long s are capital letters to .NET.
        '\u{131}' | '\u{17F}' => return letter,
        // Greek vowels over an iota have a capital form beside the two letters.
        '\u{1F80}'..='\u{1FAF}' => return char::from_u32(code | 8).unwrap_or(letter),
        '\u{1FB3}' | '\u{1FC3}' | '\u{1FF3}' => return char::from_u32(code + 9).unwrap_or(letter),
        _ => {}
    }
    let mut upper = letter.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        _ => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each pair was asked of .NET: an event raised under one name, waited for under the other.
    #[test]
    fn names_are_equal_where_they_are_to_dotnet() {
        let equal = [
            ("Go", "gO"),
            ("ς", "Σ"),
            ("σ", "ς"),
            ("Ä", "ä"),
            ("µ", "μ"),
            ("ǆ", "ǅ"),
            ("ǆ", "Ǆ"),
            ("𐐨", "𐐀"),
            ("Ж", "ж"),
            ("ი", "Ი"),
            ("Ა", "ა"),
            ("ꭰ", "Ꭰ"),
            ("ᏸ", "Ᏸ"),
            ("ÿ", "Ÿ"),
            ("ⓐ", "Ⓐ"),
            ("ι", "\u{345}"),
            ("ᾳ", "ᾼ"),
            ("ᾀ", "ᾈ"),
        ];
        let other = [
            ("ı", "I"),
            ("ſ", "S"),
            ("ß", "ẞ"),
            ("ß", "SS"),
            ("İ", "i"),
            ("İ", "ı"),
            ("ﬁ", "FI"),
            ("ŉ", "ʼN"),
            ("i", "İ"),
            ("Go", "Got"),
            ("", "a"),
            ("\u{212A}", "k"),
        ];
        for (one, two) in equal {
            assert!(are_equal(one, two) && are_equal(two, one) && upper(one) == upper(two), "{one} {two}");
        }
        for (one, two) in other {
            assert!(!are_equal(one, two) && upper(one) != upper(two), "{one} {two}");
        }
    }
}
