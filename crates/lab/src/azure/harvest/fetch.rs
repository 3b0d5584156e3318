//! A table's rows, in as many slices of time as the service's bounds make necessary.

use anyhow::{Context, bail};
use serde_json::{Map, Value};
use time::Duration;

use super::{Harvest, Window};
use crate::{
    azure::call::Call,
    azure::logs::{LogsAnswer, is_no_table, query, query_call},
    evidence::schema::{Profile, table},
    ingestion::import::Import,
    machine::terminal::err,
};

/// Rows that one answer has at most (Azure Monitor, query limits).
const MOST_ROWS: usize = 500_000;
/// A slice that is not halved any more.
const SHORTEST: Duration = Duration::milliseconds(100);
/// Columns that tell who and where, and nothing of a run.
const NOT_KEPT: [&str; 4] = ["IKey", "TenantId", "ClientIP", "Type"];

impl Harvest<'_> {
    /// Adds the rows of a table to an import, and gives the doubts about them.
    pub(super) async fn fetch(&self, name: &str, window: Window, import: &mut Import) -> anyhow::Result<Vec<String>> {
        let columns = columns(name);
        let (mut slices, mut doubts, mut rows) = (vec![window], Vec::new(), 0);
        while let Some(slice) = slices.pop() {
            let text = format!("{}\n| project {}", self.rows(name, slice), columns.join(", "));
            let call = query_call(self.workspace, &text, None, &format!("fetch {name}"));
            let answer = match query(self.azure, &call).await {
                Ok(answer) => answer,
                Err(error) if is_no_table(&error) => continue,
                Err(error) => return Err(error).with_context(|| format!("fetch {name} from the workspace")),
            };
            self.azure.note(Call { why: format!("{}: in halves, where it is cut", call.why), ..call }.shown(true));
            let is_cut = answer.partial.is_some() || answer.rows.len() >= MOST_ROWS;
            match halves(slice).filter(|_| is_cut) {
                // The earlier half is asked next.
                Some((early, late)) => slices.extend([late, early]),
                None => {
                    doubts.extend(answer.partial.as_ref().map(|why| format!("{name} is not whole: {why}")));
                    rows += answer.rows.len();
                    self.take(name, answer, import)?;
                }
            }
        }
        if !self.azure.is_planning() {
            err(&format!("{name}: {rows} rows"));
        }
        Ok(doubts)
    }

    fn take(&self, name: &str, answer: LogsAnswer, import: &mut Import) -> anyhow::Result<()> {
        let LogsAnswer { columns, rows, .. } = answer;
        let row = |values: Vec<Value>| -> Map<String, Value> {
            columns.iter().map(|it| it.0.clone()).zip(values.into_iter().map(|it| self.scrubbed(it))).collect()
        };
        match import.take_rows(name, rows.into_iter().map(row)) {
            Ok(()) => Ok(()),
            Err(problem) => bail!("{problem}"),
        }
    }

    /// A value without the subscription's id.
    fn scrubbed(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.azure.scrubbed(&text)),
            Value::Array(all) => all.into_iter().map(|it| self.scrubbed(it)).collect(),
            Value::Object(all) => all.into_iter().map(|(name, it)| (name, self.scrubbed(it))).collect(),
            other => other,
        }
    }
}

/// The documented columns that say something of a run.
fn columns(name: &str) -> Vec<&'static str> {
    let all = table(name, Profile::Documented).map(|it| it.columns.as_slice()).unwrap_or_default();
    let names = all.iter().map(|it| it.name.as_str());
    names.filter(|it| !it.starts_with('_') && !NOT_KEPT.contains(it)).collect()
}

fn halves(window: Window) -> Option<(Window, Window)> {
    let length = window.to - window.from;
    let middle = window.from + length / 2;
    (length > SHORTEST).then_some((Window { to: middle, ..window }, Window { from: middle, ..window }))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn halves_meet_and_a_moment_has_none() {
        let window = Window { from: datetime!(2026-04-05 01:30 UTC), to: datetime!(2026-04-05 01:45 UTC) };
        let (early, late) = halves(window).unwrap();
        assert_eq!((early.from, early.to, late.to), (window.from, late.from, window.to));
        assert!(halves(Window { to: window.from + SHORTEST, ..window }).is_none());
    }

    #[test]
    fn no_column_is_fetched_that_tells_whose_the_app_is() {
        for name in super::super::TABLES {
            let columns = columns(name);
            assert!(columns.contains(&"TimeGenerated") && columns.len() > 5, "{name}: {columns:?}");
            assert!(!columns.iter().any(|it| ["IKey", "_ResourceId", "_SubscriptionId", "TenantId"].contains(it)));
        }
    }
}
