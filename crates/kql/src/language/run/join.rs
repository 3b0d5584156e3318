//! `join`: rows of two tables with equal keys. A null key equals nothing.

use std::{collections::HashMap, sync::Arc};

use super::{Runner, bounded, whole};
use crate::language::{
    error::{Checked, Span},
    ex::Ex,
    plan::JoinPlan,
    syntax::JoinKind,
    table::{Batch, Cells},
    value::{Type, Value},
};

/// `None` where a part of the key is null.
type Keys = Vec<Option<Vec<Value>>>;

impl Runner<'_> {
    fn keys(&self, batch: &Batch, by: &[Ex]) -> Keys {
        let key = |at: usize| {
            by.iter().map(|it| Some(it.eval(self.row(batch, at)).into_owned()).filter(|it| !it.is_null())).collect()
        };
        (0..batch.len).map(key).collect()
    }

    pub(super) fn join(&self, left: &Batch, plan: &JoinPlan, span: Span) -> Checked<Batch> {
        let right = whole(self.plan(&plan.right)?);
        bounded(span, self.env.spend(right.len + left.len))?;
        let mut by_key: HashMap<Vec<Value>, Vec<u32>> = HashMap::new();
        for (at, key) in (0_u32..).zip(self.keys(&right, &plan.right_keys)) {
            if let Some(key) = key {
                by_key.entry(key).or_default().push(at);
            }
        }
        let mut left_keys = self.keys(left, &plan.left_keys);
        if plan.kind == JoinKind::InnerUnique {
            let mut known = std::collections::HashSet::new();
            for key in &mut left_keys {
                if key.as_ref().is_some_and(|it| !known.insert(it.clone())) {
                    *key = None;
                }
            }
        }
        let (mut left_rows, mut right_rows) = (Vec::new(), Vec::new());
        for (at, key) in (0_u32..).zip(&left_keys) {
            let found = key.as_ref().and_then(|it| by_key.get(it)).map_or(&[] as &[u32], Vec::as_slice);
            match plan.kind {
                JoinKind::LeftAnti if found.is_empty() => left_rows.push(at),
                JoinKind::LeftSemi if !found.is_empty() => left_rows.push(at),
                JoinKind::LeftAnti | JoinKind::LeftSemi => {}
                JoinKind::LeftOuter if found.is_empty() => {
                    left_rows.push(at);
                    right_rows.push(None);
                }
                _ => {
                    bounded(span, self.env.fits(left_rows.len() + found.len()))?;
                    bounded(span, self.env.spend(found.len()))?;
                    left_rows.extend(std::iter::repeat_n(at, found.len()));
                    right_rows.extend(found.iter().map(|it| Some(*it)));
                }
            }
        }
        let mut joined = left.pick(left_rows);
        if !matches!(plan.kind, JoinKind::LeftAnti | JoinKind::LeftSemi) {
            let columns = right.columns.iter().zip(&plan.right_schema).map(|(cells, column)| {
                let absent = if column.kind == Type::String { Value::text("") } else { Value::Null };
                let picked =
                    right_rows.iter().map(|it| it.map_or_else(|| absent.clone(), |at| cells.at(at as usize).clone()));
                Cells::All(Arc::new(picked.collect()))
            });
            joined.columns.extend(columns.collect::<Vec<_>>());
        }
        Ok(joined)
    }
}
