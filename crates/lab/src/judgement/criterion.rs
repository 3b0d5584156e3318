//! Criteria: each holds the number of a query against its bounds, and keeps the rows that the number comes from.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Answer, Asker, AskerError, Kind, Question, Rule, Rules, reduction::Reduction, rules::with_unit};
use crate::evidence::percentile;

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CriterionResult {
    Pass,
    Fail,
    /// The evidence has no rows that could tell.
    Inconclusive,
    /// Runs disagree.
    Unstable,
}

impl fmt::Display for CriterionResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Inconclusive => "inconclusive",
            Self::Unstable => "UNSTABLE",
        })
    }
}

/// How a number is known.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// A row says it.
    Observed,
    /// At least five runs say it, with their spread.
    Measured,
    /// Rows within one window say it together.
    Correlated,
    /// No row of its own says it: it follows from what is not there.
    Inferred,
}

/// Runs from which a number counts as measured.
const MEASURED: usize = 5;

/// The numbers of several runs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Spread {
    pub low: f64,
    pub high: f64,
    pub runs: usize,
}

/// A criterion and its result.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Criterion {
    pub id: String,
    pub claim: String,
    pub kind: Kind,
    /// What the guide says or saw.
    pub guide: String,
    /// The bounds at this scale.
    pub threshold: String,
    /// What was found, for people.
    pub observed: String,
    pub value: Option<f64>,
    pub result: CriterionResult,
    /// Why it is inconclusive.
    pub reason: String,
    pub grade: Option<Grade>,
    /// File of the query whose rows decided.
    pub query: String,
    #[serde(rename = "where")]
    pub keep: String,
    pub column: String,
    pub reduction: Reduction,
    pub phase: String,
    pub spread: Option<Spread>,
    /// Rows of the query.
    pub row_count: usize,
    /// The first of these rows.
    pub rows: Vec<Map<String, Value>>,
    /// Whether the verdict can do without it.
    pub optional: bool,
    /// Whether it is inconclusive for want of the lab's own records, which no telemetry has.
    pub needs_own_records: bool,
}

/// Rows kept for a criterion: enough to look them up, few enough to read. `kql-session.json` has all.
const ROWS: usize = 10;

/// Holds the tables against each rule.
///
/// # Errors
/// When a rule or a query is wrong.
pub fn judge(rules: &Rules, asker: &mut Asker) -> Result<Vec<Criterion>, AskerError> {
    rules.criterion.iter().map(|rule| judge_one(rule, asker)).collect()
}

fn judge_one(rule: &Rule, asker: &mut Asker) -> Result<Criterion, AskerError> {
    let question = Question {
        query: &rule.query,
        keep: &rule.keep,
        phase: &rule.phase,
        against: &rule.against,
        parameters: Some(&rule.parameters),
        asked_by: &rule.id,
        is_lenient: false,
    };
    let mut criterion = Criterion::unanswered(rule);
    let answer = match asker.ask(&question)? {
        Ok(answer) => answer,
        Err(unanswerable) => {
            criterion.needs_own_records = unanswerable.needs_own_records;
            criterion.observed.clone_from(&unanswerable.reason);
            criterion.reason = unanswerable.reason;
            return Ok(criterion);
        }
    };
    for column in [&rule.column, &rule.of].into_iter().filter(|it| !it.is_empty()) {
        if rule.reduction != Reduction::Count && !answer.has(column) {
            return Err(AskerError::NoColumn { query: rule.query.clone(), column: column.clone() });
        }
    }
    criterion.row_count = answer.table.len();
    let number = rule.reduction.of(&answer.table, &rule.column, &rule.of);
    criterion.rows = deciding(rule, &answer, number);
    let Some(number) = number else {
        criterion.reason = format!("{} has no rows that tell {}", rule.query, rule.column);
        criterion.observed.clone_from(&criterion.reason);
        return Ok(criterion);
    };
    let (value, own_note) = scaled(rule, number, asker);
    let template = match rule.reduction {
        Reduction::Percent if rule.note.is_empty() => share_of(rule, &answer),
        _ => filled(&rule.note, &answer.rows().collect::<Vec<_>>()),
    };
    let note = [template, own_note];
    let note: Vec<&str> = note.iter().map(String::as_str).filter(|it| !it.is_empty()).collect();
    let shown = with_unit(value, &rule.unit);
    criterion.observed = if note.is_empty() { shown } else { format!("{shown} ({})", note.join("; ")) };
    criterion.value = Some(value);
    criterion.result = if rule.holds(value) { CriterionResult::Pass } else { CriterionResult::Fail };
    criterion.grade =
        Some(if answer.table.is_empty() { Grade::Inferred } else { rule.grade.unwrap_or(Grade::Observed) });
    Ok(criterion)
}

/// The first rows, those before all that the number comes from.
fn deciding(rule: &Rule, answer: &Answer, number: Option<f64>) -> Vec<Map<String, Value>> {
    let decides = |row: &Map<String, Value>| {
        let value = row.get(&rule.column).and_then(Value::as_f64);
        match rule.reduction {
            Reduction::Sum | Reduction::Percent => value.is_some_and(|it| it != 0.0),
            Reduction::Min | Reduction::Max => value == number,
            _ => true,
        }
    };
    let (first, others): (Vec<_>, Vec<_>) = answer.rows().partition(decides);
    first.into_iter().chain(others).take(ROWS).collect()
}

/// A number of MB as a share of the worker's limit, where the bounds are shares.
fn scaled(rule: &Rule, number: f64, asker: &Asker) -> (f64, String) {
    let limit = asker.parameter("limitMB").and_then(|it| it.parse::<f64>().ok());
    match limit {
        Some(limit) if rule.unit == "L" => (number / limit, format!("{number:.0} MiB")),
        _ => (number, String::new()),
    }
}

/// The two sums of a share.
fn share_of(rule: &Rule, answer: &Answer) -> String {
    let sum = |column: &str| Reduction::Sum.of(&answer.table, column, "").unwrap_or_default();
    format!("{} of {}", sum(&rule.column), sum(&rule.of))
}

/// Values told for one placeholder, at most.
const TOLD: usize = 5;

/// A text in which `{column}` stands for the rows' values.
fn filled(template: &str, rows: &[Map<String, Value>]) -> String {
    let mut parts = template.split('{');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (column, rest) = part.split_once('}').unwrap_or((part, ""));
        let values: Vec<String> = rows.iter().map(|row| shown(&row[column])).collect();
        let more = if values.len() > TOLD { ", …" } else { "" };
        text += &(values.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ") + more + rest);
    }
    if rows.is_empty() { String::new() } else { text }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(it) if it.fract() == 0.0 => format!("{it:.0}"),
            Some(it) if it.abs() >= 100.0 => format!("{it:.1}"),
            _ => number.to_string(),
        },
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}

impl Criterion {
    fn unanswered(rule: &Rule) -> Self {
        Self {
            id: rule.id.clone(),
            claim: rule.claim.clone(),
            kind: rule.kind,
            guide: rule.guide.clone(),
            threshold: rule.threshold(),
            observed: String::new(),
            value: None,
            result: CriterionResult::Inconclusive,
            reason: String::new(),
            grade: None,
            query: rule.query.clone(),
            keep: rule.keep.clone(),
            column: rule.column.clone(),
            reduction: rule.reduction,
            phase: rule.phase.clone(),
            spread: None,
            row_count: 0,
            rows: Vec::new(),
            optional: rule.optional,
            needs_own_records: false,
        }
    }

    /// One criterion over several runs: the median and the spread; unstable where runs disagree.
    fn combined(runs: &[&Self], unit: &str) -> Self {
        let mut combined = runs[0].clone();
        if runs.iter().any(|it| it.result != combined.result) {
            combined.result = CriterionResult::Unstable;
        }
        if let Some(reason) = runs.iter().map(|it| &it.reason).find(|it| !it.is_empty()) {
            combined.reason.clone_from(reason);
        }
        let values: Vec<f64> = runs.iter().filter_map(|it| it.value).collect();
        let at = |percent| percentile(values.clone(), percent);
        if let (Some(low), Some(median), Some(high)) = (at(0.0), at(50.0), at(100.0)) {
            combined.value = Some(median);
            combined.observed = format!("{} ({low:.2} to {high:.2})", with_unit(median, unit));
            combined.spread = Some(Spread { low, high, runs: values.len() });
            if values.len() >= MEASURED {
                combined.grade = Some(Grade::Measured);
            }
        }
        combined.row_count = runs.iter().map(|it| it.row_count).sum();
        combined.rows = runs.iter().flat_map(|it| it.rows.iter().cloned()).take(ROWS).collect();
        combined.needs_own_records = runs.iter().all(|it| it.needs_own_records);
        combined
    }
}

/// Each criterion over several runs.
pub fn over_runs(rules: &Rules, runs: &[Vec<Criterion>]) -> Vec<Criterion> {
    let all = rules.criterion.iter().map(|rule| {
        let of_rule = runs.iter().filter_map(|run| run.iter().find(|it| it.id == rule.id));
        (of_rule.collect::<Vec<_>>(), &rule.unit)
    });
    all.filter(|(runs, _)| !runs.is_empty()).map(|(runs, unit)| Criterion::combined(&runs, unit)).collect()
}
