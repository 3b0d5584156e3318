//! What the page says in words: verdict and story, doubts, differences, checklist, environment.

use std::fmt::Write;

use serde_json::Value;

use super::{
    bundle::Bundle,
    criteria::badge,
    html::{esc, id, plain, table},
    plan::{Difference, Plan},
};

/// The verdict and the story, in one paragraph.
pub(super) fn verdict(bundle: &Bundle, plan: &Plan) -> String {
    let Some(verdict) = &bundle.verdict else {
        return "<p class=story><span class=\"badge open\"><span aria-hidden=true>…</span> under way</span> The run has not ended: \
                there is no verdict yet. This page follows it.</p>"
            .to_owned();
    };
    let said = plain(&verdict["verdict"]);
    let all = bundle.criteria();
    let passed = all.iter().filter(|it| it["result"] == "pass").count();
    let sentence = match said.as_str() {
        "supported" => "The evidence supports the hypothesis",
        "not_supported" => "The evidence does not support the hypothesis",
        _ => "Nothing follows from this evidence",
    };
    let control = if verdict["control"] == true { " This run is the control: it has no remedy." } else { "" };
    let mut text = format!("{sentence}: {passed} of {} criteria pass.", all.len());
    text.push_str(control);
    let mut story = format!("{} <strong>{}</strong>", badge(&said), esc(&text));
    for (result, words) in [("fail", "Failed"), ("inconclusive", "Inconclusive"), ("unstable", "Unstable")] {
        let named: Vec<String> = all.iter().filter(|it| it["result"] == result).map(link).collect();
        if !named.is_empty() {
            let _ = write!(story, " {words}: {}.", named.join(", "));
        }
    }
    for sentence in plan.story.iter().filter_map(|it| told(bundle, it)) {
        let _ = write!(story, " {}", esc(&sentence));
    }
    format!("<p class=hypothesis>{}</p>\n<p class=story>{story}</p>\n{}", esc(&plan.hypothesis), facts(bundle, verdict))
}

fn link(criterion: &Value) -> String {
    let name = plain(&criterion["id"]);
    format!("<a href=\"#c-{}\">{}</a>", id(&name), esc(&plain(&criterion["claim"])))
}

/// A sentence with what its criteria observed; none where one of them has nothing.
fn told(bundle: &Bundle, sentence: &str) -> Option<String> {
    let mut parts = sentence.split('{');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}')?;
        text += &bundle.observed(name)?;
        text += rest;
    }
    Some(text)
}

fn facts(bundle: &Bundle, verdict: &Value) -> String {
    let origin = match verdict["origin"].as_str() {
        Some("import") => "imported telemetry",
        Some("azure") => "a run of this lab on Azure",
        _ => "a run of this lab",
    };
    let mut facts = vec![("Run", bundle.run.clone()), ("Evidence of", origin.to_owned())];
    facts.push(("Scale", plain(&verdict["scale"])));
    facts.push(("Runs", plain(&verdict["runs"])));
    let counts = verdict["counts"].as_object().into_iter().flatten();
    let numbers = counts
        .filter(|it| it.1.is_number())
        .map(|(name, value)| format!("{} {}", plain(value), name.replace('_', " ")));
    facts.push(("Counted", numbers.collect::<Vec<_>>().join(", ")));
    let shown = facts.iter().filter(|it| !it.1.is_empty());
    let shown: String = shown.map(|it| format!("<div><dt>{}</dt><dd>{}</dd></div>", it.0, esc(&it.1))).collect();
    format!("<dl class=facts>{shown}</dl>")
}

/// Why nothing follows; empty without doubts.
pub(super) fn doubts(bundle: &Bundle) -> String {
    let all = bundle.verdict.as_ref().and_then(|it| it["doubts"].as_array()).map_or(&[][..], Vec::as_slice);
    let items: String = all.iter().map(|it| format!("<li>{}</li>", esc(&plain(it)))).collect();
    if items.is_empty() { items } else { format!("<ul>{items}</ul>") }
}

pub(super) fn differences(differences: &[Difference]) -> String {
    let rows: Vec<Vec<String>> =
        differences.iter().map(|it| vec![it.guide.clone(), it.here.clone(), it.why.clone()]).collect();
    table("What differs", &["The guide", "Here", "Why"].map(str::to_owned), &rows)
}

/// The guide's checklist: its lines `- [x] text` as a list with words for the boxes.
pub(super) fn checklist(bundle: &Bundle) -> String {
    let mut items = String::new();
    let mut prose = String::new();
    for line in bundle.checklist.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#')) {
        let item = line.strip_prefix("- ").or_else(|| line.strip_prefix("* "));
        let boxed = item.and_then(|it| it.strip_prefix('[')).and_then(|it| it.split_once(']'));
        match (item, boxed) {
            (_, Some(("x" | "X", text))) => {
                let _ = write!(items, "<li>{} {}</li>", badge("pass"), esc(text.trim()));
            }
            (_, Some((_, text))) => {
                let _ = write!(items, "<li><span class=\"badge open\">open</span> {}</li>", esc(text.trim()));
            }
            (Some(text), None) => {
                let _ = write!(items, "<li>{}</li>", esc(text));
            }
            (None, None) => {
                let _ = write!(prose, "<p>{}</p>", esc(line));
            }
        }
    }
    if items.is_empty() { prose } else { format!("{prose}<ul class=checklist>{items}</ul>") }
}

pub(super) fn environment(bundle: &Bundle) -> String {
    let facts = bundle.environment.as_object().into_iter().flatten();
    let rows: Vec<Vec<String>> = facts.map(|(name, value)| vec![name.clone(), plain(value)]).collect();
    if rows.is_empty() { String::new() } else { table("Environment", &["Fact", "Value"].map(str::to_owned), &rows) }
}
