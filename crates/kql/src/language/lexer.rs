//! Text into tokens, each with the bytes it stands on.

use crate::language::{
    dates,
    error::{Checked, Fault, Span},
    value::{Type, Value},
};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// Identifiers and keywords; `project-away` is one.
    Word(String),
    /// `['a name']`.
    Quoted(String),
    Literal(Value),
    /// What stands in the parentheses behind a type's name: text, not expressions.
    Raw(String),
    /// Operators and punctuation.
    Sign(&'static str),
    End,
}

/// Longest first.
const SIGNS: [&str; 37] = [
    "!between",
    "!contains_cs",
    "!endswith_cs",
    "!startswith_cs",
    "!hasprefix_cs",
    "!hassuffix_cs",
    "!contains",
    "!endswith",
    "!startswith",
    "!hasprefix",
    "!hassuffix",
    "!has_cs",
    "!has",
    "!in~",
    "!in",
    "==",
    "!=",
    "=~",
    "!~",
    "<=",
    "<>",
    ">=",
    "..",
    "<",
    ">",
    "=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "|",
    ";",
    ",",
    ".",
    ":",
    "$",
];
const BRACKETS: [&str; 6] = ["(", ")", "[", "]", "{", "}"];
/// Words with a hyphen in them.
const HYPHENED: [&str; 14] = [
    "project-away",
    "project-rename",
    "project-keep",
    "project-reorder",
    "project-smart",
    "mv-expand",
    "mv-apply",
    "make-series",
    "parse-where",
    "parse-kv",
    "sample-distinct",
    "top-nested",
    "top-hitters",
    "graph-match",
];

pub(crate) fn tokens(text: &str) -> Checked<Vec<(Token, Span)>> {
    let mut lexer = Lexer { text, at: 0 };
    let mut all = Vec::new();
    loop {
        lexer.skip_blanks();
        let start = lexer.at;
        let token = lexer.next()?;
        let end = token == Token::End;
        let typed = matches!(&token, Token::Word(word) if word == "dynamic" || word.parse::<Type>().is_ok());
        all.push((token, Span { start, end: lexer.at }));
        if typed && lexer.rest().trim_start().starts_with('(') {
            lexer.skip_blanks();
            let start = lexer.at;
            let raw = lexer.raw()?;
            all.push((Token::Raw(raw), Span { start, end: lexer.at }));
        }
        if end {
            return Ok(all);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

fn in_word(it: char) -> bool {
    it == '_' || it.is_alphanumeric()
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches(|it: char| it.is_whitespace() || it == '\u{feff}').len();
            if blanks > 0 {
                self.at += blanks;
            } else if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else {
                return;
            }
        }
    }

    fn next(&mut self) -> Checked<Token> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        if let Some(prefix) = string_prefix(rest) {
            return self.string(prefix);
        }
        if first.is_ascii_digit() {
            return self.number();
        }
        if in_word(first) {
            return Ok(self.word());
        }
        if first == '['
            && self.text[self.at + 1..].trim_start().starts_with(['\'', '"'])
            && let Some(name) = self.quoted_name()?
        {
            return Ok(Token::Quoted(name));
        }
        let sign = SIGNS.iter().chain(&BRACKETS).find(|it| {
            let tail = rest.strip_prefix(**it);
            let word = it.ends_with(|it: char| it.is_ascii_alphabetic());
            tail.is_some_and(|tail| !(word && tail.starts_with(in_word)))
        });
        let Some(sign) = sign else {
            let span = Span { start: self.at, end: self.at + first.len_utf8() };
            return Err(Fault::syntax("KS002", span, format!("Unexpected: {first}")));
        };
        self.at += sign.len();
        Ok(Token::Sign(sign))
    }

    /// Up to the parenthesis that closes this one; parentheses in strings do not count.
    fn raw(&mut self) -> Checked<String> {
        let start = self.at;
        let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
        for (at, it) in self.text[start..].char_indices() {
            match (it, quote) {
                _ if escaped => escaped = false,
                ('\\', Some(_)) => escaped = true,
                ('\'' | '"', None) => quote = Some(it),
                (it, Some(open)) if it == open => quote = None,
                ('(', None) => depth += 1,
                (')', None) if depth == 1 => {
                    self.at = start + at + 1;
                    return Ok(self.text[start + 1..start + at].to_owned());
                }
                (')', None) => depth -= 1,
                _ => {}
            }
        }
        Err(Fault::syntax("KS005", Span { start, end: self.text.len() }, "Expected: )"))
    }

    fn word(&mut self) -> Token {
        let rest = self.rest();
        let hyphened =
            HYPHENED.iter().find(|it| rest.strip_prefix(**it).is_some_and(|tail| !tail.starts_with(in_word)));
        let len = hyphened.map_or_else(|| rest.find(|it| !in_word(it)).unwrap_or(rest.len()), |it| it.len());
        let mut word = rest[..len].to_owned();
        if word == "in" && rest[len..].starts_with('~') {
            word.push('~');
        }
        self.at += word.len();
        Token::Word(word)
    }

    /// `['name']`, which is one token unless the bracket holds more: then it is an index.
    fn quoted_name(&mut self) -> Checked<Option<String>> {
        let start = self.at;
        self.at += 1;
        self.skip_blanks();
        let Some(prefix) = string_prefix(self.rest()) else { return Ok(None) };
        let name = self.string(prefix)?;
        self.skip_blanks();
        if let (Token::Literal(Value::String(name)), true) = (name, self.rest().starts_with(']')) {
            self.at += 1;
            return Ok(Some(name.to_string()));
        }
        self.at = start;
        Ok(None)
    }

    fn number(&mut self) -> Checked<Token> {
        let rest = self.rest();
        let start = self.at;
        if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let len = hex.find(|it: char| !it.is_ascii_hexdigit()).unwrap_or(hex.len());
            if len > 0 {
                let value = u64::from_str_radix(&hex[..len], 16).map(|it| Value::Long(it as i64));
                self.at += 2 + len;
                return value.map(Token::Literal).map_err(|_| self.too_large(start));
            }
        }
        let bytes = rest.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|it| it.is_ascii_digit()).count();
        let mut len = digits(0);
        let mut real = false;
        if bytes.get(len) == Some(&b'.') && bytes.get(len + 1).is_some_and(u8::is_ascii_digit) {
            real = true;
            len += 1 + digits(len + 1);
        } else if bytes.get(len) == Some(&b'.') && bytes.get(len + 1) != Some(&b'.') {
            real = true;
            len += 1;
        }
        if matches!(bytes.get(len), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
            let power = digits((len + 1 + sign).min(bytes.len()));
            if power > 0 {
                real = true;
                len += 1 + sign + power;
            }
        }
        let number = &rest[..len];
        let tail = &rest[len..];
        let unit = &tail[..tail.find(|it| !in_word(it)).unwrap_or(tail.len())];
        if !unit.is_empty() {
            let ticks = dates::span_literal(number, unit);
            let message = format!(
                "'{number}{unit}' is no number and no timespan; Kusto's units are d, h, m, s, ms, microsecond and tick"
            );
            let end = start + len + unit.len();
            self.at = end;
            let fault = || Fault::syntax("KS142", Span { start, end }, message);
            return ticks.map(|it| Token::Literal(Value::TimeSpan(it))).ok_or_else(fault);
        }
        let value = if real { number.parse().ok().map(Value::Real) } else { number.parse().ok().map(Value::Long) };
        self.at += len;
        value.map(Token::Literal).ok_or_else(|| self.too_large(start))
    }

    fn too_large(&self, start: usize) -> Box<Fault> {
        let span = Span { start, end: self.at };
        Fault::of_type("KS207", span, "the number does not fit into a long; write real(…) for a larger one")
    }

    /// Starts at the prefix of a string: its quote, and before it `@` (verbatim) and `h` (hidden from logs, and no different).
    fn string(&mut self, (skipped, quote, verbatim): (usize, &'static str, bool)) -> Checked<Token> {
        let start = self.at;
        let body_at = start + skipped + quote.len();
        let body = &self.text[body_at..];
        if quote.len() == 3 {
            let end = body.find(quote);
            self.at = end.map_or(self.text.len(), |it| body_at + it + 3);
            let text = end.map(|it| body[..it].to_owned());
            return text.map(|it| Token::Literal(Value::text(it))).ok_or_else(|| self.unclosed(start, quote));
        }
        let (mut text, mut chars) = (String::new(), body.char_indices().peekable());
        while let Some((at, it)) = chars.next() {
            match it {
                '\n' if !verbatim => break,
                it if quote.starts_with(it) => {
                    if verbatim && chars.peek().is_some_and(|(_, next)| *next == it) {
                        chars.next();
                        text.push(it);
                        continue;
                    }
                    self.at = body_at + at + 1;
                    return Ok(Token::Literal(Value::text(text)));
                }
                '\\' if !verbatim => match escape(&mut chars) {
                    Some(it) => text.push(it),
                    None => {
                        let span = Span { start: body_at + at, end: body_at + at + 1 };
                        let message = "the escape is none that Kusto knows; write \\\\ for a backslash, or @'…' for a verbatim string";
                        return Err(Fault::syntax("KS198", span, message));
                    }
                },
                it => text.push(it),
            }
        }
        self.at = body_at + body.find('\n').unwrap_or(body.len());
        Err(self.unclosed(start, quote))
    }

    fn unclosed(&self, start: usize, quote: &str) -> Box<Fault> {
        Fault::syntax(
            "KS001",
            Span { start, end: self.at },
            format!("Missing: {quote}. The string does not end on its line"),
        )
    }
}

/// Bytes before the quote, the quote, and whether backslashes stand for themselves.
fn string_prefix(text: &str) -> Option<(usize, &'static str, bool)> {
    for (prefix, verbatim) in [("", false), ("@", true), ("h@", true), ("H@", true), ("h", false), ("H", false)] {
        for quote in ["```", "\"", "'"] {
            if text.strip_prefix(prefix).is_some_and(|it| it.starts_with(quote)) {
                return Some((prefix.len(), quote, verbatim));
            }
        }
    }
    None
}

fn escape(chars: &mut impl Iterator<Item = (usize, char)>) -> Option<char> {
    let (_, it) = chars.next()?;
    let mut hex = |digits: usize| {
        let text: String = chars.by_ref().take(digits).map(|(_, it)| it).collect();
        char::from_u32(u32::from_str_radix(&text, 16).ok()?)
    };
    Some(match it {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '0' => '\0',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        'u' => return hex(4),
        'x' => return hex(2),
        'U' => return hex(8),
        '\\' | '\'' | '"' => it,
        _ => return None,
    })
}
