//! Numbers of the charts: each series from its query, on one axis of time.

use std::collections::{BTreeMap, BTreeSet};

use kql::{Database, Query, Table};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::{
    ReportError,
    bundle::Bundle,
    plan::{Panel, Plan, Series, SeriesKind},
};
use crate::{
    evidence::{
        database,
        schema::{Profile, read_time},
    },
    judgement::query_text,
};

/// Bins of the charts and of the tables, in milliseconds: round ones, so that a bin's time is one that can be read.
const BINS: [i64; 17] = [
    100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000,
    21_600_000, 86_400_000,
];
const CHART_BINS: i64 = 240;
const TABLE_BINS: i64 = 20;
/// Marks of one kind; more cannot be told apart.
const POINTS: usize = 600;

/// What the page's script draws.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Model {
    /// Where the axis begins, in milliseconds of Unix time; all times are from here.
    pub start: i64,
    pub end: i64,
    pub phases: Vec<PhaseData>,
    pub bands: Value,
    #[serde(rename = "limitMB")]
    pub limit_mb: Value,
    pub panels: Vec<PanelData>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct PhaseData {
    pub name: String,
    pub from: i64,
    pub to: i64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct PanelData {
    pub id: String,
    pub title: String,
    pub unit: String,
    pub bands: bool,
    pub series: Vec<SeriesData>,
    /// Why series are not there, in words.
    pub missing: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct SeriesData {
    pub name: String,
    pub kind: &'static str,
    pub t: Vec<i64>,
    pub v: Vec<f64>,
}

/// The tables of a folder, and the parameters that its queries take.
pub(super) struct Reader<'a> {
    bundle: &'a Bundle,
    database: Database,
    parameters: Vec<(String, String)>,
    pub start: i64,
    pub end: i64,
}

impl<'a> Reader<'a> {
    /// Reads each table that the plan's queries need.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub(super) fn new(bundle: &'a Bundle, plan: &Plan) -> Result<Self, ReportError> {
        let series = plan.panels.iter().flat_map(|it| &it.series).map(|it| &it.query);
        let files: BTreeSet<&String> = series.chain(plan.tables.iter().map(|it| &it.query)).collect();
        let parsed = files.into_iter().filter_map(|it| Query::parse(query_text(&bundle.lab, it)?).ok());
        let names: BTreeSet<String> = parsed.flat_map(|it| it.tables()).collect();
        let missing: BTreeSet<String> = bundle.missing(&names).into_iter().map(str::to_owned).collect();
        let present = names.difference(&missing).cloned().collect();
        let database = database::load(&bundle.tables(), &present, Profile::Documented)?.database;
        let (start, end) = span(bundle, &database);
        let mut parameters = bundle.phases.parameters();
        if bundle.verdict.is_none() {
            // The phase that is under way has no end yet.
            parameters.retain(|it| !matches!(it.0.as_str(), "runStart" | "runEnd"));
            parameters.push(("runStart".to_owned(), "1970-01-01T00:00:00Z".to_owned()));
            parameters.push(("runEnd".to_owned(), "2100-01-01T00:00:00Z".to_owned()));
        }
        for (name, value) in bundle.verdict.iter().filter_map(|it| it["parameters"].as_object()).flatten() {
            parameters.push((name.clone(), super::html::plain(value)));
        }
        Ok(Self { bundle, database, parameters, start, end })
    }

    /// Runs a query for a table of the page; the reason in words where it cannot.
    pub(super) fn table(&self, file: &str) -> Result<Table, String> {
        self.run(file, bin(self.end - self.start, TABLE_BINS))
    }

    fn run(&self, file: &str, bin: i64) -> Result<Table, String> {
        let text = query_text(&self.bundle.lab, file).ok_or_else(|| format!("There is no query {file}."))?;
        let mut query = Query::parse(text).map_err(|error| format!("{file}: {error}"))?;
        let tables = query.tables();
        let missing = self.bundle.missing(&tables);
        if !missing.is_empty() {
            return Err(format!("Not in this evidence: {}.", missing.join(", ")));
        }
        let wanted = query.parameters();
        let phases = wanted.iter().filter_map(|it| it.name.strip_suffix("Start"));
        if let Some(phase) = phases.into_iter().find(|it| !self.knows(&format!("{it}Start"))) {
            return Err(format!("This evidence has no phase {phase}."));
        }
        let bin = ("binSize".to_owned(), format!("{bin}ms"));
        for (name, value) in self.parameters.iter().chain([&bin]).filter(|it| wanted.iter().any(|p| p.name == it.0)) {
            query = query.with_parameter(name, value).map_err(|error| format!("{file}: {error}"))?;
        }
        query.run(&self.database).map(|it| it.table).map_err(|error| format!("{file}: {error}"))
    }

    fn knows(&self, parameter: &str) -> bool {
        self.parameters.iter().any(|it| it.0 == parameter)
    }
}

impl Model {
    /// Runs the queries of all panels.
    pub(super) fn of(reader: &Reader<'_>, plan: &Plan) -> Self {
        let step = bin(reader.end - reader.start, CHART_BINS);
        let series = plan.panels.iter().flat_map(|it| &it.series).map(|it| it.query.as_str());
        let files: BTreeSet<&str> = series.collect();
        let answers = files.into_iter().map(|it| (it, reader.run(it, step))).collect();
        let verdict = reader.bundle.verdict.clone().unwrap_or_default();
        Self {
            start: reader.start,
            end: reader.end - reader.start,
            phases: phases(reader.bundle, reader.start),
            bands: verdict["bands"].clone(),
            limit_mb: verdict["parameters"]["limitMB"].clone(),
            panels: plan.panels.iter().map(|it| panel(it, &answers, (reader.start, step))).collect(),
        }
    }
}

type Answers<'a> = BTreeMap<&'a str, Result<Table, String>>;

fn panel(panel: &Panel, answers: &Answers<'_>, axis: (i64, i64)) -> PanelData {
    let mut missing: Vec<String> = Vec::new();
    let mut drawn = Vec::new();
    for series in &panel.series {
        let points = match answers.get(series.query.as_str()) {
            Some(Ok(table)) => points(series, table, axis),
            Some(Err(why)) => {
                if !missing.contains(why) {
                    missing.push(why.clone());
                }
                continue;
            }
            None => continue,
        };
        drawn.push(points);
    }
    let has_points = drawn.iter().any(|it| !it.t.is_empty());
    if !has_points && missing.is_empty() {
        missing.push("The tables are here and have no such rows.".to_owned());
    }
    let (id, title, unit) = (panel.id.clone(), panel.title.clone(), panel.unit.clone());
    PanelData { id, title, unit, bands: panel.bands, series: drawn, missing }
}

fn points(series: &Series, table: &Table, (start, step): (i64, i64)) -> SeriesData {
    let column = |name: &str| table.columns().iter().position(|it| it.name == name);
    let (time, value, filter) = (column("timestamp"), column(&series.value), column(&series.column));
    let is_event = series.kind == SeriesKind::Events;
    let mut found: Vec<(i64, f64)> = Vec::new();
    for row in table.rows() {
        let cell = |at: Option<usize>| at.and_then(|it| row.get(it)).map(kql::Value::to_json).unwrap_or_default();
        if !series.column.is_empty() && cell(filter).as_str() != Some(series.is.as_str()) {
            continue;
        }
        let at = cell(time).as_str().and_then(read_time).map(|it| millis(it.at) - start);
        let value = if is_event { Some(1.0) } else { cell(value).as_f64() };
        found.extend(at.zip(value));
    }
    found.truncate(POINTS);
    let found = if series.zero { filled(&found, step) } else { found };
    let kind = match series.kind {
        SeriesKind::Line => "line",
        SeriesKind::Points => "points",
        SeriesKind::Events => "events",
    };
    let (t, v) = found.into_iter().unzip();
    SeriesData { name: series.name.clone(), kind, t, v }
}

/// Puts a zero into each bin without a row.
fn filled(points: &[(i64, f64)], step: i64) -> Vec<(i64, f64)> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let known: BTreeMap<i64, f64> = points.iter().copied().collect();
    let bins = usize::try_from((last.0 - first.0) / step.max(1)).unwrap_or_default();
    let times = (0..=bins.min(POINTS)).map(|it| first.0 + step * i64::try_from(it).unwrap_or_default());
    times.map(|it| (it, known.get(&it).copied().unwrap_or_default())).collect()
}

/// The smallest bin of which no more than `most` cover a span.
fn bin(span: i64, most: i64) -> i64 {
    BINS.into_iter().find(|it| span <= it * most).unwrap_or(BINS[BINS.len() - 1])
}

fn millis(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

/// Phases that hold no other one, by time.
fn phases(bundle: &Bundle, start: i64) -> Vec<PhaseData> {
    let all = &bundle.phases.phases;
    let mut own: Vec<PhaseData> = Vec::new();
    for (at, phase) in all.iter().enumerate() {
        let holds = |(other_at, other): (usize, &crate::evidence::phases_file::NamedPhase)| {
            let is_wider = phase.end.at - phase.start.at > other.end.at - other.start.at;
            other_at != at && is_wider && phase.start.at <= other.start.at && other.end.at <= phase.end.at
        };
        if !all.iter().enumerate().any(holds) {
            let (from, to) = (millis(phase.start.at) - start, millis(phase.end.at) - start);
            own.push(PhaseData { name: phase.name.clone(), from, to });
        }
    }
    own.sort_by_key(|it| it.from);
    own
}

/// From the first to the last moment: of the phases, and while the run is under way of the rows as well.
fn span(bundle: &Bundle, database: &Database) -> (i64, i64) {
    let starts = bundle.phases.phases.iter().map(|it| millis(it.start.at));
    let ends = bundle.phases.phases.iter().map(|it| millis(it.end.at));
    let (mut from, mut to) = (starts.min(), ends.max());
    if bundle.verdict.is_none() || from.is_none() {
        for table in ["requests", "traces", "performanceCounters"] {
            let query = format!("{table} | summarize firstAt = min(timestamp), lastAt = max(timestamp)");
            let answer = Query::parse(&query).ok().and_then(|it| it.run(database).ok());
            let row = answer.and_then(|it| it.table.rows().next());
            let time = |at: usize| {
                let value = row.as_ref()?.get(at)?.to_json();
                value.as_str().and_then(read_time).map(|it| millis(it.at))
            };
            from = [from, time(0)].into_iter().flatten().min();
            to = [to, time(1)].into_iter().flatten().max();
        }
    }
    let from = from.unwrap_or_default();
    (from, to.unwrap_or(from).max(from + 1000))
}

/// A moment of the run as the page shows it.
pub(super) fn clock_time(millis: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
    at.map(|it| format!("{:02}:{:02}:{:02}.{:03}", it.hour(), it.minute(), it.second(), it.millisecond()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_is_round_and_there_are_never_more_than_asked_for() {
        assert_eq!(bin(60_000, 240), 500);
        assert_eq!(bin(60_001, 240), 500);
        assert_eq!(bin(240_000, 240), 1000);
        assert_eq!(bin(240_001, 240), 2000);
        assert_eq!(bin(0, 240), 100);
    }

    #[test]
    fn a_bin_without_a_row_is_a_zero_where_the_series_says_so() {
        assert_eq!(filled(&[(0, 1.0), (3000, 2.0)], 1000), [(0, 1.0), (1000, 0.0), (2000, 0.0), (3000, 2.0)]);
        assert_eq!(filled(&[], 1000), []);
    }

    #[test]
    fn a_moment_is_shown_in_utc() {
        assert_eq!(clock_time(1_764_077_496_628), "13:31:36.628");
    }
}
