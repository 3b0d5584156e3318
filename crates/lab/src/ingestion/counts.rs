//! What arrived: how many envelopes of which kind, how many rows, and what was refused and why.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;

use super::envelope::Refusal;

/// Refused items that are named, for each reason.
const NAMED: usize = 20;

/// Refused items of one reason.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Refused {
    pub count: u64,
    /// Where the first of them are, and what is wrong with each.
    pub examples: Vec<String>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Envelopes, or rows of an export.
    pub received: u64,
    pub accepted: u64,
    /// Accepted envelopes by `baseType`.
    pub kinds: BTreeMap<String, u64>,
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
    /// By reason.
    pub refused: BTreeMap<String, Refused>,
    /// Envelopes that were more than 48 h old when they arrived. They are kept; Application Insights refuses them.
    pub late: u64,
}

impl Counts {
    pub fn accept(&mut self, kind: Option<&str>) {
        self.received += 1;
        self.accepted += 1;
        if let Some(kind) = kind {
            *self.kinds.entry(kind.to_owned()).or_default() += 1;
        }
    }

    pub fn row(&mut self, table: &str) {
        *self.rows.entry(table.to_owned()).or_default() += 1;
    }

    /// Counts an item that is refused, and names it if it is one of the first.
    pub fn refuse(&mut self, place: &str, refusal: &Refusal) {
        self.received += 1;
        let refused = self.refused.entry(refusal.reason().to_owned()).or_default();
        refused.count += 1;
        if refused.examples.len() < NAMED {
            refused.examples.push(format!("{place}: {refusal}"));
        }
    }

    /// How many were refused.
    pub fn refusals(&self) -> u64 {
        self.refused.values().map(|it| it.count).sum()
    }

    /// For people: a line for each kind, table and reason.
    pub fn report(&self, what: &str) -> String {
        let mut text = format!("{} {what}, {} accepted, {} refused\n", self.received, self.accepted, self.refusals());
        for (title, counts) in [("kinds", &self.kinds), ("rows", &self.rows)] {
            for (name, count) in counts {
                let _ = writeln!(text, "  {title:<8} {name:<24} {count:>8}");
            }
        }
        if self.late > 0 {
            let _ = writeln!(text, "  {} more than 48 h old: kept; Application Insights would refuse them", self.late);
        }
        for (reason, refused) in &self.refused {
            let _ = writeln!(text, "  refused  {reason:<24} {:>8}", refused.count);
            for example in &refused.examples {
                let _ = writeln!(text, "    {example}");
            }
            let unnamed = refused.count - refused.examples.len() as u64;
            if unnamed > 0 {
                let _ = writeln!(text, "    and {unnamed} more");
            }
        }
        text.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_and_the_first_refusals_are_named() {
        let mut counts = Counts::default();
        counts.accept(Some("MessageData"));
        counts.row("traces");
        (1..=25).for_each(|n| counts.refuse(&format!("line {n}"), &Refusal::UnknownKind("PageViewData".to_owned())));
        counts.refuse("line 26", &Refusal::NotAnEnvelope("it is no JSON object"));
        assert_eq!((counts.received, counts.accepted, counts.refusals()), (27, 1, 26));
        let report = counts.report("envelopes");
        assert!(report.starts_with("27 envelopes, 1 accepted, 26 refused\n"), "{report}");
        let lines: Vec<&str> = report.lines().map(str::trim).collect();
        for line in [
            "kinds    MessageData                     1",
            "rows     traces                          1",
            "refused  unknown kind                   25",
            r#"line 20: the kind "PageViewData" has no table here"#,
            "and 5 more",
            "line 26: not an envelope: it is no JSON object",
        ] {
            assert!(lines.contains(&line), "{line}: {report}");
        }
        assert!(!report.contains("line 21"), "{report}");
    }
}
