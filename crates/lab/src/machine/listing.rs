//! Names and metadata of a page of a blob listing, to the letter. The SDK's reader of XML trims white space, which belongs to a
//! name, and a header loses the case of its metadata's key.

use percent_encoding::percent_decode_str;

/// What the SDK does not say of a blob.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Its metadata in the service's order, keys in their case; empty where the listing was not asked for it.
    pub(super) metadata: Vec<(String, String)>,
}

/// Reads the blobs of a page, in its order. `None` when it is not what the service writes.
pub(super) fn entries(page: &[u8]) -> Option<Vec<Entry>> {
    let page = std::str::from_utf8(page).ok()?;
    let root = children(&page[page.find("<EnumerationResults")?..])?;
    let blobs = children(root.first()?.child("Blobs")?.inner)?;
    blobs.iter().filter(|it| it.tag == "Blob").map(entry).collect()
}

fn entry(blob: &Element<'_>) -> Option<Entry> {
    let name = blob.child("Name")?;
    let mut text = unescaped(name.inner)?;
    if name.attributes.contains("Encoded=\"true\"") {
        text = percent_decode_str(&text).decode_utf8().ok()?.into();
    }
    let metadata = match blob.child("Metadata") {
        Some(metadata) => children(metadata.inner)?,
        None => Vec::new(),
    };
    let metadata = metadata.iter().map(|it| Some((it.tag.to_owned(), unescaped(it.inner)?)));
    Some(Entry { name: text, metadata: metadata.collect::<Option<_>>()? })
}

/// An element, as it stands in the text.
#[derive(Debug)]
struct Element<'a> {
    tag: &'a str,
    attributes: &'a str,
    inner: &'a str,
}

impl<'a> Element<'a> {
    fn child(&self, tag: &str) -> Option<Element<'a>> {
        children(self.inner)?.into_iter().find(|it| it.tag == tag)
    }
}

/// The elements directly in a text. `None` when one is not closed.
fn children(mut text: &str) -> Option<Vec<Element<'_>>> {
    let mut found = Vec::new();
    while let Some((_, after)) = text.split_once('<') {
        let (head, rest) = after.split_once('>')?;
        let (start, is_closed) = head.strip_suffix('/').map_or((head, false), |it| (it, true));
        let (tag, attributes) = start.split_once(char::is_whitespace).unwrap_or((start, ""));
        let inner = if is_closed { "" } else { until_closed(rest)? };
        text = if is_closed { rest } else { rest[inner.len()..].split_once('>')?.1 };
        found.push(Element { tag, attributes, inner });
    }
    Some(found)
}

/// The text before the tag that closes the element it is in.
fn until_closed(text: &str) -> Option<&str> {
    let (mut depth, mut at) = (1, 0);
    loop {
        at += text[at..].find('<')?;
        let tag = text[at + 1..].split_once('>')?.0;
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) if depth == 1 => return Some(&text[..at]),
            (true, _) => depth -= 1,
            (false, false) => depth += 1,
            (false, true) => {}
        }
        at += tag.len() + 2;
    }
}

/// Text of an XML element with its references resolved.
fn unescaped(text: &str) -> Option<String> {
    let mut pieces = text.split('&');
    let mut plain = pieces.next()?.to_owned();
    for piece in pieces {
        let (reference, rest) = piece.split_once(';')?;
        plain.push(referred(reference)?);
        plain.push_str(rest);
    }
    Some(plain)
}

fn referred(reference: &str) -> Option<char> {
    match reference {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = reference.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(blobs: &str) -> Option<Vec<Entry>> {
        let start = "\u{feff}<?xml version=\"1.0\"?><EnumerationResults ContainerName=\"c\"><Prefix> a</Prefix><Blobs>";
        entries(format!("{start}{blobs}</Blobs><NextMarker/></EnumerationResults>").as_bytes())
    }

    fn names(blobs: &str) -> Vec<String> {
        page(blobs).unwrap().into_iter().map(|it| it.name).collect()
    }

    #[test]
    fn a_name_keeps_its_white_space_and_its_references() {
        let blobs = "<Blob><Name> a </Name><Metadata><Name>b</Name></Metadata></Blob>\
            <Blob><Name>&lt;Blob&gt;&amp;&quot;&apos;&#xD;&#252;</Name></Blob>\
            <Blob><Name Encoded=\"true\">a%01%20b</Name></Blob>";
        assert_eq!(names(blobs), [" a ", "<Blob>&\"'\rü", "a\u{1} b"]);
        assert_eq!(entries(b"<EnumerationResults><Blobs /></EnumerationResults>").unwrap(), []);
    }

    #[test]
    fn metadata_keeps_its_order_and_its_case_whatever_its_keys_are() {
        let blobs = "<Blob><Name>a</Name><Properties><Etag>1</Etag></Properties>\
            <Metadata><Zed>z</Zed><owner>x &amp; y</owner><Blob>b</Blob><Metadata/><Name /></Metadata></Blob>\
            <Blob><Name>b</Name><Metadata /></Blob>";
        let found = page(blobs).unwrap();
        let read: Vec<_> = found[0].metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(read, [("Zed", "z"), ("owner", "x & y"), ("Blob", "b"), ("Metadata", ""), ("Name", "")]);
        assert_eq!((found.len(), found[1].metadata.len()), (2, 0));
    }

    #[test]
    fn what_the_service_does_not_write_is_no_page() {
        for blobs in [
            "<Blob></Blob>",
            "<Blob><Name>a</Blob>",
            "<Blob><Name>&nbsp;</Name></Blob>",
            "<Blob><Name>&#xD800;</Name></Blob>",
            "<Blob><Name>a</Name><Metadata><a>&</a></Metadata></Blob>",
        ] {
            assert_eq!(page(blobs), None, "{blobs}");
        }
        for bytes in [&[0xff][..], b"", b"<Blob></Blob>", b"<EnumerationResults>", b"<EnumerationResults/>", b"<a"] {
            assert_eq!(entries(bytes), None, "{bytes:?}");
        }
    }
}
