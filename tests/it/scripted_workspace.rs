//! A workspace's query API on this machine: the queries run in our own engine, over a folder of tables.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use kql::{Column, Query, Value as Cell};
use lab::evidence::{database, schema::Profile};
use serde_json::{Value, json};

use crate::scripted_azure::{Asked, Reply, ScriptedAzure};

pub(crate) const WORKSPACE: &str = "10650000-0000-4000-8000-00000010650a";

/// What becomes of an answer.
type Change = Box<dyn FnMut(&Asked, Reply) -> Reply + Send>;

/// Which tables a query sees, and how its answer is changed.
pub(crate) struct Workspace {
    /// Folder of the tables at the time of each query, which is numbered from 1.
    pub(crate) tables: Box<dyn FnMut(u64) -> PathBuf + Send>,
    /// Changes an answer on its way, or gives another in its place.
    pub(crate) change: Change,
}

impl Workspace {
    pub(crate) fn of(tables: PathBuf) -> Self {
        Self { tables: Box::new(move |_| tables.clone()), change: Box::new(|_, reply| reply) }
    }

    /// Answers for the workspace from now on, and counts what it was asked.
    pub(crate) fn answer_at(self, azure: &ScriptedAzure) -> Arc<Mutex<u64>> {
        self.answer_as(WORKSPACE, azure)
    }

    /// The same under another id.
    pub(crate) fn answer_as(self, id: &'static str, azure: &ScriptedAzure) -> Arc<Mutex<u64>> {
        let count = Arc::new(Mutex::new(0));
        let (shared, counted) = (Mutex::new(self), Arc::clone(&count));
        // The tables of a folder stay as they are while a query is asked again and again.
        let mut known: BTreeMap<(PathBuf, String), Reply> = BTreeMap::new();
        azure.rule(move |asked| {
            if asked.method != "POST" || !asked.url.contains(&format!("/v1/workspaces/{id}/query")) {
                return None;
            }
            let number = {
                let mut count = counted.lock().unwrap();
                *count += 1;
                *count
            };
            let mut workspace = shared.lock().unwrap();
            let key = ((workspace.tables)(number), asked.body["query"].as_str().unwrap().to_owned());
            let reply = known.entry(key).or_insert_with_key(|key| answer(&key.0, &key.1)).clone();
            Some((workspace.change)(asked, reply))
        });
        count
    }
}

/// The request's format: learn.microsoft.com/azure/azure-monitor/logs/api/request-format; a query that is wrong:
/// learn.microsoft.com/azure/azure-monitor/logs/api/errors.
fn answer(tables: &Path, text: &str) -> Reply {
    let wrong = |why: String| {
        let inner = json!({"code": "SemanticError", "message": why});
        let error = json!({"code": "BadArgumentError", "message": "The request had some invalid properties", "innererror": inner});
        Reply::new(400, json!({"error": error}))
    };
    let query = match Query::parse(text) {
        Ok(query) => query,
        Err(error) => return wrong(error.render(text)),
    };
    let names = query.tables().into_iter().collect();
    let loaded = database::load(tables, &names, Profile::Documented).unwrap();
    let table = match query.run(&loaded.database) {
        Ok(output) => output.table,
        Err(error) => return wrong(error.render(text)),
    };
    let column = |it: &Column| json!({"name": it.name, "type": it.kind.to_string()});
    let rows: Vec<Vec<Value>> = table.rows().map(|row| row.iter().map(Cell::to_json).collect()).collect();
    let columns: Vec<Value> = table.columns().iter().map(column).collect();
    Reply::new(200, json!({"tables": [{"name": "PrimaryResult", "columns": columns, "rows": rows}]}))
}
