//! Groups, orders and expanded rows.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use serde_json::Value as Json;

use super::{Runner, bounded};
use crate::language::{
    aggregates::Rows,
    error::{Checked, Span},
    ex::Ex,
    functions::convert,
    plan::{AggregateCall, Order},
    table::{Batch, Cells},
    value::{Type, Value},
};

type Places = Vec<(u32, u32)>;

impl Runner<'_> {
    /// Groups in the order in which they first appear, and the rows of each.
    fn groups(&self, batches: &[Batch], keys: &[Ex]) -> (Vec<Vec<Value>>, Vec<Places>) {
        let mut known: HashMap<Vec<Value>, usize> = HashMap::new();
        let (mut groups, mut rows): (Vec<Vec<Value>>, Vec<Places>) = (Vec::new(), Vec::new());
        let mut key = Vec::with_capacity(keys.len());
        for (number, batch) in (0_u32..).zip(batches) {
            for at in 0..batch.len {
                key.clear();
                key.extend(keys.iter().map(|it| it.eval(self.row(batch, at)).into_owned()));
                let group = match known.get(key.as_slice()) {
                    Some(group) => *group,
                    None => {
                        known.insert(key.clone(), groups.len());
                        groups.push(key.clone());
                        rows.push(Places::new());
                        groups.len() - 1
                    }
                };
                rows[group].push((number, u32::try_from(at).unwrap_or(u32::MAX)));
            }
        }
        (groups, rows)
    }

    pub(super) fn summarize(
        &self,
        batches: &[Batch],
        keys: &[Ex],
        calls: &[AggregateCall],
        results: &[Ex],
        grouped: bool,
        span: Span,
    ) -> Checked<Vec<Batch>> {
        let (mut groups, mut rows) = self.groups(batches, keys);
        if groups.is_empty() && !grouped {
            groups.push(Vec::new());
            rows.push(Places::new());
        }
        let mut columns: Vec<Vec<Value>> =
            (0..keys.len() + calls.len()).map(|_| Vec::with_capacity(groups.len())).collect();
        for (group, at) in groups.into_iter().zip(&rows) {
            bounded(span, self.env.spend(at.len() * calls.len()))?;
            let of_group = Rows { batches, at, env: self.env };
            let made = calls.iter().map(|it| (it.function.run)(&it.args, &of_group));
            for (column, value) in columns.iter_mut().zip(group.into_iter().chain(made)) {
                column.push(value);
            }
        }
        let columns = columns.into_iter().map(|it| Cells::All(Arc::new(it))).collect();
        Ok(vec![self.project(&Batch { columns, len: rows.len() }, results, span)?])
    }

    /// Rows of equal keys keep their order.
    pub(super) fn order(&self, batch: &Batch, by: &[Order], first: Option<usize>) -> Batch {
        let keys: Vec<Vec<Value>> = by
            .iter()
            .map(|it| (0..batch.len).map(|at| it.by.eval(self.row(batch, at)).into_owned()).collect())
            .collect();
        let mut rows: Vec<u32> = (0..batch.len).filter_map(|it| u32::try_from(it).ok()).collect();
        rows.sort_by(|a, b| {
            let orders = by.iter().zip(&keys).map(|(it, key)| ordered(it, &key[*a as usize], &key[*b as usize]));
            orders.fold(Ordering::Equal, Ordering::then)
        });
        rows.truncate(first.unwrap_or(usize::MAX));
        batch.pick(rows)
    }

    pub(super) fn expand(
        &self,
        batch: &Batch,
        value: &Ex,
        place: usize,
        kind: Type,
        limit: usize,
        span: Span,
    ) -> Checked<Batch> {
        let (mut rows, mut cells) = (Vec::new(), Vec::new());
        for at in 0..batch.len {
            let items = expanded(&value.eval(self.row(batch, at)));
            bounded(span, self.env.spend(items.len()))?;
            for item in items.into_iter().take(limit) {
                rows.push(u32::try_from(at).unwrap_or(u32::MAX));
                cells.push(if kind == Type::Dynamic { item } else { convert(kind, &item) });
            }
            bounded(span, self.env.fits(rows.len()))?;
        }
        let mut expanded = batch.pick(rows);
        let cells = Cells::All(Arc::new(cells));
        if place < expanded.columns.len() {
            expanded.columns[place] = cells;
        } else {
            expanded.columns.push(cells);
        }
        Ok(expanded)
    }
}

fn ordered(it: &Order, a: &Value, b: &Value) -> Ordering {
    match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (null, other) if null != other => {
            let first = if it.nulls_first { null } else { other };
            if first { Ordering::Less } else { Ordering::Greater }
        }
        _ if it.ascending => a.order(b),
        _ => b.order(a),
    }
}

/// Elements of an array, one bag for each key of a bag; all else is one row.
fn expanded(value: &Value) -> Vec<Value> {
    match value {
        Value::Dynamic(json) => match &**json {
            Json::Array(items) if items.is_empty() => vec![Value::Null],
            Json::Array(items) => items.iter().map(|it| Value::dynamic(it.clone())).collect(),
            Json::Object(items) => items
                .iter()
                .map(|(key, it)| Value::dynamic(Json::Object([(key.clone(), it.clone())].into_iter().collect())))
                .collect(),
            _ => vec![value.clone()],
        },
        other => vec![other.clone()],
    }
}
