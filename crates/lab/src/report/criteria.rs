//! Each criterion, and behind one click the query and the rows that decided it.

use std::fmt::Write;

use serde_json::Value;

use super::{
    bundle::{Bundle, text},
    html::{esc, id, plain, table},
};
use crate::judgement::query_text;

/// Kinds of criteria with their headings, in the order of the page.
const KINDS: [(&str, &str); 4] = [
    ("proof", "Proof: each must pass"),
    ("disproof", "Disproof: what would speak against it"),
    ("consistency", "Consistency: the evidence agrees with itself"),
    ("checklist", "Checklist"),
];

/// All criteria under the headings of their kinds; one of another kind comes last.
pub(super) fn all(bundle: &Bundle) -> String {
    let mut page = String::new();
    let is_known = |it: &Value| KINDS.iter().any(|(kind, _)| it["kind"] == *kind);
    for (kind, heading) in KINDS {
        let own: Vec<&Value> = bundle.criteria().iter().filter(|it| it["kind"] == kind).collect();
        page += &group(bundle, heading, &own);
    }
    let rest: Vec<&Value> = bundle.criteria().iter().filter(|it| !is_known(it)).collect();
    page + &group(bundle, "Others", &rest)
}

fn group(bundle: &Bundle, heading: &str, criteria: &[&Value]) -> String {
    if criteria.is_empty() {
        return String::new();
    }
    let each: String = criteria.iter().map(|it| one(bundle, it)).collect();
    format!("<h3>{}</h3>\n<div class=criteria>{each}</div>\n", esc(heading))
}

/// A result with a sign that is no colour.
pub(super) fn badge(result: &str) -> String {
    let (class, sign) = match result {
        "pass" | "supported" => ("good", "✓"),
        "fail" | "not_supported" => ("bad", "✕"),
        "unstable" => ("open", "≈"),
        _ => ("open", "?"),
    };
    format!(
        "<span class=\"badge {class}\"><span aria-hidden=true>{sign}</span> {}</span>",
        esc(&result.replace('_', " "))
    )
}

fn one(bundle: &Bundle, criterion: &Value) -> String {
    let name = text(criterion, "id");
    let field = |name: &str| plain(&criterion[name]);
    let mut facts = String::new();
    for (head, value) in [
        ("Measured", field("observed")),
        ("Bound", field("threshold")),
        ("Guide", field("guide")),
        ("Grade", field("grade")),
    ] {
        let shown = if value.is_empty() { "–".to_owned() } else { esc(&value) };
        let _ = write!(facts, "<span class=fact><span class=head>{head}</span> {shown}</span>");
    }
    let reason = match field("reason") {
        it if it.is_empty() => it,
        it => format!("<span class=reason>{}</span>", esc(&it)),
    };
    format!(
        "<details class=criterion id=\"c-{}\"><summary>{}<span class=claim>{}</span>{facts}{reason}</summary>\n\
         <div class=inside>{}{}</div></details>\n",
        id(&name),
        badge(&field("result")),
        esc(&field("claim")),
        how(criterion),
        query(bundle, criterion)
    )
}

/// Which rows count, and how they make a number.
fn how(criterion: &Value) -> String {
    let mut list = String::new();
    for (head, name) in [
        ("Criterion", "id"),
        ("Query", "query"),
        ("Rows where", "where"),
        ("Column", "column"),
        ("Reduction", "reduction"),
        ("Phase", "phase"),
        ("Value", "value"),
        ("Rows", "row_count"),
    ] {
        let value = plain(&criterion[name]);
        if !value.is_empty() {
            let _ = write!(list, "<div><dt>{head}</dt><dd>{}</dd></div>", esc(&value));
        }
    }
    let spread = &criterion["spread"];
    if spread.is_object() {
        let (low, high, runs) = (plain(&spread["low"]), plain(&spread["high"]), plain(&spread["runs"]));
        let _ =
            write!(list, "<div><dt>Spread</dt><dd>{} to {} over {} runs</dd></div>", esc(&low), esc(&high), esc(&runs));
    }
    format!("<dl>{list}</dl>")
}

fn query(bundle: &Bundle, criterion: &Value) -> String {
    let file = text(criterion, "query");
    let own = &criterion["id"];
    let is_for = |it: &&Value| it["for"].as_array().is_some_and(|all| all.contains(own));
    let ran = bundle.session_query(&file).find(is_for).or_else(|| bundle.session_query(&file).next());
    let shipped = || query_text(&bundle.lab, &file).unwrap_or_default().to_owned();
    let words = ran.map_or_else(shipped, |it| text(it, "text"));
    let mut page = String::new();
    if let Some(parameters) = ran.and_then(|it| it["parameters"].as_object()).filter(|it| !it.is_empty()) {
        let all: Vec<String> = parameters.iter().map(|(name, value)| format!("{name} = {}", plain(value))).collect();
        let _ = write!(page, "<p class=about>Parameters: {}</p>", esc(&all.join(", ")));
    }
    if let Some(window) = ran.map(|it| &it["window"]).filter(|it| it.is_object()) {
        let (phase, start, end) = (plain(&window["phase"]), plain(&window["start"]), plain(&window["end"]));
        let _ = write!(page, "<p class=about>Window: {}, {} to {}</p>", esc(&phase), esc(&start), esc(&end));
    }
    if !words.is_empty() {
        let label = esc(&format!("Query {file}"));
        let _ = write!(page, "<pre tabindex=0 role=region aria-label=\"{label}\"><code>{}</code></pre>", esc(&words));
    }
    page + &rows(criterion)
}

fn rows(criterion: &Value) -> String {
    let rows = criterion["rows"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(first) = rows.iter().find_map(Value::as_object) else {
        return "<p class=about>No row decided it.</p>".to_owned();
    };
    let heads: Vec<String> = first.keys().cloned().collect();
    let cells = |row: &Value| heads.iter().map(|it| plain(&row[it.as_str()])).collect();
    let shown: Vec<Vec<String>> = rows.iter().take(10).map(cells).collect();
    let all = criterion["row_count"].as_u64().unwrap_or(rows.len() as u64);
    let more = all.saturating_sub(shown.len() as u64);
    let note = if more > 0 { format!("<p class=about>… and {more} more.</p>") } else { String::new() };
    table("Rows", &heads, &shown) + &note
}

/// This run's criteria beside those of the run that it is read against.
pub(super) fn beside(bundle: &Bundle) -> String {
    let Some(other) = &bundle.beside else { return String::new() };
    let is_control = other["control"].as_bool().unwrap_or(false);
    let what = if is_control { "The control" } else { "The run with the remedy" };
    let theirs = other["criteria"].as_array().map_or(&[][..], Vec::as_slice);
    let find = |it: &Value| theirs.iter().find(|other| other["id"] == it["id"]).cloned().unwrap_or_default();
    let dash = |text: String| if text.is_empty() { "–".to_owned() } else { text };
    let row = |it: &Value| {
        let other = find(it);
        let both = [it, &other].map(|it| (dash(plain(&it["observed"])), dash(plain(&it["result"]))));
        let [(here, result), (there, their_result)] = both;
        vec![plain(&it["claim"]), here, result, there, their_result]
    };
    let rows: Vec<Vec<String>> = bundle.criteria().iter().map(row).collect();
    let heads = ["Criterion", "This run", "Result", what, "Its result"].map(str::to_owned);
    let (run, verdict) = (esc(&plain(&other["run"])), badge(&plain(&other["verdict"])));
    format!(
        "<p class=about>{what} of the same scale: run {run}, {verdict}</p>{}",
        table(&format!("This run beside {}", what.to_lowercase()), &heads, &rows)
    )
}
