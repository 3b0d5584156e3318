//! A component's query as a workspace runs it: the same text after the names of the workspace's tables.

use super::asker::is_own;

/// Each of the component's tables as a `let` over the workspace's, separated by empty lines.
const TABLES: &str = include_str!("../../../../load/workspace-tables.kql");

/// Whether a query reads telemetry alone: no table that only a lab has. Only such a one can be put to a workspace.
pub fn reads_telemetry(text: &str) -> bool {
    kql::Query::parse(text).is_ok_and(|it| !it.tables().iter().any(|table| is_own(table)))
}

/// The query after the tables it reads.
pub fn for_workspace(text: &str) -> String {
    let named = |block: &'static str| Some((block.split_whitespace().nth(1)?, block.trim_end()));
    let mut tables: Vec<(&str, &str)> = TABLES.split("\n\n").filter_map(named).collect();
    tables.sort_unstable();
    let prelude = tables.iter().filter(|it| reads(text, it.0)).map(|it| format!("{}\n", it.1));
    prelude.collect::<String>() + text
}

/// Whether a query reads a table: its name ends a line, after nothing, `= ` or `(`.
fn reads(text: &str, table: &str) -> bool {
    text.lines().any(|line| {
        let before = line.strip_suffix(table).map(str::trim_start);
        before.is_some_and(|it| it.is_empty() || it.ends_with(" = ") || it.ends_with('('))
    })
}
