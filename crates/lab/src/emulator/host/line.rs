//! A line of the host's log, and the invocation during which it was logged.

use std::fmt;

use uuid::Uuid;

use super::exception::Exception;
use crate::evidence::moment::Moment;

/// Severity of a log line, as .NET names it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Only on the console.
    Debug,
    Information,
    Warning,
    Error,
}

impl Level {
    /// `Information`, as in the columns `Level` and `LogLevel`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "Debug",
            Self::Information => "Information",
            Self::Warning => "Warning",
            Self::Error => "Error",
        }
    }

    /// `severityLevel` of Application Insights. .NET's own numbers (`LevelId`) are one higher.
    pub(super) fn severity(self) -> u8 {
        self as u8
    }
}

/// The invocation during which a line is logged.
#[derive(Clone, Debug)]
pub struct Scope {
    pub id: String,
    pub function: String,
    /// Operation id of the invocation's request row: new for each invocation.
    pub operation_id: String,
    /// Id of the request row, parent of everything logged inside.
    pub request_id: String,
    /// The host's own id of the HTTP request that called the function.
    pub http_request_id: Option<String>,
}

impl Scope {
    /// A new invocation of a function.
    pub fn new(function: &str) -> Self {
        Self {
            id: Uuid::new_v4().to_string(),
            function: function.to_owned(),
            operation_id: Uuid::new_v4().simple().to_string(),
            request_id: span_id(),
            http_request_id: None,
        }
    }
}

/// A W3C span id: 16 random hex digits.
pub(super) fn span_id() -> String {
    format!("{:016x}", Uuid::new_v4().as_u64_pair().0)
}

/// One line of the host's log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// When it was logged.
    pub at: Moment,
    pub category: String,
    pub level: Level,
    /// The message, without the exception.
    pub message: String,
    /// Number and name of what it is about, for the lines that the host numbers.
    pub event: Option<(u16, &'static str)>,
    /// What the message was made of: a text with names in braces. The message itself, if not set.
    pub format: Option<String>,
    /// What was put in the place of those names.
    pub values: Vec<(String, String)>,
    /// The exception logged with it.
    pub exception: Option<Exception>,
    pub scope: Option<Scope>,
}

impl LogLine {
    /// A line outside of any invocation.
    pub fn new(category: impl Into<String>, level: Level, message: impl Into<String>) -> Self {
        Self {
            at: Moment::now(),
            category: category.into(),
            level,
            message: message.into(),
            event: None,
            format: None,
            values: Vec::new(),
            exception: None,
            scope: None,
        }
    }

    /// A line made of a format, `Executed '{functionName}'`, and the values of its names. A name without a value is `(null)`, as in
    /// .NET.
    pub fn formatted(category: impl Into<String>, level: Level, format: &str, values: &[(&str, &str)]) -> Self {
        let values: Vec<_> = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let message = filled_in(format, &values);
        Self { format: Some(format.to_owned()), values, ..Self::new(category, level, message) }
    }

    /// The same line, under a number and a name.
    #[must_use]
    pub fn event(mut self, id: u16, name: &'static str) -> Self {
        self.event = Some((id, name));
        self
    }

    /// The same line, logged inside an invocation.
    #[must_use]
    pub fn within(mut self, scope: &Scope) -> Self {
        self.scope = Some(scope.clone());
        self
    }

    /// The same line, with an exception.
    #[must_use]
    pub fn because(mut self, exception: Exception) -> Self {
        self.exception = Some(exception);
        self
    }
}

/// In one pass: a value may have braces of its own.
fn filled_in(format: &str, values: &[(String, String)]) -> String {
    let mut text = String::new();
    let mut rest = format;
    while let Some((before, (name, after))) = rest.split_once('{').and_then(|(it, on)| Some((it, on.split_once('}')?)))
    {
        text.push_str(before);
        text.push_str(values.iter().find(|it| it.0 == name).map_or("(null)", |it| &it.1));
        rest = after;
    }
    text + rest
}

/// As .NET's console prints it: the message, then the exception on lines of its own.
impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exception {
            None => f.write_str(&self.message),
            Some(exception) if self.message.is_empty() => write!(f, "{exception}"),
            Some(exception) => write!(f, "{}\n{exception}", self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_filled_in_once_and_what_has_no_value_is_null() {
        let line =
            |values: &[(&str, &str)]| LogLine::formatted("c", Level::Information, "a '{one}' ({two})", values).message;
        assert_eq!(line(&[("one", "1"), ("two", "2")]), "a '1' (2)");
        assert_eq!(line(&[("one", "{two}"), ("two", "}{")]), "a '{two}' (}{)");
        assert_eq!(line(&[("two", "")]), "a '(null)' ()");
        assert_eq!(LogLine::formatted("c", Level::Debug, "open { and {x", &[("x", "y")]).message, "open { and {x");
    }
}
