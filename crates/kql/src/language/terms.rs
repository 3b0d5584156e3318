//! Finding texts in texts: terms (`has`), parts, beginnings and ends.

/// How a needle is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) place: Place,
    pub(crate) exact_case: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Whole terms: no letter or digit may touch the ends.
    Term,
    TermStart,
    TermEnd,
    Anywhere,
    Start,
    End,
    /// All of it: `=~`.
    Whole,
}

impl Match {
    /// The operator's meaning, and whether it is negated.
    pub(crate) fn of(operator: &str) -> Option<(Self, bool)> {
        let (name, mut negated) = match operator.strip_prefix('!') {
            Some(rest) => (rest, true),
            None => (operator, false),
        };
        let (name, exact_case) = match name.strip_suffix("_cs") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let place = match name {
            "has" => Place::Term,
            "hasprefix" => Place::TermStart,
            "hassuffix" => Place::TermEnd,
            "contains" => Place::Anywhere,
            "startswith" => Place::Start,
            "endswith" => Place::End,
            "=~" => Place::Whole,
            "~" => {
                negated = true;
                Place::Whole
            }
            _ => return None,
        };
        Some((Self { place, exact_case }, negated))
    }
}

#[derive(Debug)]
pub(crate) struct Needle {
    text: String,
    how: Match,
}

impl Needle {
    pub(crate) fn new(text: &str, how: Match) -> Self {
        Self { text: if how.exact_case { text.to_owned() } else { text.to_lowercase() }, how }
    }

    pub(crate) fn found(&self, text: &str) -> bool {
        if self.how.exact_case {
            return self.within(text);
        }
        if text.is_ascii() && self.text.is_ascii() {
            return self.within_ascii(text);
        }
        self.within(&text.to_lowercase())
    }

    fn within(&self, text: &str) -> bool {
        let needle = self.text.as_str();
        match self.how.place {
            Place::Start => text.starts_with(needle),
            Place::End => text.ends_with(needle),
            Place::Anywhere => text.contains(needle),
            Place::Whole => text == needle,
            _ if needle.is_empty() => true,
            place => {
                let mut from = 0;
                while let Some(at) = text[from..].find(needle).map(|it| it + from) {
                    let end = at + needle.len();
                    if stands(place, text[..at].chars().next_back(), text[end..].chars().next()) {
                        return true;
                    }
                    from = at + text[at..].chars().next().map_or(1, char::len_utf8);
                }
                false
            }
        }
    }

    /// The same without a copy in small letters.
    fn within_ascii(&self, text: &str) -> bool {
        let (needle, text) = (self.text.as_bytes(), text.as_bytes());
        let len = needle.len();
        if len > text.len() {
            return false;
        }
        match self.how.place {
            Place::Start => text[..len].eq_ignore_ascii_case(needle),
            Place::End => text[text.len() - len..].eq_ignore_ascii_case(needle),
            Place::Whole => text.eq_ignore_ascii_case(needle),
            _ if len == 0 => true,
            place => (0..=text.len() - len).any(|at| {
                text[at].eq_ignore_ascii_case(&needle[0])
                    && text[at..at + len].eq_ignore_ascii_case(needle)
                    && (place == Place::Anywhere
                        || stands(
                            place,
                            at.checked_sub(1).map(|it| text[it].into()),
                            text.get(at + len).map(|it| (*it).into()),
                        ))
            }),
        }
    }
}

/// Whether no letter or digit touches the ends that count.
fn stands(place: Place, before: Option<char>, after: Option<char>) -> bool {
    let free = |it: Option<char>| !it.is_some_and(char::is_alphanumeric);
    (place == Place::TermEnd || free(before)) && (place == Place::TermStart || free(after))
}
