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
