//! `%NAME%` in what `host.json` starts, as the host's worker process factory fills it in.

use incident_labs::settings::process_environment;

/// Variables the host knows: its own environment, and what it adds for the handler.
#[derive(Debug)]
pub(super) struct Variables(Vec<(String, String)>);

impl Variables {
    /// Those of this process below the given ones.
    pub(super) fn with(added: &[(String, String)]) -> Self {
        Self(process_environment().into_iter().chain(added.iter().cloned()).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|it| it.0 == name).map(|it| it.1.as_str())
    }

    /// Fills in what is known and leaves the rest.
    pub(super) fn expand(&self, text: &str) -> String {
        self.replace(text, |name| format!("%{name}%"))
    }

    /// Fills in what is known and deletes the rest, as the host does in arguments.
    pub(super) fn expand_argument(&self, text: &str) -> String {
        self.replace(text, |_| String::new())
    }

    fn replace(&self, text: &str, unknown: impl Fn(&str) -> String) -> String {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, name, after)) = first_name(rest) {
            expanded += before;
            expanded += &self.get(name).map_or_else(|| unknown(name), str::to_owned);
            rest = after;
        }
        expanded + rest
    }
}

/// Text before, name, and text after the first `%NAME%`.
fn first_name(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('%')?;
    let (name, after) = rest.split_once('%')?;
    (!name.is_empty()).then_some((before, name, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_between_percent_signs_are_filled_in() {
        let variables = Variables::with(&[("A".to_owned(), "1".to_owned()), ("A".to_owned(), "2".to_owned())]);
        for (text, kept, argument) in [
            ("--port=%A%/%A%", "--port=2/2", "--port=2/2"),
            ("%NOT_SET_ANYWHERE%x", "%NOT_SET_ANYWHERE%x", "x"),
            ("50%", "50%", "50%"),
            ("plain", "plain", "plain"),
        ] {
            assert_eq!((variables.expand(text), variables.expand_argument(text)), (kept.into(), argument.into()));
        }
    }
}
