//! The guide's tables, each beside that of this run and that of Microsoft's own host.

use std::fs;

use super::{
    bundle::Bundle,
    html::{esc, plain, table},
    model::Reader,
    plan::{Facts, GuideTable, Plan},
};

/// Rows of a table of this run; more are counted.
const ROWS: usize = 40;

/// All of them, in the plan's order.
pub(super) fn all(bundle: &Bundle, reader: &Reader<'_>, plan: &Plan) -> String {
    let facts = plan.facts.iter().map(|it| facts(bundle, it));
    let guide = plan.tables.iter().map(|it| three(bundle, reader, it));
    facts.chain(guide).collect()
}

fn facts(bundle: &Bundle, facts: &Facts) -> String {
    let has_host = facts.rows.iter().any(|it| !it.host.is_empty());
    let mut heads = vec!["Signal", "The guide", "This run"];
    if has_host {
        heads.push("Microsoft's host");
    }
    let dash = |text: &str| if text.is_empty() { "–".to_owned() } else { text.to_owned() };
    let row = |it: &super::plan::Fact| {
        let here = bundle.observed(&it.criterion).unwrap_or_default();
        let mut row = vec![it.what.clone(), dash(&it.guide), dash(&here)];
        row.extend(has_host.then(|| dash(&it.host)));
        row
    };
    let rows: Vec<Vec<String>> = facts.rows.iter().map(row).collect();
    let heads: Vec<String> = heads.into_iter().map(str::to_owned).collect();
    let (title, about) = (esc(&facts.title), esc(&facts.about));
    format!("<h3>{title}</h3><p class=about>{about}</p>{}\n", table(&facts.title, &heads, &rows))
}

fn three(bundle: &Bundle, reader: &Reader<'_>, own: &GuideTable) -> String {
    let here = match own_rows(bundle, reader, own) {
        Ok(rows) if rows.is_empty() => "<p class=missing>This run: the query found no rows.</p>".to_owned(),
        Ok(rows) => {
            let more = rows.len().saturating_sub(ROWS);
            let shown = &rows[..rows.len() - more];
            let note = if more > 0 { format!("<p class=about>… and {more} rows more.</p>") } else { String::new() };
            table("This run", &own.heads, shown) + &note
        }
        Err(why) => format!("<p class=missing>This run: {}</p>", esc(&why)),
    };
    let other = |caption: &str, rows: &[Vec<String>]| match rows {
        [] => format!("<p class=missing>{caption} has no such rows.</p>"),
        rows => table(caption, &own.heads, rows),
    };
    let (title, about) = (esc(&own.title), esc(&own.about));
    let parts = [other("The guide", &own.guide), here, other("Microsoft's host", &own.host)];
    let parts = parts.map(|it| format!("<div>{it}</div>")).concat();
    format!("<h3>{title}</h3><p class=about>{about}</p><div class=three>{parts}</div>\n")
}

/// A row for each of the run; or why there is none.
fn own_rows(bundle: &Bundle, reader: &Reader<'_>, own: &GuideTable) -> Result<Vec<Vec<String>>, String> {
    if !own.file.is_empty() {
        return csv_rows(bundle, own);
    }
    let answer = reader.table(&own.query)?;
    let place = |name: &String| answer.columns().iter().position(|it| it.name == *name);
    let places: Vec<Option<usize>> = own.columns.iter().map(place).collect();
    let cell = |row: &[kql::Value], at: Option<usize>| {
        at.and_then(|it| row.get(it)).map(|it| short_time(&plain(&it.to_json()))).unwrap_or_default()
    };
    Ok(answer.rows().map(|row| places.iter().map(|it| cell(&row, *it)).collect()).collect())
}

fn csv_rows(bundle: &Bundle, own: &GuideTable) -> Result<Vec<Vec<String>>, String> {
    let missing = |_| format!("there is no {}.", own.file);
    let bytes = fs::read(bundle.folder.join(&own.file)).map_err(missing)?;
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let heads = reader.headers().cloned().unwrap_or_default();
    let places: Vec<_> = own.columns.iter().map(|name| heads.iter().position(|it| it == name)).collect();
    if places.iter().all(Option::is_none) {
        return Err(format!("{} has other columns.", own.file));
    }
    let cell = |row: &csv::StringRecord, at: Option<usize>| {
        at.and_then(|it| row.get(it)).map(|it| short_time(&plain(&it.into()))).unwrap_or_default()
    };
    let rows = reader.records().filter_map(Result::ok);
    Ok(rows.map(|row| places.iter().map(|it| cell(&row, *it)).collect()).collect())
}

/// A moment without its day and with milliseconds; any other text as it is.
fn short_time(text: &str) -> String {
    let is_time = text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T') && text.is_ascii();
    match text.get(11..text.len().saturating_sub(1)).filter(|_| is_time) {
        Some(time) => time.get(..12).unwrap_or(time).trim_end_matches(".000").to_owned(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::short_time;

    #[test]
    fn a_moment_is_shortened_and_nothing_else() {
        for (text, shown) in [
            ("2026-11-25T13:32:24.1676726Z", "13:32:24.167"),
            ("2026-11-25T13:32:20.0000000Z", "13:32:20"),
            ("2026-11-25T13:32Z", "13:32"),
            ("Z", "Z"),
            ("äöüäöüTZ", "äöüäöüTZ"),
            ("12.5", "12.5"),
        ] {
            assert_eq!(short_time(text), shown);
        }
    }
}
