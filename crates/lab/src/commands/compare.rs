//! `lab compare`: two runs of one lab side by side, from their `verdict.json`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    evidence::render::columns,
    judgement::VERDICT,
    machine::{
        exit::{EXIT_OK, EXIT_WRONG, UsageError},
        terminal::out,
    },
};

/// A value counts as changed beyond this ratio, up or down.
const NOTABLE_RATIO: f64 = 1.25;
const ABSENT: &str = "-";
const HEADER: [&str; 6] = ["run", "verdict", "origin", "scale", "control", "runs"];

/// Set two runs of one lab side by side: verdicts, criteria, doubts, counts, environment.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:     cargo lab compare evidence/oom/2026-11-28T05-00-00Z evidence/oom/latest
Signs:       ! the results differ; x 3.1 is B's value over A's, where it is beyond 1.25 either way; ~ the values differ otherwise
Exit codes:  0 the verdicts are equal; 1 they differ; 3 a verdict.json could not be read; 64 the command line is wrong,
             or the runs are of two labs")]
pub struct Compare {
    /// Folder of the first run, with verdict.json.
    a: PathBuf,
    /// Folder of the second run.
    b: PathBuf,
    /// Leave out what is equal in both.
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Print the comparison as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Only {
    Changed,
}

/// What is in both runs, or in one of them.
#[derive(Debug, Serialize)]
struct Pair<T> {
    name: String,
    a: Option<T>,
    b: Option<T>,
}

#[derive(Debug, Serialize)]
struct Side {
    observed: String,
    value: Option<f64>,
    result: String,
    grade: Option<String>,
    spread: Option<Value>,
}

#[derive(Debug, Serialize)]
struct ComparedCriterion {
    #[serde(flatten)]
    sides: Pair<Side>,
    /// B's value over A's, where both have one and the quotient is finite.
    ratio: Option<f64>,
    sign: String,
    changed: bool,
}

#[derive(Debug, Serialize)]
struct Comparison {
    lab: String,
    same_verdict: bool,
    header: Vec<Pair<Value>>,
    criteria: Vec<ComparedCriterion>,
    /// Those that differ.
    counts: Vec<Pair<Value>>,
    environment: Vec<Pair<Value>>,
    doubts: Pair<Vec<String>>,
}

impl Compare {
    /// Reads both verdicts and prints the comparison.
    ///
    /// # Errors
    /// When a verdict is missing or cannot be read, or the labs are two.
    pub fn run(self) -> anyhow::Result<u8> {
        let (a, b) = (read(&self.a)?, read(&self.b)?);
        let (lab, other) = (text(&a, "lab"), text(&b, "lab"));
        if lab != other {
            let why = format!("A is a run of the {lab} lab and B of the {other} lab: compare two runs of one lab");
            return Err(UsageError(why).into());
        }
        let mut comparison = Comparison::of(lab, &a, &b);
        if self.only == Some(Only::Changed) {
            comparison.criteria.retain(|it| it.changed);
            comparison.header.retain(|it| it.a != it.b);
        }
        out(&if self.json { serde_json::to_string(&comparison)? } else { comparison.as_text() });
        Ok(if comparison.same_verdict { EXIT_OK } else { EXIT_WRONG })
    }
}

fn read(folder: &Path) -> anyhow::Result<Map<String, Value>> {
    let path = folder.join(VERDICT);
    if !path.is_file() {
        let why = "there is no such file; `lab judge` or `lab run` makes it";
        return Err(anyhow!("{}: {why}", path.display()));
    }
    let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let value: Value = serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))?;
    match value {
        Value::Object(it)
            if it.get("lab").is_some_and(Value::is_string) && it.get("verdict").is_some_and(Value::is_string) =>
        {
            Ok(it)
        }
        _ => {
            Err(anyhow!("{} names no lab and no verdict; `lab judge` or `lab run` makes one that does", path.display()))
        }
    }
}

fn text(object: &Map<String, Value>, name: &str) -> String {
    object.get(name).map(shown).unwrap_or_default()
}

/// A value on one line.
fn shown(value: &Value) -> String {
    match value {
        Value::String(it) if it.contains(char::is_control) => it.escape_debug().to_string(),
        Value::String(it) => it.clone(),
        other => other.to_string(),
    }
}

impl Comparison {
    fn of(lab: String, a: &Map<String, Value>, b: &Map<String, Value>) -> Self {
        let header = HEADER.map(|it| Pair { name: it.to_owned(), a: a.get(it).cloned(), b: b.get(it).cloned() });
        let doubts = Pair { name: "doubts".to_owned(), a: Some(doubts(a)), b: Some(doubts(b)) };
        Self {
            lab,
            same_verdict: a.get("verdict") == b.get("verdict"),
            header: header.into(),
            criteria: criteria(a, b),
            counts: differing(a, b, "counts"),
            environment: differing(a, b, "environment"),
            doubts,
        }
    }

    fn as_text(&self) -> String {
        let mut parts = vec![format!("Lab: {}", self.lab)];
        if !self.header.is_empty() {
            parts.push(values(&self.header, "run"));
        }
        if !self.criteria.is_empty() {
            let headings = ["criterion", "A", "result", "B", "result", "sign"].map(str::to_owned);
            let rows: Vec<Vec<String>> = self.criteria.iter().map(ComparedCriterion::cells).collect();
            parts.push(columns(&headings, &rows));
        }
        for (side, doubts) in [("A", &self.doubts.a), ("B", &self.doubts.b)] {
            parts.extend(doubts.iter().flatten().map(|it| format!("Doubt about {side}: {}", it.escape_debug())));
        }
        for (pairs, title) in [(&self.counts, "counts that differ"), (&self.environment, "environment that differs")] {
            if !pairs.is_empty() {
                parts.push(values(pairs, title));
            }
        }
        parts.push(format!("The verdicts {}.", if self.same_verdict { "are equal" } else { "differ" }));
        parts.join("\n\n")
    }
}

fn values(pairs: &[Pair<Value>], title: &str) -> String {
    let cell = |value: &Option<Value>| value.as_ref().map_or_else(|| ABSENT.to_owned(), shown);
    let rows: Vec<Vec<String>> = pairs.iter().map(|it| vec![it.name.clone(), cell(&it.a), cell(&it.b)]).collect();
    columns(&[title, "A", "B"].map(str::to_owned), &rows)
}

fn doubts(verdict: &Map<String, Value>) -> Vec<String> {
    verdict.get("doubts").and_then(Value::as_array).into_iter().flatten().map(shown).collect()
}

/// The leaves of an object, nested names joined by points.
fn leaves(value: &Value, name: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(it) => {
            for (key, inner) in it {
                leaves(inner, &if name.is_empty() { key.clone() } else { format!("{name}.{key}") }, found);
            }
        }
        other => found.push((name.to_owned(), other.clone())),
    }
}

fn differing(a: &Map<String, Value>, b: &Map<String, Value>, name: &str) -> Vec<Pair<Value>> {
    let of = |verdict: &Map<String, Value>| {
        let mut found = Vec::new();
        if let Some(object @ Value::Object(_)) = verdict.get(name) {
            leaves(object, "", &mut found);
        }
        found.into_iter().collect::<BTreeMap<_, _>>()
    };
    let (a, b) = (of(a), of(b));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let pair = |it: &String| Pair { name: it.clone(), a: a.get(it).cloned(), b: b.get(it).cloned() };
    names.into_iter().map(pair).filter(|it| it.a != it.b).collect()
}

/// In A's order, then those that B alone has.
fn criteria(a: &Map<String, Value>, b: &Map<String, Value>) -> Vec<ComparedCriterion> {
    let of = |verdict: &Map<String, Value>| -> Vec<(String, Side)> {
        let all = verdict.get("criteria").and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_object).map(|it| (text(it, "id"), Side::of(it))).collect()
    };
    let mut second = of(b);
    let mut compared = Vec::new();
    for (id, side) in of(a) {
        let at = second.iter().position(|it| it.0 == id);
        compared.push(ComparedCriterion::of(id, Some(side), at.map(|it| second.remove(it).1)));
    }
    compared.extend(second.into_iter().map(|(id, side)| ComparedCriterion::of(id, None, Some(side))));
    compared
}

impl Side {
    fn of(criterion: &Map<String, Value>) -> Self {
        let result = text(criterion, "result");
        Self {
            observed: text(criterion, "observed"),
            value: criterion.get("value").and_then(Value::as_f64),
            // Verdicts of earlier versions call it so.
            result: if result == "missing" { "inconclusive".to_owned() } else { result },
            grade: criterion.get("grade").and_then(Value::as_str).map(str::to_owned),
            spread: criterion.get("spread").filter(|it| it.is_object()).cloned(),
        }
    }

    fn cell(&self) -> String {
        let part = |name| self.spread.as_ref().and_then(|it| it.get(name)).map(shown);
        match (part("low"), part("high"), part("runs")) {
            (Some(low), Some(high), Some(runs)) => format!("{} [{low} to {high}, {runs} runs]", self.observed),
            _ => self.observed.clone(),
        }
    }
}

impl ComparedCriterion {
    fn of(name: String, a: Option<Side>, b: Option<Side>) -> Self {
        let (mut sign, mut ratio) = (String::new(), None);
        match (&a, &b) {
            (Some(first), Some(second)) => {
                ratio = quotient(first.value, second.value);
                let by_value = value_sign(first.value, second.value, ratio);
                let by_result = (first.result != second.result).then(|| "!".to_owned());
                sign = by_result.into_iter().chain(by_value).collect::<Vec<_>>().join(" ");
            }
            (Some(_), None) => sign.push_str("only A"),
            (None, _) => sign.push_str("only B"),
        }
        let changed = !sign.is_empty();
        Self { sides: Pair { name, a, b }, ratio, sign, changed }
    }

    fn cells(&self) -> Vec<String> {
        let side = |it: &Option<Side>| match it {
            Some(it) => [it.cell(), it.result.clone()],
            None => [ABSENT, ABSENT].map(str::to_owned),
        };
        let ([a, a_result], [b, b_result]) = (side(&self.sides.a), side(&self.sides.b));
        vec![self.sides.name.clone(), a, a_result, b, b_result, self.sign.clone()]
    }
}

fn quotient(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    let ratio = b? / a?;
    ratio.is_finite().then_some(ratio)
}

fn value_sign(a: Option<f64>, b: Option<f64>, ratio: Option<f64>) -> Option<String> {
    match (a, b, ratio) {
        (None, None, _) => None,
        (Some(a), Some(b), _) if a.total_cmp(&b).is_eq() || (a == 0.0 && b == 0.0) => None,
        (Some(_), Some(_), Some(it)) if it > 0.0 => {
            let is_notable = !(1.0 / NOTABLE_RATIO..=NOTABLE_RATIO).contains(&it);
            is_notable.then(|| if it < 1.0 { format!("x {it:.2}") } else { format!("x {it:.1}") })
        }
        // From or to zero, across it, or one value only: no ratio tells it.
        _ => Some("~".to_owned()),
    }
}
