//! Runs a plan on tables, step by step, within the limits.

mod join;
mod parse;
mod shape;

use std::{collections::HashSet, sync::Arc};

use crate::language::{
    error::{Checked, ErrorKind, Fault, Span},
    ex::{Ex, Row},
    limits::Env,
    plan::{Cell, Origin, Part, Plan, Step},
    table::{Batch, Cells, Database, Table},
    value::Value,
};

pub(crate) struct Runner<'a> {
    pub(crate) database: &'a Database,
    pub(crate) env: &'a Env,
}

pub(crate) fn bounded(span: Span, within: Result<(), String>) -> Checked<()> {
    within.map_err(|message| Fault::limit(span, message))
}

impl Runner<'_> {
    pub(crate) fn table(&self, plan: &Plan) -> Checked<Table> {
        Ok(Table { schema: plan.schema.clone(), batches: self.plan(plan)? })
    }

    fn plan(&self, plan: &Plan) -> Checked<Vec<Batch>> {
        let mut batches = self.origin(plan)?;
        for (step, span) in &plan.steps {
            batches = self.step(step, batches, *span)?;
            let rows = batches.iter().map(|it| it.len).sum();
            bounded(*span, self.env.spend(rows))?;
            bounded(*span, self.env.fits(rows))?;
        }
        Ok(batches)
    }

    fn origin(&self, plan: &Plan) -> Checked<Vec<Batch>> {
        bounded(plan.span, self.env.spend(1))?;
        match &plan.source {
            Origin::Table(name) => self.database.tables.get(name).map(|it| it.batches.clone()).ok_or_else(|| {
                Fault::new(ErrorKind::Name, Some("KS204"), plan.span, format!("the table '{name}' is not there"))
            }),
            Origin::Rows(table) => Ok(table.batches.clone()),
            Origin::Range { from, to, step } => self.range(from, to, step, plan.span),
            Origin::Nested(inner) => self.plan(inner),
            Origin::Union(parts) => self.union(parts, plan.span),
        }
    }

    fn range(&self, from: &Value, to: &Value, step: &Value, span: Span) -> Checked<Vec<Batch>> {
        let plus =
            crate::language::arithmetic::operation("+", crate::language::Type::Dynamic, crate::language::Type::Dynamic)
                .map(|(_, run)| run);
        let (mut values, mut at) = (Vec::new(), from.clone());
        let zero = match step {
            Value::TimeSpan(it) => *it == 0,
            other => other.as_real().is_none_or(|it| it == 0.0 || it.is_nan()),
        };
        let down = match step {
            Value::TimeSpan(it) => *it < 0,
            other => other.as_real().is_some_and(|it| it < 0.0),
        };
        let beyond = if down { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater };
        while let (false, Some(order), Some(plus)) = (zero, at.compare(to), plus) {
            if order == beyond {
                break;
            }
            bounded(span, self.env.fits(values.len() + 1))?;
            bounded(span, self.env.spend(0))?;
            let next = plus(&at, step);
            // A step too small to move, or past the end of the type.
            let moved = next.compare(&at) == Some(beyond);
            values.push(at);
            if !moved {
                break;
            }
            at = next;
        }
        let len = values.len();
        Ok(vec![Batch { columns: vec![Cells::All(Arc::new(values))], len }])
    }

    fn union(&self, parts: &[Part], span: Span) -> Checked<Vec<Batch>> {
        let mut all = Vec::new();
        for part in parts {
            for batch in self.plan(&part.plan)? {
                let columns = part.columns.iter().map(|it| match it {
                    Cell::Column(at) => batch.columns[*at].clone(),
                    Cell::Constant(value) => Cells::Same(value.clone()),
                });
                all.push(Batch { columns: columns.collect(), len: batch.len });
            }
            let rows = all.iter().map(|it| it.len).sum();
            bounded(span, self.env.spend(0))?;
            bounded(span, self.env.fits(rows))?;
        }
        Ok(all)
    }

    fn step(&self, step: &Step, batches: Vec<Batch>, span: Span) -> Checked<Vec<Batch>> {
        let rows: usize = batches.iter().map(|it| it.len).sum();
        bounded(span, self.env.spend(rows))?;
        Ok(match step {
            Step::Where(predicate) => batches.iter().map(|it| self.filter(it, predicate)).collect(),
            Step::Project(columns) => {
                let made = batches.iter().map(|it| self.project(it, columns, span));
                made.collect::<Checked<_>>()?
            }
            Step::ProjectInOrder(columns) => vec![self.project(&whole(batches), columns, span)?],
            Step::Order(by, first) => vec![self.order(&whole(batches), by, *first)],
            Step::Take(count) => take(batches, *count),
            Step::Distinct => self.distinct(&batches),
            Step::Count => vec![Batch { columns: vec![Cells::Same(Value::Long(rows as i64))], len: 1 }],
            Step::Summarize { keys, calls, results, grouped } => {
                self.summarize(&batches, keys, calls, results, *grouped, span)?
            }
            Step::Parse(plan) => {
                let parsed = batches.iter().map(|it| self.parse(it, plan, span));
                parsed.collect::<Checked<_>>()?
            }
            Step::Join(plan) => vec![self.join(&whole(batches), plan, span)?],
            Step::Expand { value, place, kind, limit } => {
                let expanded = batches.iter().map(|it| self.expand(it, value, *place, *kind, *limit, span));
                expanded.collect::<Checked<_>>()?
            }
        })
    }

    fn row<'b>(&'b self, batch: &'b Batch, at: usize) -> Row<'b> {
        Row { batch, at, env: self.env }
    }

    fn filter(&self, batch: &Batch, predicate: &Ex) -> Batch {
        let kept = (0..batch.len).filter(|at| predicate.holds(self.row(batch, *at)));
        batch.pick(kept.filter_map(|at| u32::try_from(at).ok()).collect())
    }

    fn project(&self, batch: &Batch, columns: &[Ex], span: Span) -> Checked<Batch> {
        let mut cells = Vec::with_capacity(columns.len());
        for it in columns {
            cells.push(match it {
                Ex::Column(at) => batch.columns[*at].clone(),
                Ex::Const(value) => Cells::Same(value.clone()),
                other => {
                    bounded(span, self.env.spend(batch.len))?;
                    Cells::All(Arc::new(
                        (0..batch.len).map(|at| other.eval(self.row(batch, at)).into_owned()).collect(),
                    ))
                }
            });
        }
        Ok(Batch { columns: cells, len: batch.len })
    }

    fn distinct(&self, batches: &[Batch]) -> Vec<Batch> {
        let mut known: HashSet<Vec<Value>> = HashSet::new();
        let picked = batches.iter().map(|batch| {
            let fresh =
                (0..batch.len).filter(|at| known.insert(batch.columns.iter().map(|it| it.at(*at).clone()).collect()));
            batch.pick(fresh.filter_map(|at| u32::try_from(at).ok()).collect())
        });
        picked.collect()
    }
}

/// One batch with all rows, in their order.
fn whole(mut batches: Vec<Batch>) -> Batch {
    if batches.len() == 1 {
        return batches.remove(0);
    }
    let width = batches.first().map_or(0, |it| it.columns.len());
    let len = batches.iter().map(|it| it.len).sum();
    let columns = (0..width).map(|column| {
        let all = batches.iter().flat_map(|it| (0..it.len).map(move |row| it.columns[column].at(row).clone()));
        Cells::All(Arc::new(all.collect()))
    });
    Batch { columns: columns.collect(), len }
}

fn take(batches: Vec<Batch>, count: usize) -> Vec<Batch> {
    let mut left = count;
    let taken = batches.into_iter().map(|batch| {
        let some = left.min(batch.len);
        left -= some;
        if some == batch.len { batch } else { batch.pick((0..some).filter_map(|at| u32::try_from(at).ok()).collect()) }
    });
    taken.collect()
}
