//! A plan: every request a command would send, in order.

use serde::Serialize;
use serde_json::Value;

/// A request that a plan shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedCall {
    pub method: String,
    /// Texts in braces stand for what only Azure knows.
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    pub why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub az: Option<String>,
    /// Sent as often as it takes, or not at all where the answer before it leaves nothing to wait for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub repeats: bool,
}

/// The requests of a command, in order.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Plan {
    pub calls: Vec<PlannedCall>,
}

impl Plan {
    /// The plan for a person, a step each: what for, the request, its body, the `az` command.
    pub fn render(&self) -> String {
        let width = self.calls.len().to_string().len();
        let indent = " ".repeat(width + 2);
        let step = |(number, call): (usize, &PlannedCall)| {
            let again = if call.repeats { " (as often as it takes, or not at all)" } else { "" };
            let mut text = format!("{number:>width$}. {}{again}\n{indent}{} {}", call.why, call.method, call.url);
            if let Some(body) = &call.body {
                text += &format!("\n{indent}{body}");
            }
            if let Some(az) = &call.az {
                text += &format!("\n{indent}$ {az}");
            }
            text
        };
        (1..).zip(&self.calls).map(step).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_says_what_for_what_and_how_else() {
        let call = PlannedCall {
            method: "POST".to_owned(),
            url: "https://a/b".to_owned(),
            body: Some(json!({"query": "requests"})),
            why: "ask".to_owned(),
            az: Some("az ask".to_owned()),
            repeats: true,
        };
        let want = "1. ask (as often as it takes, or not at all)\n   POST https://a/b\n   {\"query\":\"requests\"}\n   $ az ask";
        assert_eq!(Plan { calls: vec![call] }.render(), want);
    }
}
