//! Whether an answer to a range request is what was asked for: status, range, length and version.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use azure_core::{
    error::{Error, ErrorKind},
    http::{
        Context, Request,
        headers::{HeaderName, Headers},
        policies::{Policy, PolicyResult},
    },
};

use super::Version;

const CONTENT_RANGE: HeaderName = HeaderName::from_static("content-range");
const CONTENT_LENGTH: HeaderName = HeaderName::from_static("content-length");
const ETAG: HeaderName = HeaderName::from_static("etag");
/// What is quoted of a header that is wrong.
const QUOTED_MAX: usize = 60;

/// An answer whose bytes are not those that were asked for. They are not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not what was asked for: {0}")]
pub(super) struct WrongAnswer(pub(super) String);

/// What a request asks for; travels with it to [`RangeCheck`].
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) range: Range<u64>,
    pub(super) version: Version,
}

/// Looks at each answer before the SDK does: that takes a Content-Range for granted and would fetch what it leaves out.
#[derive(Debug)]
pub(super) struct RangeCheck;

#[async_trait]
impl Policy for RangeCheck {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let answer = next[0].send(ctx, request, &next[1..]).await?;
        let status = u16::from(answer.status());
        if let Some(asked) = ctx.value::<Asked>()
            && (200..300).contains(&status)
        {
            asked.check(status, answer.headers()).map_err(|wrong| Error::new(ErrorKind::Other, wrong))?;
        }
        Ok(answer)
    }
}

impl Asked {
    fn check(&self, status: u16, headers: &Headers) -> Result<(), WrongAnswer> {
        let wrong = |text: String| Err(WrongAnswer(text));
        let Self { range, version } = self;
        let is_whole = *range == (0..version.size_bytes);
        let wanted = format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), version.size_bytes);
        match (status, headers.get_optional_str(&CONTENT_RANGE)) {
            // Some servers answer a range that is the whole blob as if none had been asked for.
            (200, None) if is_whole => {}
            (206, Some(given)) | (200, Some(given)) if given == wanted && (status == 206 || is_whole) => {}
            (206, Some(given)) => return wrong(format!("its Content-Range is {}, not {wanted}", quoted(given))),
            (206, None) => return wrong(format!("it has no Content-Range, which should be {wanted}")),
            _ => return wrong(format!("its status is {status}, not 206 with {wanted}")),
        }
        let length = range.end - range.start;
        if let Some(given) = headers.get_optional_str(&CONTENT_LENGTH)
            && given.parse() != Ok(length)
        {
            return wrong(format!("its Content-Length is {}, not {length}", quoted(given)));
        }
        match headers.get_optional_str(&ETAG) {
            Some(given) if given == version.etag => Ok(()),
            Some(_) => wrong("its ETag is that of another version".to_owned()),
            None => wrong("it has no ETag".to_owned()),
        }
    }
}

/// A wrong header may hold anything; what a range or a length is made of is shown.
fn quoted(header: &str) -> String {
    header.chars().filter(|it| "bytes 0123456789-/*".contains(*it)).take(QUOTED_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(range: Range<u64>, status: u16, headers: &[(&'static str, &'static str)]) -> Result<(), String> {
        let asked = Asked { range, version: Version { etag: "\"1\"".to_owned(), size_bytes: 100 } };
        let mut given = Headers::new();
        headers.iter().for_each(|(name, value)| given.insert(*name, *value));
        asked.check(status, &given).map_err(|wrong| wrong.0)
    }

    #[test]
    fn the_range_that_was_asked_for_is_believed() {
        let right = [("content-range", "bytes 10-19/100"), ("content-length", "10"), ("etag", "\"1\"")];
        assert_eq!(check(10..20, 206, &right), Ok(()));
        assert_eq!(check(10..20, 206, &[right[0], right[2]]), Ok(()), "a length is not always given");
        assert_eq!(check(0..100, 200, &[("content-length", "100"), right[2]]), Ok(()));
        assert_eq!(check(0..100, 206, &[("content-range", "bytes 0-99/100"), right[2]]), Ok(()));
    }

    #[test]
    fn anything_else_is_not() {
        let (length, etag) = (("content-length", "10"), ("etag", "\"1\""));
        let right = ("content-range", "bytes 10-19/100");
        for (status, headers, cause) in [
            (200, vec![("content-length", "100"), etag], "status is 200"),
            (200, vec![right, length, etag], "status is 200"),
            (204, vec![etag], "status is 204"),
            (206, vec![length, etag], "no Content-Range"),
            (206, vec![("content-range", "bytes 0-9/100"), length, etag], "bytes 0-9/100, not bytes 10-19/100"),
            (206, vec![("content-range", "bytes 10-18/100"), etag], "bytes 10-18/100"),
            (206, vec![("content-range", "bytes 10-19/101"), length, etag], "bytes 10-19/101"),
            (206, vec![("content-range", "bytes 10-19/*"), length, etag], "bytes 10-19/*"),
            (206, vec![("content-range", "bytes 0-18446744073709551615/*"), length, etag], "18446744073709551615"),
            (206, vec![("content-range", "10-19\u{7f}<key>"), length, etag], "is 10-19ey, not"),
            (206, vec![right, ("content-length", "9"), etag], "Content-Length is 9, not 10"),
            (206, vec![right, ("content-length", "11"), etag], "Content-Length is 11, not 10"),
            (206, vec![right, ("content-length", "1x"), etag], "Content-Length is 1, not 10"),
            (206, vec![right, length, ("etag", "\"2\"")], "another version"),
            (206, vec![right, length], "no ETag"),
        ] {
            let error = check(10..20, status, &headers).unwrap_err();
            assert!(error.contains(cause), "{status} {headers:?}: {error}");
        }
        assert!(check(0..100, 200, &[("content-length", "99"), etag]).unwrap_err().contains("Content-Length is 99"));
    }
}
