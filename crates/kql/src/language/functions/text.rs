//! Functions of texts.

use regex::{Regex, RegexBuilder};
use serde_json::Value as Json;

use super::{
    Function,
    Gives::Is,
    MANY,
    Naming::{First, None as Unnamed, Prefixed},
    Takes::{Any, Array, Constant, Integer, Long, String as Plain, Text},
    f, made, text_of,
};
use crate::language::{
    limits::Env,
    value::{Type, Value},
};

const TEXT: super::Gives = Is(Type::String);
const LONG: super::Gives = Is(Type::Long);

pub(super) const TABLE: &[Function] = &[
    f("strlen", "text", (1, 1), &[Text], LONG, Prefixed("strlen_"), |a, _| {
        Value::Long(text_of(&a[0]).chars().count() as i64)
    }),
    f("substring", "text, start [, length]", (2, 3), &[Any, Integer], TEXT, Unnamed, substring),
    f("strcat", "value, …", (1, MANY), &[Any], TEXT, Unnamed, |a, env| made(a.iter().map(text_of).collect(), env)),
    f("strcat_delim", "delimiter, value, value, …", (3, MANY), &[Any], TEXT, Unnamed, |a, env| {
        made(a[1..].iter().map(text_of).collect::<Vec<_>>().join(&text_of(&a[0])), env)
    }),
    f("strcat_array", "array, delimiter", (2, 2), &[Array, Any], TEXT, Unnamed, strcat_array),
    f("strrep", "value, times [, delimiter]", (2, 3), &[Any, Long, Any], TEXT, Unnamed, strrep),
    f("strcmp", "text, text", (2, 2), &[Any], LONG, Unnamed, |a, _| {
        Value::Long(text_of(&a[0]).cmp(&text_of(&a[1])) as i64)
    }),
    f("tolower", "text", (1, 1), &[Any], TEXT, Unnamed, |a, env| made(text_of(&a[0]).to_lowercase(), env)),
    f("toupper", "text", (1, 1), &[Any], TEXT, Unnamed, |a, env| made(text_of(&a[0]).to_uppercase(), env)),
    f("trim", "regex, text", (2, 2), &[Constant, Any], TEXT, Unnamed, |a, env| trim(a, env, true, true)),
    f("trim_start", "regex, text", (2, 2), &[Constant, Any], TEXT, Unnamed, |a, env| trim(a, env, true, false)),
    f("trim_end", "regex, text", (2, 2), &[Constant, Any], TEXT, Unnamed, |a, env| trim(a, env, false, true)),
    f("replace_string", "text, searched, replacement", (3, 3), &[Any, Plain], TEXT, Unnamed, replace),
    f("replace_regex", "text, regex, replacement", (3, 3), &[Any], TEXT, Unnamed, replace_regex),
    f("split", "text, delimiter [, index]", (2, 3), &[Any, Plain, Integer], Is(Type::Dynamic), First, split),
    f(
        "indexof",
        "text, searched [, start [, length [, occurrence]]]",
        (2, 5),
        &[Any, Any, Integer],
        LONG,
        Unnamed,
        indexof,
    ),
    f("countof", "text, searched [, kind]", (2, 3), &[Any, Plain], LONG, Unnamed, countof),
    f("extract", "regex, group, text", (3, 3), &[Constant, Long, Plain], TEXT, Unnamed, extract),
    f("reverse", "text", (1, 1), &[Any], TEXT, Unnamed, |a, env| made(text_of(&a[0]).chars().rev().collect(), env)),
];

/// A pattern, bounded in size; one that does not compile matches nothing.
pub(crate) fn pattern(text: &str) -> Option<Regex> {
    thread_local! {
        static LAST: std::cell::RefCell<Option<(String, Option<Regex>)>> = const { std::cell::RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((known, regex)) if known == text => regex.clone(),
        _ => {
            let short = text.len() <= 4096;
            let regex = if short {
                RegexBuilder::new(text).size_limit(1 << 20).dfa_size_limit(1 << 20).nest_limit(50).build().ok()
            } else {
                None
            };
            *last = Some((text.to_owned(), regex.clone()));
            regex
        }
    })
}

fn substring(args: &[Value], env: &Env) -> Value {
    let text = text_of(&args[0]);
    let Some(start) = args[1].as_long() else { return Value::text("") };
    let count = text.chars().count() as i64;
    let start = if start < 0 { (count + start).max(0) } else { start };
    let length = match args.get(2) {
        Some(it) => it.as_long().unwrap_or(0),
        None => count,
    };
    let length = if length < 0 { 0 } else { length };
    made(text.chars().skip(start as usize).take(length as usize).collect(), env)
}

fn strcat_array(args: &[Value], env: &Env) -> Value {
    let Value::Dynamic(json) = &args[0] else { return Value::text("") };
    let Json::Array(items) = &**json else { return Value::text("") };
    let items: Vec<String> = items.iter().map(|it| Value::dynamic(it.clone()).to_string()).collect();
    made(items.join(&text_of(&args[1])), env)
}

fn strrep(args: &[Value], env: &Env) -> Value {
    let times = args[1].as_long().unwrap_or(0).clamp(0, 1024) as usize;
    let (text, delimiter) = (text_of(&args[0]), args.get(2).map(text_of).unwrap_or_default());
    if (text.len() + delimiter.len()) * times > crate::language::limits::MAX_STRING {
        return Value::text("");
    }
    made(vec![text; times].join(&delimiter), env)
}

fn trim(args: &[Value], env: &Env, start: bool, end: bool) -> Value {
    let (inner, mut text) = (text_of(&args[0]), text_of(&args[1]));
    if start && let Some(it) = pattern(&format!("^(?:{inner})+")).and_then(|it| it.find(&text)) {
        text = text[it.end()..].to_owned();
    }
    if end && let Some(it) = pattern(&format!("(?:{inner})+$")).and_then(|it| it.find(&text)) {
        text.truncate(it.start());
    }
    made(text, env)
}

fn replace(args: &[Value], env: &Env) -> Value {
    let (text, searched, by) = (text_of(&args[0]), text_of(&args[1]), text_of(&args[2]));
    if searched.is_empty() {
        return args[0].clone();
    }
    let count = text.matches(&searched).count();
    if text.len() + count.saturating_mul(by.len()) > crate::language::limits::MAX_STRING * 2 {
        return Value::text("");
    }
    made(text.replace(&searched, &by), env)
}

/// Kusto writes a group as `\1`.
fn replace_regex(args: &[Value], env: &Env) -> Value {
    let (text, by) = (text_of(&args[0]), text_of(&args[2]));
    let Some(regex) = pattern(&text_of(&args[1])) else { return args[0].clone() };
    let mut template = String::new();
    let mut chars = by.chars().peekable();
    while let Some(it) = chars.next() {
        match (it, chars.peek().and_then(|it| it.to_digit(10))) {
            ('\\', Some(group)) => {
                chars.next();
                template.push_str(&format!("${{{group}}}"));
            }
            ('$', _) => template.push_str("$$"),
            _ => template.push(it),
        }
    }
    if text.len().saturating_add(1).saturating_mul(by.len() + 1) > crate::language::limits::MAX_STRING * 16 {
        return Value::text("");
    }
    made(regex.replace_all(&text, template.as_str()).into_owned(), env)
}

fn split(args: &[Value], env: &Env) -> Value {
    let (text, delimiter) = (text_of(&args[0]), text_of(&args[1]));
    let parts: Vec<Json> =
        if delimiter.is_empty() { vec![text.clone().into()] } else { text.split(&delimiter).map(Json::from).collect() };
    if !env.charge(text.len() + parts.len() * 32) {
        return Value::Null;
    }
    let parts = match args.get(2).map(Value::as_long) {
        None => parts,
        Some(index) => {
            index.and_then(|it| usize::try_from(it).ok()).and_then(|it| parts.get(it).cloned()).into_iter().collect()
        }
    };
    Value::dynamic(Json::Array(parts))
}

/// Counts characters; -1 where there is none.
fn indexof(args: &[Value], _: &Env) -> Value {
    let (text, searched) = (text_of(&args[0]), text_of(&args[1]));
    let count = text.chars().count() as i64;
    let number = |at: usize, default: i64| args.get(at).map_or(Some(default), Value::as_long);
    let (Some(start), Some(length), Some(nth)) = (number(2, 0), number(3, -1), number(4, 1)) else {
        return Value::Null;
    };
    let start = if start < 0 { (count + start).max(0) } else { start };
    if length < -1 || nth < 1 {
        return Value::Null;
    }
    let length = if length < 0 { usize::MAX } else { length as usize };
    let part: String = text.chars().skip(start as usize).take(length).collect();
    let found =
        part.match_indices(&searched).nth((nth - 1) as usize).map(|(at, _)| part[..at].chars().count() as i64 + start);
    Value::Long(found.filter(|_| start <= count).unwrap_or(-1))
}

/// Plain texts are counted where they overlap, patterns where they do not.
fn countof(args: &[Value], _: &Env) -> Value {
    let (text, searched) = (text_of(&args[0]), text_of(&args[1]));
    if args.get(2).map(text_of).as_deref() == Some("regex") {
        return Value::or_null(pattern(&searched).map(|it| Value::Long(it.find_iter(&text).count() as i64)));
    }
    if searched.is_empty() {
        return Value::Long(0);
    }
    let (text, searched) = (text.as_bytes(), searched.as_bytes());
    Value::Long(text.windows(searched.len()).filter(|it| *it == searched).count() as i64)
}

fn extract(args: &[Value], env: &Env) -> Value {
    let text = text_of(&args[2]);
    let group = args[1].as_long().and_then(|it| usize::try_from(it).ok());
    let found = group
        .and_then(|group| pattern(&text_of(&args[0]))?.captures(&text)?.get(group).map(|it| it.as_str().to_owned()));
    made(found.unwrap_or_default(), env)
}
