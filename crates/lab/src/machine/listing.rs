//! The names of a page of a blob listing, to the letter. The SDK's reader of XML trims white space, which belongs to a name.

use percent_encoding::percent_decode_str;

/// Reads the names of a page, in its order. `None` when it is not what the service writes.
pub(super) fn names(page: &[u8]) -> Option<Vec<String>> {
    std::str::from_utf8(page).ok()?.split("<Blob>").skip(1).map(name).collect()
}

fn name(blob: &str) -> Option<String> {
    let (attributes, rest) = blob.split_once("<Name")?.1.split_once('>')?;
    let text = unescaped(rest.split_once("</Name>")?.0)?;
    if attributes.contains("Encoded=\"true\"") {
        return percent_decode_str(&text).decode_utf8().ok().map(Into::into);
    }
    Some(text)
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

    #[test]
    fn a_name_keeps_its_white_space_and_its_references() {
        let page = "\u{feff}<?xml version=\"1.0\"?><EnumerationResults><Prefix> a</Prefix><Blobs>\
            <Blob><Name> a </Name><Metadata><Name>b</Name></Metadata></Blob>\
            <Blob><Name>&lt;Blob&gt;&amp;&quot;&apos;&#xD;&#252;</Name></Blob>\
            <Blob><Name Encoded=\"true\">a%01%20b</Name></Blob></Blobs></EnumerationResults>";
        assert_eq!(names(page.as_bytes()).unwrap(), [" a ", "<Blob>&\"'\rü", "a\u{1} b"]);
        assert_eq!(names(b"<EnumerationResults><Blobs /></EnumerationResults>").unwrap(), [""; 0]);
    }

    #[test]
    fn what_the_service_does_not_write_is_no_page() {
        for page in [
            "<Blob></Blob>",
            "<Blob><Name>a</Blob>",
            "<Blob><Name>&nbsp;</Name></Blob>",
            "<Blob><Name>&#xD800;</Name></Blob>",
        ] {
            assert_eq!(names(page.as_bytes()), None, "{page}");
        }
        assert_eq!(names(&[0xff]), None);
    }
}
