//! JSON of clients as the extension reads it, and as it shows what is stored: by Newtonsoft.Json.

mod reader;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use serde_json::value::RawValue;

use self::reader::{Kind, Reader, Token};

/// Why a text was not read: the exception's type and message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct JsonError {
    pub kind: &'static str,
    pub message: String,
}

const READER: &str = "Newtonsoft.Json.JsonReaderException";
const SERIALIZATION: &str = "Newtonsoft.Json.JsonSerializationException";
const WRITER: &str = "Newtonsoft.Json.JsonWriterException";

impl JsonError {
    fn reader(message: String) -> Self {
        Self { kind: READER, message }
    }

    /// Whether the text itself is wrong; what is only cut off is another exception where an input is read.
    pub(super) fn is_of_reader(&self) -> bool {
        self.kind == READER
    }
}

/// Reads an instance's input, which is then passed on as it is (extension: `JsonConvert.DeserializeObject`).
///
/// # Errors
/// When Newtonsoft does not read it.
pub(super) fn check(text: &str) -> Result<(), JsonError> {
    let mut reader = Reader::new(text);
    let mut is_first = true;
    let root = loop {
        match reader.read()? {
            None => return Ok(()),
            Some(Token::Comment(_)) => {}
            Some(root) => break root,
        }
    };
    while reader.depth() > 0 {
        if reader.read()?.is_none() {
            return Err(cut_off(&reader, &root, is_first));
        }
        is_first = false;
    }
    while reader.read()?.is_some() {}
    Ok(())
}

fn cut_off(reader: &Reader<'_>, root: &Token<'_>, is_first: bool) -> JsonError {
    if reader.depth() > 1 || *root == Token::Begin(Kind::Array) {
        let message = format!("Unexpected end when reading token. Path '{}'.", reader.container_path());
        return JsonError { kind: WRITER, message };
    }
    let what = if is_first { "Unexpected end when reading JSON." } else { "Unexpected end when deserializing object." };
    match reader.fail::<()>(what) {
        Err(error) => JsonError { kind: SERIALIZATION, ..error },
        Ok(()) => JsonError { kind: SERIALIZATION, message: what.to_owned() },
    }
}

/// What a text's first value looks like when it is written again.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Written {
    /// As JSON, without blanks. Texts and integers keep every character; a name that comes twice has its last value.
    Json(String),
    /// It begins with a comment, which takes the value's place.
    Comment(String),
}

/// Reads the first value of a text and writes it again (extension: `ConvertToJToken`). What comes after it is not looked at.
///
/// # Errors
/// When Newtonsoft does not read it.
pub(super) fn rewritten(text: &str) -> Result<Written, JsonError> {
    let mut reader = Reader::new(text);
    let Some(root) = reader.read()? else { return reader.fail("Error reading JToken from JsonReader.") };
    let kind = match &root {
        Token::Comment(comment) => return Ok(Written::Comment(format!("/*{comment}*/"))),
        Token::Begin(kind) => *kind,
        _ => {
            let mut out = String::new();
            scalar(&root, &mut out);
            return Ok(Written::Json(out));
        }
    };
    let mut writer = Writer::default();
    writer.begin(kind);
    let mut is_first = true;
    while reader.depth() > 0 {
        match reader.read()? {
            Some(token) => writer.token(token),
            None if is_first => return reader.fail(&format!("Error reading J{kind:?} from JsonReader.")),
            None => return reader.fail(&format!("Unexpected end of content while loading J{kind:?}.")),
        }
        is_first = false;
    }
    Ok(Written::Json(writer.out))
}

/// A stored text as the status shows it: JSON written again, and anything else as a text.
///
/// # Errors
/// The comment it begins with, which the extension cannot show.
pub(super) fn shown(text: Option<&str>) -> Result<Box<RawValue>, String> {
    let Some(text) = text else { return Ok(RawValue::NULL.to_owned()) };
    let text = text.trim();
    let json = match rewritten(text) {
        _ if text.is_empty() => quoted(""),
        Ok(Written::Json(json)) => json,
        Ok(Written::Comment(comment)) => return Err(comment),
        Err(_) => quoted(text),
    };
    Ok(raw(json))
}

/// A text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    quote(text, &mut out);
    out
}

/// JSON that was just written.
pub(super) fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Writes tokens without blanks.
#[derive(Default)]
struct Writer {
    out: String,
    open: Vec<Open>,
}

/// A container that is being written.
struct Open {
    from: usize,
    kind: Kind,
    is_empty: bool,
    members: Vec<Member>,
    /// The last member of each name, as that is written.
    last: HashMap<String, usize>,
    has_doubles: bool,
}

/// Where a member's name and value are in what is written.
struct Member {
    name: Range<usize>,
    value: Range<usize>,
}

impl Writer {
    fn token(&mut self, token: Token<'_>) {
        match token {
            Token::Comment(_) => {}
            Token::Name(name) => self.name(&name),
            Token::Begin(kind) => {
                self.separate();
                self.begin(kind);
            }
            Token::End => self.end(),
            scalar_token => {
                self.separate();
                scalar(&scalar_token, &mut self.out);
                self.value_ended();
            }
        }
    }

    fn begin(&mut self, kind: Kind) {
        let (members, last) = Default::default();
        self.open.push(Open { from: self.out.len(), kind, is_empty: true, members, last, has_doubles: false });
        self.out.push(if kind == Kind::Object { '{' } else { '[' });
    }

    /// A comma between values of an array; members have theirs before the name.
    fn separate(&mut self) {
        let Some(open) = self.open.last_mut().filter(|it| it.kind == Kind::Array) else { return };
        if !std::mem::take(&mut open.is_empty) {
            self.out.push(',');
        }
    }

    fn name(&mut self, name: &str) {
        let Some(open) = self.open.last_mut() else { return };
        if !std::mem::take(&mut open.is_empty) {
            self.out.push(',');
        }
        let from = self.out.len();
        quote(name, &mut self.out);
        let end = self.out.len();
        self.out.push(':');
        open.members.push(Member { name: from..end, value: end + 1..end + 1 });
        let written = self.out[from..end].to_owned();
        open.has_doubles |= open.last.insert(written, open.members.len() - 1).is_some();
    }

    fn value_ended(&mut self) {
        let end = self.out.len();
        if let Some(member) = self.open.last_mut().and_then(|it| it.members.last_mut()) {
            member.value.end = end;
        }
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        self.out.push(if open.kind == Kind::Object { '}' } else { ']' });
        if open.has_doubles {
            self.without_doubles(&open);
        }
        self.value_ended();
    }

    /// A name that comes again keeps its first place and has its last value.
    fn without_doubles(&mut self, open: &Open) {
        let mut object = "{".to_owned();
        let mut written = HashSet::new();
        for member in &open.members {
            let name = &self.out[member.name.clone()];
            if !written.insert(name) {
                continue;
            }
            let last = open.last.get(name).map_or(member, |it| &open.members[*it]);
            let point = if object.len() > 1 { "," } else { "" };
            object.push_str(&format!("{point}{name}:{}", &self.out[last.value.clone()]));
        }
        object.push('}');
        self.out.replace_range(open.from.., &object);
    }
}

fn scalar(token: &Token<'_>, out: &mut String) {
    match token {
        Token::Text(text) => quote(text, out),
        Token::Integer(digits) => out.push_str(digits),
        Token::Float(number) => out.push_str(&float(*number)),
        Token::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        // A value that is undefined is written as `undefined`, which no client reads.
        _ => out.push_str("null"),
    }
}

/// A text in quotes (Newtonsoft.Json: `StringEscapeHandling.Default`).
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for it in text.chars() {
        match it {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..'\u{20}' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(it))),
            _ => out.push(it),
        }
    }
    out.push('"');
}

/// A number as .NET writes it in JSON: `1.5E-07`, what is whole with `.0`, what is none in quotes.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "\"NaN\"".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" }.to_owned();
    }
    let written = plain_number(number);
    if written.contains(['.', 'E']) { written } else { written + ".0" }
}

/// A finite number as .NET's `ToString` writes it: 5, 0.0001, 1E+15.
pub(super) fn plain_number(number: f64) -> String {
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..15).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}E{sign}{:02}", exponent.unsigned_abs())
}
