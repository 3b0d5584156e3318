//! An app's telemetry out of its workspace: waited for, fetched into a run's tables, and asked by the workspace's own engine.

mod again;
mod arrival;
mod fetch;

use std::{collections::BTreeMap, path::Path};

use anyhow::Context;
use serde_json::json;
use time::OffsetDateTime;

use super::client::Azure;
use crate::{
    evidence::workspace::Ingestion,
    ingestion::import::Import,
    judgement::{Definition, Manifest},
    machine::terminal::err,
};
use custom_handler::clock;

/// The workspace's tables that a run's evidence is made of.
const TABLES: [&str; 7] = [
    "AppRequests",
    "AppDependencies",
    "AppTraces",
    "AppExceptions",
    "AppPerformanceCounters",
    "AppMetrics",
    "FunctionAppLogs",
];

/// One app's telemetry in one workspace.
#[derive(Clone, Copy, Debug)]
pub struct Harvest<'a> {
    pub azure: &'a Azure,
    /// Id of the workspace, its `customerId`.
    pub workspace: &'a str,
    /// The app's name, which its rows have as their role.
    pub app: &'a str,
}

/// A span of time: the first moment is in it, the last is not.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: OffsetDateTime,
    to: OffsetDateTime,
}

impl Harvest<'_> {
    /// Waits until the window's rows are there, and writes them as tables in the place of those that are there. `expected` is the
    /// least number of rows by table. Gives the doubts that it leaves in the folder above the tables.
    ///
    /// # Errors
    /// When the workspace is away or refuses, or a file cannot be written.
    pub async fn gather(
        &self,
        from: OffsetDateTime,
        to: OffsetDateTime,
        expected: &BTreeMap<&str, u64>,
        tables: &Path,
    ) -> anyhow::Result<Vec<String>> {
        let window = Window { from, to };
        let mut doubts = self.arrived(window, expected).await?;
        let mut import = Import::default();
        for table in TABLES {
            doubts.extend(self.fetch(table, window, &mut import).await?);
        }
        if self.azure.is_planning() {
            return Ok(Vec::new());
        }
        let imported = import.finish();
        doubts.extend(imported.counts.refused.values().flat_map(|it| &it.examples).cloned());
        doubts.extend(imported.sampled().map(|(table, items, rows)| {
            format!("{table} was sampled: {rows} rows stand for {items}, and the queries count rows")
        }));
        imported.write(tables).context("write the tables")?;
        let rows = imported.counts.rows.iter().map(|(name, rows)| (name.clone(), *rows)).collect();
        let (from, to) = (clock::timestamp(from), clock::timestamp(to));
        let ingestion = Ingestion { workspace: self.azure.scrubbed(self.workspace), from, to, rows, doubts };
        ingestion.write(tables.parent().unwrap_or(tables)).context("write what the workspace gave")?;
        ingestion.doubts.iter().for_each(|it| err(&format!("doubt: {it}")));
        Ok(ingestion.doubts)
    }

    /// Puts every query of the judgement that is about telemetry to the workspace as well, and leaves its answers in
    /// `workspace-session.json`: one that differs from the answer over the fetched rows is a doubt.
    ///
    /// # Errors
    /// As [`Harvest::gather`].
    pub async fn ask_again(&self, definition: Definition, folder: &Path, manifest: Manifest) -> anyhow::Result<()> {
        again::ask(self, definition, folder, manifest).await
    }

    /// Rows of the app in a table within a window, as KQL.
    fn rows(&self, table: &str, window: Window) -> String {
        let role = if table == "FunctionAppLogs" { "AppName" } else { "AppRoleName" };
        let (from, to) = match self.azure.is_planning() {
            true => ("{start}".to_owned(), "{end}".to_owned()),
            false => (clock::timestamp(window.from), clock::timestamp(window.to)),
        };
        format!(
            "{table} | where TimeGenerated >= datetime({from}) and TimeGenerated < datetime({to}) | where {role} =~ {}",
            json!(self.app)
        )
    }
}
