//! An encoded request, read event by event: a long history need not be in memory as a whole, twice.

use prost::{Message, bytes::Buf, decode_length_delimiter};

use super::{envelope::not_a_request, error::Error, protocol::HistoryEvent};

/// Fields of `OrchestratorRequest`.
const INSTANCE_ID: u64 = 1;
const PAST_EVENTS: u64 = 3;
const NEW_EVENTS: u64 = 4;

/// The bytes of an `OrchestratorRequest`, checked as far as its fields go.
#[derive(Clone, Copy, Debug)]
pub(super) struct EncodedRequest<'a> {
    bytes: &'a [u8],
    pub instance_id: &'a str,
    pub past_events: usize,
    pub new_events: usize,
}

impl<'a> EncodedRequest<'a> {
    /// # Errors
    /// When the bytes are no message.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut request = Self { bytes, instance_id: "", past_events: 0, new_events: 0 };
        for field in (Fields { bytes }) {
            match field? {
                (INSTANCE_ID, text) => request.instance_id = std::str::from_utf8(text).map_err(not_a_request)?,
                (PAST_EVENTS, _) => request.past_events += 1,
                (NEW_EVENTS, _) => request.new_events += 1,
                _ => {}
            }
        }
        Ok(request)
    }

    /// The events, past before new, each with whether it is past.
    pub(super) fn events(self) -> impl Iterator<Item = Result<(bool, HistoryEvent), Error>> + 'a {
        let of = move |wanted| {
            let fields = Fields { bytes: self.bytes }.filter_map(Result::ok);
            fields.filter(move |(number, _)| *number == wanted)
        };
        let decode = |is_past: bool| {
            move |(_, bytes): (u64, &[u8])| Ok((is_past, HistoryEvent::decode(bytes).map_err(not_a_request)?))
        };
        of(PAST_EVENTS).map(decode(true)).chain(of(NEW_EVENTS).map(decode(false)))
    }
}

/// Number and content of each field that has a length; the others are passed over.
struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, &'a [u8]), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.bytes.is_empty() {
            match self.field() {
                Ok(None) => {}
                Ok(Some(field)) => return Some(Ok(field)),
                Err(error) => {
                    self.bytes = &[];
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<Option<(u64, &'a [u8])>, Error> {
        let key = self.varint()?;
        let length = match key & 7 {
            0 => {
                self.varint()?;
                return Ok(None);
            }
            1 => return self.take(8).map(|_| None),
            5 => return self.take(4).map(|_| None),
            2 => self.varint()?,
            other => return Err(not_a_request(format!("wire type {other}"))),
        };
        let content = self.take(length)?;
        Ok(Some(((key >> 3) as u64, content)))
    }

    fn varint(&mut self) -> Result<usize, Error> {
        decode_length_delimiter(&mut self.bytes).map_err(not_a_request)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let content = self.bytes.get(..length).ok_or_else(|| not_a_request("it ends in the middle of a field"))?;
        self.bytes.advance(length);
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::protocol::{EntityParameters, EventType, Nothing, OrchestratorRequest, Timestamp};

    #[test]
    fn events_are_those_of_the_whole_message() {
        let event = |seconds| HistoryEvent {
            event_id: -1,
            timestamp: Some(Timestamp { seconds, nanos: 5 }),
            event_type: Some(EventType::OrchestratorStarted(Nothing {})),
        };
        let request = OrchestratorRequest {
            instance_id: "ä".to_owned(),
            past_events: vec![event(1), event(2)],
            new_events: vec![event(3)],
            entity_parameters: Some(EntityParameters { reorder_window: Some(Timestamp { seconds: 1800, nanos: 0 }) }),
            ..OrchestratorRequest::default()
        };
        let bytes = request.encode_to_vec();
        let read = EncodedRequest::read(&bytes).unwrap();
        assert_eq!((read.instance_id, read.past_events, read.new_events), ("ä", 2, 1));
        let events: Vec<_> = read.events().map(Result::unwrap).collect();
        assert_eq!(events, [(true, event(1)), (true, event(2)), (false, event(3))]);
        for end in 1..bytes.len() {
            // Cut anywhere, it is either an error or fewer events.
            if let Ok(read) = EncodedRequest::read(&bytes[..end]) {
                assert!(read.past_events + read.new_events <= 3);
            }
        }
    }
}
