//! JSON as .NET reads an app's files: byte order marks, comments, trailing commas, single quotes, and names in any case.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Deepest nesting that is read (Newtonsoft.Json: `MaxDepth`).
const DEEPEST: usize = 64;

/// Why a text is not JSON. Nothing of the text itself is told: it may hold a key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct JsonError {
    /// Counted from 1.
    pub line: usize,
    pub reason: String,
}

/// A JSON text, and the line of each of its properties.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    pub value: Value,
    lines: HashMap<String, usize>,
}

/// The property of a name in any case; `Null` where there is none.
pub fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    static NONE: Value = Value::Null;
    let Some(object) = value.as_object() else { return &NONE };
    let any_case = || object.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    object.get(name).or_else(any_case).unwrap_or(&NONE)
}

impl Document {
    /// Reads a text. Of two properties whose names differ in case alone the later one counts, and two objects become one.
    ///
    /// # Errors
    /// The line, and what is wrong there.
    pub fn read(text: &[u8]) -> Result<Self, JsonError> {
        let text = decoded(text)?;
        let mut parser = Parser { rest: &text, line: 1, path: Vec::new(), lines: HashMap::new() };
        parser.skip()?;
        let value = parser.value()?;
        parser.skip()?;
        if parser.rest.is_empty() {
            Ok(Self { value, lines: parser.lines })
        } else {
            parser.fail("more text after the end")
        }
    }

    /// The line of a property, by the names that lead to it in any case; array elements have their number as a name.
    pub fn line(&self, path: &[&str]) -> Option<usize> {
        self.lines.get(&place(path.iter().copied())).copied()
    }
}

fn place<'a>(path: impl Iterator<Item = &'a str>) -> String {
    path.map(str::to_ascii_lowercase).collect::<Vec<_>>().join(":")
}

/// The text of a file, by its byte order mark; UTF-8 without one.
fn decoded(bytes: &[u8]) -> Result<String, JsonError> {
    match bytes {
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest),
        all => utf8(all),
    }
}

fn utf8(bytes: &[u8]) -> Result<String, JsonError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|it| **it == b'\n').count() + 1;
        JsonError { line, reason: "not UTF-8".to_owned() }
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, JsonError> {
    let units: Vec<u16> = bytes.chunks(2).map(|it| unit([it[0], it.get(1).copied().unwrap_or_default()])).collect();
    String::from_utf16(&units)
        .map_err(|_| JsonError { line: 1, reason: "not UTF-16, as its first bytes say".to_owned() })
}

struct Parser<'a> {
    rest: &'a str,
    line: usize,
    /// Names that lead to the value being read.
    path: Vec<String>,
    lines: HashMap<String, usize>,
}

impl Parser<'_> {
    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, JsonError> {
        Err(JsonError { line: self.line, reason: reason.into() })
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn take(&mut self, wanted: char) -> bool {
        self.peek() == Some(wanted) && self.next().is_some()
    }

    /// The characters up to the first that is not of a kind.
    fn take_while(&mut self, is_wanted: impl Fn(char) -> bool) -> &str {
        let (taken, rest) = self.rest.split_at(self.rest.find(|it| !is_wanted(it)).unwrap_or(self.rest.len()));
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// Blanks and comments.
    fn skip(&mut self) -> Result<(), JsonError> {
        loop {
            self.take_while(char::is_whitespace);
            if self.rest.starts_with("//") {
                self.take_while(|it| it != '\n');
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                let Some((inside, rest)) = comment.split_once("*/") else {
                    return self.fail("a comment begins here and does not end");
                };
                self.line += inside.matches('\n').count();
                self.rest = rest;
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self) -> Result<Value, JsonError> {
        match self.peek() {
            Some('{') => self.object(),
            Some('[') => self.array(),
            Some(quote @ ('"' | '\'')) => self.quoted(quote).map(Value::String),
            Some(_) => self.bare(),
            None => self.fail("the text ends where a value should stand"),
        }
    }

    fn enter(&mut self) -> Result<usize, JsonError> {
        if self.path.len() >= DEEPEST {
            return self.fail(format!("nested more than {DEEPEST} deep"));
        }
        self.next();
        Ok(self.line)
    }

    fn object(&mut self) -> Result<Value, JsonError> {
        let began = self.enter()?;
        let (mut object, mut names) = (Map::new(), HashMap::new());
        loop {
            self.skip()?;
            if self.take('}') {
                return Ok(Value::Object(object));
            }
            let name = self.name(began)?;
            let line = self.line;
            self.skip()?;
            if !self.take(':') {
                return self.fail("a colon is missing after a name");
            }
            let value = self.inside(&name, line)?;
            let known: &mut String = names.entry(name.to_ascii_lowercase()).or_insert_with(|| name.clone());
            put(&mut object, known, &name, value);
            self.skip()?;
            if !self.take(',') && self.peek() != Some('}') {
                return self.unclosed(began, "a comma or } is missing after a value");
            }
        }
    }

    fn array(&mut self) -> Result<Value, JsonError> {
        let began = self.enter()?;
        let mut array = Vec::new();
        loop {
            self.skip()?;
            if self.take(']') {
                return Ok(Value::Array(array));
            }
            if self.rest.is_empty() {
                return self.unclosed(began, "");
            }
            let (name, line) = (array.len().to_string(), self.line);
            array.push(self.inside(&name, line)?);
            self.skip()?;
            if !self.take(',') && self.peek() != Some(']') {
                return self.unclosed(began, "a comma or ] is missing after a value");
            }
        }
    }

    /// The value of a property or an element.
    fn inside(&mut self, name: &str, line: usize) -> Result<Value, JsonError> {
        self.skip()?;
        self.path.push(name.to_owned());
        self.lines.insert(place(self.path.iter().map(String::as_str)), line);
        let value = self.value()?;
        self.path.pop();
        Ok(value)
    }

    fn unclosed<T>(&self, began: usize, missing: &str) -> Result<T, JsonError> {
        match self.peek() {
            None => self.fail(format!("the text ends inside of what begins in line {began}")),
            Some(_) => self.fail(missing),
        }
    }

    fn name(&mut self, began: usize) -> Result<String, JsonError> {
        match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            Some(it) if it.is_alphabetic() || it == '_' || it == '$' => {
                Ok(self.take_while(|it| it.is_alphanumeric() || it == '_' || it == '$').to_owned())
            }
            _ => self.unclosed(began, "a name in quotes is missing"),
        }
    }

    /// A number, `true`, `false` or `null`.
    fn bare(&mut self) -> Result<Value, JsonError> {
        let line = self.line;
        let text = self.take_while(|it| it.is_alphanumeric() || matches!(it, '+' | '-' | '.' | '_'));
        let reason = "a value is missing: a text in quotes, a number, true, false, null, { or [".to_owned();
        serde_json::from_str(text).map_err(|_| JsonError { line, reason })
    }

    fn quoted(&mut self, quote: char) -> Result<String, JsonError> {
        let began = self.line;
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                Some(it) if it == quote => return Ok(text),
                Some('\\') => text.push(self.escaped()?),
                Some(it) => text.push(it),
                None => {
                    return Err(JsonError {
                        line: began,
                        reason: "a text begins here and its quote does not end".to_owned(),
                    });
                }
            }
        }
    }

    fn escaped(&mut self) -> Result<char, JsonError> {
        match self.next() {
            Some(it @ ('"' | '\'' | '\\' | '/')) => Ok(it),
            Some('b') => Ok('\u{8}'),
            Some('f') => Ok('\u{c}'),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('u') => self.unicode(),
            _ => self.fail("an escape no JSON has: a backslash is written \\\\"),
        }
    }

    fn unicode(&mut self) -> Result<char, JsonError> {
        let first = self.unit()?;
        let mut units = vec![first];
        if (0xD800..0xDC00).contains(&first) && self.rest.starts_with("\\u") {
            self.rest = &self.rest[2..];
            units.push(self.unit()?);
        }
        match char::decode_utf16(units).next() {
            Some(Ok(character)) => Ok(character),
            _ => self.fail("a \\u escape is half a character"),
        }
    }

    fn unit(&mut self) -> Result<u16, JsonError> {
        let digits = self.rest.get(..4).filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()));
        let Some(unit) = digits.and_then(|it| u16::from_str_radix(it, 16).ok()) else {
            return self.fail("a \\u escape without four hexadecimal digits");
        };
        self.rest = &self.rest[4..];
        Ok(unit)
    }
}

/// Puts a property where its name is known, perhaps in another case.
fn put(object: &mut Map<String, Value>, known: &str, name: &str, value: Value) {
    match (object.get_mut(known), value) {
        (Some(Value::Object(before)), Value::Object(more)) if known != name => {
            for (name, value) in more {
                let same = before.keys().find(|it| it.eq_ignore_ascii_case(&name)).cloned();
                put(before, same.as_deref().unwrap_or(&name), &name, value);
            }
        }
        (Some(before), value) => *before = value,
        (None, value) => drop(object.insert(known.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Value {
        Document::read(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}")).value
    }

    #[test]
    fn what_dotnet_reads_is_read() {
        let wanted = json!({ "a": 1, "b": ["x", -2.5, true, null], "c": { "d": "é\n" } });
        for text in [
            r#"{"a":1,"b":["x",-2.5,true,null],"c":{"d":"\u00e9\n"}}"#,
            "// first\n{ /* a */ \"a\" /* , */ : 1, // one\n \"b\": [\"x\", -2.5, true, null,], \"c\": {\"d\":\"é\\n\",},}\n// last",
            "\u{feff}{'a':1,b:['x',-2.5,true,null],\"c\":{'d':'\\u00E9\\n'}}",
            "{\"a\":5,\"a\":1,\"b\":[\"x\",-2.5,true,null],\"c\":{\"d\":\"é\n\"}}",
        ] {
            assert_eq!(read(text), wanted, "{text}");
        }
        assert_eq!(read(r#"{"a":"http://x/*y*/","b":"\ud83d\ude00"}"#), json!({ "a": "http://x/*y*/", "b": "😀" }));
    }

    #[test]
    fn files_of_other_editors_are_read() {
        let text = "{\"a\": \"é\"}";
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = [0xFF, 0xFE].into_iter().chain(units.iter().flat_map(|it| it.to_le_bytes())).collect();
        let big: Vec<u8> = [0xFE, 0xFF].into_iter().chain(units.iter().flat_map(|it| it.to_be_bytes())).collect();
        for bytes in [little, big] {
            assert_eq!(Document::read(&bytes).unwrap().value, json!({ "a": "é" }));
        }
    }

    #[test]
    fn names_in_another_case_are_the_same_property() {
        let value = read(r#"{"Ext":{"Blobs":{"a":1,"b":2}},"ext":{"blobs":{"A":3}},"N":1,"n":2}"#);
        assert_eq!(value, json!({ "Ext": { "Blobs": { "a": 3, "b": 2 } }, "N": 2 }));
        assert_eq!(field(field(field(&value, "EXT"), "bLOBS"), "A"), 3);
        assert_eq!((field(&value, "x"), field(field(&value, "n"), "x")), (&Value::Null, &Value::Null));
    }

    #[test]
    fn each_property_has_its_line() {
        let document = Document::read(b"{\n \"A\": {\n  /* \n */ \"b\": 1 },\n \"c\": [1,\n  2]\n}").unwrap();
        let lines = [&["a"][..], &["A", "B"], &["c"], &["c", "1"], &["d"]].map(|it| document.line(it));
        assert_eq!(lines, [Some(2), Some(4), Some(5), Some(6), None]);
    }

    #[test]
    fn what_is_no_json_names_the_line_and_shows_nothing_of_the_text() {
        let deep = "[".repeat(100_000);
        for (text, line, reason) in [
            ("", 1, "ends where a value"),
            ("{", 1, "ends inside of what begins in line 1"),
            ("{\n\"a\": [1,\n", 3, "ends inside of what begins in line 2"),
            ("{\"a\"\n 1}", 2, "a colon"),
            ("{\"a\": 1\n\"b\": 2}", 2, "a comma or }"),
            ("{\"a\": [1\n2]}", 2, "a comma or ]"),
            ("{\n\"a\": hunter2}", 2, "a value is missing"),
            ("{\n,}", 2, "a name"),
            ("[1,,2]", 1, "a value is missing"),
            ("{}\n}", 2, "more text"),
            ("{\n/* x", 2, "a comment"),
            ("{\n\"a\": \"hunter2\n", 2, "its quote"),
            ("{\"a\": \"\\q\"}", 1, "escape"),
            ("{\"a\": \"\\ud83d\"}", 1, "half a character"),
            ("{\"a\": \"\\u12\"}", 1, "four hexadecimal"),
            ("{\"a\": 1e999}", 1, "a value is missing"),
            (&deep, 1, "nested"),
        ] {
            let error = Document::read(text.as_bytes()).unwrap_err();
            assert!(error.line == line && error.reason.contains(reason), "{text:.40}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert_eq!(Document::read(b"{\n\"a\": \"\xff\"}").unwrap_err().to_string(), "line 2: not UTF-8");
    }
}
