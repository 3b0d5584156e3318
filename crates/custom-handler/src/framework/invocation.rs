//! An invocation request read within bounds: however much payload a host sends along, little of it is kept.

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::HeaderMap;

use super::wire::{Envelope, header};

/// What is kept of an envelope.
const LARGEST_ENVELOPE_BYTES: usize = 64 << 10;
/// What is kept of one string in it. A blob name is at most 1,024 characters, 12 bytes each in an encoded URI.
const LONGEST_STRING_BYTES: usize = 16 << 10;

/// One call of a function by the host.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The host's id of it.
    pub id: String,
    /// Trace id of the host's request row; empty when the host sends none.
    pub operation_id: String,
    /// Its body, strings shortened.
    pub envelope: Envelope,
    /// Whether a string was too long to keep.
    pub shortened: bool,
}

/// Why a request is no invocation.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// The body ended early or the connection broke.
    #[error("the request body broke off")]
    BrokenBody,
    /// Not the host's JSON.
    #[error("the request body is not an invocation: {0}")]
    Malformed(String),
    /// Too much that is not one long string.
    #[error("the request body holds more than {LARGEST_ENVELOPE_BYTES} bytes besides payload")]
    TooLarge,
}

impl Invocation {
    /// Reads a request.
    ///
    /// # Errors
    /// When the body is not an envelope.
    pub async fn read(headers: &HeaderMap, body: Body) -> Result<Self, Rejected> {
        let mut excerpt = Excerpt::default();
        excerpt.read(body.into_data_stream()).await?;
        let envelope = serde_json::from_slice(&excerpt.kept).map_err(|error| Rejected::Malformed(error.to_string()))?;
        let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
        Ok(Self {
            id: text(header::INVOCATION_ID).to_owned(),
            operation_id: operation_id(headers).to_owned(),
            envelope,
            shortened: excerpt.shortened,
        })
    }
}

/// Trace id of the host's request row; empty when the host sends none.
pub fn operation_id(headers: &HeaderMap) -> &str {
    let traceparent = headers.get("traceparent").and_then(|it| it.to_str().ok()).unwrap_or_default();
    traceparent.split('-').nth(1).unwrap_or_default()
}

/// JSON text with the tails of its long strings left out, made piece by piece.
#[derive(Debug, Default)]
struct Excerpt {
    kept: Vec<u8>,
    shortened: bool,
    place: Place,
    /// Bytes of the present string so far.
    string_bytes: usize,
    /// The code unit whose escape is being read, or was read last.
    unit: u16,
    /// What is kept ends in the escape of a high surrogate, the first half of a character.
    is_half: bool,
}

/// Bytes of an escape such as `\ud83d`.
const UNIT_BYTES: usize = 6;

/// Where in the JSON text the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Outside,
    String,
    Escape,
    /// In the four digits of `\u`, this many left.
    Unicode(u8),
}

impl Excerpt {
    async fn read<E>(&mut self, mut body: impl Stream<Item = Result<Bytes, E>> + Unpin) -> Result<(), Rejected> {
        while let Some(piece) = body.next().await {
            for byte in piece.map_err(|_| Rejected::BrokenBody)? {
                self.push(byte);
            }
            if self.kept.len() > LARGEST_ENVELOPE_BYTES {
                return Err(Rejected::TooLarge);
            }
        }
        Ok(())
    }

    fn push(&mut self, byte: u8) {
        // A string is cut only between characters, so that what is kept is JSON and UTF-8 still.
        let between_characters = self.place == Place::String && byte & 0xC0 != 0x80;
        let cut = self.string_bytes >= LONGEST_STRING_BYTES && (between_characters || self.string_bytes == usize::MAX);
        if self.string_bytes < usize::MAX {
            if cut && std::mem::take(&mut self.is_half) {
                // Alone it is no character.
                self.kept.truncate(self.kept.len() - UNIT_BYTES);
            }
            self.follow_units(byte);
        }
        self.place = match (self.place, byte) {
            (Place::Outside, b'"') | (Place::Escape, _) if byte != b'u' => Place::String,
            (Place::Escape, _) => Place::Unicode(4),
            (Place::Unicode(left @ 2..), _) => Place::Unicode(left - 1),
            (Place::Unicode(_), _) => Place::String,
            (Place::String, b'\\') => Place::Escape,
            (Place::String, b'"') => Place::Outside,
            (place, _) => place,
        };
        if self.place == Place::Outside {
            self.string_bytes = 0;
            self.kept.push(byte);
        } else if cut {
            // From here to its end the string is passed over.
            self.string_bytes = usize::MAX;
            self.shortened = true;
        } else {
            self.string_bytes += 1;
            self.kept.push(byte);
        }
    }

    /// Notes whether what was read so far ends in half a character.
    fn follow_units(&mut self, byte: u8) {
        match self.place {
            Place::Unicode(left) => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default() as u16;
                self.unit = self.unit << 4 | digit;
                self.is_half = left == 1 && matches!(self.unit, 0xD800..=0xDBFF);
            }
            // The escape of the other half may begin here.
            Place::String if byte == b'\\' => {}
            Place::Escape if byte == b'u' => {}
            _ => self.is_half = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn excerpt(text: &str, piece: usize) -> Result<(String, bool), Rejected> {
        let pieces = text.as_bytes().chunks(piece).map(|it| Ok::<_, ()>(Bytes::copy_from_slice(it)));
        let mut excerpt = Excerpt::default();
        excerpt.read(futures_util::stream::iter(pieces)).await?;
        Ok((String::from_utf8(excerpt.kept).unwrap(), excerpt.shortened))
    }

    #[tokio::test]
    async fn short_strings_are_kept_to_the_letter() {
        let text = r#"{"Data":{"blob":"a\"b\\ä\u00e4"},"Metadata":{"n":[1,"x"]}}"#;
        for piece in [1, 2, 7, 1000] {
            assert_eq!(excerpt(text, piece).await.unwrap(), (text.to_owned(), false));
        }
    }

    #[tokio::test]
    async fn a_long_string_is_cut_between_characters_and_the_rest_is_kept() {
        for unit in ["A", "ä", r"\n", r"\u00e4", r#"\""#, "日"] {
            let long = unit.repeat(30_000);
            let text = format!(r#"{{"Data":{{"blob":"{long}","b":"{long}"}},"Metadata":{{"name":"\"x\""}}}}"#);
            for piece in [1, 4096] {
                let (kept, shortened) = excerpt(&text, piece).await.unwrap();
                assert!(shortened && kept.len() < LARGEST_ENVELOPE_BYTES, "{unit}: {}", kept.len());
                let envelope: Envelope = serde_json::from_str(&kept).unwrap();
                assert_eq!(crate::framework::wire::text(&envelope.metadata["name"]).as_deref(), Some("x"), "{unit}");
            }
        }
    }

    /// Each way of writing characters, each at every distance from the cut.
    #[tokio::test]
    async fn a_string_cut_anywhere_is_the_beginning_of_the_whole_one() {
        let units = [
            r"\ud83d\ude00",
            r"\uD83D\uDE00",
            r"\uDBFF\uDFFF",
            r"x\ud83d\ude00",
            r"\ud7ff\ue000",
            r"\\\ud83d\ude00",
            r"\\ud83d",
            r"\\",
            r"\u005c\u0022",
            "😀",
            "日\u{301}",
            r#"\"\ud83d\ude00\n"#,
            r"\\ud83d\\ude00",
        ];
        for unit in units {
            for before in 0..=14 {
                let long = format!("{}{}", "p".repeat(before), unit.repeat(2 * LONGEST_STRING_BYTES / unit.len()));
                let whole: String = serde_json::from_str(&format!("\"{long}\"")).unwrap();
                let text = format!(r#"{{"Data":{{"blob":"{long}"}},"Metadata":{{"name":"x"}}}}"#);
                let (kept, shortened) = excerpt(&text, 4096).await.unwrap();
                let envelope: Envelope =
                    serde_json::from_str(&kept).unwrap_or_else(|it| panic!("{unit} {before}: {it}"));
                let cut = envelope.data["blob"].as_str().unwrap();
                assert!(shortened && whole.starts_with(cut) && envelope.metadata["name"] == "x", "{unit} {before}");
                let kept_bytes = kept.len() - r#"{"Data":{"blob":""},"Metadata":{"name":"x"}}"#.len();
                // Its opening quote counts too.
                let room = LONGEST_STRING_BYTES - 1 - UNIT_BYTES..=LONGEST_STRING_BYTES + 2 * UNIT_BYTES;
                assert!(room.contains(&kept_bytes), "{unit} {before}: {kept_bytes}");
            }
        }
    }

    #[tokio::test]
    async fn much_of_anything_else_is_refused() {
        let text = format!(r#"{{"Data":{{}},"Metadata":{{"n":[{}1]}}}}"#, "1,".repeat(40_000));
        assert!(matches!(excerpt(&text, 1000).await, Err(Rejected::TooLarge)));
    }
}
