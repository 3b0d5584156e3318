//! What a lab's page shows: `load/<lab>/page.toml`, which is a part of the program.

use serde::Deserialize;

const PLANS: [(&str, &str); 3] = [
    ("oom", include_str!("../../../../load/oom/page.toml")),
    ("replay", include_str!("../../../../load/replay/page.toml")),
    ("roles", include_str!("../../../../load/roles/page.toml")),
];

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    pub title: String,
    pub hypothesis: String,
    /// Sentences with `{criterion}` in them.
    pub story: Vec<String>,
    #[serde(rename = "panel")]
    pub panels: Vec<Panel>,
    pub facts: Vec<Facts>,
    #[serde(rename = "table")]
    pub tables: Vec<GuideTable>,
    #[serde(rename = "difference")]
    pub differences: Vec<Difference>,
    /// Nothing for a lab that has not run there.
    pub real_host: Option<RealHost>,
}

/// What Microsoft's own host is whose figures stand in [`Fact::host`], and why this run's differ.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RealHost {
    pub about: String,
    pub why: Vec<String>,
}

/// A chart: all of its series on one axis.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Panel {
    pub id: String,
    pub title: String,
    pub unit: String,
    /// What it tells, in a sentence or two.
    pub about: String,
    /// Shades the lab's bands and draws its limit.
    #[serde(default)]
    pub bands: bool,
    pub series: Vec<Series>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum SeriesKind {
    #[default]
    Line,
    Points,
    /// Marks without a value.
    Events,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Series {
    pub name: String,
    #[serde(default)]
    pub kind: SeriesKind,
    pub query: String,
    #[serde(default)]
    pub value: String,
    /// Takes the rows whose `column` is `is`.
    #[serde(default)]
    pub column: String,
    #[serde(default)]
    pub is: String,
    /// A bin without a row is a zero.
    #[serde(default)]
    pub zero: bool,
}

/// Signals of the guide, each beside the criterion that measures it here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Facts {
    pub title: String,
    pub about: String,
    pub rows: Vec<Fact>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fact {
    pub what: String,
    pub guide: String,
    #[serde(default)]
    pub criterion: String,
    /// What Microsoft's own host came to.
    #[serde(default)]
    pub host: String,
}

/// A table of the guide, ours of the same columns, and that of Microsoft's own host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GuideTable {
    pub title: String,
    pub about: String,
    #[serde(default)]
    pub query: String,
    /// A CSV of the bundle, in place of a query.
    #[serde(default)]
    pub file: String,
    pub columns: Vec<String>,
    pub heads: Vec<String>,
    pub guide: Vec<Vec<String>>,
    #[serde(default)]
    pub host: Vec<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Difference {
    pub guide: String,
    pub here: String,
    pub why: String,
}

impl Plan {
    /// The plan of a lab; none for a lab that there is not.
    pub(super) fn of(lab: &str) -> Option<Result<Self, toml::de::Error>> {
        PLANS.iter().find(|it| it.0 == lab).map(|it| toml::from_str(it.1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::judgement::query_text;

    #[test]
    fn each_plan_names_queries_that_are_there_and_columns_that_they_have() {
        for (lab, _) in PLANS {
            let plan = Plan::of(lab).unwrap().unwrap();
            let ids: BTreeSet<_> = plan.panels.iter().map(|it| &it.id).collect();
            assert_eq!(ids.len(), plan.panels.len(), "{lab}: each panel has an id of its own");
            let series = plan.panels.iter().flat_map(|it| &it.series);
            let of_series = series.map(|it| (&it.query, vec![&it.value, &it.column]));
            let of_tables =
                plan.tables.iter().filter(|it| it.file.is_empty()).map(|it| (&it.query, it.columns.iter().collect()));
            for (query, columns) in of_series.chain(of_tables) {
                let text = query_text(lab, query).unwrap_or_else(|| panic!("{lab}: {query}"));
                kql::Query::parse(text).unwrap_or_else(|error| panic!("{query}: {error}"));
                for column in columns.into_iter().filter(|it| !it.is_empty()) {
                    assert!(text.contains(column.as_str()), "{query} has no {column}");
                }
            }
            for table in &plan.tables {
                let widths = table.guide.iter().chain(&table.host).map(Vec::len);
                assert_eq!(table.columns.len(), table.heads.len(), "{}", table.title);
                assert!(widths.into_iter().all(|it| it == table.heads.len()), "{}", table.title);
            }
        }
        assert!(Plan::of("else").is_none());
    }
}
