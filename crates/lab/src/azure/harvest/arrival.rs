//! Waiting for ingestion: rows come minutes late and out of order, and nothing says that the last one is there.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use serde_json::Value;
use tokio::time::Instant;

use super::{Harvest, TABLES, Window};
use crate::{
    azure::{
        client::Answer,
        error::AzureError,
        logs::{self, query_call},
    },
    machine::terminal::StatusLine,
};

/// Looks before an unchanged count is believed: five minutes, after which rows are usually there (Azure Monitor, log data ingestion
/// time: 20 seconds to 3 minutes on average).
const LEAST_LOOKS: u32 = 60;
/// Looks in a row without a new row: two minutes.
const QUIET_LOOKS: u32 = 24;
/// Looks after which the rows that are there have to do: twenty minutes.
const MOST_LOOKS: u32 = 240;
/// A workspace that does not know the tables is given up after this.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// Rows by table.
type Counts = BTreeMap<String, u64>;

/// What the looks have shown so far.
#[derive(Debug, Default)]
struct Looks {
    made: u32,
    quiet: u32,
    counts: Counts,
}

impl Looks {
    fn note(&mut self, counts: Counts) {
        self.made += 1;
        self.quiet = if counts == self.counts { self.quiet + 1 } else { 0 };
        self.counts = counts;
    }

    fn are_enough(&self, expected: &BTreeMap<&str, u64>) -> bool {
        self.made >= LEAST_LOOKS && self.quiet >= QUIET_LOOKS && missing(expected, &self.counts).is_empty()
    }
}

impl Harvest<'_> {
    /// Waits until the rows are there that must be, and no more come. Gives what is missing when time is over.
    pub(super) async fn arrived(&self, window: Window, expected: &BTreeMap<&str, u64>) -> anyhow::Result<Vec<String>> {
        let counts = TABLES.map(|it| format!("({} | project Type = {it:?})", self.rows(it, window)));
        let text = format!("union isfuzzy=true {}\n| summarize n = count() by Type", counts.join(",\n  "));
        let call = query_call(self.workspace, &text, None, "wait for the run's rows in the workspace");
        let (mut looks, mut status) = (Looks::default(), StatusLine::start());
        let is_done = |answer: &Result<Answer, AzureError>| match answer {
            Ok(answer) => {
                looks.note(counted(&answer.body));
                let rows: u64 = looks.counts.values().sum();
                let line =
                    format!("waiting for ingestion: {rows} rows; {}", missing(expected, &looks.counts).join(", "));
                status.show(&line, &line);
                looks.are_enough(expected) || looks.made >= MOST_LOOKS
            }
            Err(error) => !logs::is_no_table(error),
        };
        let began = Instant::now();
        self.azure.wait(&call, LONGEST, is_done).await.context("read the workspace")?;
        if self.azure.is_planning() || looks.are_enough(expected) {
            return Ok(Vec::new());
        }
        let late = |it: String| format!("{it}, {} s after the run's end", began.elapsed().as_secs());
        let growing = (looks.quiet < QUIET_LOOKS).then(|| "rows were still coming".to_owned());
        Ok(missing(expected, &looks.counts).into_iter().chain(growing).map(late).collect())
    }
}

fn counted(body: &Value) -> Counts {
    let answer = logs::rows(body).unwrap_or_default();
    let names = answer.column("Type").map(|it| it.as_str().unwrap_or_default().to_owned());
    names.zip(answer.column("n").map(|it| it.as_u64().unwrap_or_default())).collect()
}

/// Tables that have fewer rows than they must, a sentence each.
fn missing(expected: &BTreeMap<&str, u64>, counts: &Counts) -> Vec<String> {
    let lacking = expected.iter().filter_map(|(table, least)| {
        let rows = counts.get(*table).copied().unwrap_or_default();
        (rows < *least).then(|| format!("{table} has {rows} of at least {least} rows"))
    });
    lacking.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_believed_when_it_is_enough_old_and_quiet() {
        let expected = BTreeMap::from([("AppRequests", 3)]);
        let of = |rows| Counts::from([("AppRequests".to_owned(), rows)]);
        let mut looks = Looks::default();
        for _ in 0..LEAST_LOOKS {
            looks.note(of(2));
        }
        assert!(!looks.are_enough(&expected), "a row is missing");
        for late in 0..=QUIET_LOOKS {
            looks.note(of(3));
            assert_eq!(looks.are_enough(&expected), late == QUIET_LOOKS, "{late}");
        }
        looks.note(of(4));
        assert!(!looks.are_enough(&expected), "one more has come");
    }
}
