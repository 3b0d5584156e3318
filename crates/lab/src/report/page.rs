//! The whole page: its parts in order, and what makes it work from a file.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    ReportError,
    bundle::Bundle,
    criteria,
    html::{esc, script_json, section, table},
    model::{Model, PanelData, Reader, clock_time},
    plan::{Panel, Plan},
    real_host, sections, tables,
};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const CHART_STYLE: &str = include_str!("vendor/uPlot.min.css");
const CHART_SCRIPT: &str = include_str!("vendor/uPlot.iife.min.js");
const CHART_LICENCE: &str = include_str!("vendor/LICENSE");
/// The page may run what is in it, and ask the program that serves it, and nothing else.
const POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'";

/// Everything the page says.
pub(super) struct Content {
    pub bundle: Bundle,
    pub plan: Plan,
    pub model: Model,
    /// `(name, heading, content)` of each part; the charts come after the doubts.
    pub parts: Vec<(&'static str, &'static str, String)>,
}

impl Content {
    /// Reads a run that ended.
    ///
    /// # Errors
    /// When a file of the folder is missing or cannot be read.
    pub(super) fn read(folder: &Path) -> Result<Self, ReportError> {
        Self::of(Bundle::read(folder)?)
    }

    /// Reads what there is of a run of a lab.
    ///
    /// # Errors
    /// When a file of the folder cannot be read.
    pub(super) fn under_way(folder: &Path, lab: &str) -> Result<Self, ReportError> {
        Self::of(Bundle::under_way(folder, lab)?)
    }

    fn of(bundle: Bundle) -> Result<Self, ReportError> {
        let lab = bundle.lab.clone();
        let Some(plan) = Plan::of(&lab) else {
            return Err(ReportError::NoLab { folder: bundle.folder, lab });
        };
        let plan = plan.map_err(|source| ReportError::Plan { lab, source })?;
        let reader = Reader::new(&bundle, &plan)?;
        let model = Model::of(&reader, &plan);
        let parts = vec![
            ("verdict", "Verdict", sections::verdict(&bundle, &plan)),
            ("doubts", "Doubts: why nothing follows", sections::doubts(&bundle)),
            ("tables", "The guide's tables", tables::all(&bundle, &reader, &plan)),
            ("criteria", "Criteria", criteria::all(&bundle)),
            ("beside", "Beside the other run", criteria::beside(&bundle)),
            ("real-host", "Beside Microsoft's host", real_host::section(&plan, |id| bundle.observed(id))),
            ("differences", "What differs from the guide, and why", sections::differences(&plan.differences)),
            ("checklist", "The guide's checklist", sections::checklist(&bundle)),
            ("environment", "Environment", sections::environment(&bundle)),
        ];
        Ok(Self { bundle, plan, model, parts })
    }

    /// What a page that is open takes over.
    pub(super) fn data(&self) -> Value {
        let parts: Vec<Value> = self.parts.iter().map(|it| json!([it.0, it.2])).collect();
        let each = self.plan.panels.iter().zip(&self.model.panels);
        let start = self.model.start;
        let figures: Vec<Value> =
            each.map(|(plan, it)| json!([summary(plan, it, start), data_table(it, start)])).collect();
        json!({"ended": self.bundle.verdict.is_some(), "model": self.model, "parts": parts, "figures": figures})
    }
}

/// The page of a run that ended.
pub(super) fn whole(content: &Content) -> String {
    document(content, false)
}

/// The page of a run that may be under way: it asks for news.
pub(super) fn live(content: &Content) -> String {
    document(content, true)
}

fn document(content: &Content, is_live: bool) -> String {
    let title = esc(&content.plan.title);
    let run = esc(&content.bundle.run);
    let split = 2.min(content.parts.len());
    let sections =
        |parts: &[(&str, &str, String)]| -> String { parts.iter().map(|it| section(it.0, it.1, &it.2)).collect() };
    let (before, after) = content.parts.split_at(split);
    let links = |parts: &[(&str, &str, String)]| -> String {
        parts.iter().filter(|it| is_live || !it.2.is_empty()).map(|it| entry(it.0, it.1)).collect()
    };
    let navigation = links(before) + &entry("charts", "Charts") + &links(after);
    let charts = charts(content);
    let data = script_json(&json!({"live": is_live, "model": content.model}));
    // The library's first line is a comment with an address; the page has none.
    let library = CHART_SCRIPT.split_once("*/").map_or(CHART_SCRIPT, |it| it.1);
    format!(
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n<title>{title}: {run}</title>\n\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\n<meta name=color-scheme content=\"light dark\">\n\
         <meta http-equiv=Content-Security-Policy content=\"{POLICY}\">\n<link rel=icon href=\"data:,\">\n\
         <style>{CHART_STYLE}</style>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<a class=skip href=\"#main\">Skip to the verdict</a>\n\
         <header>\n<h1>{title}</h1>\n<p class=about>Run {run}. Times are UTC.</p>\n\
         <nav aria-label=\"On this page\"><ul>{navigation}</ul></nav>\n</header>\n<main id=main tabindex=-1>\n{}{charts}{}</main>\n\
         <footer><p>Made by lab from the files of the run's folder. Charts: uPlot, MIT licence.</p></footer>\n\
         <script type=\"application/json\" id=data>{data}</script>\n<script>/*\nuPlot 1.6.32\n{CHART_LICENCE}*/\n{library}</script>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        sections(before),
        sections(after),
    )
}

fn entry(name: &str, heading: &str) -> String {
    let short = heading.split([':', ',']).next().unwrap_or(heading);
    format!("<li><a href=\"#{name}\">{short}</a></li>")
}

const CONTROLS: &str = "<div class=controls role=group aria-label=\"Moment and zoom\">\n\
    <label for=moment>Moment</label>\n<input type=range id=moment min=0 max=1000 value=0 step=1 aria-describedby=keys>\n\
    <output id=when for=moment></output>\n<span class=buttons>\n<button type=button data-zoom=in>Zoom in</button>\n\
    <button type=button data-zoom=out>Zoom out</button>\n<button type=button data-zoom=left aria-label=\"Earlier\">←</button>\n\
    <button type=button data-zoom=right aria-label=\"Later\">→</button>\n<button type=button data-zoom=reset>All</button>\n</span>\n</div>\n\
    <p class=about id=keys>Arrow keys move the moment in all charts. Drag over a chart to zoom; in the charts the keys + and - zoom, \
    0 shows all.</p>\n<noscript><p class=missing>Without scripts there are no charts; the tables below each have the data.</p></noscript>\n";

fn charts(content: &Content) -> String {
    let each = content.plan.panels.iter().zip(&content.model.panels).enumerate();
    let figures: String = each.map(|(at, (plan, data))| figure(at, plan, data, content.model.start)).collect();
    format!(
        "<section id=charts aria-labelledby=charts-h>\n<h2 id=charts-h>What happened, on one axis</h2>\n{CONTROLS}\
         <div class=panels>{figures}</div>\n</section>\n"
    )
}

fn figure(at: usize, plan: &Panel, data: &PanelData, start: i64) -> String {
    let unit = if plan.unit.is_empty() { String::new() } else { format!(" <small>{}</small>", esc(&plan.unit)) };
    let (id, title, about) = (&plan.id, esc(&plan.title), esc(&plan.about));
    let missing = esc(&data.missing.join(" "));
    let hidden = if missing.is_empty() { " hidden" } else { "" };
    format!(
        "<figure class=panel id=\"panel-{id}\" data-panel={at}>\n<figcaption><h3>{title}{unit}</h3><p class=about>{about}</p></figcaption>\n\
         <p class=missing{hidden}>{missing}</p>\n<div class=plot role=img aria-label=\"{}\"></div>\n<ul class=readout></ul>\n\
         <details class=data><summary>{title}: data as a table</summary><div data-table>{}</div></details>\n</figure>\n",
        esc(&summary(plan, data, start)),
        data_table(data, start)
    )
}

/// What the chart shows, for those who do not see it.
fn summary(plan: &Panel, data: &PanelData, start: i64) -> String {
    let each = data.series.iter().filter(|it| !it.t.is_empty()).map(|it| {
        if it.kind == "events" {
            return format!("{}: {} marks", it.name, it.t.len());
        }
        let highest = it.v.iter().zip(&it.t).max_by(|one, other| one.0.total_cmp(other.0));
        let lowest = it.v.iter().copied().fold(f64::INFINITY, f64::min);
        let (high, at) = highest.map(|it| (*it.0, *it.1)).unwrap_or_default();
        format!("{}: from {lowest} to {high} {}, highest at {}", it.name, plan.unit, clock_time(start + at))
    });
    let each: Vec<String> = each.collect();
    let told = if each.is_empty() { data.missing.join(" ") } else { each.join("; ") };
    format!("Chart: {}. {} {told}.", plan.title, plan.about)
}

/// The chart's points: a row for each time, a column for each series.
pub(super) fn data_table(data: &PanelData, start: i64) -> String {
    let mut times: Vec<i64> = data.series.iter().flat_map(|it| it.t.iter().copied()).collect();
    times.sort_unstable();
    times.dedup();
    if times.is_empty() {
        return String::new();
    }
    let mut heads = vec!["Time".to_owned()];
    heads.extend(data.series.iter().map(|it| it.name.clone()));
    let row = |time: &i64| {
        let value = |it: &super::model::SeriesData| {
            let found = it.t.iter().position(|at| at == time).and_then(|at| it.v.get(at));
            found.map(ToString::to_string).unwrap_or_default()
        };
        let mut row = vec![clock_time(start + time)];
        row.extend(data.series.iter().map(value));
        row
    };
    table(&data.title, &heads, &times.iter().map(row).collect::<Vec<_>>())
}
