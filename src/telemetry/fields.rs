//! The fields of an event or a span as they were recorded, none longer than a row may have it.

use opentelemetry::logs::AnyValue;
use tracing::field::{Field, Visit};

use super::text::{LONGEST, clip, formatted};

/// What one field says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    Text(String),
    Whole(i64),
    Real(f64),
    Flag(bool),
}

/// Fields by name, in the order of the event. A field that is recorded twice has its last value.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(pub(super) Vec<(&'static str, Said)>);

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&Said> {
        self.0.iter().find(|it| it.0 == name).map(|it| &it.1)
    }

    pub(super) fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Said::Text(text)) => text,
            _ => "",
        }
    }

    /// Takes a text out.
    pub(super) fn take(&mut self, name: &str) -> String {
        match self.0.iter().position(|it| it.0 == name).map(|at| self.0.remove(at).1) {
            Some(Said::Text(text)) => text,
            _ => String::new(),
        }
    }

    pub(super) fn real(&self, name: &str) -> f64 {
        match self.get(name) {
            Some(Said::Real(it)) => *it,
            Some(Said::Whole(it)) => *it as f64,
            _ => 0.0,
        }
    }

    /// About how much memory they take.
    pub(super) fn bytes(&self) -> usize {
        let text = |said: &Said| if let Said::Text(text) = said { text.len() } else { 0 };
        self.0.iter().map(|it| size_of::<(&str, Said)>() + text(&it.1)).sum()
    }

    fn set(&mut self, field: &Field, said: Said) {
        match self.0.iter_mut().find(|it| it.0 == field.name()) {
            Some(known) => known.1 = said,
            None => self.0.push((field.name(), said)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.set(field, Said::Text(formatted(value)));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, Said::Text(clip(value, LONGEST).to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, Said::Whole(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, i64::try_from(value).map_or(Said::Real(value as f64), Said::Whole));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, Said::Real(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, Said::Flag(value));
    }
}

impl From<Said> for AnyValue {
    fn from(said: Said) -> Self {
        match said {
            Said::Text(text) => text.into(),
            Said::Whole(it) => it.into(),
            Said::Real(it) => it.into(),
            Said::Flag(it) => it.into(),
        }
    }
}
