//! Constraints of route parameters: `{id:int}` and the like.

use time::{
    Date, OffsetDateTime, Time,
    format_description::{self, well_known::Rfc3339},
};
use uuid::Uuid;

/// What a parameter's value has to be (ASP.NET Core: `RouteOptions.GetDefaultConstraintMap`).
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constraint {
    Int,
    Long,
    Bool,
    DateTime,
    Decimal,
    Float,
    Guid,
    Alpha,
    /// UTF-16 units, as .NET counts.
    Length(usize, usize),
    Range(i64, i64),
    Required,
    File,
    NonFile,
}

impl Constraint {
    /// Reads `name` or `name(arguments)`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (name, arguments) = match text.split_once('(') {
            Some((name, rest)) => {
                (name, rest.strip_suffix(')').ok_or_else(|| format!("{text} has no closing parenthesis"))?)
            }
            None => (text, ""),
        };
        let arguments: Vec<&str> = arguments.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
        let wrong = |_| format!("the constraint {name} has arguments that are no whole numbers");
        let sizes: Result<Vec<usize>, _> = arguments.iter().map(|it| it.parse()).collect();
        let numbers: Result<Vec<i64>, _> = arguments.iter().map(|it| it.parse()).collect();
        let lower = name.to_ascii_lowercase();
        Ok(match (lower.as_str(), arguments.len()) {
            ("int", 0) => Self::Int,
            ("long", 0) => Self::Long,
            ("bool", 0) => Self::Bool,
            ("datetime", 0) => Self::DateTime,
            ("decimal", 0) => Self::Decimal,
            ("double" | "float", 0) => Self::Float,
            ("guid", 0) => Self::Guid,
            ("alpha", 0) => Self::Alpha,
            ("required", 0) => Self::Required,
            ("file", 0) => Self::File,
            ("nonfile", 0) => Self::NonFile,
            ("length", 1) => sizes.map(|it| Self::Length(it[0], it[0])).map_err(wrong)?,
            ("length", 2) => sizes.map(|it| Self::Length(it[0], it[1])).map_err(wrong)?,
            ("minlength", 1) => sizes.map(|it| Self::Length(it[0], usize::MAX)).map_err(wrong)?,
            ("maxlength", 1) => sizes.map(|it| Self::Length(0, it[0])).map_err(wrong)?,
            ("min", 1) => numbers.map(|it| Self::Range(it[0], i64::MAX)).map_err(wrong)?,
            ("max", 1) => numbers.map(|it| Self::Range(i64::MIN, it[0])).map_err(wrong)?,
            ("range", 2) => numbers.map(|it| Self::Range(it[0], it[1])).map_err(wrong)?,
            ("regex", _) => {
                return Err(
                    "the constraint regex is not served here: use another one, or check in the function".to_owned()
                );
            }
            (_, count) => return Err(format!("there is no constraint {name} with {count} arguments")),
        })
    }

    pub(super) fn allows(&self, value: &str) -> bool {
        match self {
            Self::Int => value.trim().parse::<i32>().is_ok(),
            Self::Long => value.trim().parse::<i64>().is_ok(),
            Self::Bool => ["true", "false"].iter().any(|it| value.trim().eq_ignore_ascii_case(it)),
            Self::DateTime => is_date(value.trim()),
            Self::Decimal => is_number(value, "+-.,"),
            Self::Float => is_number(value, "+-.,eE") || matches!(value, "NaN" | "Infinity" | "-Infinity"),
            Self::Guid => is_guid(value.trim()),
            Self::Alpha => value.bytes().all(|it| it.is_ascii_alphabetic()),
            Self::Length(least, most) => (*least..=*most).contains(&value.encode_utf16().count()),
            Self::Range(least, most) => value.trim().parse().is_ok_and(|it: i64| (*least..=*most).contains(&it)),
            Self::Required => !value.is_empty(),
            Self::File => is_file(value),
            Self::NonFile => !is_file(value),
        }
    }
}

/// Digits with these signs, which group thousands with commas.
fn is_number(value: &str, signs: &str) -> bool {
    let value = value.trim();
    value.chars().all(|it| it.is_ascii_digit() || signs.contains(it)) && value.replace(',', "").parse::<f64>().is_ok()
}

fn is_guid(value: &str) -> bool {
    let inside = value.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
    !value.starts_with("urn") && Uuid::try_parse(inside.unwrap_or(value)).is_ok()
}

/// Whether the last part of a path is named like a file: with a dot that is not its end.
fn is_file(value: &str) -> bool {
    let name = value.rsplit('/').next().unwrap_or_default();
    name.find('.').is_some_and(|at| at + 1 < name.len())
}

/// The forms of ISO 8601 and the invariant culture's, with or without a time. .NET knows more.
fn is_date(value: &str) -> bool {
    const DATES: [&str; 4] = [
        "[year]-[month padding:none]-[day padding:none]",
        "[year]/[month padding:none]/[day padding:none]",
        "[month padding:none]/[day padding:none]/[year]",
        "[month padding:none]-[day padding:none]-[year]",
    ];
    const TIMES: [&str; 4] = [
        "[hour padding:none]:[minute]",
        "[hour padding:none]:[minute]:[second]",
        "[hour padding:none]:[minute]:[second].[subsecond]",
        "[hour padding:none]:[minute]:[second]Z",
    ];
    let is_of = |text: &str, formats: &[&str], parse: fn(&str, &str) -> bool| formats.iter().any(|it| parse(text, it));
    let (date, time) = value.split_once(['T', ' ']).map_or((value, None), |(date, time)| (date, Some(time)));
    OffsetDateTime::parse(value, &Rfc3339).is_ok()
        || is_of(date, &DATES, is_date_of) && time.is_none_or(|it| is_of(it.trim(), &TIMES, is_time_of))
}

fn is_date_of(text: &str, format: &str) -> bool {
    format_description::parse_borrowed::<2>(format).is_ok_and(|it| Date::parse(text, &it).is_ok())
}

fn is_time_of(text: &str, format: &str) -> bool {
    format_description::parse_borrowed::<2>(format).is_ok_and(|it| Time::parse(text, &it).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_held_to_their_constraints() {
        const GUID: &str = "1f0d0000-0000-0000-0000-000000000001";
        let braced = format!("{{{GUID}}}");
        for (constraint, yes, no) in [
            ("int", &["7", "-2147483648"][..], &["2147483648", "x", "1.0"][..]),
            ("long", &["9223372036854775807"], &["9223372036854775808"]),
            ("bool", &["True", "false"], &["1", "yes"]),
            (
                "datetime",
                &["2026-11-20", "2026-11-20T10:15:30Z", "11/20/2026 9:05", "2026-11-20 10:15:30.5"],
                &["20", "2026-13-01"],
            ),
            ("decimal", &["1,234.5", "-7"], &["1e5", "x", ""]),
            ("float", &["1e5", "NaN"], &["x"]),
            ("guid", &[GUID, &braced, "1f0d0000000000000000000000000001"], &["1f0d", "x"]),
            ("ALPHA", &["abcXYZ"], &["a1", "ä"]),
            ("length(2)", &["ab"], &["a", "abc"]),
            ("length(2, 3)", &["ab", "abc"], &["abcd"]),
            ("minlength(2)", &["abc"], &["a"]),
            ("maxlength(2)", &["ab"], &["abc"]),
            ("min(18)", &["18"], &["17", "x"]),
            ("max(18)", &["-5"], &["19"]),
            ("range(1,3)", &["1", "3"], &["0", "4"]),
            ("required", &["x"], &[""]),
            ("file", &["a/b.txt"], &["a.b/c", "a."]),
            ("nonfile", &["a/b"], &["b.txt"]),
        ] {
            let read = Constraint::parse(constraint).unwrap();
            assert!(yes.iter().all(|it| read.allows(it)), "{constraint}: {:?}", yes.iter().find(|it| !read.allows(it)));
            assert!(!no.iter().any(|it| read.allows(it)), "{constraint}: {:?}", no.iter().find(|it| read.allows(it)));
        }
        for (constraint, why) in
            [("regex(^a$)", "regex"), ("int(3)", "int"), ("length(x)", "length"), ("even", "even"), ("min(1", "min")]
        {
            assert!(Constraint::parse(constraint).unwrap_err().contains(why), "{constraint}");
        }
    }
}
