//! The items of a text: the elements of an array, one object, or one object a line. What is cut costs itself alone.

use std::fmt;

use serde::{
    Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::Value;

use super::envelope::Refusal;

/// Gives each item with its index. After an element of an array that cannot be read there is no telling where the next begins.
pub(super) fn each_item(text: &[u8], mut take: impl FnMut(Result<Value, Refusal>)) {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text).trim_ascii();
    match text.first() {
        None => take(Err(Refusal::Cut("there is nothing in it".to_owned()))),
        Some(b'[') => each_element(text, &mut take),
        Some(_) => match serde_json::from_slice(text) {
            Ok(only) => take(Ok(only)),
            Err(_) => text.split(|it| *it == b'\n').for_each(|line| each_line(line, &mut take)),
        },
    }
}

/// Gives the value of a line, or each element where it is an array, as in a recording of bodies; nothing for an empty one.
pub(super) fn each_line(line: &[u8], take: &mut impl FnMut(Result<Value, Refusal>)) {
    let line = line.trim_ascii();
    if line.is_empty() {
        return;
    }
    match serde_json::from_slice(line) {
        Ok(Value::Array(items)) => items.into_iter().for_each(|it| take(Ok(it))),
        Ok(item) => take(Ok(item)),
        Err(error) => take(Err(Refusal::cut(&error))),
    }
}

fn each_element(text: &[u8], take: &mut impl FnMut(Result<Value, Refusal>)) {
    let mut array = serde_json::Deserializer::from_slice(text);
    let read = array.deserialize_seq(Elements(&mut *take)).and_then(|()| array.end());
    if let Err(error) = read {
        take(Err(Refusal::cut(&error)));
    }
}

struct Elements<'a, T>(&'a mut T);

impl<'de, T: FnMut(Result<Value, Refusal>)> Visitor<'de> for Elements<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            (self.0)(Ok(element));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The items; a cut one is null.
    fn items(text: &str) -> Vec<Value> {
        let mut items = Vec::new();
        each_item(text.as_bytes(), |item| {
            items.push(item.unwrap_or_else(|error| {
                assert_eq!(error.reason(), "cut");
                Value::Null
            }));
        });
        items
    }

    #[test]
    fn an_array_an_object_and_lines_are_read_alike() {
        let (one, two) = (json!({"n": 1}), json!({"n": 2}));
        assert_eq!(items(r#" [{"n":1}, {"n":2}] "#), [one.clone(), two.clone()]);
        assert_eq!(items("\u{feff}{\"n\":1}\r\n\r\n{\"n\":2}\r\n"), [one.clone(), two]);
        assert_eq!(items("{\n  \"n\": 1\n}\n"), [one]);
        assert_eq!(items("[]"), [Value::Null; 0]);
        assert_eq!(items("[7, []]"), [json!(7), json!([])]);
    }

    #[test]
    fn what_is_cut_costs_itself_alone() {
        let one = json!({"n": 1});
        assert_eq!(items(r#"[{"n":1},{"n":"#), [one.clone(), Value::Null]);
        assert_eq!(items(r#"[{"n":1}"#), [one.clone(), Value::Null]);
        assert_eq!(items(r#"[{"n":1}] and more"#), [one.clone(), Value::Null]);
        assert_eq!(items("{\"n\":1}\n{\"n\":\n{\"n\":1}\n"), [one.clone(), Value::Null, one.clone()]);
        assert_eq!(items("\u{e4}\n{\"n\":1}"), [Value::Null, one]);
        assert_eq!(items(" \n"), [Value::Null]);
        let mut told = String::new();
        each_item(b"{\"n\":1}\n{\"n\":", |item| told = item.err().map(|it| it.to_string()).unwrap_or_default());
        assert_eq!(told, "cut or not JSON: EOF while parsing a value at column 5");
        let deep = "[".repeat(10_000);
        assert_eq!(items(&deep), [Value::Null]);
    }
}
