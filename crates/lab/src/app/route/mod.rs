//! Route templates of HTTP triggers, as ASP.NET Core's routing reads and matches them.

mod constraint;

use std::{cmp::Ordering, fmt};

use percent_encoding::percent_decode_str;

use self::constraint::Constraint;

/// A route below its prefix, for example `orders/{id:int?}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    segments: Vec<Segment>,
}

/// What stands between two slashes: texts and parameters, of which at least one.
#[derive(Clone, Debug, PartialEq)]
struct Segment(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    Parameter(Parameter),
}

#[derive(Clone, Debug, PartialEq)]
struct Parameter {
    name: String,
    kind: Kind,
    default: Option<String>,
    constraints: Vec<Constraint>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Required,
    Optional,
    /// All that is left of the path.
    CatchAll,
}

/// Values of a route's parameters; a missing one is `None`.
pub type Values = Vec<(String, Option<String>)>;

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What the host would refuse, or what is not served here.
    pub fn parse(template: &str) -> Result<Self, String> {
        let mut segments = Vec::new();
        for text in pieces(template.trim_matches('/'), '/')? {
            if text.is_empty() && template.trim_matches('/').is_empty() {
                continue;
            }
            segments.push(Segment::parse(text)?);
        }
        let template = Self { segments };
        template.check()?;
        Ok(template)
    }

    fn check(&self) -> Result<(), String> {
        let mut names: Vec<String> = self.parameters().map(|it| it.name.to_ascii_lowercase()).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|it| it[0] == it[1]) {
            return Err(format!("the parameter {} occurs twice", twice[0]));
        }
        let last = self.segments.len().saturating_sub(1);
        let early = self.segments.iter().take(last).flat_map(Segment::parameters).find(|it| it.kind == Kind::CatchAll);
        early.map_or(Ok(()), |it| Err(format!("the catch-all {} is not the last segment", it.name)))
    }

    fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.segments.iter().flat_map(Segment::parameters)
    }

    /// The values of a path that is meant.
    pub fn matches(&self, path: &str) -> Option<Values> {
        let decoded = |it: &str| percent_decode_str(it).decode_utf8_lossy().into_owned();
        let given: Vec<String> = path.split('/').filter(|it| !it.is_empty()).map(decoded).collect();
        let mut values = Values::new();
        for (at, segment) in self.segments.iter().enumerate() {
            match (segment.0.as_slice(), given.get(at)) {
                ([Part::Parameter(parameter)], rest) if parameter.kind == Kind::CatchAll => {
                    let rest = rest.map(|_| given[at..].join("/"));
                    values.push(parameter.value(rest)?);
                    return Some(values);
                }
                ([Part::Parameter(parameter)], None) if !parameter.is_needed() => values.push(parameter.value(None)?),
                (_, Some(text)) => values.extend(segment.matches(text)?),
                (_, None) => return None,
            }
        }
        (given.len() <= self.segments.len()).then_some(values)
    }

    /// Which of two routes is tried first: static segments before parameters, more constraints before fewer, longer before shorter
    /// (HTTP extension: `WebJobsRouteBuilder`).
    pub fn precedence(&self, other: &Self) -> Ordering {
        for (one, other) in self.segments.iter().zip(&other.segments) {
            let order = match (&one.0[0], &other.0[0]) {
                (Part::Literal(_), Part::Parameter(_)) => Ordering::Less,
                (Part::Parameter(_), Part::Literal(_)) => Ordering::Greater,
                (Part::Parameter(one), Part::Parameter(other)) => other.constraints.len().cmp(&one.constraints.len()),
                (Part::Literal(one), Part::Literal(other)) => one.to_ascii_lowercase().cmp(&other.to_ascii_lowercase()),
            };
            if order.is_ne() {
                return order;
            }
        }
        other.segments.len().cmp(&self.segments.len())
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("two slashes follow each other".to_owned());
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let literal = literal(rest)?;
            rest = &rest[literal.0..];
            if !literal.1.is_empty() {
                parts.push(Part::Literal(literal.1));
            }
            if let Some(inside) = rest.strip_prefix('{') {
                let end = closing(inside).ok_or_else(|| format!("{text:?} has a {{ without its }}"))?;
                parts.push(Part::Parameter(Parameter::parse(&inside[..end])?));
                rest = &inside[end + 1..];
            }
        }
        let is_single = parts.len() == 1;
        let follow = parts.windows(2).any(|it| matches!(it, [Part::Parameter(_), Part::Parameter(_)]));
        let segment = Self(parts);
        if let Some(it) = segment.parameters().find(|it| !is_single && it.kind != Kind::Required) {
            return Err(match it.kind {
                Kind::CatchAll => format!("the catch-all {} stands beside other text", it.name),
                _ => format!("the optional {} beside other text is not served here", it.name),
            });
        }
        if follow {
            return Err(format!("{text:?} has two parameters without text between them"));
        }
        Ok(segment)
    }

    fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.0.iter().filter_map(|it| match it {
            Part::Parameter(parameter) => Some(parameter),
            Part::Literal(_) => None,
        })
    }

    /// From the right, each text at its last place: the first parameter takes as much as it can.
    fn matches(&self, text: &str) -> Option<Values> {
        let lower = text.to_ascii_lowercase();
        let mut values = Values::new();
        let (mut end, mut waiting) = (text.len(), None);
        for (at, part) in self.0.iter().enumerate().rev() {
            let literal = match part {
                Part::Parameter(parameter) => {
                    waiting = Some(parameter);
                    continue;
                }
                Part::Literal(literal) => literal.to_ascii_lowercase(),
            };
            let start = match (at, waiting) {
                (0, _) => lower[..end].starts_with(&literal).then_some(0)?,
                // A parameter is never empty.
                (_, Some(_)) => lower[..lower[..end].char_indices().next_back()?.0].rfind(&literal)?,
                (_, None) => lower[..end].strip_suffix(&literal)?.len(),
            };
            let after = start + literal.len();
            match waiting.take() {
                Some(parameter) => values.push(parameter.value(Some(text.get(after..end)?.to_owned()))?),
                None if after != end => return None,
                None => {}
            }
            end = start;
        }
        match waiting {
            Some(parameter) => values.push(parameter.value(Some(text[..end].to_owned()))?),
            None if end > 0 => return None,
            None => {}
        }
        values.reverse();
        Some(values)
    }
}

impl Parameter {
    /// Reads what stands between the braces: `[*]name[:constraint]…[=default][?]`.
    fn parse(text: &str) -> Result<Self, String> {
        let shown = format!("{{{text}}}");
        let (text, is_optional) = text.strip_suffix('?').map_or((text, false), |it| (it, true));
        let stars = text.len() - text.trim_start_matches('*').len();
        let text = &text[stars..];
        let head = pieces(text, '=')?[0];
        let default = text[head.len()..].strip_prefix('=').map(str::to_owned);
        let mut pieces = pieces(head, ':')?.into_iter();
        let name = pieces.next().unwrap_or_default();
        let kind = match (stars, is_optional) {
            (0, false) => Kind::Required,
            (0, true) => Kind::Optional,
            (1 | 2, false) => Kind::CatchAll,
            (1 | 2, true) => return Err(format!("{shown}: a catch-all cannot be optional")),
            _ => return Err(format!("{shown}: a catch-all begins with one or two stars")),
        };
        if name.is_empty() || name.contains(['/', '{', '}', '?', '*', '(', ')']) {
            return Err(format!("{shown}: {name:?} is no parameter's name"));
        }
        let constraints: Result<Vec<_>, String> = pieces.map(Constraint::parse).collect();
        let constraints = constraints.map_err(|problem| format!("{shown}: {problem}"))?;
        if is_optional && default.is_some() {
            return Err(format!("{shown}: an optional parameter cannot have a default"));
        }
        Ok(Self { name: name.to_owned(), kind, default, constraints })
    }

    fn is_needed(&self) -> bool {
        self.kind == Kind::Required && self.default.is_none()
    }

    /// Name and value; nothing where the value breaks a constraint or is missing.
    fn value(&self, given: Option<String>) -> Option<(String, Option<String>)> {
        let value = given.filter(|it| !it.is_empty()).or_else(|| self.default.clone());
        let is_allowed = match &value {
            Some(value) => self.constraints.iter().all(|it| it.allows(value)),
            None => !self.is_needed(),
        };
        is_allowed.then(|| (self.name.clone(), value))
    }
}

/// Splits where a character stands outside of braces and parentheses.
fn pieces(text: &str, separator: char) -> Result<Vec<&str>, String> {
    let (mut pieces, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, character) in text.char_indices() {
        match character {
            '{' | '(' => depth += 1,
            '}' | ')' => depth = depth.saturating_sub(1),
            it if it == separator && depth == 0 => {
                pieces.push(&text[start..at]);
                start = at + it.len_utf8();
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err(format!("{text:?} has an opening brace or parenthesis without its closing one"));
    }
    pieces.push(&text[start..]);
    Ok(pieces)
}

/// Where the brace ends that was opened before this text.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    let mut braces = text.match_indices(['{', '}']);
    braces.find_map(|(at, brace)| {
        open = if brace == "{" { open + 1 } else { open - 1 };
        (open == 0).then_some(at)
    })
}

/// The text before the next parameter, and how long it is written: braces stand twice in it.
fn literal(text: &str) -> Result<(usize, String), String> {
    let mut literal = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '{' | '}' if characters.next_if(|it| it.1 == character).is_some() => literal.push(character),
            '{' => return Ok((at, literal)),
            '}' => return Err(format!("{text:?} has a }} without its {{")),
            '?' => return Err(format!("{text:?} has a ? outside of a parameter")),
            it => literal.push(it),
        }
    }
    Ok((text.len(), literal))
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments.iter().try_for_each(|segment| {
            f.write_str("/")?;
            segment.0.iter().try_for_each(|part| match part {
                Part::Literal(text) => f.write_str(text),
                Part::Parameter(Parameter { name, kind: Kind::Required, .. }) => write!(f, "{{{name}}}"),
                Part::Parameter(Parameter { name, kind: Kind::Optional, .. }) => write!(f, "{{{name}?}}"),
                Part::Parameter(Parameter { name, kind: Kind::CatchAll, .. }) => write!(f, "{{*{name}}}"),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(template: &str, path: &str) -> Option<String> {
        let values = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}")).matches(path)?;
        let shown =
            values.into_iter().map(|(name, value)| format!("{name}={}", value.unwrap_or_else(|| "null".to_owned())));
        Some(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_path_is_matched_by_its_segments() {
        for (template, path, wanted) in [
            ("a/{id}", "/A/x%20y", Some("id=x y")),
            ("a/{id}", "/a", None),
            ("a/{id}", "/a/b/c", None),
            ("a/{id?}", "/a", Some("id=null")),
            ("a/{id:int?}", "/a", Some("id=null")),
            ("a/{id:int?}", "/a/7", Some("id=7")),
            ("a/{id:int?}", "/a/b", None),
            ("a/{id=5}", "/a", Some("id=5")),
            ("a/{*rest}", "/a", Some("rest=null")),
            ("a/{**rest}", "/a/b/c%2Fd/e", Some("rest=b/c/d/e")),
            ("{*rest:alpha}", "/abc", Some("rest=abc")),
            ("a/{*rest:alpha}", "/a/b1", None),
            ("files/{name}.{kind}", "/files/a.b.txt", Some("name=a.b kind=txt")),
            ("files/{name}.{kind}", "/files/a.", None),
            ("v{version:int}/x", "/V12/x", Some("version=12")),
            ("v{version:int}/x", "/w12/x", None),
            ("{a}-{b}", "/--", None),
            ("{a}-{b}", "/---", Some("a=- b=-")),
            ("{{literal}}", "/{literal}", Some("")),
            ("", "/", Some("")),
            ("", "/a", None),
            ("ä{x}", "/ä", None),
            ("{x}ä", "/éä", Some("x=é")),
        ] {
            assert_eq!(matches(template, path).as_deref(), wanted, "{template} {path}");
        }
    }

    #[test]
    fn a_template_that_is_none_says_why() {
        for (template, why) in [
            ("a//b", "two slashes"),
            ("{id", "without its closing"),
            ("id}", "without its {"),
            ("{}", "no parameter's name"),
            ("{a}{b}", "without text between"),
            ("{a}/{A}", "a occurs twice"),
            ("{*rest}/x", "not the last"),
            ("x{*rest}", "beside other text"),
            ("{*rest?}", "cannot be optional"),
            ("{a=1?}", "cannot have a default"),
            ("{name}.{kind?}", "not served here"),
            ("{id:regex(^\\d+$)}", "regex"),
            ("{id:regex(^[a/]{{2}}$)}", "regex"),
            ("{id:whole}", "whole"),
            ("a?b", "outside of a parameter"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.contains(why), "{template}: {error}");
        }
    }

    #[test]
    fn the_more_particular_route_is_tried_first() {
        let mut templates =
            ["{*rest}", "a/{id}", "a/{id:int}", "a/b", "a/{id}/c", "{x}"].map(|it| Template::parse(it).unwrap());
        templates.sort_by(Template::precedence);
        let order = templates.map(|it| it.to_string()).join(" ");
        assert_eq!(order, "/a/b /a/{id} /a/{id}/c /a/{id} /{*rest} /{x}");
    }
}
