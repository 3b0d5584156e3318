//! A lab as its judge knows it: its criteria and its queries.

use super::{Rules, RulesError};

/// Queries of all labs by `<lab>/<file>`: those of Application Insights' tables, and those that need the lab's own.
const QUERIES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/queries.rs"));

#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// `oom`, `replay` or `roles`.
    pub name: &'static str,
    /// The text of its `criteria.toml`.
    pub criteria: &'static str,
}

impl Definition {
    /// Its criteria, bands and figures.
    ///
    /// # Errors
    /// Never in practice: they are part of the program.
    pub fn rules(&self) -> Result<Rules, RulesError> {
        Rules::parse(self.criteria)
    }

    /// The text of a query's file.
    pub fn query(&self, file: &str) -> Option<&'static str> {
        query_text(self.name, file)
    }
}

/// The text of a lab's query.
pub fn query_text(lab: &str, file: &str) -> Option<&'static str> {
    QUERIES.iter().find(|(name, _)| name.split_once('/') == Some((lab, file))).map(|(_, text)| *text)
}
