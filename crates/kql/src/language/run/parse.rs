//! `parse`: texts between texts, each into a column.

use std::sync::Arc;

use super::{Runner, bounded};
use crate::language::{
    error::{Checked, Span},
    plan::ParsePlan,
    syntax::Piece,
    table::{Batch, Cells},
    value::{Type, Value},
};

impl Runner<'_> {
    pub(super) fn parse(&self, batch: &Batch, plan: &ParsePlan, span: Span) -> Checked<Batch> {
        let mut made: Vec<Vec<Value>> = plan.targets.iter().map(|_| Vec::with_capacity(batch.len)).collect();
        let mut kept = Vec::new();
        for at in 0..batch.len {
            bounded(span, self.env.spend(plan.pieces.len()))?;
            let text = crate::language::ex::text_of(&plan.value.eval(self.row(batch, at))).into_owned();
            let values = pieces(plan, &text);
            if values.is_none() && !plan.keeps_all {
                continue;
            }
            kept.push(u32::try_from(at).unwrap_or(u32::MAX));
            let values = values.unwrap_or_else(|| plan.targets.iter().map(|(_, kind)| absent(*kind)).collect());
            for (column, value) in made.iter_mut().zip(values) {
                column.push(value);
            }
        }
        let mut parsed = if kept.len() == batch.len { batch.clone() } else { batch.pick(kept) };
        parsed.columns.resize(plan.width, Cells::Same(Value::Null));
        for ((place, _), cells) in plan.targets.iter().zip(made) {
            parsed.columns[*place] = Cells::All(Arc::new(cells));
        }
        Ok(parsed)
    }
}

fn absent(kind: Type) -> Value {
    if kind == Type::String { Value::text("") } else { Value::Null }
}

/// The columns' values; `None`: the text is not of the pattern, or a value not of its type.
fn pieces(plan: &ParsePlan, text: &str) -> Option<Vec<Value>> {
    let (mut rest, mut values, mut targets) = (text, Vec::new(), plan.targets.iter());
    let mut skipping = false;
    let mut at = 0;
    while at < plan.pieces.len() {
        match &plan.pieces[at] {
            Piece::Star => skipping = true,
            Piece::Literal(wanted) => {
                let found = if skipping {
                    rest.find(wanted.as_str())?
                } else {
                    rest.starts_with(wanted.as_str()).then_some(0)?
                };
                rest = &rest[found + wanted.len()..];
                skipping = false;
            }
            Piece::Column { .. } => {
                let (_, kind) = *targets.next()?;
                let (cell, left) = match plan.pieces.get(at + 1) {
                    Some(Piece::Literal(wanted)) => rest.split_at(rest.find(wanted.as_str())?),
                    Some(Piece::Star) if kind != Type::String && kind != Type::Dynamic => {
                        rest.split_at(number_len(rest, kind))
                    }
                    _ => (rest, ""),
                };
                let value = if kind == Type::TimeSpan {
                    crate::language::dates::parse_timespan(cell).map(Value::TimeSpan)
                } else {
                    Value::parse(kind, cell)
                };
                match value.filter(|it| !it.is_null() || kind == Type::String) {
                    Some(value) => values.push(value),
                    None if plan.relaxed => values.push(absent(kind)),
                    None => return None,
                }
                rest = left;
                skipping = false;
            }
        }
        at += 1;
    }
    Some(values)
}

/// Bytes of the value that a text begins with.
fn number_len(text: &str, kind: Type) -> usize {
    let blanks = text.len() - text.trim_start().len();
    let within = |it: char| match kind {
        Type::Int | Type::Long => it.is_ascii_digit() || it == '-' || it == '+',
        Type::Real => it.is_ascii_digit() || "+-.eE".contains(it),
        Type::Bool => it.is_ascii_alphabetic(),
        Type::Guid => it.is_ascii_hexdigit() || it == '-',
        _ => it.is_ascii_digit() || "+-.:TZ/".contains(it),
    };
    let body = &text[blanks..];
    let len = body.find(|it| !within(it)).unwrap_or(body.len());
    // A sentence's full stop is no part of a number.
    blanks
        + body[..len].trim_end_matches(['.', '-', '+', ':', 'e', 'E']).len().max(usize::from(kind == Type::Bool) * len)
}
