//! A run beside what came out on Microsoft's own host: each figure next to its own, and what makes them differ.

use super::{
    html::{esc, table},
    plan::{Plan, RealHost},
};
use crate::judgement::Criterion;

const HEADS: [&str; 3] = ["signal", "this run", "Microsoft's host"];

/// For a terminal: figures, then reasons. Empty for a lab that there is not, and where nothing was measured.
pub fn beside_real_host(lab: &str, criteria: &[Criterion]) -> String {
    let Some(Ok(plan)) = Plan::of(lab) else { return String::new() };
    let observed = |id: &str| criteria.iter().find(|it| it.id == id).map(|it| it.observed.clone());
    let rows = rows(&plan, observed);
    let Some(RealHost { about, why }) = plan.real_host.as_ref().filter(|_| !rows.is_empty()) else {
        return String::new();
    };
    let heads = HEADS.map(str::to_owned);
    let widest = |column: usize| rows.iter().chain([&heads]).map(|it| it[column].chars().count()).max();
    let widths = [widest(0), widest(1)].map(Option::unwrap_or_default);
    let line = |[what, here, there]: &[String; 3]| format!("  {what:<0$}  {here:<1$}  {there}\n", widths[0], widths[1]);
    let figures: String = [&heads].into_iter().chain(&rows).map(line).collect();
    let why: String = why.iter().map(|it| format!("  - {}\n", it.replace('\n', "\n    "))).collect();
    format!("\nMicrosoft's host: {about}\n\n{figures}\n{why}")
}

/// The same for the page.
pub(super) fn section(plan: &Plan, observed: impl Fn(&str) -> Option<String>) -> String {
    let rows: Vec<Vec<String>> = rows(plan, observed).into_iter().map(Vec::from).collect();
    let Some(RealHost { about, why }) = plan.real_host.as_ref().filter(|_| !rows.is_empty()) else {
        return String::new();
    };
    let why: String = why.iter().map(|it| format!("<li>{}</li>", esc(it))).collect();
    let heads = ["Signal", "This run", "Microsoft's host"].map(str::to_owned);
    let about = format!("<p class=about>Microsoft's host: {}</p>", esc(about));
    format!("{about}{}<ul>{why}</ul>", table("Beside Microsoft's host", &heads, &rows))
}

/// The signals that both have.
fn rows(plan: &Plan, observed: impl Fn(&str) -> Option<String>) -> Vec<[String; 3]> {
    let facts = plan.facts.iter().flat_map(|it| &it.rows).filter(|it| !it.host.is_empty());
    facts.filter_map(|it| Some([it.what.clone(), observed(&it.criterion)?, it.host.clone()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lab_has_figures_of_the_real_host_beside_criteria_that_there_are_and_reasons() {
        for (lab, criteria) in [
            ("oom", include_str!("../../../../load/oom/criteria.toml")),
            ("replay", include_str!("../../../../load/replay/criteria.toml")),
        ] {
            let plan = Plan::of(lab).unwrap().unwrap();
            let known = |id: &str| criteria.contains(&format!("id = \"{id}\"")).then(|| "measured".to_owned());
            assert!(rows(&plan, known).len() >= 3 && plan.real_host.as_ref().unwrap().why.len() >= 3, "{lab}");
            let shown = section(&plan, known);
            assert!(shown.contains("measured") && shown.contains("<p class=about>Microsoft's host: "), "{shown}");
            assert_eq!(section(&plan, |_| None), "", "nothing was measured");
        }
        assert_eq!(beside_real_host("else", &[]), "");
    }
}
