//! Times as .NET's `DateTime.TryParse` reads them with the invariant culture, on a machine whose zone is UTC.

use time::{Date, Month, OffsetDateTime, Time, UtcOffset, Weekday};

use custom_handler::clock;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// Two digits above this are of the century before (.NET: `Calendar.TwoDigitYearMax`, 2049).
const LAST_YEAR_OF_CENTURY: i32 = 49;

/// Reads a time. What is left out is today, midnight and UTC.
pub(super) fn parse(text: &str) -> Option<OffsetDateTime> {
    parse_on(text, clock::utc_now().date())
}

fn parse_on(text: &str, today: Date) -> Option<OffsetDateTime> {
    let tokens = tokens(text.trim())?;
    if tokens.is_empty() {
        return None;
    }
    let mut found = Found::default();
    let mut rest = tokens.as_slice();
    while !rest.is_empty() {
        rest = found.take(rest)?;
    }
    found.moment(today)
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// Digits, as they were written.
    Number(String),
    Word(String),
    Sign(char),
    Blank,
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens: Vec<Token> = Vec::new();
    for it in text.chars() {
        match (tokens.last_mut(), it) {
            (Some(Token::Number(digits)), '0'..='9') => digits.push(it),
            (_, '0'..='9') => tokens.push(Token::Number(it.to_string())),
            (Some(Token::Word(word)), _) if it.is_ascii_alphabetic() => word.extend(it.to_lowercase()),
            (_, _) if it.is_ascii_alphabetic() => tokens.push(Token::Word(it.to_ascii_lowercase().to_string())),
            (Some(Token::Blank), _) if it.is_whitespace() => {}
            (_, _) if it.is_whitespace() => tokens.push(Token::Blank),
            (_, '-' | '/' | '.' | ',' | ':' | '+') => tokens.push(Token::Sign(it)),
            _ => return None,
        }
    }
    Some(tokens)
}

/// What was read so far.
#[derive(Debug, Default)]
struct Found {
    weekday: Option<usize>,
    month: Option<u8>,
    /// Numbers of the date, as they came.
    numbers: Vec<String>,
    time: Option<Time>,
    /// After `T` there must be one.
    is_followed_by_time: bool,
    offset: Option<UtcOffset>,
}

impl Found {
    /// Takes one part of the text; gives what is left.
    fn take<'a>(&mut self, tokens: &'a [Token]) -> Option<&'a [Token]> {
        let rest = &tokens[1..];
        match &tokens[0] {
            Token::Blank => Some(rest),
            Token::Word(word) => {
                self.word(word)?;
                Some(rest)
            }
            Token::Number(_) if starts_time(tokens) && self.time.is_none() => self.clock(tokens),
            Token::Number(digits) if self.time.is_none() && self.numbers.len() < 3 => {
                self.numbers.push(digits.clone());
                Some(rest)
            }
            Token::Sign(sign @ ('+' | '-')) if self.time.is_some() => self.zone(*sign, rest),
            // Between the parts of a date.
            Token::Sign('-' | '/' | '.' | ',') if self.time.is_none() && self.has_date() => {
                (!matches!(rest.first(), None | Some(Token::Sign(_)))).then_some(rest)
            }
            _ => None,
        }
    }

    fn has_date(&self) -> bool {
        !self.numbers.is_empty() || self.month.is_some() || self.weekday.is_some()
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let named = |names: &[&str]| names.iter().position(|it| *it == word || it[..3] == *word);
        if let Some(month) = named(&MONTHS).filter(|_| self.month.is_none()) {
            self.month = u8::try_from(month + 1).ok();
        } else if let Some(day) = named(&DAYS).filter(|_| self.weekday.is_none()) {
            self.weekday = Some(day);
        } else if word == "t" && self.time.is_none() && self.numbers.len() == 3 {
            self.is_followed_by_time = true;
        } else if matches!(word, "z" | "gmt") && self.time.is_some() && self.offset.is_none() {
            self.offset = Some(UtcOffset::UTC);
        } else {
            return None;
        }
        Some(())
    }

    /// `13:45`, `1:45:30.5 PM`, `10 AM`.
    fn clock<'a>(&mut self, tokens: &'a [Token]) -> Option<&'a [Token]> {
        let (hour, mut rest) = number(tokens)?;
        let (mut minute, mut second, mut nanos) = (0, 0, 0);
        if let Some(after) = after_sign(rest, ':') {
            (minute, rest) = number(after)?;
            if let Some(after) = after_sign(rest, ':') {
                (second, rest) = number(after)?;
                if let (Some(Token::Sign('.')), Some(Token::Number(digits))) = (rest.first(), rest.get(1)) {
                    nanos = fraction(digits)?;
                    rest = &rest[2..];
                }
            }
        }
        let half = rest.iter().position(|it| *it != Token::Blank);
        let (hour, rest) = match half.and_then(|at| Some((rest.get(at)?, at))) {
            Some((Token::Word(word), at)) if matches!(word.as_str(), "am" | "pm" | "a" | "p") => {
                (half_day(hour, word.starts_with('p'))?, &rest[at + 1..])
            }
            _ => (hour, rest),
        };
        let byte = |it: u32| u8::try_from(it).ok();
        self.time = Some(Time::from_hms_nano(byte(hour)?, byte(minute)?, byte(second)?, nanos).ok()?);
        Some(rest)
    }

    /// `+02:00`, `-0530`, `+2`.
    fn zone<'a>(&mut self, sign: char, tokens: &'a [Token]) -> Option<&'a [Token]> {
        let Token::Number(digits) = tokens.first()? else { return None };
        let (hours, minutes, rest): (u32, u32, _) = match (digits.len(), after_sign(&tokens[1..], ':')) {
            (1 | 2, Some(after)) => {
                let (minutes, rest) = number(after)?;
                (digits.parse().ok()?, minutes, rest)
            }
            (1 | 2, None) => (digits.parse().ok()?, 0, &tokens[1..]),
            (4, None) => (digits[..2].parse().ok()?, digits[2..].parse().ok()?, &tokens[1..]),
            _ => return None,
        };
        let seconds = i32::try_from(hours * 3600 + minutes * 60).ok().filter(|it| minutes < 60 && *it <= 14 * 3600)?;
        let seconds = if sign == '-' { -seconds } else { seconds };
        let is_first = self.offset.replace(UtcOffset::from_whole_seconds(seconds).ok()?).is_none();
        is_first.then_some(rest)
    }

    fn moment(self, today: Date) -> Option<OffsetDateTime> {
        if self.is_followed_by_time && self.time.is_none() {
            return None;
        }
        let date = if self.has_date() { self.date(today)? } else { today };
        let weekday = self.weekday.map(|it| Weekday::Monday.nth_next(u8::try_from(it).unwrap_or_default()));
        if weekday.is_some_and(|it| it != date.weekday()) {
            return None;
        }
        let time = self.time.unwrap_or(Time::MIDNIGHT);
        Some(date.with_time(time).assume_offset(self.offset.unwrap_or(UtcOffset::UTC)))
    }

    fn date(&self, today: Date) -> Option<Date> {
        let numbers: Vec<&str> = self.numbers.iter().map(String::as_str).collect();
        let is_year = |it: &str| it.len() > 2;
        let (year, month, day) = match (self.month, numbers.as_slice()) {
            (Some(month), [day, year]) if !is_year(day) => (year_of(year)?, month, short(day)?),
            (Some(month), [year, day]) => (year_of(year)?, month, short(day)?),
            (Some(month), [one]) if is_year(one) => (year_of(one)?, month, 1),
            (Some(month), [day]) => (today.year(), month, short(day)?),
            (None, [year, month, day]) if is_year(year) => (year_of(year)?, short(month)?, short(day)?),
            (None, [month, day, year]) => (year_of(year)?, short(month)?, short(day)?),
            (None, [year, month]) if is_year(year) => (year_of(year)?, short(month)?, 1),
            (None, [month, year]) if is_year(year) => (year_of(year)?, short(month)?, 1),
            (None, [month, day]) => (today.year(), short(month)?, short(day)?),
            _ => return None,
        };
        Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()
    }
}

fn starts_time(tokens: &[Token]) -> bool {
    let next = tokens[1..].iter().find(|it| **it != Token::Blank);
    matches!(tokens.get(1), Some(Token::Sign(':')))
        || matches!(next, Some(Token::Word(it)) if matches!(it.as_str(), "am" | "pm"))
}

fn after_sign(tokens: &[Token], sign: char) -> Option<&[Token]> {
    (tokens.first() == Some(&Token::Sign(sign))).then(|| &tokens[1..])
}

fn number(tokens: &[Token]) -> Option<(u32, &[Token])> {
    let Token::Number(digits) = tokens.first()? else { return None };
    Some((digits.parse().ok().filter(|_| digits.len() <= 2)?, &tokens[1..]))
}

/// Nanoseconds, in steps of 100.
fn fraction(digits: &str) -> Option<u32> {
    let ticks: u32 = format!("{digits:0<7}")[..7].parse().ok()?;
    Some(ticks * 100)
}

fn half_day(hour: u32, is_afternoon: bool) -> Option<u32> {
    (1..=12).contains(&hour).then(|| hour % 12 + if is_afternoon { 12 } else { 0 })
}

fn short(digits: &str) -> Option<u8> {
    digits.parse().ok().filter(|_| digits.len() <= 2)
}

fn year_of(digits: &str) -> Option<i32> {
    let year: i32 = digits.parse().ok().filter(|_| digits.len() <= 4)?;
    Some(match digits.len() {
        1 | 2 if year > LAST_YEAR_OF_CENTURY => 1900 + year,
        1 | 2 => 2000 + year,
        _ => year,
    })
}

#[cfg(test)]
mod tests {
    use time::format_description::well_known::Rfc3339;

    use super::*;

    fn read(text: &str) -> Option<String> {
        let today = Date::from_calendar_date(2026, Month::May, 17).unwrap();
        let at = parse_on(text, today)?.to_offset(UtcOffset::UTC);
        at.format(&Rfc3339).ok().map(|it| it.trim_end_matches(":00Z").to_owned())
    }

    #[test]
    fn forms_of_the_invariant_culture_are_read() {
        for (text, wanted) in [
            ("2020-01-31", "2020-01-31T00:00"),
            ("2020-01-31T10:20:30Z", "2020-01-31T10:20:30Z"),
            ("2020-01-31T10:20:30.1234567+02:00", "2020-01-31T08:20:30.1234567Z"),
            ("2020-01-31 10:20:30 -0530", "2020-01-31T15:50:30Z"),
            ("2020-1-3T1:02", "2020-01-03T01:02"),
            ("2020/01/31 10:20", "2020-01-31T10:20"),
            ("01/31/2020", "2020-01-31T00:00"),
            ("1/31/20 1:05 PM", "2020-01-31T13:05"),
            ("01-31-2020 12:00 am", "2020-01-31T00:00"),
            ("1.31.2020", "2020-01-31T00:00"),
            ("Wed, 01 Jan 2020 00:00:00 GMT", "2020-01-01T00:00"),
            ("Wednesday, January 1, 2020 3 PM", "2020-01-01T15:00"),
            ("1 Jan 2020", "2020-01-01T00:00"),
            ("31-Jan-2020", "2020-01-31T00:00"),
            ("Jan 2020", "2020-01-01T00:00"),
            ("2020-02", "2020-02-01T00:00"),
            ("02/2020", "2020-02-01T00:00"),
            ("2/3", "2026-02-03T00:00"),
            ("10:30", "2026-05-17T10:30"),
            (" 2020-01-31 ", "2020-01-31T00:00"),
        ] {
            assert_eq!(read(text).as_deref(), Some(wanted), "{text}");
        }
    }

    #[test]
    fn what_dotnet_does_not_read_is_none() {
        for text in [
            "",
            " ",
            "garbage",
            "31/01/2020",
            "2020",
            "1577836800",
            "20200131",
            "2020-13-01",
            "2020-02-30",
            "Thu, 01 Jan 2020",
            "2020-01-01T",
            "2020-01-01T00:00:00 02:00",
            "2020-01-01T25:00",
            "2020-01-01T00:00:00+25:00",
            "12020-01-01",
            "2020-01-01 & more",
            "2020--01-01",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
