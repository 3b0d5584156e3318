//! The operators behind `|`.

use super::Parser;
use crate::language::{
    error::{Checked, Fault, Span, suggestion},
    lexer::Token,
    syntax::{Join, JoinKind, Name, Named, Operator, Parse, Pattern, Piece, Sort},
    value::Value,
    words::{self, Place},
};

/// Operators of the subset, in the order of the documentation.
pub(crate) const OPERATORS: [&str; 23] = [
    "where",
    "filter",
    "extend",
    "project",
    "project-away",
    "project-keep",
    "project-rename",
    "project-reorder",
    "order",
    "sort",
    "top",
    "take",
    "limit",
    "distinct",
    "count",
    "summarize",
    "union",
    "parse",
    "parse-where",
    "serialize",
    "join",
    "mv-expand",
    "render",
];
/// Operators of Kusto that the subset lacks.
const OUTSIDE: [&str; 27] = [
    "as",
    "assert-schema",
    "consume",
    "evaluate",
    "externaldata",
    "facet",
    "find",
    "fork",
    "getschema",
    "invoke",
    "lookup",
    "make-graph",
    "make-series",
    "mv-apply",
    "parse-kv",
    "partition",
    "project-smart",
    "reduce",
    "sample",
    "sample-distinct",
    "scan",
    "search",
    "top-hitters",
    "top-nested",
    "graph-match",
    "execute",
    "macro-expand",
];

impl Parser {
    pub(super) fn operator(&mut self) -> Checked<Operator> {
        let start = self.span();
        let Token::Word(word) = self.peek().clone() else {
            return Err(Fault::syntax(
                "KS176",
                start,
                format!("Query operator expected. The subset has {}", OPERATORS.join(", ")),
            ));
        };
        self.at += 1;
        Ok(match word.as_str() {
            "where" | "filter" => self.filter()?,
            "extend" => Operator::Extend(self.named_list("expression")?),
            "project" if self.ends() => Operator::Project(Vec::new()),
            "project" => Operator::Project(self.named_list("expression")?),
            "project-away" => Operator::Away(self.patterns()?),
            "project-keep" => Operator::Keep(self.patterns()?),
            "project-reorder" => Operator::Reorder(self.patterns()?),
            "project-rename" => Operator::Rename(self.named_list("name = column")?),
            "order" | "sort" => {
                self.expect_word("by")?;
                Operator::Order(self.sorts()?)
            }
            "top" => {
                let count = self.expression()?;
                self.expect_word("by")?;
                Operator::Top(count, self.sort()?)
            }
            "take" | "limit" => Operator::Take(self.expression()?),
            "distinct" => Operator::Distinct(self.distinct()?),
            "count" => Operator::Count,
            "summarize" => self.summarize()?,
            "union" => Operator::Union(self.union_of()?),
            "parse" => Operator::Parse(self.parse_operator(true)?),
            "parse-where" => Operator::Parse(self.parse_operator(false)?),
            "serialize" if self.ends() => Operator::Serialize(Vec::new()),
            "serialize" => Operator::Serialize(self.named_list("expression")?),
            "join" => self.join()?,
            "mv-expand" | "mvexpand" => self.expand()?,
            "render" => self.render()?,
            known if OUTSIDE.contains(&known) => {
                let message = format!(
                    "the operator '{known}' is outside the subset, though Kusto accepts it; the subset has {}",
                    OPERATORS.join(", ")
                );
                return Err(Fault::outside(start, message));
            }
            other => {
                let message = format!("Query operator expected, '{other}' is none.{}", suggestion(other, OPERATORS));
                return Err(Fault::syntax("KS176", start, message));
            }
        })
    }

    /// Whether the operator has no more text.
    fn ends(&self) -> bool {
        matches!(self.peek(), Token::End | Token::Sign("|" | ";" | ")"))
    }

    fn filter(&mut self) -> Checked<Operator> {
        let start = self.span();
        let predicate = self.expression()?;
        if self.is("=") {
            return Err(Fault::of_type(
                "KS141",
                start.to(self.span()),
                "The expression must have the type bool: '=' gives a name, '==' compares",
            ));
        }
        Ok(Operator::Where(predicate))
    }

    pub(super) fn named_list(&mut self, what: &str) -> Checked<Vec<Named>> {
        let mut all = Vec::new();
        loop {
            all.push(self.named(what)?);
            if !self.accept(",") {
                return Ok(all);
            }
        }
    }

    fn named(&mut self, what: &str) -> Checked<Named> {
        if self.ends() || self.is(",") {
            return Err(Fault::syntax("KS006", self.span(), format!("Missing {what}")));
        }
        let name = match (self.peek(), self.ahead(1)) {
            (Token::Word(_) | Token::Quoted(_), Token::Sign("=")) => {
                let name = self.free_name("name", Place::Given)?;
                self.at += 1;
                Some(name)
            }
            _ => None,
        };
        Ok(Named { name, value: self.expression()? })
    }

    /// Column names, with `*` for any part of them.
    fn patterns(&mut self) -> Checked<Vec<Pattern>> {
        let mut all = Vec::new();
        loop {
            let start = self.span();
            let is_word = matches!((self.peek(), self.ahead(1)), (Token::Word(_), next) if *next != Token::Sign("*"));
            let mut text = String::new();
            let mut end = start.start;
            while self.span().start == end || text.is_empty() {
                match self.peek().clone() {
                    Token::Word(it) | Token::Quoted(it) => text.push_str(&it),
                    Token::Sign("*") => text.push('*'),
                    _ => break,
                }
                end = self.span().end;
                self.at += 1;
            }
            if text.is_empty() {
                return Err(Fault::syntax("KS006", start, "Missing column name"));
            }
            if self.is_word("asc") || self.is_word("desc") {
                return Err(Fault::outside(
                    self.span(),
                    "an order of columns is outside the subset, though Kusto accepts it; list the columns",
                ));
            }
            if is_word {
                words::check(&text, start, Place::Used)?;
            }
            all.push(Name { text, span: Span { start: start.start, end } });
            if !self.accept(",") {
                return Ok(all);
            }
        }
    }

    fn sorts(&mut self) -> Checked<Vec<Sort>> {
        let mut all = Vec::new();
        loop {
            all.push(self.sort()?);
            if !self.accept(",") {
                return Ok(all);
            }
        }
    }

    fn sort(&mut self) -> Checked<Sort> {
        let by = self.expression()?;
        let ascending = self.accept_word("asc");
        if !ascending {
            self.accept_word("desc");
        }
        let mut nulls_first = None;
        if self.accept_word("nulls") {
            nulls_first = Some(self.accept_word("first"));
            if nulls_first == Some(false) && !self.accept_word("last") {
                return Err(Fault::syntax("KS006", self.span(), "Missing first or last"));
            }
        }
        Ok(Sort { by, ascending, nulls_first })
    }

    fn distinct(&mut self) -> Checked<Vec<crate::language::syntax::Expr>> {
        if self.is("*") {
            let span = self.span();
            self.at += 1;
            return Ok(vec![crate::language::syntax::Expr { kind: crate::language::syntax::ExprKind::Star, span }]);
        }
        Ok(self.named_list("column")?.into_iter().map(|it| it.value).collect())
    }

    fn summarize(&mut self) -> Checked<Operator> {
        let aggregates = if self.is_word("by") || self.ends() { Vec::new() } else { self.named_list("expression")? };
        let by = if self.accept_word("by") { self.named_list("expression")? } else { Vec::new() };
        Ok(Operator::Summarize { aggregates, by })
    }

    fn parse_operator(&mut self, keeps_all: bool) -> Checked<Parse> {
        let mut relaxed = false;
        if self.is_word("kind") && matches!(self.ahead(1), Token::Sign("=")) {
            self.at += 2;
            let kind = self.name("kind")?;
            relaxed = match kind.text.as_str() {
                "simple" => false,
                "relaxed" => true,
                "regex" => {
                    return Err(Fault::outside(
                        kind.span,
                        "kind=regex is outside the subset, though Kusto accepts it; use simple, relaxed or extract()",
                    ));
                }
                _ => return Err(Fault::syntax("KS005", kind.span, "Expected one of: simple, relaxed, regex")),
            };
        }
        let value = self.expression()?;
        self.expect_word("with")?;
        let mut pieces = Vec::new();
        loop {
            match self.peek().clone() {
                Token::Sign("*") => {
                    self.at += 1;
                    pieces.push(Piece::Star);
                }
                Token::Literal(Value::String(text)) => {
                    self.at += 1;
                    pieces.push(Piece::Literal(text.to_string()));
                }
                Token::Word(_) | Token::Quoted(_) => {
                    let name = self.free_name("column", Place::Given)?;
                    let kind = if self.accept(":") { Some(self.name("type")?) } else { None };
                    pieces.push(Piece::Column { name, kind });
                }
                _ if pieces.is_empty() => {
                    return Err(Fault::syntax("KS006", self.span(), "Missing a pattern: *, a text, or a column"));
                }
                _ => return Ok(Parse { keeps_all, relaxed, value, pieces }),
            }
        }
    }

    fn join(&mut self) -> Checked<Operator> {
        let mut kind = JoinKind::InnerUnique;
        loop {
            if self.is_word("kind") && matches!(self.ahead(1), Token::Sign("=")) {
                self.at += 2;
                kind = self.join_kind()?;
            } else if self.is_word("hint") && matches!(self.ahead(1), Token::Sign(".")) {
                self.at += 2;
                self.name("hint")?;
                self.expect("=")?;
                self.at += 1;
            } else {
                break;
            }
        }
        let right = self.one_table()?;
        self.expect_word("on")?;
        let mut on = vec![self.expression()?];
        while self.accept(",") {
            on.push(self.expression()?);
        }
        Ok(Operator::Join(Join { kind, right, on }))
    }

    fn join_kind(&mut self) -> Checked<JoinKind> {
        let kind = self.name("kind")?;
        Ok(match kind.text.as_str() {
            "inner" => JoinKind::Inner,
            "innerunique" => JoinKind::InnerUnique,
            "leftouter" => JoinKind::LeftOuter,
            "leftanti" | "anti" | "leftantisemi" => JoinKind::LeftAnti,
            "leftsemi" => JoinKind::LeftSemi,
            other @ ("rightouter" | "fullouter" | "rightanti" | "rightantisemi" | "rightsemi") => {
                let message = format!(
                    "kind={other} is outside the subset, though Kusto accepts it; swap the sides, or use inner, innerunique, leftouter, leftanti or leftsemi"
                );
                return Err(Fault::outside(kind.span, message));
            }
            other => {
                let known = ["inner", "innerunique", "leftouter", "leftanti", "leftsemi"];
                let message = format!("Expected one of: {}.{}", known.join(", "), suggestion(other, known));
                return Err(Fault::syntax("KS005", kind.span, message));
            }
        })
    }

    fn expand(&mut self) -> Checked<Operator> {
        let column = self.named("column")?;
        let mut kind = None;
        if self.accept_word("to") {
            self.expect_word("typeof")?;
            self.expect("(")?;
            kind = Some(self.name("type")?);
            self.expect(")")?;
        }
        if self.is(",") {
            return Err(Fault::outside(
                self.span(),
                "expanding several columns at once is outside the subset, though Kusto accepts it; expand one",
            ));
        }
        let limit = if self.accept_word("limit") { Some(self.expression()?) } else { None };
        Ok(Operator::Expand { column, kind, limit })
    }

    /// The kind of chart and its properties: read, and without effect.
    fn render(&mut self) -> Checked<Operator> {
        const CHARTS: [&str; 20] = [
            "table",
            "list",
            "barchart",
            "piechart",
            "ladderchart",
            "timechart",
            "linechart",
            "anomalychart",
            "pivotchart",
            "areachart",
            "stackedareachart",
            "scatterchart",
            "timepivot",
            "columnchart",
            "timeline",
            "card",
            "treemap",
            "plotly",
            "graph",
            "sankey",
        ];
        let chart = self.name("chart")?;
        if !CHARTS.contains(&chart.text.as_str()) {
            let message = format!("Expected one of: {}.{}", CHARTS.join(", "), suggestion(&chart.text, CHARTS));
            return Err(Fault::syntax("KS005", chart.span, message));
        }
        if self.accept_word("with") {
            self.expect("(")?;
            while !self.is(")") && *self.peek() != Token::End {
                self.at += 1;
            }
            self.expect(")")?;
        }
        Ok(Operator::Render)
    }
}
