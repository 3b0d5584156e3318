//! Why something failed, as it travels: a message that nests in itself, read and written without going as deep.

use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut, Bytes},
    encoding::{self, DecodeContext, WireType},
};

use super::protocol::Properties;

/// Levels that are kept of nested details. .NET reads 100 levels of a message, those around the details included.
const DEEPEST: usize = 32;

const ERROR_TYPE: u32 = 1;
const ERROR_MESSAGE: u32 = 2;
const STACK_TRACE: u32 = 3;
const INNER_FAILURE: u32 = 4;
const IS_NON_RETRIABLE: u32 = 5;
const PROPERTIES: u32 = 6;

/// A failure and, one in another, what it came of.
///
/// Hosts nest as deep as their exceptions do, and prost reads 100 levels at most: this message reads its levels one after the
/// other. Of more than 32 the middle is left out.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct FailureDetails {
    pub error_type: String,
    pub error_message: String,
    pub stack_trace: Option<String>,
    pub inner_failure: Option<Box<Self>>,
    /// Whether trying again is useless.
    pub is_non_retriable: bool,
    pub properties: Properties,
}

impl FailureDetails {
    /// Sets fields of an empty message.
    #[must_use]
    pub fn with(set: impl FnOnce(&mut Self)) -> Self {
        let mut message = Self::default();
        set(&mut message);
        message
    }

    /// This and its inner failures, each without its own.
    fn into_levels(mut self) -> Vec<Self> {
        let mut levels = Vec::new();
        while let Some(inner) = self.inner_failure.take() {
            levels.push(std::mem::replace(&mut self, *inner));
        }
        levels.push(self);
        levels
    }

    /// One in another, the first outermost: the outer ones and the innermost, which says what happened.
    fn of_levels(mut levels: Vec<Self>) -> Option<Self> {
        if levels.len() > DEEPEST {
            levels.drain(DEEPEST - 1..levels.len() - 1);
        }
        let nest = |inner: Option<Self>, outer: Self| Some(Self { inner_failure: inner.map(Box::new), ..outer });
        levels.into_iter().rev().fold(None, nest)
    }

    /// The same with no more levels than .NET reads.
    pub(super) fn bounded(self) -> Self {
        Self::of_levels(self.into_levels()).unwrap_or_default()
    }

    /// Reads the fields of one level; gives the bytes of the next.
    fn merge_level(&mut self, mut bytes: Bytes) -> Result<Option<Bytes>, DecodeError> {
        let mut inner = None;
        while bytes.has_remaining() {
            let (tag, wire_type) = encoding::decode_key(&mut bytes)?;
            if tag == INNER_FAILURE {
                inner = Some(nested(wire_type, &mut bytes)?);
            } else {
                self.merge_flat(tag, wire_type, &mut bytes)?;
            }
        }
        Ok(inner)
    }

    /// Reads a field that does not nest. Each begins to count its depth anew.
    fn merge_flat(&mut self, tag: u32, wire_type: WireType, buf: &mut impl Buf) -> Result<(), DecodeError> {
        let context = DecodeContext::default();
        match tag {
            ERROR_TYPE => encoding::string::merge(wire_type, &mut self.error_type, buf, context),
            ERROR_MESSAGE => encoding::string::merge(wire_type, &mut self.error_message, buf, context),
            STACK_TRACE => {
                let trace = self.stack_trace.get_or_insert_default();
                encoding::message::merge(wire_type, trace, buf, context)
            }
            IS_NON_RETRIABLE => encoding::bool::merge(wire_type, &mut self.is_non_retriable, buf, context),
            PROPERTIES => {
                let value = encoding::message::merge;
                encoding::btree_map::merge(encoding::string::merge, value, &mut self.properties, buf, context)
            }
            _ => encoding::skip_field(wire_type, tag, buf, context),
        }
    }
}

/// The bytes of a nested message.
fn nested(wire_type: WireType, buf: &mut impl Buf) -> Result<Bytes, DecodeError> {
    let mut content = Bytes::new();
    encoding::bytes::merge(wire_type, &mut content, buf, DecodeContext::default())?;
    Ok(content)
}

impl Message for FailureDetails {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if !self.error_type.is_empty() {
            encoding::string::encode(ERROR_TYPE, &self.error_type, buf);
        }
        if !self.error_message.is_empty() {
            encoding::string::encode(ERROR_MESSAGE, &self.error_message, buf);
        }
        if let Some(trace) = &self.stack_trace {
            encoding::message::encode(STACK_TRACE, trace, buf);
        }
        if let Some(inner) = &self.inner_failure {
            encoding::message::encode(INNER_FAILURE, &**inner, buf);
        }
        if self.is_non_retriable {
            encoding::bool::encode(IS_NON_RETRIABLE, &true, buf);
        }
        let (string, value) = (encoding::string::encode, encoding::message::encode);
        let (string_len, value_len) = (encoding::string::encoded_len, encoding::message::encoded_len);
        encoding::btree_map::encode(string, string_len, value, value_len, PROPERTIES, &self.properties, buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        _: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag != INNER_FAILURE {
            return self.merge_flat(tag, wire_type, buf);
        }
        let mut levels = Vec::new();
        let mut next = Some(nested(wire_type, buf)?);
        while let Some(bytes) = next {
            let mut level = Self::default();
            next = level.merge_level(bytes)?;
            levels.push(level);
        }
        self.inner_failure = Self::of_levels(levels).map(Box::new);
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        let text = |tag, text: &String| if text.is_empty() { 0 } else { encoding::string::encoded_len(tag, text) };
        let trace = self.stack_trace.as_ref().map_or(0, |it| encoding::message::encoded_len(STACK_TRACE, it));
        let inner = self.inner_failure.as_ref().map_or(0, |it| encoding::message::encoded_len(INNER_FAILURE, &**it));
        let flag = if self.is_non_retriable { encoding::bool::encoded_len(IS_NON_RETRIABLE, &true) } else { 0 };
        let (string, value) = (encoding::string::encoded_len, encoding::message::encoded_len);
        let properties = encoding::btree_map::encoded_len(string, value, PROPERTIES, &self.properties);
        text(ERROR_TYPE, &self.error_type)
            + text(ERROR_MESSAGE, &self.error_message)
            + trace
            + inner
            + flag
            + properties
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::protocol::ValueKind;

    fn nested(depth: usize) -> FailureDetails {
        let level = |depth| FailureDetails { error_message: format!("level {depth}"), ..FailureDetails::default() };
        (1..depth)
            .rev()
            .fold(level(depth), |inner, depth| FailureDetails { inner_failure: Some(Box::new(inner)), ..level(depth) })
    }

    #[test]
    fn every_field_comes_back() {
        let value = ValueKind::Number(7.0).into();
        let details = FailureDetails {
            error_type: "A".to_owned(),
            error_message: "outer".to_owned(),
            stack_trace: Some("st".to_owned()),
            inner_failure: Some(Box::new(nested(2))),
            is_non_retriable: true,
            properties: Properties::from([("code".to_owned(), value)]),
        };
        let bytes = details.encode_to_vec();
        assert_eq!(bytes.len(), details.encoded_len());
        assert_eq!(FailureDetails::decode(bytes.as_slice()), Ok(details));
    }

    #[test]
    fn details_of_any_depth_are_read_and_keep_their_ends() {
        for depth in [1, 31, 32, 33, 99, 2_000] {
            // Written from the inside: encoding nests.
            let mut bytes = Vec::new();
            for level in (1..=depth).rev() {
                let outer = FailureDetails { error_message: format!("level {level}"), ..FailureDetails::default() };
                let mut around = outer.encode_to_vec();
                if level < depth {
                    encoding::bytes::encode(INNER_FAILURE, &bytes, &mut around);
                }
                bytes = around;
            }
            let levels = FailureDetails::decode(bytes.as_slice()).unwrap().into_levels();
            assert!(levels.len() <= DEEPEST + 1, "{}", levels.len());
            assert_eq!(levels.last().unwrap().error_message, format!("level {depth}"));
        }
        assert_eq!(nested(99).bounded().into_levels().len(), DEEPEST);
        assert_eq!(nested(3).bounded(), nested(3));
    }
}
