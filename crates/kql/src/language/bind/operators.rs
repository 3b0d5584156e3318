//! The operators: what they give, and what they refuse.

use std::rc::Rc;

use super::{Auto, Binder, Names, Place, Scope, auto_name, same_columns};
use crate::language::{
    error::{Checked, Fault, Span},
    ex::Ex,
    limits::MAX_LIST,
    plan::{JoinPlan, Order, Origin, ParsePlan, Plan, Step},
    syntax::{Expr, ExprKind, Join, JoinKind, Named, Operator, Parse, Pattern, Piece, Sort, UnionOf},
    table::{Column, Schema},
    value::Type,
};

fn row(columns: &[Column], serialized: bool) -> Scope<'_> {
    Scope { columns, serialized, place: Place::Row }
}

impl Binder<'_> {
    pub(super) fn operator(&mut self, plan: &mut Plan, it: &Operator, span: Span) -> Checked<()> {
        match it {
            Operator::Where(predicate) => self.filter(plan, predicate, span),
            Operator::Extend(values) => self.extend(plan, values, span),
            Operator::Serialize(values) => {
                plan.serialized = true;
                self.extend(plan, values, span)
            }
            Operator::Project(values) => self.project(plan, values, span),
            Operator::Away(patterns) => self.columns(plan, patterns, span, false),
            Operator::Keep(patterns) => self.columns(plan, patterns, span, true),
            Operator::Reorder(patterns) => self.reorder(plan, patterns, span),
            Operator::Rename(values) => self.rename(plan, values),
            Operator::Order(sorts) => self.order(plan, sorts, None, span),
            Operator::Top(count, sort) => {
                let count = self.count_of(count)?;
                self.order(plan, std::slice::from_ref(sort), Some(count), span)
            }
            Operator::Take(count) => {
                let count = self.count_of(count)?;
                plan.steps.push((Step::Take(count), span));
                Ok(())
            }
            Operator::Distinct(values) => self.distinct(plan, values, span),
            Operator::Count => {
                plan.steps.push((Step::Count, span));
                plan.schema = vec![Column::new("Count", Type::Long)];
                plan.serialized = false;
                Ok(())
            }
            Operator::Summarize { aggregates, by } => self.summarize(plan, aggregates, by, span),
            Operator::Union(union) => self.union_step(plan, union),
            Operator::Parse(parse) => self.parse(plan, parse, span),
            Operator::Join(join) => self.join(plan, join, span),
            Operator::Expand { column, kind, limit } => {
                let kind = kind.as_ref().map(Self::type_named).transpose()?.unwrap_or(Type::Dynamic);
                let limit = limit.as_ref().map(|it| self.count_of(it)).transpose()?.unwrap_or(MAX_LIST);
                self.expand(plan, column, kind, limit, span)
            }
            Operator::Render => {
                let note = "render is ignored: the answer is the table";
                if !self.notes.iter().any(|it| it == note) {
                    self.notes.push(note.to_owned());
                }
                Ok(())
            }
        }
    }

    fn filter(&mut self, plan: &mut Plan, predicate: &Expr, span: Span) -> Checked<()> {
        let (bound, kind) = self.expression(predicate, row(&plan.schema, plan.serialized))?;
        if kind != Type::Bool {
            return Err(Fault::of_type(
                "KS141",
                predicate.span,
                format!("The expression must have the type bool. It has {kind}."),
            ));
        }
        plan.steps.push((Step::Where(bound), span));
        Ok(())
    }

    fn count_of(&mut self, it: &Expr) -> Checked<usize> {
        let (value, kind) = self.constant(it)?;
        if !matches!(kind, Type::Int | Type::Long) {
            return Err(Fault::of_type("KS134", it.span, "The expression value must be an integer."));
        }
        Ok(usize::try_from(value.as_long().unwrap_or(0)).unwrap_or(0))
    }

    fn projection(plan: &mut Plan, columns: Vec<Ex>, schema: Schema, span: Span) {
        let step = if plan.serialized { Step::ProjectInOrder(columns) } else { Step::Project(columns) };
        plan.steps.push((step, span));
        plan.schema = schema;
    }

    fn extend(&mut self, plan: &mut Plan, values: &[Named], span: Span) -> Checked<()> {
        let mut schema = plan.schema.clone();
        let mut columns = same_columns(&schema);
        let mut declared = Names::default();
        let mut all = Names::of(&schema);
        for it in values {
            let (bound, kind) = self.expression(&it.value, row(&plan.schema, plan.serialized))?;
            let name = match (&it.name, auto_name(&it.value)) {
                (Some(name), _) => declared.declare(&name.text, name.span)?,
                (None, Auto::Plain(name) | Auto::Made(name)) => name,
                (None, Auto::Numbered) => all.make(None),
            };
            match schema.iter().position(|it| it.name == name) {
                Some(at) => {
                    schema[at].kind = kind;
                    columns[at] = bound;
                }
                None => {
                    schema.push(Column::new(name, kind));
                    columns.push(bound);
                }
            }
        }
        Self::projection(plan, columns, schema, span);
        Ok(())
    }

    fn project(&mut self, plan: &mut Plan, values: &[Named], span: Span) -> Checked<()> {
        let (mut names, mut schema, mut columns) = (Names::default(), Schema::new(), Vec::new());
        for it in values {
            let (bound, kind) = self.expression(&it.value, row(&plan.schema, plan.serialized))?;
            schema.push(Column::new(Self::result_name(&mut names, it)?, kind));
            columns.push(bound);
        }
        Self::projection(plan, columns, schema, span);
        Ok(())
    }

    /// Places of the columns that a pattern names.
    fn matching(&self, plan: &Plan, pattern: &Pattern) -> Checked<Vec<usize>> {
        if !pattern.text.contains('*') {
            return Ok(vec![self.find_column(&pattern.text, pattern.span, &plan.schema)?]);
        }
        Ok((0..plan.schema.len()).filter(|at| wildcard(&pattern.text, &plan.schema[*at].name)).collect())
    }

    fn columns(&mut self, plan: &mut Plan, patterns: &[Pattern], span: Span, keep: bool) -> Checked<()> {
        let mut named = Vec::new();
        for pattern in patterns {
            named.extend(self.matching(plan, pattern)?);
        }
        let kept: Vec<usize> = (0..plan.schema.len()).filter(|at| named.contains(at) == keep).collect();
        Self::select(plan, &kept, span);
        Ok(())
    }

    fn select(plan: &mut Plan, kept: &[usize], span: Span) {
        let schema = kept.iter().map(|at| plan.schema[*at].clone()).collect();
        Self::projection(plan, kept.iter().map(|at| Ex::Column(*at)).collect(), schema, span);
    }

    fn reorder(&mut self, plan: &mut Plan, patterns: &[Pattern], span: Span) -> Checked<()> {
        let mut order = Vec::new();
        for pattern in patterns {
            let found = self.matching(plan, pattern)?;
            order.extend(found.into_iter().filter(|at| !order.contains(at)).collect::<Vec<_>>());
        }
        order.extend((0..plan.schema.len()).filter(|at| !order.contains(at)).collect::<Vec<_>>());
        Self::select(plan, &order, span);
        Ok(())
    }

    fn rename(&mut self, plan: &mut Plan, values: &[Named]) -> Checked<()> {
        let before = plan.schema.clone();
        for it in values {
            let (Some(name), ExprKind::Name(column)) = (&it.name, &it.value.kind) else {
                return Err(Fault::syntax("KS109", it.value.span, "Column name expected: new = old"));
            };
            let at = self.find_column(column, it.value.span, &before)?;
            plan.schema[at].name.clone_from(&name.text);
            if plan.schema.iter().filter(|it| it.name == name.text).count() > 1 {
                let message = format!("A column with the name '{}' is already declared.", name.text);
                return Err(Fault::name("KS171", name.span, message));
            }
        }
        Ok(())
    }

    fn order(&mut self, plan: &mut Plan, sorts: &[Sort], first: Option<usize>, span: Span) -> Checked<()> {
        let mut all = Vec::new();
        for it in sorts {
            let (by, kind) = self.expression(&it.by, row(&plan.schema, plan.serialized))?;
            if kind == Type::Dynamic {
                let message = "The value of type 'dynamic' is not allowed in this context. Convert it: tostring(…), tolong(…) or another";
                return Err(Fault::of_type("KS116", it.by.span, message));
            }
            all.push(Order { by, ascending: it.ascending, nulls_first: it.nulls_first.unwrap_or(it.ascending) });
        }
        plan.steps.push((Step::Order(all, first), span));
        plan.serialized = true;
        Ok(())
    }

    fn distinct(&mut self, plan: &mut Plan, values: &[Expr], span: Span) -> Checked<()> {
        let named: Vec<Named> = match values {
            [Expr { kind: ExprKind::Star, span }] => {
                let columns = plan.schema.iter().map(|it| Expr { kind: ExprKind::Name(it.name.clone()), span: *span });
                columns.map(|value| Named { name: None, value }).collect()
            }
            values => values.iter().map(|it| Named { name: None, value: it.clone() }).collect(),
        };
        plan.serialized = false;
        self.project(plan, &named, span)?;
        if let Some(at) = plan.schema.iter().position(|it| it.kind == Type::Dynamic) {
            let message = "The value of type 'dynamic' is not allowed in this context. Convert it: tostring(…), tolong(…) or another";
            return Err(Fault::of_type("KS116", named[at].value.span, message));
        }
        plan.steps.push((Step::Distinct, span));
        Ok(())
    }

    fn union_step(&mut self, plan: &mut Plan, it: &UnionOf) -> Checked<()> {
        let empty = Plan {
            source: Origin::Rows(crate::language::table::Table::default()),
            steps: Vec::new(),
            schema: Schema::new(),
            serialized: false,
            depth: 1,
            span: plan.span,
        };
        let first = Rc::new(std::mem::replace(plan, empty));
        let (parts, schema, depth) = self.union(it, Some(first))?;
        plan.source = Origin::Union(parts);
        plan.schema = schema;
        plan.depth = depth;
        Ok(())
    }

    fn parse(&mut self, plan: &mut Plan, it: &Parse, span: Span) -> Checked<()> {
        let (value, _) = self.expression(&it.value, row(&plan.schema, plan.serialized))?;
        let mut targets = Vec::new();
        let mut declared = Names::default();
        let mut schema = plan.schema.clone();
        let mut before: Option<&Piece> = None;
        for piece in &it.pieces {
            if let Piece::Column { name, kind } = piece {
                if matches!(before, Some(Piece::Column { .. })) {
                    return Err(Fault::syntax("KS101", name.span, "The column name must follow a string literal"));
                }
                let kind = kind.as_ref().map(Self::type_named).transpose()?.unwrap_or(Type::String);
                declared.declare(&name.text, name.span)?;
                let at = schema.iter().position(|it| it.name == name.text).unwrap_or(schema.len());
                if at == schema.len() {
                    schema.push(Column::new(&name.text, kind));
                }
                schema[at].kind = kind;
                targets.push((at, kind));
            }
            before = Some(piece);
        }
        let width = schema.len();
        let (keeps_all, relaxed) = (it.keeps_all, it.relaxed);
        plan.steps.push((
            Step::Parse(ParsePlan { value, pieces: it.pieces.clone(), targets, keeps_all, relaxed, width }),
            span,
        ));
        plan.schema = schema;
        Ok(())
    }

    fn join(&mut self, plan: &mut Plan, it: &Join, span: Span) -> Checked<()> {
        let right = self.pipeline(&it.right)?;
        let (mut left_keys, mut right_keys) = (Vec::new(), Vec::new());
        for on in &it.on {
            let (left, right_side) = sides(on)?;
            let (left_key, left_kind) = self.key(&left, &plan.schema)?;
            let (right_key, right_kind) = self.key(&right_side, &right.schema)?;
            let same = left_kind == right_kind
                || (left_kind.is_number()
                    && right_kind.is_number()
                    && left_kind != Type::Real
                    && right_kind != Type::Real);
            if !same {
                let (code, message) = match &on.kind {
                    ExprKind::Name(name) => (
                        "KS227",
                        format!("The common column '{name}' must have the same type on both sides of the join."),
                    ),
                    _ => ("KS242", format!("Inconsistent data types for join keys: ({left_kind}, {right_kind})")),
                };
                return Err(Fault::of_type(code, on.span, message));
            }
            if left_kind == Type::Dynamic {
                return Err(Fault::of_type(
                    "KS116",
                    on.span,
                    "The value of type 'dynamic' is not allowed in this context. Convert it: tostring(…)",
                ));
            }
            left_keys.push(left_key);
            right_keys.push(right_key);
        }
        if !matches!(it.kind, JoinKind::LeftAnti | JoinKind::LeftSemi) {
            let mut names = Names::of(&plan.schema);
            names.used.extend(right.schema.iter().map(|it| it.name.clone()));
            let left: Vec<String> = plan.schema.iter().map(|it| it.name.clone()).collect();
            let added = right.schema.iter().map(|column| {
                let name =
                    if left.contains(&column.name) { names.make(Some(&column.name)) } else { column.name.clone() };
                Column::new(name, column.kind)
            });
            let added: Vec<Column> = added.collect();
            plan.schema.extend(added);
        }
        plan.depth = plan.depth.max(right.depth + 1);
        plan.serialized = false;
        let right_schema = right.schema.clone();
        plan.steps.push((Step::Join(JoinPlan { kind: it.kind, right, left_keys, right_keys, right_schema }), span));
        Ok(())
    }

    fn key(&mut self, it: &Expr, columns: &[Column]) -> Checked<(Ex, Type)> {
        self.expression(it, Scope { columns, serialized: false, place: Place::Constant })
    }

    fn expand(&mut self, plan: &mut Plan, column: &Named, kind: Type, limit: usize, span: Span) -> Checked<()> {
        let (value, from) = self.expression(&column.value, row(&plan.schema, plan.serialized))?;
        if from != Type::Dynamic {
            return Err(Fault::of_type(
                "KS141",
                column.value.span,
                format!("The expression must have the type dynamic. It has {from}."),
            ));
        }
        let mut names = Names::of(&plan.schema);
        let name = match (&column.name, auto_name(&column.value)) {
            (Some(name), _) => name.text.clone(),
            (None, Auto::Plain(name) | Auto::Made(name)) => name,
            (None, Auto::Numbered) => names.make(None),
        };
        let place = plan.schema.iter().position(|it| it.name == name).unwrap_or(plan.schema.len());
        if place == plan.schema.len() {
            plan.schema.push(Column::new(name, kind));
        }
        plan.schema[place].kind = kind;
        plan.steps.push((Step::Expand { value, place, kind, limit }, span));
        Ok(())
    }
}

/// `*` stands for any part of a name.
fn wildcard(pattern: &str, name: &str) -> bool {
    let parts: Vec<&str> = pattern.split('*').collect();
    let Some(mut rest) = name.strip_prefix(parts[0]) else { return false };
    let last = parts[parts.len() - 1];
    for part in &parts[1..parts.len() - 1] {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The left and the right side of one condition of a join.
fn sides(on: &Expr) -> Checked<(Expr, Expr)> {
    let side = |it: &Expr| match &it.kind {
        ExprKind::Path(root, name) => match &root.kind {
            ExprKind::Name(root) if root == "$left" || root == "$right" => {
                Some((root == "$left", Expr { kind: ExprKind::Name(name.text.clone()), span: name.span }))
            }
            _ => None,
        },
        _ => None,
    };
    match &on.kind {
        ExprKind::Name(_) => Ok((on.clone(), on.clone())),
        ExprKind::Binary { op, left, right } if op.text == "==" => match (side(left), side(right)) {
            (Some((true, left)), Some((false, right))) | (Some((false, right)), Some((true, left))) => {
                Ok((left, right))
            }
            _ => Err(Fault::of_type("KS165", on.span, "join: one side of == is $left.column, the other $right.column")),
        },
        _ => Err(Fault::of_type("KS165", on.span, "join: on takes columns of both sides, or $left.a == $right.b")),
    }
}
