//! Bodies of requests: unpacked within bounds.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;

/// Longest body, as it is sent and unpacked.
pub(super) const LONGEST_BYTES: usize = 64 << 20;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Why a body is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body has more than {} MiB unpacked: send fewer items at once", LONGEST_BYTES >> 20)]
    TooLong,
    #[error("the encoding {0:?} is not known: send gzip or none")]
    Encoding(String),
}

/// A body as text, and why it ends early where it does.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub text: Bytes,
    pub cut: Option<String>,
}

/// Whether a file or body is packed, whatever its name or header says.
pub(super) fn is_gzip(start: &[u8]) -> bool {
    start.starts_with(&GZIP)
}

/// Unpacks a body with the given `Content-Encoding`.
pub(super) fn unpack(encoding: &str, body: Bytes) -> Result<Unpacked, BodyError> {
    let encoding = encoding.trim().to_ascii_lowercase();
    match encoding.as_str() {
        "gzip" | "x-gzip" => gunzip(&body),
        "" | "identity" if is_gzip(&body) => gunzip(&body),
        "" | "identity" => Ok(Unpacked { text: body, cut: None }),
        _ => Err(BodyError::Encoding(encoding)),
    }
}

fn gunzip(body: &[u8]) -> Result<Unpacked, BodyError> {
    let mut text = Vec::new();
    let read = MultiGzDecoder::new(body).take(LONGEST_BYTES as u64 + 1).read_to_end(&mut text);
    if text.len() > LONGEST_BYTES {
        return Err(BodyError::TooLong);
    }
    let cut = read.err().map(|error: io::Error| format!("the gzip stream breaks off: {error}"));
    Ok(Unpacked { text: text.into(), cut })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn text(encoding: &str, body: Vec<u8>) -> String {
        let unpacked = unpack(encoding, body.into()).unwrap();
        assert_eq!(unpacked.cut, None);
        String::from_utf8(unpacked.text.to_vec()).unwrap()
    }

    #[test]
    fn packed_or_not_the_text_is_the_same() {
        assert_eq!(text("", b"abc".to_vec()), "abc");
        assert_eq!(text("Identity", b"abc".to_vec()), "abc");
        for encoding in ["gzip", "GZIP", "x-gzip", ""] {
            assert_eq!(text(encoding, gzip(b"abc")), "abc");
        }
        assert_eq!(text("gzip", [gzip(b"abc"), gzip(b"def")].concat()), "abcdef", "two members");
        assert!(matches!(unpack("br", Bytes::new()), Err(BodyError::Encoding(it)) if it == "br"));
    }

    #[test]
    fn a_bomb_is_refused_and_a_cut_stream_gives_what_there_is() {
        let bomb = gzip(&vec![b' '; LONGEST_BYTES + 1]);
        assert!(bomb.len() < 1 << 20);
        assert!(matches!(unpack("gzip", bomb.into()), Err(BodyError::TooLong)));
        assert_eq!(unpack("gzip", gzip(&vec![b' '; LONGEST_BYTES]).into()).unwrap().text.len(), LONGEST_BYTES);
        let packed = gzip("a line\n".repeat(1000).as_bytes());
        let cut = unpack("gzip", packed[..packed.len() - 9].to_vec().into()).unwrap();
        assert!(cut.cut.unwrap().starts_with("the gzip stream breaks off: "));
        assert!(cut.text.starts_with(b"a line\n"), "{:?}", cut.text);
        assert!(unpack("gzip", Bytes::from_static(b"no gzip")).unwrap().cut.is_some());
    }
}
