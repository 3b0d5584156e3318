//! Names and types: turns what was parsed into a plan, or says what is wrong with it.

mod expressions;
mod operators;
mod sources;
mod summarize;

pub(crate) use expressions::WINDOW;

use std::{collections::HashMap, rc::Rc};

use crate::language::{
    error::{Checked, Fault, Span, suggestion},
    ex::Ex,
    limits::{Env, MAX_COLUMNS, MAX_DEPTH, MAX_STEPS},
    plan::{AggregateCall, Plan},
    syntax::{Body, Expr, ExprKind, Let, Name, Pipeline, Source},
    table::{Column, Schema, Schemas},
    value::{Type, Value},
};

pub(crate) struct Binder<'a> {
    schemas: &'a Schemas,
    env: &'a Env,
    scalars: HashMap<String, (Type, Value)>,
    tables: HashMap<String, Rc<Plan>>,
    pub(crate) notes: Vec<String>,
    steps: usize,
    /// The calls of the `summarize` at hand.
    calls: Vec<AggregateCall>,
    /// How many columns its groups have.
    keys: usize,
}

/// What an expression sees.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'s> {
    columns: &'s [Column],
    serialized: bool,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Columns alone.
    Row,
    /// Aggregates, and columns inside them.
    Summarize,
    /// The `by` of a `summarize`, and the arguments of an aggregate.
    Inside,
    /// The keys of a join.
    Constant,
}

/// Column names of a result: explicit ones are unique or refused, others are made unique.
#[derive(Default)]
pub(crate) struct Names {
    used: Vec<String>,
    numbered: usize,
}

impl Names {
    fn of(columns: &[Column]) -> Self {
        Self { used: columns.iter().map(|it| it.name.clone()).collect(), numbered: 0 }
    }

    fn has(&self, name: &str) -> bool {
        self.used.iter().any(|it| it == name)
    }

    fn declare(&mut self, name: &str, span: Span) -> Checked<String> {
        if self.has(name) {
            return Err(Fault::name("KS171", span, format!("A column with the name '{name}' is already declared.")));
        }
        self.used.push(name.to_owned());
        Ok(name.to_owned())
    }

    /// `base`, or with the first free number behind it; `None` counts `Column1`, `Column2` ….
    fn make(&mut self, base: Option<&str>) -> String {
        let mut number = 0;
        let name = loop {
            let name = match base {
                Some(base) if number == 0 => base.to_owned(),
                Some(base) => format!("{base}{number}"),
                None => {
                    self.numbered += 1;
                    format!("Column{}", self.numbered)
                }
            };
            if !self.has(&name) {
                break name;
            }
            number += 1;
        };
        self.used.push(name.clone());
        name
    }
}

impl<'a> Binder<'a> {
    pub(crate) fn new(schemas: &'a Schemas, env: &'a Env) -> Self {
        let (scalars, tables) = (HashMap::new(), HashMap::new());
        Self { schemas, env, scalars, tables, notes: Vec::new(), steps: 0, calls: Vec::new(), keys: 0 }
    }

    pub(crate) fn query(&mut self, lets: &[Let], query: &Pipeline) -> Checked<Rc<Plan>> {
        for it in lets {
            self.bind_let(it)?;
        }
        self.pipeline(query)
    }

    fn bind_let(&mut self, it: &Let) -> Checked<()> {
        let name = &it.name;
        if self.scalars.contains_key(&name.text) || self.tables.contains_key(&name.text) {
            let message = format!("A variable with the name '{}' has already been declared.", name.text);
            return Err(Fault::name("KS201", name.span, message));
        }
        self.step(name.span)?;
        match &it.body {
            Body::Tabular(body) => {
                let plan = self.pipeline(body)?;
                self.tables.insert(name.text.clone(), plan);
            }
            Body::Scalar(Expr { kind: ExprKind::Name(table), span })
                if !self.scalars.contains_key(table)
                    && (self.tables.contains_key(table) || self.schemas.contains_key(table)) =>
            {
                let source = Source::Table(Name { text: table.clone(), span: *span });
                let plan = self.pipeline(&Pipeline { source, operators: Vec::new() })?;
                self.tables.insert(name.text.clone(), plan);
            }
            Body::Scalar(body) => {
                let (value, kind) = self.constant(body)?;
                self.scalars.insert(name.text.clone(), (kind, value));
            }
        }
        Ok(())
    }

    /// The value of an expression that reads no column.
    fn constant(&mut self, it: &Expr) -> Checked<(Value, Type)> {
        let scope = Scope { columns: &[], serialized: false, place: Place::Row };
        let (bound, kind) = self.expression(it, scope)?;
        match bound {
            Ex::Const(value) => Ok((value, kind)),
            _ => Err(Fault::of_type("KS129", it.span, "The expression must be a constant.")),
        }
    }

    /// Counts operators and `let`s.
    fn step(&mut self, span: Span) -> Checked<()> {
        self.steps += 1;
        if self.steps <= MAX_STEPS {
            return Ok(());
        }
        let message =
            format!("the query has more than {MAX_STEPS} operators and lets, the limit of this subset (MAX_STEPS)");
        Err(Fault::limit(span, message))
    }

    fn pipeline(&mut self, it: &Pipeline) -> Checked<Rc<Plan>> {
        let mut plan = self.source(&it.source)?;
        for (operator, span) in &it.operators {
            self.step(*span)?;
            self.operator(&mut plan, operator, *span)?;
            if plan.schema.len() > MAX_COLUMNS {
                let message =
                    format!("the table has more than {MAX_COLUMNS} columns, the limit of this subset (MAX_COLUMNS)");
                return Err(Fault::limit(*span, message));
            }
        }
        if plan.depth > MAX_DEPTH {
            let message =
                format!("tables read tables through more than {MAX_DEPTH} lets, the limit of this subset (MAX_DEPTH)");
            return Err(Fault::limit(plan.span, message));
        }
        Ok(Rc::new(plan))
    }

    fn unknown_column(&self, name: &str, span: Span, columns: &[Column]) -> Box<Fault> {
        let known = columns.iter().map(|it| it.name.as_str()).chain(self.scalars.keys().map(String::as_str));
        let hint = suggestion(name, known);
        let message =
            format!("The name '{name}' does not refer to any known column, table, variable or function.{hint}");
        Fault::name("KS142", span, message)
    }

    fn find_column(&self, name: &str, span: Span, columns: &[Column]) -> Checked<usize> {
        columns.iter().position(|it| it.name == name).ok_or_else(|| self.unknown_column(name, span, columns))
    }

    fn type_named(name: &Name) -> Checked<Type> {
        name.text.parse().map_err(|_| {
            let known = Type::ALL.map(|(_, name)| name);
            if name.text == "decimal" {
                return Fault::outside(
                    name.span,
                    "the type decimal is outside the subset, though Kusto accepts it; use real",
                );
            }
            let hint = suggestion(&name.text, known);
            let message = format!(
                "The name '{}' is not a valid type name that can be used here.{hint} The types are {}.",
                name.text,
                known.join(", ")
            );
            Fault::name("KS160", name.span, message)
        })
    }
}

/// The name a result column gets of itself.
pub(crate) enum Auto {
    /// A column's own name: twice is an error.
    Plain(String),
    Made(String),
    Numbered,
}

pub(crate) fn auto_name(it: &Expr) -> Auto {
    match &it.kind {
        ExprKind::Name(name) => Auto::Plain(name.clone()),
        _ => derived(it).map_or(Auto::Numbered, Auto::Made),
    }
}

/// `y_a` of `y.a`, and the first argument's name of functions that keep it.
fn derived(it: &Expr) -> Option<String> {
    use crate::language::functions::Naming;
    match &it.kind {
        ExprKind::Name(name) => Some(name.clone()),
        ExprKind::Path(value, name) => Some(format!("{}_{}", derived(value)?, name.text)),
        ExprKind::Index(value, index) => match &index.kind {
            ExprKind::Literal(_, it @ (Value::String(_) | Value::Long(_))) => {
                let index: String =
                    it.to_string().chars().map(|it| if it.is_alphanumeric() { it } else { '_' }).collect();
                Some(format!("{}_{index}", derived(value)?))
            }
            _ => None,
        },
        ExprKind::Call(name, args) => {
            if let Some(it) = crate::language::aggregates::find(&name.text) {
                return Some(aggregate_name(it, args));
            }
            let naming = crate::language::functions::find(&name.text).map_or(Naming::None, |it| it.naming);
            match naming {
                Naming::None => None,
                Naming::First => derived(args.first()?),
                Naming::Prefixed(prefix) => Some(format!("{prefix}{}", derived(args.first()?)?)),
            }
        }
        _ => None,
    }
}

pub(crate) fn aggregate_name(it: &crate::language::aggregates::Aggregate, args: &[Expr]) -> String {
    let first = args.first().and_then(derived).unwrap_or_default();
    match (it.name, args.get(1).map(|it| &it.kind)) {
        ("percentile" | "percentiles", Some(ExprKind::Literal(_, percent))) => {
            let percent = percent.to_string().replace('.', "_");
            format!("percentile_{first}_{}", percent.strip_suffix("_0").unwrap_or(&percent))
        }
        _ => format!("{}{first}", it.prefix),
    }
}

/// A projection that changes nothing.
pub(crate) fn same_columns(schema: &Schema) -> Vec<Ex> {
    (0..schema.len()).map(Ex::Column).collect()
}
