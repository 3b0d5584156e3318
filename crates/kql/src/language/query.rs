//! A query from its text: parameters, the tables it reads, its columns, its answer.

use std::collections::BTreeSet;

use crate::language::{
    bind::Binder,
    error::{Error, ErrorKind, Fault},
    limits::{Env, Limits},
    parser,
    run::Runner,
    syntax::{Body, Expr, ExprKind, Join, Let, Operator, Pipeline, Source, UnionOf},
    table::{Database, Schema, Schemas, Table},
    value::{Type, Value},
};

/// A parsed query.
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    lets: Vec<Let>,
    body: Pipeline,
}

/// A `let` at the top with a literal: what a caller may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub kind: Type,
    /// The literal as the text has it.
    pub default: String,
}

/// A query's answer.
#[derive(Clone, Debug)]
pub struct Output {
    pub table: Table,
    /// What was read and had no effect.
    pub notes: Vec<String>,
}

impl Query {
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (lets, body) = parser::parse(text).map_err(|it| it.place(text))?;
        Ok(Self { text: text.to_owned(), lets, body })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn parameters(&self) -> Vec<Parameter> {
        let literals = self.lets.iter().filter_map(|it| match &it.body {
            Body::Scalar(Expr { kind: ExprKind::Literal(kind, _), span }) => {
                let default = self.text.get(span.start..span.end).unwrap_or_default().to_owned();
                Some(Parameter { name: it.name.text.clone(), kind: *kind, default })
            }
            _ => None,
        });
        literals.collect()
    }

    /// Sets a parameter. A text is taken as it stands; all else is of the default's type,
    /// as a literal (`datetime(2026-04-05)`) or without its wrapping.
    pub fn with_parameter(mut self, name: &str, text: &str) -> Result<Self, Error> {
        let known: Vec<String> = self.parameters().into_iter().map(|it| it.name).collect();
        let found = self.lets.iter_mut().find(|it| it.name.text == name && known.contains(&it.name.text));
        let Some(Body::Scalar(expr)) = found.map(|it| &mut it.body) else {
            let hint = crate::language::error::suggestion(name, known.iter().map(String::as_str));
            let list = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message =
                format!("the query has no parameter '{name}'.{hint} A parameter is a let with a literal; here: {list}");
            return Err(Fault::new(ErrorKind::Parameter, None, self.start(), message).place(&self.text));
        };
        let ExprKind::Literal(kind, value) = &mut expr.kind else { return Ok(self) };
        let bare = unwrapped(*kind, text);
        let parsed = match *kind {
            Type::String => Some(Value::text(text)),
            Type::TimeSpan => crate::language::dates::parse_timespan(bare).map(Value::TimeSpan),
            kind => Value::parse(kind, bare).filter(|it| !it.is_null() || bare == "null"),
        };
        match parsed {
            Some(parsed) => *value = parsed,
            None => {
                let message = format!("the parameter '{name}' is a {kind}, and '{text}' is none");
                return Err(Fault::new(ErrorKind::Parameter, None, expr.span, message).place(&self.text));
            }
        }
        Ok(self)
    }

    fn start(&self) -> crate::language::error::Span {
        self.lets.first().map_or(crate::language::error::Span { start: 0, end: 0 }, |it| it.name.span)
    }

    /// Names of the tables it reads.
    pub fn tables(&self) -> BTreeSet<String> {
        let (mut found, mut own) = (BTreeSet::new(), BTreeSet::new());
        for it in &self.lets {
            match &it.body {
                Body::Tabular(body) => reads(body, &own, &mut found),
                // Whether a lone name is a scalar is known when it is bound.
                Body::Scalar(Expr { kind: ExprKind::Name(name), .. }) if !own.contains(name) => {
                    found.insert(name.clone());
                }
                Body::Scalar(_) => {}
            }
            own.insert(it.name.text.clone());
        }
        reads(&self.body, &own, &mut found);
        found
    }

    /// The columns of the answer on tables of these schemas.
    pub fn check(&self, schemas: &Schemas) -> Result<Schema, Error> {
        let env = Env::new(crate::language::dates::EPOCH, Limits::default());
        let bound = Binder::new(schemas, &env).query(&self.lets, &self.body);
        bound.map(|it| it.schema.clone()).map_err(|it| it.place(&self.text))
    }

    pub fn run(&self, database: &Database) -> Result<Output, Error> {
        self.run_within(database, Limits::default())
    }

    /// Runs it with other limits than the usual ones.
    pub fn run_within(&self, database: &Database, limits: Limits) -> Result<Output, Error> {
        let env = Env::new(database.now, limits);
        let schemas = database.schemas();
        let mut binder = Binder::new(&schemas, &env);
        let plan = binder.query(&self.lets, &self.body).map_err(|it| it.place(&self.text))?;
        let runner = Runner { database, env: &env };
        let table = runner.table(&plan).map_err(|it| it.place(&self.text))?;
        Ok(Output { table, notes: binder.notes })
    }
}

/// `2026-04-05` of `datetime(2026-04-05)`.
fn unwrapped(kind: Type, text: &str) -> &str {
    let inner = text.trim().strip_suffix(')').and_then(|it| it.split_once('('));
    match inner {
        Some((word, inner)) if word.parse() == Ok(kind) => inner.trim(),
        _ => text.trim(),
    }
}

fn reads(it: &Pipeline, own: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    let union = |it: &UnionOf, found: &mut BTreeSet<String>| it.tables.iter().for_each(|it| reads(it, own, found));
    match &it.source {
        Source::Table(name) if !own.contains(&name.text) => {
            found.insert(name.text.clone());
        }
        Source::Nested(inner) => reads(inner, own, found),
        Source::Union(of) => union(of, found),
        _ => {}
    }
    for (operator, _) in &it.operators {
        match operator {
            Operator::Union(of) => union(of, found),
            Operator::Join(Join { right, .. }) => reads(right, own, found),
            _ => {}
        }
    }
}
