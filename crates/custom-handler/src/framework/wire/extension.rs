//! What the durable extension and its clients agree on besides the protocol: names, paths, ids.

/// Path of the extension's HTTP API (extension: `HttpApiHandler.cs`).
pub const WEBHOOK_PATH: &str = "/runtime/webhooks/durabletask";

/// Longest instance id, in characters (extension: `DurableClient.cs`).
const LONGEST_INSTANCE_ID: usize = 100;

/// What keeps a text from being an instance id (extension: `DurableClient.cs`); `None` if nothing does.
pub fn instance_id_problem(id: &str) -> Option<&'static str> {
    if id.is_empty() {
        Some("is empty")
    } else if id.chars().count() > LONGEST_INSTANCE_ID {
        Some("is longer than 100 characters")
    } else if id.starts_with('@') {
        Some("starts with @, as only the ids of entities do")
    } else if id.contains(|it: char| matches!(it, '/' | '\\' | '#' | '?') || it.is_control()) {
        Some("has a character no instance id can have: / \\ # ? or a control character")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_id_is_checked_as_the_extension_does() {
        for id in ["a", "0123456789abcdef", "x:0001", "ä b", &"é".repeat(100)] {
            assert_eq!(instance_id_problem(id), None, "{id}");
        }
        for (id, why) in
            [("", "empty"), (&*"a".repeat(101), "100"), ("@e@k", "@"), ("a/b", "/"), ("a#", "#"), ("a\u{1}", "control")]
        {
            assert!(instance_id_problem(id).is_some_and(|it| it.contains(why)), "{id}");
        }
    }
}
