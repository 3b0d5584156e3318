//! What the parser makes of a text.

use crate::language::{
    error::Span,
    value::{Type, Value},
};

#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    Literal(Type, Value),
    Name(String),
    Star,
    Call(Name, Vec<Expr>),
    Negative(Box<Expr>),
    Binary {
        op: Name,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `in`, `has_any`, `has_all` and their kin.
    OneOf {
        op: Name,
        value: Box<Expr>,
        list: Vec<Expr>,
    },
    Between {
        op: Name,
        value: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
    },
    Path(Box<Expr>, Name),
    Index(Box<Expr>, Box<Expr>),
}

/// `name = value`, or a value alone.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: Option<Name>,
    pub(crate) value: Expr,
}

#[derive(Clone, Debug)]
pub(crate) struct Sort {
    pub(crate) by: Expr,
    pub(crate) ascending: bool,
    pub(crate) nulls_first: Option<bool>,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a query has few of them")]
pub(crate) enum Body {
    Scalar(Expr),
    Tabular(Pipeline),
}

#[derive(Clone, Debug)]
pub(crate) struct Let {
    pub(crate) name: Name,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) source: Source,
    pub(crate) operators: Vec<(Operator, Span)>,
}

#[derive(Clone, Debug)]
pub(crate) struct UnionOf {
    pub(crate) inner: bool,
    pub(crate) source_column: Option<Name>,
    pub(crate) tables: Vec<Pipeline>,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a query has few of them")]
pub(crate) enum Source {
    Table(Name),
    Union(UnionOf),
    DataTable { columns: Vec<(Name, Name)>, values: Vec<Expr>, span: Span },
    Print(Vec<Named>),
    Range { name: Name, from: Expr, to: Expr, step: Expr },
    Nested(Box<Pipeline>),
}

/// A column of `project-away`, perhaps with `*`.
pub(crate) type Pattern = Name;

#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Star,
    Literal(String),
    Column { name: Name, kind: Option<Name> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinKind {
    Inner,
    InnerUnique,
    LeftOuter,
    LeftAnti,
    LeftSemi,
}

#[derive(Clone, Debug)]
pub(crate) struct Join {
    pub(crate) kind: JoinKind,
    pub(crate) right: Pipeline,
    pub(crate) on: Vec<Expr>,
}

#[derive(Clone, Debug)]
pub(crate) struct Parse {
    pub(crate) keeps_all: bool,
    pub(crate) relaxed: bool,
    pub(crate) value: Expr,
    pub(crate) pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
pub(crate) enum Operator {
    Where(Expr),
    Extend(Vec<Named>),
    Project(Vec<Named>),
    Away(Vec<Pattern>),
    Keep(Vec<Pattern>),
    Reorder(Vec<Pattern>),
    Rename(Vec<Named>),
    Order(Vec<Sort>),
    Top(Expr, Sort),
    Take(Expr),
    Distinct(Vec<Expr>),
    Count,
    Summarize { aggregates: Vec<Named>, by: Vec<Named> },
    Union(UnionOf),
    Parse(Parse),
    Serialize(Vec<Named>),
    Join(Join),
    Expand { column: Named, kind: Option<Name>, limit: Option<Expr> },
    Render,
}
