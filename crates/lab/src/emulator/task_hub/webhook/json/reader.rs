//! Tokens of a JSON text as Newtonsoft.Json 13 reads them, and its words for what is wrong.
//!
//! Newtonsoft takes more than JSON: comments, single quotes, bare names, `NaN`, hex and octal numbers, commas with nothing between.
//! Which text is refused, and the message with its path, line and position, are part of what a client of the webhook sees.

use std::borrow::Cow;

use super::JsonError;

/// Deepest nesting (Newtonsoft.Json: `MaxDepth`).
const DEEPEST: usize = 64;
/// Longest integer (Newtonsoft.Json: `MaximumJavascriptIntegerCharacterLength`).
const LONGEST_INTEGER: usize = 380;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Begin(Kind),
    End,
    Name(Cow<'a, str>),
    Text(Cow<'a, str>),
    Integer(Cow<'a, str>),
    Float(f64),
    Bool(bool),
    Null,
    Comment(&'a str),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Object,
    Array,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Start,
    /// Right after an opening bracket.
    Opened(Kind),
    /// After a comma.
    Inside(Kind),
    AfterName,
    AfterValue,
    Finished,
}

/// A container that is open, and where in it the reader is.
struct Scope<'a> {
    kind: Kind,
    name: Cow<'a, str>,
    /// Values begun before the present one; none yet is -1.
    index: i64,
}

pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    line_start: usize,
    state: State,
    scopes: Vec<Scope<'a>>,
    has_seen_comment: bool,
}

type Read<T> = Result<T, JsonError>;

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1, line_start: 0, state: State::Start, scopes: Vec::new(), has_seen_comment: false }
    }

    /// Containers that are open.
    pub(super) fn depth(&self) -> usize {
        self.scopes.len()
    }

    /// The next token; `None` at the end of the text.
    pub(super) fn read(&mut self) -> Read<Option<Token<'a>>> {
        loop {
            self.skip_blanks();
            let Some(next) = self.peek() else { return Ok(None) };
            if next == '/' {
                self.has_seen_comment = true;
                return self.comment().map(Some);
            }
            match self.state {
                State::Start | State::AfterName | State::Opened(Kind::Array) | State::Inside(Kind::Array) => {
                    return self.value(next).map(Some);
                }
                State::Opened(Kind::Object) | State::Inside(Kind::Object) if next == '}' => {
                    self.at += 1;
                    return self.end(Kind::Object).map(Some);
                }
                State::Opened(Kind::Object) | State::Inside(Kind::Object) => return self.name(next).map(Some),
                State::AfterValue => {
                    if let Some(token) = self.after_value(next)? {
                        return Ok(Some(token));
                    }
                }
                State::Finished => {
                    let what = format!("Additional text encountered after finished reading JSON content: {next}.");
                    return self.fail(&what);
                }
            }
        }
    }

    fn after_value(&mut self, next: char) -> Read<Option<Token<'a>>> {
        let kind = match next {
            ',' => {
                self.at += 1;
                self.state = self.scopes.last().map_or(State::Finished, |it| State::Inside(it.kind));
                return Ok(None);
            }
            '}' => Kind::Object,
            ']' => Kind::Array,
            _ => {
                return self.fail(&format!("After parsing a value an unexpected character was encountered: {next}."));
            }
        };
        self.at += 1;
        self.end(kind).map(Some)
    }

    fn name(&mut self, first: char) -> Read<Token<'a>> {
        let name = if matches!(first, '"' | '\'') {
            self.quoted(first)?
        } else if is_bare(first) {
            self.bare_name()?
        } else {
            return self.fail(&format!("Invalid property identifier character: {first}."));
        };
        self.skip_blanks();
        match self.peek() {
            Some(':') => self.at += 1,
            other => {
                let got = other.unwrap_or('\0');
                let what = format!("Invalid character after parsing property name. Expected ':' but got: {got}.");
                return self.fail(&what);
            }
        }
        self.state = State::AfterName;
        if let Some(scope) = self.scopes.last_mut() {
            scope.name.clone_from(&name);
        }
        Ok(Token::Name(name))
    }

    fn bare_name(&mut self) -> Read<Cow<'a, str>> {
        let from = self.at;
        loop {
            match self.peek() {
                Some(it) if is_bare(it) => self.at += it.len_utf8(),
                Some(it) if it == '\0' || it == ':' || it.is_whitespace() => {
                    return Ok(Cow::Borrowed(&self.text[from..self.at]));
                }
                Some(it) => return self.fail(&format!("Invalid JavaScript property identifier character: {it}.")),
                None => return self.fail("Unexpected end while parsing unquoted property name."),
            }
        }
    }

    fn value(&mut self, next: char) -> Read<Token<'a>> {
        let token = match next {
            '"' | '\'' => Token::Text(self.quoted(next)?),
            '{' => return self.begin(Kind::Object),
            '[' => return self.begin(Kind::Array),
            ']' => {
                self.at += 1;
                return self.end(Kind::Array);
            }
            // The comma is left to the next call: several in a row are as many values that are undefined.
            ',' => Token::Null,
            't' => self.word("true", "Error parsing boolean value.", Token::Bool(true))?,
            'f' => self.word("false", "Error parsing boolean value.", Token::Bool(false))?,
            'n' => self.null()?,
            'u' => self.word("undefined", "Error parsing undefined value.", Token::Null)?,
            'N' => self.word("NaN", "Error parsing NaN value.", Token::Float(f64::NAN))?,
            'I' => self.word("Infinity", "Error parsing Infinity value.", Token::Float(f64::INFINITY))?,
            '-' if self.text[self.at..].starts_with("-I") => {
                self.word("-Infinity", "Error parsing -Infinity value.", Token::Float(f64::NEG_INFINITY))?
            }
            _ if next == '-' || next == '.' || next.is_numeric() => return self.number(),
            _ => return self.unexpected(next),
        };
        self.finish_value();
        Ok(token)
    }

    fn unexpected<T>(&self, next: char) -> Read<T> {
        self.fail(&format!("Unexpected character encountered while parsing value: {next}."))
    }

    fn null(&mut self) -> Read<Token<'a>> {
        match self.text[self.at + 1..].chars().next() {
            Some('u') => self.word("null", "Error parsing null value.", Token::Null),
            Some(_) => self.unexpected('n'),
            None => {
                self.at += 1;
                self.fail("Unexpected end when reading JSON.")
            }
        }
    }

    fn word(&mut self, word: &str, wrong: &str, token: Token<'a>) -> Read<Token<'a>> {
        let rest = &self.text[self.at..];
        if rest.chars().count() < word.len() {
            self.at = self.text.len();
            return self.fail("Unexpected end when reading JSON.");
        }
        let same = rest.bytes().zip(word.bytes()).take_while(|(a, b)| a == b).count();
        self.at += same;
        let is_separated = same == word.len() && self.peek().is_none_or(|it| self.is_separator(it));
        if is_separated { Ok(token) } else { self.fail(wrong) }
    }

    fn is_separator(&self, it: char) -> bool {
        let rest = &self.text[self.at..];
        matches!(it, '}' | ']' | ',' | '\0')
            || it.is_whitespace()
            || (it == '/' && (rest.starts_with("/*") || rest.starts_with("//")))
    }

    fn number(&mut self) -> Read<Token<'a>> {
        let from = self.at;
        loop {
            match self.peek() {
                Some(it) if matches!(it, '-' | '+' | '.' | 'x' | 'X') || it.is_ascii_hexdigit() => self.at += 1,
                Some(it) if matches!(it, '\0' | ',' | '}' | ']' | ')' | '/') || it.is_whitespace() => break,
                None => break,
                Some(it) => {
                    return self.fail(&format!("Unexpected character encountered while parsing number: {it}."));
                }
            }
        }
        self.finish_value();
        let digits = &self.text[from..self.at];
        match number(digits) {
            Some(token) => Ok(token),
            None if is_integer(digits) && digits.len() > LONGEST_INTEGER => {
                self.fail(&format!("JSON integer {digits} is too large to parse."))
            }
            None => self.fail(&format!("Input string '{digits}' is not a valid number.")),
        }
    }

    /// A text in quotes; begins at the opening one.
    fn quoted(&mut self, quote: char) -> Read<Cow<'a, str>> {
        self.at += 1;
        let mut from = self.at;
        let mut text = Cow::Borrowed("");
        loop {
            let bytes = self.text.as_bytes();
            let plain = |it: &u8| *it != quote as u8 && !matches!(it, b'\\' | b'\r' | b'\n');
            self.at += bytes[self.at..].iter().take_while(|it| plain(it)).count();
            let Some(next) = self.peek() else { return self.unterminated(quote) };
            match next {
                '\\' => {
                    append(&mut text, &self.text[from..self.at]);
                    self.at += 1;
                    self.escape(quote, text.to_mut())?;
                    from = self.at;
                }
                '\r' | '\n' => self.pass_end_of_line(next),
                _ => {
                    append(&mut text, &self.text[from..self.at]);
                    self.at += 1;
                    return Ok(text);
                }
            }
        }
    }

    fn unterminated<T>(&self, quote: char) -> Read<T> {
        self.fail(&format!("Unterminated string. Expected delimiter: {quote}."))
    }

    fn escape(&mut self, quote: char, text: &mut String) -> Read<()> {
        let Some(kind) = self.peek() else { return self.unterminated(quote) };
        self.at += kind.len_utf8();
        text.push(match kind {
            'b' => '\u{8}',
            't' => '\t',
            'n' => '\n',
            'f' => '\u{c}',
            'r' => '\r',
            '\\' | '"' | '\'' | '/' => kind,
            'u' => return self.unicode(text),
            _ => return self.fail(&format!("Bad JSON escape sequence: \\{kind}.")),
        });
        Ok(())
    }

    /// A UTF-16 unit after its `\u`, with the pair's other half; what is half a pair alone becomes U+FFFD.
    fn unicode(&mut self, text: &mut String) -> Read<()> {
        let mut units = vec![self.hex()?];
        while units.last().is_some_and(|it| (0xD800..0xDC00).contains(it)) && self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            units.push(self.hex()?);
        }
        text.extend(char::decode_utf16(units).map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER)));
        Ok(())
    }

    fn hex(&mut self) -> Read<u16> {
        let digits: String = self.text[self.at..].chars().take(4).collect();
        if digits.chars().count() < 4 {
            return self.fail("Unexpected end while parsing Unicode escape sequence.");
        }
        match u16::from_str_radix(&digits, 16).ok().filter(|_| !digits.starts_with('+')) {
            Some(unit) => {
                self.at += 4;
                Ok(unit)
            }
            None => self.fail(&format!("Invalid Unicode escape sequence: \\u{digits}.")),
        }
    }

    fn comment(&mut self) -> Read<Token<'a>> {
        self.at += 1;
        let is_line = match self.peek() {
            // Newtonsoft wants one more character to be there.
            Some(_) if self.text[self.at..].chars().nth(1).is_none() => {
                return self.fail("Unexpected end while parsing comment.");
            }
            Some('*') => false,
            Some('/') => true,
            Some(it) => return self.fail(&format!("Error parsing comment. Expected: *, got {it}.")),
            None => return self.fail("Unexpected end while parsing comment."),
        };
        self.at += 1;
        let from = self.at;
        while let Some(next) = self.peek() {
            match next {
                '\r' | '\n' if is_line => break,
                '\r' | '\n' => self.pass_end_of_line(next),
                '*' if !is_line && self.text[self.at..].starts_with("*/") => {
                    let comment = &self.text[from..self.at];
                    self.at += 2;
                    return Ok(Token::Comment(comment));
                }
                _ => self.at += next.len_utf8(),
            }
        }
        if is_line {
            Ok(Token::Comment(&self.text[from..self.at]))
        } else {
            self.fail("Unexpected end while parsing comment.")
        }
    }

    fn begin(&mut self, kind: Kind) -> Read<Token<'a>> {
        self.at += 1;
        self.count_value();
        self.state = State::Opened(kind);
        self.scopes.push(Scope { kind, name: Cow::Borrowed(""), index: -1 });
        if self.scopes.len() > DEEPEST {
            return self.fail(&format!("The reader's MaxDepth of {DEEPEST} has been exceeded."));
        }
        Ok(Token::Begin(kind))
    }

    fn end(&mut self, kind: Kind) -> Read<Token<'a>> {
        let open = self.scopes.pop().map(|it| it.kind);
        if open != Some(kind) {
            let open = open.map_or_else(|| "None".to_owned(), |it| format!("{it:?}"));
            return self.fail(&format!("JsonToken End{kind:?} is not valid for closing JsonType {open}."));
        }
        self.state = self.state_after_value();
        Ok(Token::End)
    }

    fn finish_value(&mut self) {
        self.count_value();
        self.state = self.state_after_value();
    }

    fn state_after_value(&self) -> State {
        if self.scopes.is_empty() { State::Finished } else { State::AfterValue }
    }

    fn count_value(&mut self) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.index += 1;
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip_blanks(&mut self) {
        while let Some(next) = self.peek() {
            match next {
                '\r' | '\n' => self.pass_end_of_line(next),
                _ if next.is_whitespace() || next == '\0' => self.at += next.len_utf8(),
                _ => break,
            }
        }
    }

    /// Passes one end of a line.
    fn pass_end_of_line(&mut self, next: char) {
        let is_pair = next == '\r' && self.text[self.at..].starts_with("\r\n");
        self.at += if is_pair { 2 } else { 1 };
        (self.line, self.line_start) = (self.line + 1, self.at);
    }

    /// Where the reader is: `items[2].name`.
    fn path(&self) -> String {
        let is_inside = !matches!(self.state, State::Opened(_));
        self.path_of(self.scopes.len() - usize::from(!is_inside && !self.scopes.is_empty()))
    }

    /// The path of the innermost container that is open.
    pub(super) fn container_path(&self) -> String {
        self.path_of(self.scopes.len().saturating_sub(1))
    }

    fn path_of(&self, scopes: usize) -> String {
        let mut path = String::new();
        for scope in &self.scopes[..scopes] {
            match scope.kind {
                Kind::Array => path.push_str(&format!("[{}]", scope.index)),
                Kind::Object if scope.name.contains(is_special) => {
                    let quoted = scope.name.replace('\\', "\\\\").replace('\'', "\\'");
                    path.push_str(&format!("['{quoted}']"));
                }
                Kind::Object => {
                    let point = if path.is_empty() { "" } else { "." };
                    path.push_str(&format!("{point}{}", scope.name));
                }
            }
        }
        path
    }

    pub(super) fn fail<T>(&self, what: &str) -> Read<T> {
        let position = self.text[self.line_start..self.at].encode_utf16().count();
        let is_start = self.state == State::Start && position == 0 && !self.has_seen_comment;
        let line = if is_start { 0 } else { self.line };
        Err(JsonError::reader(format!("{what} Path '{}', line {line}, position {position}.", self.path())))
    }
}

fn append<'a>(text: &mut Cow<'a, str>, more: &'a str) {
    if text.is_empty() && matches!(text, Cow::Borrowed(_)) {
        *text = Cow::Borrowed(more);
    } else {
        text.to_mut().push_str(more);
    }
}

fn is_bare(it: char) -> bool {
    it.is_alphanumeric() || it == '_' || it == '$'
}

/// What has a name written in brackets (Newtonsoft.Json: `JsonPosition.SpecialCharacters`).
fn is_special(it: char) -> bool {
    ". '/\"[]()\t\n\r\u{c}\u{8}\\\u{85}\u{2028}\u{2029}".contains(it)
}

fn is_integer(digits: &str) -> bool {
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit())
}

fn number(digits: &str) -> Option<Token<'_>> {
    let bytes = digits.as_bytes();
    // A zero in front makes it octal, or hexadecimal.
    if bytes.len() > 1 && bytes[0] == b'0' && !matches!(bytes[1], b'.' | b'e' | b'E') {
        let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
        let value = hex.map_or_else(|| u64::from_str_radix(digits, 8), |it| u64::from_str_radix(it, 16));
        return value.ok().map(|it| Token::Integer(Cow::Owned(it.cast_signed().to_string())));
    }
    if is_integer(digits) {
        if let Ok(value) = digits.parse::<i64>() {
            return Some(Token::Integer(Cow::Owned(value.to_string())));
        }
        let (sign, unsigned) = digits.strip_prefix('-').map_or(("", digits), |it| ("-", it));
        let unsigned = unsigned.trim_start_matches('0');
        return (digits.len() <= LONGEST_INTEGER).then(|| Token::Integer(Cow::Owned(format!("{sign}{unsigned}"))));
    }
    digits.parse().ok().map(Token::Float)
}
