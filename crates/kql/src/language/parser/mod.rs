//! Tokens into statements and pipelines. Depth and number of what it reads are bounded.

mod expressions;
mod operators;

pub(crate) use operators::OPERATORS;

use crate::language::{
    error::{Checked, Fault, Span},
    lexer::{Token, tokens},
    limits::{MAX_DEPTH, MAX_TEXT},
    syntax::{Body, Let, Name, Pipeline, Source, UnionOf},
    value::Value,
    words::{self, Place},
};

pub(crate) struct Parser {
    tokens: Vec<(Token, Span)>,
    at: usize,
    depth: usize,
}

/// Statements of a text: the `let`s, and the query behind them.
pub(crate) fn parse(text: &str) -> Checked<(Vec<Let>, Pipeline)> {
    if text.len() > MAX_TEXT {
        let message = format!("the query is longer than {MAX_TEXT} bytes, the limit of a text (MAX_TEXT)");
        return Err(Fault::limit(Span { start: 0, end: 1 }, message));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let (mut lets, mut query) = (Vec::new(), None);
    loop {
        while parser.accept(";") {}
        if *parser.peek() == Token::End {
            break;
        }
        let start = parser.span();
        if parser.accept_word("let") {
            lets.push(parser.let_statement()?);
        } else if query.replace(parser.pipeline()?).is_some() {
            return Err(Fault::outside(
                start,
                "a second query is outside the subset; Kusto answers each with a table of its own",
            ));
        }
        if *parser.peek() != Token::End {
            parser.expect(";")?;
        }
    }
    let span = parser.span();
    query.map(|it| (lets, it)).ok_or_else(|| {
        Fault::new(
            crate::language::ErrorKind::Syntax,
            None,
            span,
            "the text has no query: name a table, or print, range, union or datatable",
        )
    })
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    fn ahead(&self, by: usize) -> &Token {
        &self.tokens[(self.at + by).min(self.tokens.len() - 1)].0
    }

    fn span(&self) -> Span {
        self.tokens[self.at.min(self.tokens.len() - 1)].1
    }

    /// The token before this one.
    fn last(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].1
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(it) if *it == sign)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(it) if it == word)
    }

    fn accept(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        self.at += usize::from(is);
        is
    }

    fn accept_word(&mut self, word: &str) -> bool {
        let is = self.is_word(word);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Checked<()> {
        if self.accept(sign) { Ok(()) } else { Err(Fault::syntax("KS005", self.span(), format!("Expected: {sign}"))) }
    }

    fn expect_word(&mut self, word: &str) -> Checked<()> {
        if self.accept_word(word) {
            Ok(())
        } else {
            Err(Fault::syntax("KS005", self.span(), format!("Expected: {word}")))
        }
    }

    /// A name that may be anything but a word of the language.
    fn free_name(&mut self, what: &str, place: Place) -> Checked<Name> {
        if let Token::Word(word) = self.peek() {
            words::check(word, self.span(), place)?;
        }
        self.name(what)
    }

    fn name(&mut self, what: &str) -> Checked<Name> {
        let span = self.span();
        match self.peek().clone() {
            Token::Word(text) | Token::Quoted(text) => {
                self.at += 1;
                Ok(Name { text, span })
            }
            _ => Err(Fault::syntax("KS006", span, format!("Missing {what}"))),
        }
    }

    /// Runs `read` one level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Checked<T>) -> Checked<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!(
                "the query nests deeper than {MAX_DEPTH} levels, the limit of this subset (MAX_DEPTH); name parts with let"
            );
            return Err(Fault::limit(self.span(), message));
        }
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn let_statement(&mut self) -> Checked<Let> {
        let name = self.free_name("name", Place::Let)?;
        self.expect("=")?;
        let span = self.span();
        if self.is("(") && (matches!(self.ahead(2), Token::Sign(":")) || matches!(self.ahead(1), Token::Sign(")"))) {
            return Err(Fault::outside(
                span,
                "functions of one's own are outside the subset, though Kusto accepts them: write the expression out",
            ));
        }
        let tabular = match (self.peek(), self.ahead(1)) {
            (Token::Word(word), Token::Sign("(")) if word == "datatable" || word == "union" => true,
            (Token::Word(word), Token::Word(_))
                if ["datatable", "union", "range", "print"].contains(&word.as_str()) =>
            {
                true
            }
            (Token::Word(word), Token::Literal(_)) => word == "print",
            (Token::Word(_) | Token::Quoted(_), Token::Sign("|")) => true,
            (Token::Sign("("), Token::Word(word))
                if ["datatable", "union", "range", "print"].contains(&word.as_str()) =>
            {
                true
            }
            (Token::Sign("("), Token::Word(_) | Token::Quoted(_)) => matches!(self.ahead(2), Token::Sign("|")),
            _ => false,
        };
        let body = if tabular { Body::Tabular(self.pipeline()?) } else { Body::Scalar(self.expression()?) };
        Ok(Let { name, body })
    }

    fn pipeline(&mut self) -> Checked<Pipeline> {
        self.nested(|it| {
            let source = it.source()?;
            let mut operators = Vec::new();
            while it.accept("|") {
                let start = it.span();
                let operator = it.operator()?;
                operators.push((operator, start.to(it.last())));
            }
            Ok(Pipeline { source, operators })
        })
    }

    fn source(&mut self) -> Checked<Source> {
        let start = self.span();
        if self.accept("(") {
            let inner = self.pipeline()?;
            self.expect(")")?;
            return Ok(Source::Nested(Box::new(inner)));
        }
        let Token::Word(word) = self.peek().clone() else {
            if let Token::Quoted(text) = self.peek().clone() {
                self.at += 1;
                return Ok(Source::Table(Name { text, span: start }));
            }
            return Err(Fault::syntax(
                "KS006",
                start,
                "Missing expression: a query begins with a table, or with print, range, union or datatable",
            ));
        };
        let follows = |sign: &str| matches!(self.ahead(1), Token::Sign(it) if *it == sign);
        match word.as_str() {
            "union" => {
                self.at += 1;
                Ok(Source::Union(self.union_of()?))
            }
            "print" if !follows("|") => {
                self.at += 1;
                Ok(Source::Print(self.named_list("print")?))
            }
            "range" if !follows("|") => {
                self.at += 1;
                self.range()
            }
            "datatable" => {
                self.at += 1;
                self.datatable(start)
            }
            "find" | "search" | "evaluate" | "externaldata" | "materialize" | "graph" | "cluster" | "database"
            | "table"
                if !follows("|") && self.ahead(1) != &Token::End =>
            {
                Err(Fault::outside(
                    start,
                    format!(
                        "'{word}' is outside the subset, though Kusto accepts it; a query here begins with a table, print, range, union or datatable"
                    ),
                ))
            }
            "set" | "declare" | "alias" | "restrict" if matches!(self.ahead(1), Token::Word(_)) => Err(Fault::outside(
                start,
                format!(
                    "the statement '{word}' is outside the subset, though Kusto accepts it; of statements only let is in it"
                ),
            )),
            _ => self.table_name(word, start),
        }
    }

    fn table_name(&mut self, word: String, start: Span) -> Checked<Source> {
        self.at += 1;
        if self.is("(") {
            return Err(Fault::outside(
                start,
                format!("a call of '{word}' as a table is outside the subset; name a table"),
            ));
        }
        if self.is("*") {
            return Err(Fault::outside(
                start,
                "wildcards in table names are outside the subset, though Kusto accepts them; list the tables",
            ));
        }
        words::check(&word, start, Place::Used)?;
        Ok(Source::Table(Name { text: word, span: start }))
    }

    fn union_of(&mut self) -> Checked<UnionOf> {
        let mut union = UnionOf { inner: false, source_column: None, tables: Vec::new() };
        while matches!((self.peek(), self.ahead(1)), (Token::Word(_), Token::Sign("="))) {
            let option = self.name("option")?;
            self.at += 1;
            match option.text.as_str() {
                "kind" => {
                    let kind = self.name("kind")?;
                    union.inner = match kind.text.as_str() {
                        "inner" => true,
                        "outer" => false,
                        _ => return Err(Fault::syntax("KS005", kind.span, "Expected one of: inner, outer")),
                    };
                }
                "withsource" => union.source_column = Some(self.free_name("column", Place::Used)?),
                "isfuzzy" => self.at += 1,
                _ => return Err(Fault::syntax("KS005", option.span, "Expected one of: kind, withsource, isfuzzy")),
            }
        }
        loop {
            union.tables.push(self.one_table()?);
            if !self.accept(",") {
                return Ok(union);
            }
        }
    }

    /// A name, or a pipeline in parentheses.
    fn one_table(&mut self) -> Checked<Pipeline> {
        self.nested(|it| Ok(Pipeline { source: it.source()?, operators: Vec::new() }))
    }

    fn range(&mut self) -> Checked<Source> {
        let name = self.free_name("column", Place::Used)?;
        self.expect_word("from")?;
        let from = self.expression()?;
        self.expect_word("to")?;
        let to = self.expression()?;
        self.expect_word("step")?;
        let step = self.expression()?;
        Ok(Source::Range { name, from, to, step })
    }

    fn datatable(&mut self, start: Span) -> Checked<Source> {
        self.expect("(")?;
        let mut columns = Vec::new();
        while !self.is(")") {
            let name = self.free_name("column", Place::Given)?;
            self.expect(":")?;
            columns.push((name, self.name("type")?));
            if !self.accept(",") {
                break;
            }
        }
        self.expect(")")?;
        let mut values = Vec::new();
        // `['a', …` reads as a name in brackets where one value stands alone.
        if let Token::Quoted(text) = self.peek().clone() {
            let span = self.span();
            self.at += 1;
            let literal = crate::language::syntax::ExprKind::Literal(crate::language::Type::String, Value::text(text));
            values.push(crate::language::syntax::Expr { kind: literal, span });
            return Ok(Source::DataTable { columns, values, span: start.to(span) });
        }
        self.expect("[")?;
        while !self.is("]") {
            values.push(self.expression()?);
            if !self.accept(",") {
                break;
            }
        }
        self.expect("]")?;
        Ok(Source::DataTable { columns, values, span: start.to(self.last()) })
    }
}
