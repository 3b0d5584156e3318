//! Criteria and verdict as text, for a terminal.

use super::{Criterion, CriterionResult, Kind, Verdict};

const HEADINGS: [&str; 5] = ["criterion", "guide", "criterion at this scale", "measured", "result"];

/// The table, a group for each kind, and the verdict.
pub fn table(criteria: &[Criterion], verdict: Verdict, colours: bool) -> String {
    let mut text = String::new();
    for (kind, title) in [
        (Kind::Proof, "Proof: the hypothesis needs each of these"),
        (Kind::Disproof, "Disproof: the hypothesis falls with any of these; pass means it was not seen"),
        (Kind::Consistency, "Consistency: the evidence must agree with itself"),
        (Kind::Checklist, "Checklist: what the guide has its operator confirm"),
    ] {
        let rows: Vec<&Criterion> = criteria.iter().filter(|it| it.kind == kind).collect();
        if !rows.is_empty() {
            text += &format!("\n{title}\n\n{}", grid(&rows, colours));
        }
    }
    text + &format!("\nVerdict: {}\n", paint(&verdict.to_string(), verdict == Verdict::Supported, colours))
}

fn grid(criteria: &[&Criterion], colours: bool) -> String {
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
        line(row, &paint(&criterion.result.to_string(), criterion.result == CriterionResult::Pass, colours))
    });
    std::iter::once(head).chain(rows).collect()
}

fn paint(text: &str, good: bool, colours: bool) -> String {
    match (colours, good) {
        (false, _) => text.to_owned(),
        (true, true) => format!("\x1b[32m{text}\x1b[0m"),
        (true, false) => format!("\x1b[31m{text}\x1b[0m"),
    }
}
