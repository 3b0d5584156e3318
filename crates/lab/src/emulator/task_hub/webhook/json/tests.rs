//! What Newtonsoft.Json makes of texts, from recordings and from its source.

use super::*;

fn message_of_check(text: &str) -> String {
    check(text).map_or_else(|it| it.message, |()| "read".to_owned())
}

fn again(text: &str) -> String {
    match rewritten(text) {
        Ok(Written::Json(json)) => json,
        Ok(Written::Comment(comment)) => comment,
        Err(error) => format!("{}: {}", error.kind, error.message),
    }
}

#[test]
fn texts_beyond_json_are_read() {
    for text in [
        "",
        "  ",
        "{'iterations':1}",
        "/* c */{}",
        "{} // c",
        "{a:1,}",
        "[1,,2]",
        "undefined",
        r#"{"x":NaN,"y":-Infinity}"#,
        r#"{"x":1e400}"#,
        "0x1F",
        "\"\\ud83d\"",
        "\u{a0}5\u{2003}",
    ] {
        assert_eq!(message_of_check(text), "read", "{text}");
    }
}

#[test]
fn refusals_have_newtonsofts_words_with_path_line_and_position() {
    let deep = format!("{{\"iterations\":1,\"a\":{}", "[".repeat(200));
    let deepest =
        format!("The reader's MaxDepth of 64 has been exceeded. Path 'a{}', line 1, position 84.", "[0]".repeat(63));
    for (text, wanted) in [
        ("hello", "Unexpected character encountered while parsing value: h. Path '', line 0, position 0."),
        (" hello", "Unexpected character encountered while parsing value: h. Path '', line 1, position 1."),
        ("{bad", "Unexpected end while parsing unquoted property name. Path '', line 1, position 4."),
        ("{} x", "Additional text encountered after finished reading JSON content: x. Path '', line 1, position 3."),
        (&deep, &deepest),
        (
            "{\"a\" 1}",
            "Invalid character after parsing property name. Expected ':' but got: 1. Path '', line 1, position 5.",
        ),
        (
            "{\"a\":1\n \"b\":2}",
            "After parsing a value an unexpected character was encountered: \". Path 'a', line 2, position 1.",
        ),
        (
            "{\"a b\":[1,x]}",
            "Unexpected character encountered while parsing value: x. Path '['a b'][0]', line 1, position 10.",
        ),
        ("[1}", "JsonToken EndObject is not valid for closing JsonType Array. Path '', line 1, position 3."),
        ("]", "JsonToken EndArray is not valid for closing JsonType None. Path '', line 1, position 1."),
        ("\"ä\\q\"", "Bad JSON escape sequence: \\q. Path '', line 1, position 4."),
        ("\"ab", "Unterminated string. Expected delimiter: \". Path '', line 1, position 3."),
        ("tru", "Unexpected end when reading JSON. Path '', line 1, position 3."),
        ("truex", "Error parsing boolean value. Path '', line 1, position 4."),
        ("5x5y", "Unexpected character encountered while parsing number: y. Path '', line 1, position 3."),
        ("08", "Input string '08' is not a valid number. Path '', line 1, position 2."),
        ("/", "Unexpected end while parsing comment. Path '', line 1, position 1."),
        ("{", "Unexpected end when reading JSON. Path '', line 1, position 1."),
        ("{\"a\":1", "Unexpected end when deserializing object. Path 'a', line 1, position 6."),
        ("{\"a\":[1", "Unexpected end when reading token. Path 'a'."),
        ("[1", "Unexpected end when reading token. Path ''."),
    ] {
        assert_eq!(message_of_check(text), wanted, "{text}");
    }
}

#[test]
fn values_are_written_again_as_recorded() {
    for (text, wanted) in [
        (
            r#"{"big":12345678901234567890123,"f":1.10,"e":1e3,"z":1,"dup":1,"dup":2}"#,
            r#"{"big":12345678901234567890123,"f":1.1,"e":1000.0,"z":1,"dup":2}"#,
        ),
        (r#"{"a":{"x":1,"x":[2]},"b":0,"a":3}"#, r#"{"a":3,"b":0}"#),
        (r#"{"a":1,"b":{"x":1,"x":[2]}}"#, r#"{"a":1,"b":{"x":[2]}}"#),
        (r#"{"x":NaN,"y":1e400,"z":-1e400}"#, r#"{"x":"NaN","y":"Infinity","z":"-Infinity"}"#),
        (
            r#"[1.5e-7,1e15,123456789012345.0,-0.0,0.00001,1E-6,.5]"#,
            "[1.5E-07,1E+15,123456789012345.0,-0.0,1E-05,1E-06,0.5]",
        ),
        (r#"["\ud83d","\ud83c\udf89","\u0000\u2028/"]"#, "[\"\u{fffd}\",\"🎉\",\"\\u0000\\u2028/\"]"),
        ("{'a':\"it's\"} and more", r#"{"a":"it's"}"#),
        ("[1,/*c*/2,]", "[1,2]"),
        ("/* c */5", "/* c */"),
        ("0x10", "16"),
        (
            "2026-04",
            "Newtonsoft.Json.JsonReaderException: Input string '2026-04' is not a valid number. Path '', line 1, position 7.",
        ),
        ("", "Newtonsoft.Json.JsonReaderException: Error reading JToken from JsonReader. Path '', line 0, position 0."),
        (
            "{",
            "Newtonsoft.Json.JsonReaderException: Error reading JObject from JsonReader. Path '', line 1, position 1.",
        ),
        (
            "[[1",
            "Newtonsoft.Json.JsonReaderException: Unexpected end of content while loading JArray. Path '[0][0]', line 1, position 3.",
        ),
    ] {
        assert_eq!(again(text), wanted, "{text}");
    }
}

#[test]
fn what_is_stored_is_shown_as_json_or_as_a_text() {
    let show = |text| shown(text).map(|it| it.get().to_owned());
    assert_eq!(show(None).unwrap(), "null");
    assert_eq!(show(Some("  ")).unwrap(), "\"\"");
    assert_eq!(show(Some(" it is\nover ")).unwrap(), "\"it is\\nover\"");
    assert_eq!(show(Some(" 1.50 ")).unwrap(), "1.5");
    assert_eq!(show(Some("/* c */{}")).unwrap_err(), "/* c */");
}
