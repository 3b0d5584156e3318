//! What the binder makes of a query: sources, steps, and the columns they give.

use std::rc::Rc;

use crate::language::{
    aggregates::Aggregate,
    error::Span,
    ex::Ex,
    syntax::{JoinKind, Piece},
    table::{Schema, Table},
    value::{Type, Value},
};

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) source: Origin,
    pub(crate) steps: Vec<(Step, Span)>,
    pub(crate) schema: Schema,
    /// Whether rows have an order that `prev` and its kin may rely on.
    pub(crate) serialized: bool,
    pub(crate) depth: usize,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) enum Origin {
    Table(String),
    Rows(Table),
    Range { from: Value, to: Value, step: Value },
    Nested(Rc<Plan>),
    Union(Vec<Part>),
}

/// One table of a union, and where each column of the result comes from in it.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) plan: Rc<Plan>,
    pub(crate) columns: Vec<Cell>,
}

#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Column(usize),
    Constant(Value),
}

#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) by: Ex,
    pub(crate) ascending: bool,
    pub(crate) nulls_first: bool,
}

#[derive(Debug)]
pub(crate) struct AggregateCall {
    pub(crate) function: &'static Aggregate,
    pub(crate) args: Vec<Ex>,
}

#[derive(Debug)]
pub(crate) struct ParsePlan {
    pub(crate) value: Ex,
    pub(crate) pieces: Vec<Piece>,
    /// For each piece that is a column: its place in the result, and its type.
    pub(crate) targets: Vec<(usize, Type)>,
    pub(crate) keeps_all: bool,
    pub(crate) relaxed: bool,
    pub(crate) width: usize,
}

#[derive(Debug)]
pub(crate) struct JoinPlan {
    pub(crate) kind: JoinKind,
    pub(crate) right: Rc<Plan>,
    pub(crate) left_keys: Vec<Ex>,
    pub(crate) right_keys: Vec<Ex>,
    pub(crate) right_schema: Schema,
}

#[derive(Debug)]
pub(crate) enum Step {
    Where(Ex),
    /// Makes each column of the result.
    Project(Vec<Ex>),
    /// Makes each column of the result over all rows in their order.
    ProjectInOrder(Vec<Ex>),
    Order(Vec<Order>, Option<usize>),
    Take(usize),
    Distinct,
    Count,
    Summarize {
        keys: Vec<Ex>,
        calls: Vec<AggregateCall>,
        results: Vec<Ex>,
        grouped: bool,
    },
    Parse(ParsePlan),
    Join(JoinPlan),
    /// The column's value is the last expression's input; `usize` is its place in the result.
    Expand {
        value: Ex,
        place: usize,
        kind: Type,
        limit: usize,
    },
}
