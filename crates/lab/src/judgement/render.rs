//! Criteria and verdict as text, for a terminal.

use super::{Criterion, CriterionResult, Kind, Verdict};
use crate::machine::terminal::Paint;

const HEADINGS: [&str; 5] = ["criterion", "guide", "criterion at this scale", "measured", "result"];

/// The table, a group for each kind, and the verdict.
pub fn table(criteria: &[Criterion], verdict: Verdict, paint: Paint) -> String {
    let mut text = String::new();
    for (kind, title) in [
        (Kind::Proof, "Proof: the hypothesis needs each of these"),
        (Kind::Disproof, "Disproof: the hypothesis falls with any of these; pass means it was not seen"),
        (Kind::Consistency, "Consistency: the evidence must agree with itself"),
        (Kind::Checklist, "Checklist: what the guide has its operator confirm"),
    ] {
        let rows: Vec<&Criterion> = criteria.iter().filter(|it| it.kind == kind).collect();
        if !rows.is_empty() {
            text += &format!("\n{title}\n\n{}", grid(&rows, paint));
        }
    }
    text + &format!("\nVerdict: {}\n", painted(&verdict.to_string(), verdict == Verdict::Supported, paint))
}

fn grid(criteria: &[&Criterion], paint: Paint) -> String {
    let cells: Vec<[&str; 4]> =
        criteria.iter().map(|it| [&*it.claim, &*it.guide, &*it.threshold, &*it.observed]).collect();
    let width = |column: usize| {
        let widest = cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        widest.max(HEADINGS[column].len())
    };
    let widths = [width(0), width(1), width(2), width(3)];
    let line = |row: &[&str; 4], result: &str| {
        let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("  {}  {result}\n", padded.collect::<Vec<_>>().join("  "))
    };
    let head = line(&[HEADINGS[0], HEADINGS[1], HEADINGS[2], HEADINGS[3]], HEADINGS[4]);
    let rows = cells.iter().zip(criteria).map(|(row, criterion)| {
        line(row, &painted(&criterion.result.to_string(), criterion.result == CriterionResult::Pass, paint))
    });
    std::iter::once(head).chain(rows).collect()
}

fn painted(text: &str, good: bool, paint: Paint) -> String {
    if good { paint.green(text) } else { paint.red(text) }
}
