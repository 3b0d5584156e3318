//! Where rows come from: tables, unions, literals and ranges.

use std::rc::Rc;

use super::{Auto, Binder, Names, auto_name};
use crate::language::{
    error::{Checked, ErrorKind, Fault, Span, suggestion},
    functions::convert,
    plan::{Cell, Origin, Part, Plan},
    syntax::{Expr, Name, Named, Source, UnionOf},
    table::{Column, Schema, Table},
    value::{Type, Value},
};

impl Binder<'_> {
    pub(super) fn source(&mut self, it: &Source) -> Checked<Plan> {
        match it {
            Source::Table(name) => self.table(name),
            Source::Nested(inner) => {
                let inner = self.pipeline(inner)?;
                Ok(nested(inner))
            }
            Source::Union(union) => {
                let (parts, schema, depth) = self.union(union, None)?;
                let span = union.tables.first().map_or(Span { start: 0, end: 0 }, |it| source_span(&it.source));
                Ok(Plan { source: Origin::Union(parts), steps: Vec::new(), schema, serialized: false, depth, span })
            }
            Source::DataTable { columns, values, span } => self.datatable(columns, values, *span),
            Source::Print(values) => self.print(values),
            Source::Range { name, from, to, step } => self.range(name, from, to, step),
        }
    }

    fn table(&mut self, name: &Name) -> Checked<Plan> {
        if let Some(plan) = self.tables.get(&name.text) {
            return Ok(nested(plan.clone()));
        }
        let Some(schema) = self.schemas.get(&name.text) else {
            if self.scalars.contains_key(&name.text) {
                let message = format!("'{}' is a scalar; a table is expected here", name.text);
                return Err(Fault::new(ErrorKind::Type, Some("KS204"), name.span, message));
            }
            let known = self.schemas.keys().chain(self.tables.keys()).map(String::as_str);
            let hint = suggestion(&name.text, known);
            let message = format!(
                "The name '{}' does not refer to any known table, tabular variable or function.{hint}",
                name.text
            );
            return Err(Fault::name("KS204", name.span, message));
        };
        let source = Origin::Table(name.text.clone());
        Ok(Plan { source, steps: Vec::new(), schema: schema.clone(), serialized: false, depth: 1, span: name.span })
    }

    /// The tables' columns side by side; of one name and several types, one column for each type.
    pub(super) fn union(&mut self, it: &UnionOf, first: Option<Rc<Plan>>) -> Checked<(Vec<Part>, Schema, usize)> {
        let mut plans: Vec<Rc<Plan>> = first.into_iter().collect();
        let mut names: Vec<String> = plans.iter().map(|_| "union_arg0".to_owned()).collect();
        for table in &it.tables {
            names.push(match &table.source {
                Source::Table(name) => name.text.clone(),
                _ => format!("union_arg{}", names.len()),
            });
            plans.push(self.pipeline(table)?);
        }
        let mut schema = union_schema(&plans, it.inner);
        let mut parts: Vec<Part> = Vec::new();
        for (plan, name) in plans.iter().zip(names) {
            let mut columns: Vec<Cell> = schema.iter().map(|(column, original)| cell(plan, column, original)).collect();
            if it.source_column.is_some() {
                columns.insert(0, Cell::Constant(Value::text(name)));
            }
            parts.push(Part { plan: plan.clone(), columns });
        }
        if let Some(name) = &it.source_column {
            schema.insert(0, (Column::new(&name.text, Type::String), String::new()));
        }
        let depth = 1 + plans.iter().map(|it| it.depth).max().unwrap_or(0);
        Ok((parts, schema.into_iter().map(|(it, _)| it).collect(), depth))
    }

    fn datatable(&mut self, columns: &[(Name, Name)], values: &[Expr], span: Span) -> Checked<Plan> {
        let mut names = Names::default();
        let mut schema = Schema::new();
        for (name, kind) in columns {
            schema.push(Column::new(names.declare(&name.text, name.span)?, Self::type_named(kind)?));
        }
        if schema.is_empty() || !values.len().is_multiple_of(schema.len()) {
            let message =
                format!("Incorrect number of data values. The values should appear in multiples of {}.", schema.len());
            return Err(Fault::of_type("KS173", span, message));
        }
        let mut rows = Vec::new();
        for chunk in values.chunks(schema.len()) {
            let mut row = Vec::new();
            for (column, value) in schema.iter().zip(chunk) {
                let (value, _) = self.constant(value)?;
                row.push(convert(column.kind, &value));
            }
            rows.push(row);
        }
        let table = Table::new(schema.clone(), rows);
        Ok(Plan { source: Origin::Rows(table), steps: Vec::new(), schema, serialized: true, depth: 1, span })
    }

    fn print(&mut self, values: &[Named]) -> Checked<Plan> {
        let (mut names, mut schema, mut row) = (Names::default(), Schema::new(), Vec::new());
        for (at, it) in values.iter().enumerate() {
            let (value, kind) = self.constant(&it.value)?;
            let name = match &it.name {
                Some(name) => names.declare(&name.text, name.span)?,
                None => names.make(Some(&format!("print_{at}"))),
            };
            schema.push(Column::new(name, kind));
            row.push(value);
        }
        let span = values.first().map_or(Span { start: 0, end: 0 }, |it| it.value.span);
        let table = Table::new(schema.clone(), vec![row]);
        Ok(Plan { source: Origin::Rows(table), steps: Vec::new(), schema, serialized: true, depth: 1, span })
    }

    fn range(&mut self, name: &Name, from: &Expr, to: &Expr, step: &Expr) -> Checked<Plan> {
        let mut bounds = Vec::new();
        for it in [from, to, step] {
            let (value, kind) = self.constant(it)?;
            if !kind.is_number() && !matches!(kind, Type::DateTime | Type::TimeSpan) {
                return Err(Fault::of_type(
                    "KS138",
                    it.span,
                    "The argument value must be summable: a number, timespan or datetime.",
                ));
            }
            bounds.push((value, kind));
        }
        let kinds: Vec<Type> = bounds.iter().map(|(_, kind)| *kind).collect();
        let kind = match kinds[0] {
            Type::DateTime => Type::DateTime,
            Type::TimeSpan => Type::TimeSpan,
            _ if kinds.contains(&Type::Real) => Type::Real,
            _ => Type::Long,
        };
        let step_kind = if kind == Type::DateTime { Type::TimeSpan } else { kind };
        let fits = |it: Type, wanted: Type| it == wanted || (it.is_number() && wanted.is_number());
        if !fits(kinds[1], kind) || !fits(kinds[2], step_kind) {
            let message = format!(
                "The function 'range' is not compatible with arguments ({}, {}, {})",
                kinds[0], kinds[1], kinds[2]
            );
            return Err(Fault::of_type("KS127", from.span.to(step.span), message));
        }
        let (from, to, step) =
            (convert(kind, &bounds[0].0), convert(kind, &bounds[1].0), convert(step_kind, &bounds[2].0));
        let schema = vec![Column::new(&name.text, kind)];
        let source = Origin::Range { from, to, step };
        Ok(Plan { source, steps: Vec::new(), schema, serialized: true, depth: 1, span: name.span })
    }

    /// The name of a column made by `it`; explicit and plain ones are unique or refused.
    pub(super) fn result_name(names: &mut Names, it: &Named) -> Checked<String> {
        if let Some(name) = &it.name {
            return names.declare(&name.text, name.span);
        }
        match auto_name(&it.value) {
            Auto::Plain(name) => names.declare(&name, it.value.span),
            Auto::Made(name) => Ok(names.make(Some(&name))),
            Auto::Numbered => Ok(names.make(None)),
        }
    }
}

fn nested(plan: Rc<Plan>) -> Plan {
    let (schema, serialized, depth, span) = (plan.schema.clone(), plan.serialized, plan.depth + 1, plan.span);
    Plan { source: Origin::Nested(plan), steps: Vec::new(), schema, serialized, depth, span }
}

fn source_span(it: &Source) -> Span {
    match it {
        Source::Table(name) | Source::Range { name, .. } => name.span,
        Source::DataTable { span, .. } => *span,
        _ => Span { start: 0, end: 0 },
    }
}

/// Columns of the result, each with the name it has in the tables.
fn union_schema(plans: &[Rc<Plan>], inner: bool) -> Vec<(Column, String)> {
    let mut order: Vec<(String, Vec<Type>)> = Vec::new();
    for column in plans.iter().flat_map(|it| &it.schema) {
        match order.iter_mut().find(|(name, _)| *name == column.name) {
            Some((_, kinds)) if kinds.contains(&column.kind) => {}
            Some((_, kinds)) => kinds.push(column.kind),
            None => order.push((column.name.clone(), vec![column.kind])),
        }
    }
    if inner {
        order.retain(|(name, kinds)| {
            kinds.len() == 1 && plans.iter().all(|it| it.schema.iter().any(|it| it.name == *name))
        });
    }
    let taken: Vec<String> = order.iter().map(|(name, _)| name.clone()).collect();
    let columns = order.into_iter().flat_map(|(name, kinds)| {
        let several = kinds.len() > 1;
        let taken = &taken;
        kinds
            .into_iter()
            .map(move |kind| {
                let mut wanted = if several { format!("{name}_{kind}") } else { name.clone() };
                while several && taken.contains(&wanted) {
                    wanted.push('1');
                }
                (Column::new(wanted, kind), name.clone())
            })
            .collect::<Vec<_>>()
    });
    columns.collect()
}

fn cell(plan: &Plan, column: &Column, original: &str) -> Cell {
    match plan.schema.iter().position(|it| it.name == original && it.kind == column.kind) {
        Some(at) => Cell::Column(at),
        None if column.kind == Type::String => Cell::Constant(Value::text("")),
        None => Cell::Constant(Value::Null),
    }
}
