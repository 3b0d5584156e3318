//! What is wrong with a query, where, and what Kusto accepts there.

use std::ops::Range;

/// Why a query is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The text does not parse.
    Syntax,
    /// A name refers to nothing in scope.
    Name,
    /// Types or arguments do not fit.
    Type,
    /// Kusto has it; the subset does not.
    Outside,
    /// The query would exceed a limit of this crate.
    Limit,
    /// A parameter is unknown or its text does not convert.
    Parameter,
}

/// A refused query. `Display` is one line; [`Error::render`] adds the source line and a caret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message} (line {line}, column {column})", .code.map(|it| format!("{it}: ")).unwrap_or_default())]
#[non_exhaustive]
pub struct Error {
    pub kind: ErrorKind,
    /// Microsoft's code, where its parser has one.
    pub code: Option<&'static str>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Bytes of the text.
    pub span: Range<usize>,
    pub message: String,
}

/// Bytes of a query's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn to(self, end: Self) -> Self {
        Self { start: self.start, end: end.end.max(self.start) }
    }
}

/// An error that does not know the text yet; [`Fault::place`] finds line and column.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) code: Option<&'static str>,
    pub(crate) span: Span,
    pub(crate) message: String,
}

pub(crate) type Checked<T> = Result<T, Box<Fault>>;

impl Fault {
    pub(crate) fn new(
        kind: ErrorKind,
        code: Option<&'static str>,
        span: Span,
        message: impl Into<String>,
    ) -> Box<Self> {
        Box::new(Self { kind, code, span, message: message.into() })
    }

    pub(crate) fn syntax(code: &'static str, span: Span, message: impl Into<String>) -> Box<Self> {
        Self::new(ErrorKind::Syntax, Some(code), span, message)
    }

    pub(crate) fn of_type(code: &'static str, span: Span, message: impl Into<String>) -> Box<Self> {
        Self::new(ErrorKind::Type, Some(code), span, message)
    }

    pub(crate) fn name(code: &'static str, span: Span, message: impl Into<String>) -> Box<Self> {
        Self::new(ErrorKind::Name, Some(code), span, message)
    }

    pub(crate) fn outside(span: Span, message: impl Into<String>) -> Box<Self> {
        Self::new(ErrorKind::Outside, None, span, message)
    }

    pub(crate) fn limit(span: Span, message: impl Into<String>) -> Box<Self> {
        Self::new(ErrorKind::Limit, None, span, message)
    }

    pub(crate) fn place(self, text: &str) -> Error {
        let mut start = self.span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &text[..start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let span = start..self.span.end.clamp(start, text.len());
        Error { kind: self.kind, code: self.code, line, column, span, message: self.message }
    }
}

impl Error {
    /// The message, the line it is about and a caret below the place.
    pub fn render(&self, text: &str) -> String {
        let source = text.lines().nth(self.line - 1).unwrap_or_default();
        let wide = text.get(self.span.clone()).map_or(1, |it| it.lines().next().unwrap_or_default().chars().count());
        let room = source.chars().count().saturating_sub(self.column - 1).max(1);
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let indent: String =
            source.chars().take(self.column - 1).map(|it| if it == '\t' { '\t' } else { ' ' }).collect();
        let carets = "^".repeat(wide.clamp(1, room));
        format!("{self}\n{margin} |\n{number} | {source}\n{margin} | {indent}{carets}\n")
    }
}

/// The name among `known` that `name` most likely stands for.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().take(64).flat_map(char::to_lowercase).collect();
    let allowed = name.len() / 3 + 1;
    known
        .into_iter()
        .map(|it| (distance(&name, &it.to_lowercase().chars().take(64).collect::<Vec<_>>()), it))
        .filter(|(far, it)| *far <= allowed && *far < it.len())
        .min_by_key(|(far, _)| *far)
        .map(|(_, it)| it)
}

/// ` Did you mean 'x'?`, or nothing.
pub(crate) fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|it| format!(" Did you mean '{it}'?")).unwrap_or_default()
}

/// Edits from one to the other, two swapped neighbours counted as one.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let change = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}
