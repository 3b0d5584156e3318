//! Names of app settings, which .NET compares without regard to case and in which `__` and `:` are the same.

/// A name in the form that is compared.
pub fn key(name: &str) -> String {
    name.replace("__", ":").to_ascii_lowercase()
}

/// Whether two names are one setting.
pub fn is_same(one: &str, other: &str) -> bool {
    key(one) == key(other)
}

/// Whether a setting that switches something is on: `1`, or `true` in any case.
pub fn is_on(value: &str) -> bool {
    value == "1" || value.eq_ignore_ascii_case("true")
}

/// Replaces each `%NAME%` by what is known of that name (WebJobs SDK: `NameResolverExtensions`).
///
/// # Errors
/// A name that is not known, or a sign without a partner.
pub fn filled_in(text: &str, known: impl Fn(&str) -> Option<String>) -> Result<String, Unresolved> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        let (name, after) = after.split_once('%').ok_or_else(|| Unresolved::without_partner(text))?;
        filled += before;
        filled += &known(name).ok_or_else(|| Unresolved::unknown(name))?;
        rest = after;
    }
    Ok(filled + rest)
}

/// A `%NAME%` that cannot be filled in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text} {reason}")]
pub struct Unresolved {
    /// As it is written.
    pub text: String,
    pub reason: &'static str,
    /// The name that is not known.
    pub name: Option<String>,
}

impl Unresolved {
    fn unknown(name: &str) -> Self {
        Self { text: format!("%{name}%"), reason: "is no app setting", name: Some(name.to_owned()) }
    }

    fn without_partner(text: &str) -> Self {
        Self { text: format!("{text:?}"), reason: "has a % without a partner", name: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_dotnet_does() {
        assert!(is_same("AzureFunctionsJobHost__functionTimeout", "azurefunctionsjobhost:FUNCTIONTIMEOUT"));
        assert!(!is_same("A_B", "A__B"));
        assert!(is_on("1") && is_on("True") && !is_on("yes") && !is_on(""));
    }
}
