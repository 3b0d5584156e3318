//! Criteria: each holds one measured number against the bounds its file gives it; a verdict follows from all of them.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Bands, Environment};

/// What a criterion is there for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The hypothesis needs it.
    Proof,
    /// The hypothesis would fall with it; a pass means that it did not happen.
    Disproof,
    /// The evidence must not contradict itself.
    Consistency,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CriterionResult {
    Pass,
    Fail,
    /// The run has no rows that could tell.
    Missing,
    Unstable,
}

impl fmt::Display for CriterionResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Missing => "missing",
            Self::Unstable => "UNSTABLE",
        })
    }
}

/// A bound: a number, or the edge of the band named. `at_least` and `below` mean where the band begins, `above` and `at_most`
/// where it ends.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Bound {
    Number(f64),
    Band(String),
}

/// A criterion as its file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub id: String,
    /// What it is there for.
    pub kind: Kind,
    /// What is claimed, in a few words.
    pub claim: String,
    /// What the guide says or saw.
    #[serde(default)]
    pub guide: String,
    /// Which number, as the lab's measures are named.
    pub measure: String,
    #[serde(default)]
    pub phase: String,
    /// Unit of the bounds, for people: `L`, `%`, `x`, `ms`.
    #[serde(default)]
    pub unit: String,
    #[serde(default)]
    at_least: Option<Bound>,
    #[serde(default)]
    at_most: Option<Bound>,
    #[serde(default)]
    above: Option<Bound>,
    #[serde(default)]
    below: Option<Bound>,
    /// Whether the verdict can do without it, as it must where a machine has nothing that counts.
    #[serde(default)]
    pub optional: bool,
}

impl Rule {
    /// Puts numbers in place of bands.
    fn resolve(&mut self, bands: &Bands) -> Result<(), RulesError> {
        let starts = [&mut self.at_least, &mut self.below].map(|it| (it, true));
        let ends = [&mut self.at_most, &mut self.above].map(|it| (it, false));
        for (bound, is_start) in starts.into_iter().chain(ends) {
            if let Some(Bound::Band(band)) = bound {
                let edge = if is_start { bands.start(band) } else { bands.end(band) };
                let unknown = || RulesError::UnknownBand { id: self.id.clone(), band: band.clone() };
                *bound = Some(Bound::Number(edge.ok_or_else(unknown)?));
            }
        }
        Ok(())
    }

    fn bounds(&self) -> [(&'static str, Option<f64>); 4] {
        let number = |bound: &Option<Bound>| match bound {
            Some(Bound::Number(number)) => Some(*number),
            _ => None,
        };
        [("≥", &self.at_least), (">", &self.above), ("≤", &self.at_most), ("<", &self.below)]
            .map(|(sign, bound)| (sign, number(bound)))
    }

    fn holds(&self, value: f64) -> bool {
        self.bounds().into_iter().all(|(sign, bound)| match (sign, bound) {
            (_, None) => true,
            ("≥", Some(bound)) => value >= bound,
            (">", Some(bound)) => value > bound,
            ("≤", Some(bound)) => value <= bound,
            (_, Some(bound)) => value < bound,
        })
    }

    fn threshold(&self) -> String {
        let bounds = self.bounds().into_iter().filter_map(|(sign, bound)| Some((sign, bound?)));
        let texts: Vec<String> =
            bounds.map(|(sign, bound)| format!("{sign} {}", with_unit(bound, &self.unit))).collect();
        texts.join(", ")
    }
}

/// A number with its unit, without more digits than it needs.
fn with_unit(value: f64, unit: &str) -> String {
    let digits = if value == value.trunc() || value.abs() >= 100.0 { 0 } else { 2 };
    let space = if matches!(unit, "" | "%") { "" } else { " " };
    format!("{value:.digits$}{space}{unit}")
}

/// A file of criteria.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Bands that criteria may name, where the lab has them.
    #[serde(default, rename = "band")]
    pub bands: Bands,
    /// In the order they are told.
    pub criterion: Vec<Rule>,
}

/// Why criteria could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The file is not what it should be.
    #[error("understand the criteria")]
    Invalid(#[from] toml::de::Error),
    #[error("the bands do not follow each other: each must end above the one before, and the last alone has no end")]
    BandOrder,
    #[error("criterion {id} is bounded by the band {band:?}, which is not in its file")]
    UnknownBand { id: String, band: String },
    #[error("criterion {id} asks for {measure:?} in phase {phase:?}, which this lab does not measure")]
    UnknownMeasure {
        id: String,
        /// What it asks for.
        measure: String,
        phase: String,
    },
}

impl Rules {
    /// Reads criteria.
    ///
    /// # Errors
    /// When the text is not TOML of this shape, or a band is missing or out of order.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let mut rules: Self = toml::from_str(text)?;
        if !rules.bands.are_in_order() {
            return Err(RulesError::BandOrder);
        }
        rules.criterion.iter_mut().try_for_each(|it| it.resolve(&rules.bands))?;
        Ok(rules)
    }
}

/// A number from the tables.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// The number; `None` when the run has no rows to tell it from.
    pub value: Option<f64>,
    /// More than the number says: other units, names.
    pub note: String,
    /// The rows that decided it, at most [`Measured::ROWS`].
    pub rows: Vec<Value>,
}

impl Measured {
    /// Rows kept for a criterion: enough to look them up, few enough to read.
    pub const ROWS: usize = 10;

    /// A number and the rows it comes from.
    pub fn new<'a>(value: f64, rows: impl IntoIterator<Item = &'a super::Row>) -> Self {
        let rows = rows.into_iter().take(Self::ROWS).map(|row| row.columns.clone()).collect();
        Self { value: Some(value), rows, ..Self::default() }
    }

    /// The same with a note.
    #[must_use]
    pub fn noted(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

impl Measured {
    /// The number of lines nobody can read, by file.
    pub fn unreadable(lines: &BTreeMap<String, usize>) -> Self {
        let files: Vec<String> = lines.iter().map(|(file, count)| format!("{file} {count}")).collect();
        Self::new(lines.values().sum::<usize>() as f64, []).noted(files.join(", "))
    }
}

/// A number that a lab can find in a run's rows, by the name that criteria have for it.
pub struct Measure<R> {
    pub name: &'static str,
    find: fn(&R, &str) -> Option<Measured>,
}

impl<R> Measure<R> {
    /// `find` gets the criterion's phase, and gives nothing where the run has no rows to tell the number from.
    pub const fn new(name: &'static str, find: fn(&R, &str) -> Option<Measured>) -> Self {
        Self { name, find }
    }
}

impl<R> fmt::Debug for Measure<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Measure").field(&self.name).finish()
    }
}

/// A criterion and its result.
#[derive(Clone, Debug, Serialize)]
pub struct Criterion {
    pub id: String,
    pub claim: String,
    /// What it is there for.
    pub kind: Kind,
    /// What the guide says or saw.
    pub guide: String,
    /// The bound at this scale.
    pub threshold: String,
    /// What was measured, for people.
    pub observed: String,
    pub value: Option<f64>,
    pub result: CriterionResult,
    /// The rows that decided it.
    pub rows: Vec<Value>,
    #[serde(skip)]
    optional: bool,
}

/// Holds a run's rows against each rule.
///
/// # Errors
/// When a rule asks for a number that is not among the measures.
pub fn judge<R>(rules: &Rules, measures: &[Measure<R>], rows: &R) -> Result<Vec<Criterion>, RulesError> {
    let judged = rules.criterion.iter().map(|rule| {
        let measure = measures.iter().find(|it| it.name == rule.measure);
        let measure = measure.ok_or_else(|| RulesError::UnknownMeasure {
            id: rule.id.clone(),
            measure: rule.measure.clone(),
            phase: rule.phase.clone(),
        })?;
        Ok(Criterion::new(rule, (measure.find)(rows, &rule.phase).unwrap_or_default()))
    });
    judged.collect()
}

impl Criterion {
    fn new(rule: &Rule, measured: Measured) -> Self {
        let result = match measured.value {
            None => CriterionResult::Missing,
            Some(value) if rule.holds(value) => CriterionResult::Pass,
            Some(_) => CriterionResult::Fail,
        };
        let number = measured.value.map(|it| with_unit(it, &rule.unit)).unwrap_or_else(|| "no rows".to_owned());
        let observed = if measured.note.is_empty() { number } else { format!("{number} ({})", measured.note) };
        Self {
            id: rule.id.clone(),
            claim: rule.claim.clone(),
            kind: rule.kind,
            guide: rule.guide.clone(),
            threshold: rule.threshold(),
            observed,
            value: measured.value,
            result,
            rows: measured.rows,
            optional: rule.optional,
        }
    }

    /// One criterion over several runs: the median and the spread; unstable where runs disagree.
    fn combined(runs: &[&Self], unit: &str) -> Self {
        let mut combined = runs[0].clone();
        if runs.iter().any(|it| it.result != combined.result) {
            combined.result = CriterionResult::Unstable;
        }
        let values: Vec<f64> = runs.iter().filter_map(|it| it.value).collect();
        let at = |percent| super::percentile(values.clone(), percent);
        if let (Some(low), Some(median), Some(high)) = (at(0.0), at(50.0), at(100.0)) {
            combined.value = Some(median);
            combined.observed = format!("{} ({low:.2} to {high:.2})", with_unit(median, unit));
        }
        combined.rows = runs.iter().flat_map(|it| it.rows.iter().cloned()).take(Measured::ROWS).collect();
        combined
    }

    /// Each criterion over several runs.
    pub fn over_runs(rules: &Rules, runs: &[Vec<Self>]) -> Vec<Self> {
        let column = |at: usize| runs.iter().filter_map(|run| run.get(at)).collect::<Vec<_>>();
        let all = rules.criterion.iter().enumerate().map(|(at, rule)| (column(at), &rule.unit));
        all.filter(|(runs, _)| !runs.is_empty()).map(|(runs, unit)| Self::combined(&runs, unit)).collect()
    }
}

/// What the criteria come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Supported,
    /// At least one does not.
    NotSupported,
    /// None fails, but some cannot be told, or differ from run to run.
    Inconclusive,
}

impl Verdict {
    /// A single failure decides; what is missing or unstable only keeps a pass from being one.
    pub fn of(criteria: &[Criterion]) -> Self {
        let any = |outcome| criteria.iter().any(|it| it.result == outcome && !it.optional);
        let failed = criteria.iter().any(|it| it.result == CriterionResult::Fail);
        match () {
            () if failed => Self::NotSupported,
            () if any(CriterionResult::Missing) || any(CriterionResult::Unstable) || criteria.is_empty() => {
                Self::Inconclusive
            }
            () => Self::Supported,
        }
    }

    /// Nothing follows from a run that is in doubt.
    #[must_use]
    pub fn doubted(self, doubts: &[String]) -> Self {
        if doubts.is_empty() { self } else { Self::Inconclusive }
    }

    /// The exit code of a run.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Supported => 0,
            Self::NotSupported => 1,
            Self::Inconclusive => 2,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Supported => "supported",
            Self::NotSupported => "NOT SUPPORTED",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// `verdict.json`.
#[derive(Clone, Debug, Serialize)]
pub struct VerdictFile {
    /// `oom` or `replay`.
    pub lab: &'static str,
    /// What the criteria come to, unless there are doubts.
    pub verdict: Verdict,
    /// What keeps anything from following from the run.
    pub doubts: Vec<String>,
    /// Share of an EP1, where the lab is scaled.
    pub scale: String,
    pub criteria: Vec<Criterion>,
    /// What there was, by name.
    pub counts: serde_json::Map<String, Value>,
    pub environment: Environment,
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        [[band]]
        name = "low"
        ends = 0.75
        words = "quiet"
        [[band]]
        name = "high"
        words = "loud"
        [[criterion]]
        id = "peak"
        kind = "proof"
        claim = "memory enters the band"
        guide = "1.2-2.0 GB"
        measure = "peak"
        unit = "L"
        at_least = 0.5
        below = "high"
        [[criterion]]
        id = "kills"
        kind = "consistency"
        claim = "the kernel agrees"
        measure = "kills"
        at_most = 0
        optional = true
    "#;

    type Rows = (Option<f64>, Option<f64>);

    const MEASURES: [Measure<Rows>; 2] = [
        Measure::new("peak", |(peak, _), _| Some(Measured::new((*peak)?, []))),
        Measure::new("kills", |(_, kills), _| Some(Measured::new((*kills)?, []))),
    ];

    fn judged(peak: Option<f64>, kills: Option<f64>) -> Vec<Criterion> {
        judge(&Rules::parse(RULES).unwrap(), &MEASURES, &(peak, kills)).unwrap()
    }

    #[test]
    fn bounds_decide_and_one_failure_decides_the_verdict() {
        let cases = [
            (Some(0.5), Some(0.0), Verdict::Supported),
            (Some(0.75), Some(0.0), Verdict::NotSupported),
            (Some(0.49), Some(0.0), Verdict::NotSupported),
            (Some(0.6), Some(1.0), Verdict::NotSupported),
            (None, Some(0.0), Verdict::Inconclusive),
            (Some(0.6), None, Verdict::Supported),
            (None, Some(1.0), Verdict::NotSupported),
        ];
        for (peak, kills, want) in cases {
            assert_eq!(Verdict::of(&judged(peak, kills)), want, "{peak:?} {kills:?}");
        }
        assert_eq!(Verdict::of(&[]), Verdict::Inconclusive);
        for verdict in [Verdict::Supported, Verdict::NotSupported, Verdict::Inconclusive] {
            assert_eq!(verdict.doubted(&[]), verdict);
            assert_eq!(verdict.doubted(&["a row was lost".to_owned()]), Verdict::Inconclusive);
        }
        assert_eq!(judged(Some(0.5), None)[0].threshold, "≥ 0.50 L, < 0.75 L");
        assert_eq!(judged(Some(0.5), None)[1].observed, "no rows");
    }

    #[test]
    fn runs_that_disagree_make_a_criterion_unstable_and_the_verdict_inconclusive() {
        let rules = Rules::parse(RULES).unwrap();
        let agree = [judged(Some(0.5), Some(0.0)), judged(Some(0.7), Some(0.0)), judged(Some(0.6), Some(0.0))];
        let over = Criterion::over_runs(&rules, &agree);
        assert_eq!((Verdict::of(&over), over[0].value), (Verdict::Supported, Some(0.6)));
        assert_eq!(over[0].observed, "0.60 L (0.50 to 0.70)");
        let differ = [judged(Some(0.5), Some(0.0)), judged(Some(0.8), Some(0.0))];
        assert_eq!(Verdict::of(&Criterion::over_runs(&rules, &differ)), Verdict::Inconclusive);
    }

    #[test]
    fn a_criterion_nobody_measures_is_an_error() {
        let error = judge(&Rules::parse(RULES).unwrap(), &MEASURES[1..], &(None, None)).unwrap_err();
        assert!(error.to_string().contains("criterion peak asks for \"peak\""), "{error}");
    }

    #[test]
    fn a_bound_names_the_edge_of_a_band_that_is_there() {
        let bands = Rules::parse(RULES).unwrap().bands;
        assert_eq!((bands.start("low"), bands.start("high"), bands.end("low")), (Some(0.0), Some(0.75), Some(0.75)));
        assert_eq!(
            [0.0, 0.74, 0.75, 9.0].map(|it| bands.of(it).unwrap().words.as_str()),
            ["quiet", "quiet", "loud", "loud"]
        );
        assert_eq!(bands.edges().collect::<Vec<_>>(), [0.75]);
        for (from, to, want) in [
            ("below = \"high\"", "below = \"higher\"", "criterion peak is bounded by the band \"higher\""),
            ("ends = 0.75", "", "the bands do not follow each other"),
        ] {
            let error = Rules::parse(&RULES.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
