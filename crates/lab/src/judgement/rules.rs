//! A lab's `criteria.toml`: bands, criteria, and the figures that are told beside them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Grade, reduction::Reduction};
use crate::evidence::Bands;

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
    /// An item of the guide's checklist for its operator.
    Checklist,
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
    pub kind: Kind,
    /// What is claimed, in a few words.
    pub claim: String,
    /// What the guide says or saw.
    #[serde(default)]
    pub guide: String,
    /// File of the query whose rows decide.
    pub query: String,
    /// Which of the query's rows count: a KQL predicate.
    #[serde(default, rename = "where")]
    pub keep: String,
    /// The column with the number.
    pub column: String,
    pub reduction: Reduction,
    /// The column that `percent` divides by.
    #[serde(default)]
    pub of: String,
    /// The phase that the query's window is, where it has one window, or one named `window`.
    #[serde(default)]
    pub phase: String,
    /// The phase that its window `reference` is.
    #[serde(default)]
    pub against: String,
    /// Other parameters of the query.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Unit of the bounds, for people: `%`, `x`, `ms`. `L` is the worker's memory limit, and the query's number is in MB.
    #[serde(default)]
    pub unit: String,
    /// Told beside the number: `{column}` stands for the rows' values.
    #[serde(default)]
    pub note: String,
    #[serde(default)]
    at_least: Option<Bound>,
    #[serde(default)]
    at_most: Option<Bound>,
    #[serde(default)]
    above: Option<Bound>,
    #[serde(default)]
    below: Option<Bound>,
    /// The grade of its evidence where there are rows, if another than *observed*.
    #[serde(default)]
    pub grade: Option<Grade>,
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

    pub(super) fn holds(&self, value: f64) -> bool {
        self.bounds().into_iter().all(|(sign, bound)| match (sign, bound) {
            (_, None) => true,
            ("≥", Some(bound)) => value >= bound,
            (">", Some(bound)) => value > bound,
            ("≤", Some(bound)) => value <= bound,
            (_, Some(bound)) => value < bound,
        })
    }

    /// Its bounds, for people.
    pub(super) fn threshold(&self) -> String {
        let bounds = self.bounds().into_iter().filter_map(|(sign, bound)| Some((sign, bound?)));
        let texts: Vec<String> =
            bounds.map(|(sign, bound)| format!("{sign} {}", with_unit(bound, &self.unit))).collect();
        texts.join(", ")
    }
}

/// A number with its unit, without more digits than it needs.
pub(super) fn with_unit(value: f64, unit: &str) -> String {
    let digits = if value == value.trunc() || value.abs() >= 100.0 { 0 } else { 2 };
    let space = if matches!(unit, "" | "%") { "" } else { " " };
    format!("{value:.digits$}{space}{unit}")
}

/// Figures of `verdict.json` that no criterion is about: a query's rows, by their first column.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    pub query: String,
    /// The name they stand under; at the top, if none.
    #[serde(default)]
    pub under: String,
}

/// A query whose rows a run prints above its criteria.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sheet {
    pub title: String,
    pub query: String,
}

/// A file of criteria.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// What the lab sets out to show.
    pub hypothesis: String,
    /// The query whose rows are `timeline.csv`.
    pub timeline: String,
    /// Phases that an import may have under another name.
    #[serde(default)]
    pub stands_for: BTreeMap<String, String>,
    #[serde(default, rename = "count")]
    pub counts: Vec<Count>,
    /// Printed below the criteria: `{name}` stands for a count.
    #[serde(default)]
    pub summary: String,
    #[serde(default, rename = "sheet")]
    pub sheets: Vec<Sheet>,
    /// Bands that criteria may name, where the lab has them.
    #[serde(default, rename = "band")]
    pub bands: Bands,
    /// In the order they are told.
    pub criterion: Vec<Rule>,
}

/// Why criteria could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    #[error("understand the criteria")]
    Invalid(#[from] toml::de::Error),
    #[error("the bands do not follow each other: each must end above the one before, and the last alone has no end")]
    BandOrder,
    #[error("criterion {id} is bounded by the band {band:?}, which is not in its file")]
    UnknownBand { id: String, band: String },
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

    /// Files of all queries it names.
    pub fn queries(&self) -> impl Iterator<Item = &str> {
        let criteria = self.criterion.iter().map(|it| &it.query);
        let figures = self.counts.iter().map(|it| &it.query).chain(self.sheets.iter().map(|it| &it.query));
        criteria.chain(figures).chain([&self.timeline]).map(String::as_str)
    }
}
