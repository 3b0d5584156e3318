//! Scalar expressions, by binding power.

use super::Parser;
use crate::language::{
    error::{Checked, Fault, Span},
    lexer::Token,
    limits::MAX_DEPTH,
    syntax::{Expr, ExprKind, Name},
    value::{Type, Value, parse_json},
    words::{self, Place},
};

const COMPARISONS: [&str; 38] = [
    "<>",
    "==",
    "!=",
    "=~",
    "!~",
    "<",
    "<=",
    ">",
    ">=",
    "has",
    "!has",
    "has_cs",
    "!has_cs",
    "contains",
    "!contains",
    "contains_cs",
    "!contains_cs",
    "startswith",
    "!startswith",
    "startswith_cs",
    "!startswith_cs",
    "endswith",
    "!endswith",
    "endswith_cs",
    "!endswith_cs",
    "hasprefix",
    "!hasprefix",
    "hassuffix",
    "!hassuffix",
    "in",
    "in~",
    "!in",
    "!in~",
    "has_any",
    "has_all",
    "between",
    "!between",
    "matches",
];

impl Parser {
    pub(super) fn expression(&mut self) -> Checked<Expr> {
        self.nested(|it| it.chain(0))
    }

    /// Left to right: `or`, `and`, comparisons, sums, products, from the weakest.
    fn chain(&mut self, level: usize) -> Checked<Expr> {
        if level == 5 {
            return self.unary();
        }
        let mut left = self.chain(level + 1)?;
        let mut links = 0;
        while let Some(op) = self.operator_at(level) {
            links += 1;
            if links > MAX_DEPTH {
                let message = format!(
                    "more than {MAX_DEPTH} operators in one chain, the limit of this subset (MAX_DEPTH); use in, has_any or let"
                );
                return Err(Fault::limit(op.span, message));
            }
            self.at += 1;
            left = if level == 2 { self.comparison(op, left)? } else { self.binary(op, left, level)? };
            if level == 2 {
                break;
            }
        }
        Ok(left)
    }

    fn operator_at(&self, level: usize) -> Option<Name> {
        let text = match self.peek() {
            Token::Word(it) => it.as_str(),
            Token::Sign(it) => it,
            _ => return None,
        };
        let is = match level {
            0 => text == "or",
            1 => text == "and",
            2 => COMPARISONS.contains(&text),
            3 => ["+", "-"].contains(&text),
            _ => ["*", "/", "%"].contains(&text),
        };
        is.then(|| Name { text: text.to_owned(), span: self.span() })
    }

    fn binary(&mut self, op: Name, left: Expr, level: usize) -> Checked<Expr> {
        let right = self.chain(level + 1)?;
        let span = left.span.to(right.span);
        Ok(Expr { kind: ExprKind::Binary { op, left: Box::new(left), right: Box::new(right) }, span })
    }

    fn comparison(&mut self, mut op: Name, left: Expr) -> Checked<Expr> {
        let value = Box::new(left);
        let start = value.span;
        match op.text.as_str() {
            "between" | "!between" => {
                self.expect("(")?;
                let low = Box::new(self.expression()?);
                self.expect("..")?;
                let high = Box::new(self.expression()?);
                self.expect(")")?;
                Ok(Expr { span: start.to(self.last()), kind: ExprKind::Between { op, value, low, high } })
            }
            "in" | "in~" | "!in" | "!in~" | "has_any" | "has_all" => {
                self.expect("(")?;
                let list = self.arguments()?;
                Ok(Expr { span: start.to(self.last()), kind: ExprKind::OneOf { op, value, list } })
            }
            "matches" => {
                op.span = op.span.to(self.span());
                self.expect_word("regex")?;
                op.text = "matches regex".into();
                self.binary(op, *value, 2)
            }
            _ => self.binary(op, *value, 2),
        }
    }

    /// Up to the closing parenthesis.
    fn arguments(&mut self) -> Checked<Vec<Expr>> {
        let mut all = Vec::new();
        if self.accept(")") {
            return Ok(all);
        }
        loop {
            if self.is("*") && matches!(self.ahead(1), Token::Sign(")" | ",")) {
                all.push(Expr { kind: ExprKind::Star, span: self.span() });
                self.at += 1;
            } else {
                all.push(self.expression()?);
            }
            if !self.accept(",") {
                self.expect(")")?;
                return Ok(all);
            }
        }
    }

    fn unary(&mut self) -> Checked<Expr> {
        let start = self.span();
        if self.accept("-") {
            let inner = self.nested(Self::unary)?;
            let span = start.to(inner.span);
            return Ok(match inner.kind {
                ExprKind::Literal(kind, Value::Long(it)) => {
                    Expr { kind: ExprKind::Literal(kind, Value::Long(it.wrapping_neg())), span }
                }
                ExprKind::Literal(kind, Value::Real(it)) => {
                    Expr { kind: ExprKind::Literal(kind, Value::Real(-it)), span }
                }
                kind => Expr { kind: ExprKind::Negative(Box::new(Expr { kind, span: inner.span })), span },
            });
        }
        if self.accept("+") {
            return self.nested(Self::unary);
        }
        let mut value = self.primary()?;
        let mut links = 0;
        loop {
            links += 1;
            if links > MAX_DEPTH {
                let message =
                    format!("a path of more than {MAX_DEPTH} steps is beyond the limit of this subset (MAX_DEPTH)");
                return Err(Fault::limit(self.span(), message));
            }
            if self.is(".") {
                self.at += 1;
                let name = self.free_name("name", Place::Used)?;
                let span = start.to(name.span);
                value = Expr { kind: ExprKind::Path(Box::new(value), name), span };
            } else if let Token::Quoted(text) = self.peek().clone() {
                let at = self.span();
                self.at += 1;
                let index = Expr { kind: ExprKind::Literal(Type::String, Value::text(text)), span: at };
                value = Expr { kind: ExprKind::Index(Box::new(value), Box::new(index)), span: start.to(at) };
            } else if self.accept("[") {
                let index = self.expression()?;
                self.expect("]")?;
                value = Expr { kind: ExprKind::Index(Box::new(value), Box::new(index)), span: start.to(self.last()) };
            } else {
                return Ok(value);
            }
        }
    }

    fn primary(&mut self) -> Checked<Expr> {
        let span = self.span();
        match self.peek().clone() {
            Token::Literal(mut value) => {
                self.at += 1;
                // Strings side by side are one.
                while let (Value::String(left), Token::Literal(Value::String(right))) = (&value, self.peek()) {
                    value = Value::text(format!("{left}{right}"));
                    self.at += 1;
                }
                let kind = match value {
                    Value::Long(_) => Type::Long,
                    Value::Real(_) => Type::Real,
                    Value::TimeSpan(_) => Type::TimeSpan,
                    _ => Type::String,
                };
                Ok(Expr { kind: ExprKind::Literal(kind, value), span: span.to(self.last()) })
            }
            Token::Quoted(name) => {
                self.at += 1;
                Ok(Expr { kind: ExprKind::Name(name), span })
            }
            Token::Sign("(") => {
                self.at += 1;
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(Expr { kind: inner.kind, span: span.to(self.last()) })
            }
            Token::Sign("$") => {
                self.at += 1;
                let side = self.name("left or right")?;
                Ok(Expr { kind: ExprKind::Name(format!("${}", side.text)), span: span.to(side.span) })
            }
            Token::Word(word) => self.word(&word, span),
            _ => Err(Fault::syntax("KS006", span, "Missing expression")),
        }
    }

    fn word(&mut self, word: &str, span: Span) -> Checked<Expr> {
        self.at += 1;
        let literal = |value| Ok(Expr { kind: ExprKind::Literal(Type::Bool, Value::Bool(value)), span });
        if matches!(self.peek(), Token::Raw(_)) {
            let Ok(kind) = word.parse::<Type>() else {
                return Err(Fault::syntax("KS198", span, format!("'{word}' is unexpected")));
            };
            return if kind == Type::Dynamic { self.dynamic(span) } else { self.typed_literal(kind, word, span) };
        }
        if !self.is("(") {
            return match word {
                "true" | "True" | "TRUE" => literal(true),
                "false" | "False" | "FALSE" => literal(false),
                "not" => Err(Fault::syntax("KS117", span, "The function 'not' requires an argument list: not(…)")),
                _ => {
                    words::check(word, span, Place::Used)?;
                    Ok(Expr { kind: ExprKind::Name(word.to_owned()), span })
                }
            };
        }
        self.at += 1;
        if word == "toscalar" || word == "materialize" || word == "typeof" {
            return Err(Fault::outside(
                span,
                format!("'{word}' is outside the subset, though Kusto accepts it; join with the table instead"),
            ));
        }
        let args = self.arguments()?;
        let name = Name { text: word.to_owned(), span };
        Ok(Expr { kind: ExprKind::Call(name, args), span: span.to(self.last()) })
    }

    /// `datetime(2020-01-01 10:00)` and its like: what stands in the parentheses is text.
    fn typed_literal(&mut self, kind: Type, word: &str, start: Span) -> Checked<Expr> {
        let text = self.raw(start)?;
        let span = start.to(self.last());
        let body = text.trim();
        let quoted = body.len() > 1 && body.starts_with(['"', '\'']) && body.ends_with(['"', '\'']);
        let body = if quoted { &body[1..body.len() - 1] } else { body };
        let value = match kind {
            Type::String => Some(Value::text(body)),
            Type::TimeSpan => crate::language::dates::parse_timespan(body).map(Value::TimeSpan),
            Type::DateTime if body == "now" => None,
            kind => Value::parse(kind, body),
        };
        let value = if body == "null" || (body.is_empty() && kind != Type::String) { Some(Value::Null) } else { value };
        let fault = || Fault::of_type("KS198", span, format!("'{body}' is no {kind}: {word}(…) holds one, or null"));
        Ok(Expr { kind: ExprKind::Literal(kind, value.ok_or_else(fault)?), span })
    }

    fn dynamic(&mut self, start: Span) -> Checked<Expr> {
        let text = self.raw(start)?;
        let span = start.to(self.last());
        let body = text.trim();
        let read = serde_json::from_str(body).ok().or_else(|| serde_json::from_str(&double_quoted(body)).ok());
        let json = read.or_else(|| body.starts_with('"').then(|| parse_json(body)));
        let fault =
            || Fault::of_type("KS198", span, "dynamic(…) holds JSON: a number, a text, an array, an object or null");
        Ok(Expr { kind: ExprKind::Literal(Type::Dynamic, Value::dynamic(json.ok_or_else(fault)?)), span })
    }

    /// The text between the parentheses at hand.
    fn raw(&mut self, start: Span) -> Checked<String> {
        let Token::Raw(text) = self.peek().clone() else { return Err(Fault::syntax("KS005", start, "Expected: (")) };
        self.at += 1;
        Ok(text)
    }
}

/// JSON with its strings in single quotes, as Kusto allows.
fn double_quoted(text: &str) -> String {
    let (mut out, mut quote) = (String::new(), None);
    let mut chars = text.chars();
    while let Some(it) = chars.next() {
        match (it, quote) {
            ('\\', Some(_)) => match chars.next() {
                Some('\'') => out.push('\''),
                Some(next) => out.extend(['\\', next]),
                None => out.push('\\'),
            },
            ('\'' | '"', None) => {
                quote = Some(it);
                out.push('"');
            }
            (it, Some(open)) if it == open => {
                quote = None;
                out.push('"');
            }
            ('"', Some(_)) => out.push_str("\\\""),
            (it, _) => out.push(it),
        }
    }
    out
}
