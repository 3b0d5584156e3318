//! Files to import: packed or not, JSON in lines, whole or as a query's answer, or CSV.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::export::{Export, column_name, is_time};
use crate::ingestion::{
    body::is_gzip,
    envelope::Refusal,
    items::{each_item, each_line},
};

/// Longest line of a file of lines, and longest file of another form.
const LONGEST_LINE: u64 = 256 << 20;
const LONGEST_WHOLE: u64 = 1 << 30;

/// How a file of the other encoding begins.
const UTF_16: [[u8; 2]; 2] = [[0xff, 0xfe], [0xfe, 0xff]];

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("read {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} has more than {} MiB of JSON in one piece: give it as lines, an item each", path.display(), LONGEST_WHOLE >> 20)]
    TooLong { path: PathBuf },
    #[error("{}: {problem}", path.display())]
    Columns { path: PathBuf, problem: String },
}

/// Takes an item with its place.
pub(super) trait Take: FnMut(&str, &mut Export, Result<Value, Refusal>) {}

impl<T: FnMut(&str, &mut Export, Result<Value, Refusal>)> Take for T {}

/// Gives each item of a file. A packed file that breaks off gives what there is.
pub(super) fn read(path: &Path, export: &mut Export, take: impl Take) -> Result<(), ReadError> {
    let named = |source| ReadError::Io { path: path.to_owned(), source };
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(named)?);
    let is_packed = is_gzip(file.fill_buf().map_err(named)?);
    let text: Box<dyn BufRead> =
        if is_packed { Box::new(BufReader::with_capacity(1 << 20, MultiGzDecoder::new(file))) } else { Box::new(file) };
    let mut source = Source { path, text, is_packed, number: 0, export, take };
    source.read()
}

/// A line, or why there is none.
enum Line {
    Text(Vec<u8>),
    /// It is passed over.
    TooLong,
    /// The packed stream ends here; what there is of the line is lost.
    BreaksOff(io::Error),
    End,
}

struct Source<'a, T> {
    path: &'a Path,
    text: Box<dyn BufRead>,
    is_packed: bool,
    /// Of the last line.
    number: u64,
    export: &'a mut Export,
    take: T,
}

impl<T: Take> Source<'_, T> {
    fn read(&mut self) -> Result<(), ReadError> {
        let first = loop {
            match self.line()? {
                Line::Text(line) if self.number == 1 => break without_mark(line),
                Line::Text(line) => break line,
                Line::TooLong => self.refuse(Refusal::Cut(too_long())),
                Line::BreaksOff(error) => return self.end_with(breaks_off(&error)),
                Line::End => return self.end_with(Refusal::Cut("there is nothing in it".to_owned())),
            }
        };
        match first.trim_ascii().first() {
            Some(b'{') => match serde_json::from_slice::<Value>(&first) {
                Ok(item) if item.get("tables").is_none() => self.lines(&first),
                _ => self.whole(first),
            },
            // A recording of bodies has one a line.
            Some(b'[') if serde_json::from_slice::<IgnoredAny>(&first).is_ok() => self.lines(&first),
            Some(b'[') => self.whole(first),
            _ => self.other(first),
        }
    }

    /// CSV, if the first line has names of columns; else a file of lines that begins in the middle of one.
    fn other(&mut self, first: Vec<u8>) -> Result<(), ReadError> {
        if UTF_16.iter().any(|it| first.starts_with(it)) {
            let problem = "it is UTF-16, as PowerShell writes it: save it as UTF-8".to_owned();
            return Err(ReadError::Columns { path: self.path.to_owned(), problem });
        }
        let text = String::from_utf8_lossy(&first);
        if text.split(',').any(|it| is_time(it.trim_matches(['"', '\r', '\n', ' ']))) {
            return self.csv(first);
        }
        match self.line()? {
            Line::Text(second) if second.trim_ascii().starts_with(b"{") => {
                self.number -= 1;
                self.take_line(&first);
                self.number += 1;
                self.lines(&second)
            }
            _ => {
                let start = text.trim().chars().take(60).collect::<String>();
                let problem = format!("it is neither JSON nor CSV with a column timestamp or TimeGenerated: {start}");
                Err(ReadError::Columns { path: self.path.to_owned(), problem })
            }
        }
    }

    fn place(&self, kind: &str, number: u64) -> String {
        format!("{} {kind} {number}", self.path.display())
    }

    fn refuse(&mut self, refusal: Refusal) {
        let place = self.place("line", self.number);
        (self.take)(&place, self.export, Err(refusal));
    }

    fn end_with(&mut self, refusal: Refusal) -> Result<(), ReadError> {
        self.refuse(refusal);
        Ok(())
    }

    /// The next line that is not empty.
    fn line(&mut self) -> Result<Line, ReadError> {
        loop {
            let mut line = Vec::new();
            let read = (&mut self.text).take(LONGEST_LINE).read_until(b'\n', &mut line);
            self.number += 1;
            match read {
                Err(error) if self.is_packed => return Ok(Line::BreaksOff(error)),
                Err(source) => return Err(ReadError::Io { path: self.path.to_owned(), source }),
                Ok(0) => return Ok(Line::End),
                Ok(_) if line.len() as u64 == LONGEST_LINE && !line.ends_with(b"\n") => {
                    self.pass_over()?;
                    return Ok(Line::TooLong);
                }
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => return Ok(Line::Text(line)),
            }
        }
    }

    /// Passes over the rest of a line. A packed stream that breaks off in it does so again at the next line.
    fn pass_over(&mut self) -> Result<(), ReadError> {
        loop {
            let buffer = match self.text.fill_buf() {
                Ok(buffer) => buffer,
                Err(_) if self.is_packed => return Ok(()),
                Err(source) => return Err(ReadError::Io { path: self.path.to_owned(), source }),
            };
            let (length, is_end) = match buffer.iter().position(|it| *it == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.text.consume(length);
            if is_end {
                return Ok(());
            }
        }
    }

    /// One item a line, the first of which is read already.
    fn lines(&mut self, first: &[u8]) -> Result<(), ReadError> {
        self.take_line(first);
        loop {
            match self.line()? {
                Line::Text(line) => self.take_line(&line),
                Line::TooLong => self.refuse(Refusal::Cut(too_long())),
                Line::BreaksOff(error) => return self.end_with(breaks_off(&error)),
                Line::End => return Ok(()),
            }
        }
    }

    fn take_line(&mut self, line: &[u8]) {
        let place = self.place("line", self.number);
        let (take, export) = (&mut self.take, &mut *self.export);
        each_line(line, &mut |item| take(&place, export, item));
    }

    /// A file that is one piece of JSON, or of lines the first of which is cut.
    fn whole(&mut self, mut text: Vec<u8>) -> Result<(), ReadError> {
        let first_line = self.number;
        let left = LONGEST_WHOLE.saturating_sub(text.len() as u64);
        let read = (&mut self.text).take(left + 1).read_to_end(&mut text);
        if text.len() as u64 > LONGEST_WHOLE {
            return Err(ReadError::TooLong { path: self.path.to_owned() });
        }
        let cut = match read {
            Err(source) if !self.is_packed => return Err(ReadError::Io { path: self.path.to_owned(), source }),
            other => other.err(),
        };
        if text.trim_ascii().starts_with(b"[") {
            // An array that breaks off says so itself.
            self.items(&text);
            return Ok(());
        }
        match serde_json::from_slice::<Value>(&text) {
            Ok(answer) if answer.get("tables").is_some_and(Value::is_array) => return self.answer(&answer),
            Ok(_) => self.items(&text),
            Err(_) => {
                let whole_lines = text.iter().rposition(|it| *it == b'\n').filter(|_| cut.is_some());
                text.truncate(whole_lines.unwrap_or(text.len()));
                for (index, line) in text.split(|it| *it == b'\n').enumerate() {
                    self.number = first_line + index as u64;
                    self.take_line(line);
                }
            }
        }
        if let Some(error) = cut {
            self.number += 1;
            self.refuse(breaks_off(&error));
        }
        Ok(())
    }

    fn items(&mut self, text: &[u8]) {
        let path = self.path.display();
        let (take, export) = (&mut self.take, &mut *self.export);
        let mut index = 0;
        each_item(text, |item| {
            take(&format!("{path} item {index}"), export, item);
            index += 1;
        });
    }

    /// A query's answer: tables of columns and rows.
    fn answer(&mut self, answer: &Value) -> Result<(), ReadError> {
        for table in answer["tables"].as_array().into_iter().flatten() {
            let names: Option<Vec<&str>> =
                table["columns"].as_array().and_then(|it| it.iter().map(|column| column["name"].as_str()).collect());
            let Some(names) = names else {
                let problem = "a table of it has no columns with names".to_owned();
                return Err(ReadError::Columns { path: self.path.to_owned(), problem });
            };
            self.check(&names)?;
            for (index, row) in table["rows"].as_array().into_iter().flatten().enumerate() {
                let values = row.as_array().filter(|it| it.len() == names.len());
                let row =
                    values.map(|it| names.iter().map(|name| (*name).to_owned()).zip(it.iter().cloned()).collect());
                let row =
                    row.map(Value::Object).ok_or_else(|| Refusal::Cut("it has not one value a column".to_owned()));
                let place = self.place("row", index as u64 + 1);
                (self.take)(&place, self.export, row);
            }
        }
        Ok(())
    }

    fn csv(&mut self, first: Vec<u8>) -> Result<(), ReadError> {
        let text = std::mem::replace(&mut self.text, Box::new(io::empty()));
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(Cursor::new(first).chain(text));
        let path = self.path.to_owned();
        let broken =
            |error: &csv::Error| ReadError::Columns { path: path.clone(), problem: format!("it is no CSV: {error}") };
        let names: Vec<String> = reader.headers().map_err(|error| broken(&error))?.iter().map(column_name).collect();
        self.check(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        for (index, record) in reader.byte_records().enumerate() {
            let is_over = record.as_ref().is_err_and(csv::Error::is_io_error);
            if let Err(error) = &record
                && is_over
                && !self.is_packed
            {
                return Err(broken(error));
            }
            let row = record.map_err(|error| Refusal::Cut(error.to_string())).and_then(|it| csv_row(&names, &it));
            let place = self.place("row", index as u64 + 1);
            (self.take)(&place, self.export, row);
            if is_over {
                break;
            }
        }
        Ok(())
    }

    /// An export whose columns are of no table, or of several, has nothing to take.
    fn check(&mut self, names: &[&str]) -> Result<(), ReadError> {
        self.export.check(names).map_err(|problem| ReadError::Columns { path: self.path.to_owned(), problem })
    }
}

fn csv_row(names: &[String], record: &csv::ByteRecord) -> Result<Value, Refusal> {
    if record.len() != names.len() {
        return Err(Refusal::Cut(format!("it has {} values for {} columns", record.len(), names.len())));
    }
    let mut row = Map::new();
    for (name, value) in names.iter().zip(record) {
        let text = std::str::from_utf8(value).map_err(|error| Refusal::Cut(error.to_string()))?;
        row.insert(name.clone(), Value::String(text.to_owned()));
    }
    Ok(Value::Object(row))
}

/// Without the byte order mark.
fn without_mark(line: Vec<u8>) -> Vec<u8> {
    line.strip_prefix("\u{feff}".as_bytes()).map(<[u8]>::to_vec).unwrap_or(line)
}

fn too_long() -> String {
    format!("the line has more than {} MiB", LONGEST_LINE >> 20)
}

fn breaks_off(error: &io::Error) -> Refusal {
    Refusal::Cut(format!("the gzip stream breaks off: {error}"))
}
