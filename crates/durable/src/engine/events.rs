//! A request's history as the engine walks through it: the four common events borrowed from the request, the rare ones as they are.

use std::borrow::Cow;

use prost::{Message, bytes::Buf, decode_length_delimiter};

use super::{
    envelope::not_a_request,
    error::Error,
    protocol::{EventType, HistoryEvent, OrchestratorRequest, Properties, Timestamp, ValueKind},
};

/// What an episode is given.
#[derive(Debug)]
pub(super) struct Episode<'a> {
    pub instance_id: &'a str,
    /// Past before new.
    pub events: Vec<Event<'a>>,
    /// How many of them are past.
    pub past: usize,
    pub properties: Cow<'a, Properties>,
}

/// A row of the history.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event<'a> {
    pub id: i32,
    pub kind: Kind<'a>,
}

/// What happened. Histories are long and made of the first four.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    /// The one event whose time matters.
    OrchestratorStarted(Option<Timestamp>),
    OrchestratorCompleted,
    /// The name is compared with one that is UTF-8, so it is not looked at.
    TaskScheduled {
        name: &'a [u8],
    },
    TaskCompleted {
        id: i32,
        result: Option<&'a str>,
    },
    Rare(Box<EventType>),
    /// Of a type that is not known here.
    Unknown,
}

impl<'a> Episode<'a> {
    pub(super) fn of(request: &'a OrchestratorRequest) -> Self {
        Self {
            instance_id: &request.instance_id,
            events: request.past_events.iter().chain(&request.new_events).map(Event::of).collect(),
            past: request.past_events.len(),
            properties: Cow::Borrowed(&request.properties),
        }
    }

    /// Reads the bytes of an `OrchestratorRequest`.
    ///
    /// # Errors
    /// When they are no such message.
    pub(super) fn read(mut bytes: &'a [u8]) -> Result<Self, Error> {
        let (mut instance_id, mut rest) = ("", OrchestratorRequest::default());
        let (mut events, mut new) = (Vec::with_capacity(bytes.len() / TYPICAL_BYTES), Vec::new());
        while !bytes.is_empty() {
            let before = bytes;
            match Field::read(&mut bytes)? {
                Field::Bytes(INSTANCE_ID, text) => instance_id = std::str::from_utf8(text).map_err(not_a_request)?,
                Field::Bytes(PAST_EVENTS, event) => events.push(Event::read(event)?),
                Field::Bytes(NEW_EVENTS, event) => new.push(Event::read(event)?),
                // The few others are prost's to read.
                _ => rest.merge(&before[..before.len() - bytes.len()]).map_err(not_a_request)?,
            }
        }
        let past = events.len();
        events.append(&mut new);
        Ok(Self { instance_id, events, past, properties: Cow::Owned(rest.properties) })
    }

    /// A property that is a text; an empty one is none.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.properties.get(name)?.kind.as_ref()? {
            ValueKind::String(text) => Some(text.as_str()).filter(|it| !it.is_empty()),
            _ => None,
        }
    }

    /// Whether the past events are not all there, as with extended sessions: the request says so.
    pub(super) fn lacks_history(&self) -> bool {
        let included = self.properties.get(OrchestratorRequest::INCLUDE_STATE);
        included.is_some_and(|it| it.kind == Some(ValueKind::Bool(false)))
    }
}

/// Bytes of an event on average, for the first guess at how many there are.
const TYPICAL_BYTES: usize = 32;

/// Fields of `OrchestratorRequest`.
const INSTANCE_ID: usize = 1;
const PAST_EVENTS: usize = 3;
const NEW_EVENTS: usize = 4;

/// A field of a message, as far as its wire type tells.
enum Field<'a> {
    /// Number and content of one with a length.
    Bytes(usize, &'a [u8]),
    Other,
}

impl<'a> Field<'a> {
    fn read(bytes: &mut &'a [u8]) -> Result<Self, Error> {
        let key = varint(bytes)?;
        match key & 7 {
            0 => varint(bytes).map(|_| Self::Other),
            1 => take(bytes, 8).map(|_| Self::Other),
            5 => take(bytes, 4).map(|_| Self::Other),
            2 => {
                let length = varint(bytes)?;
                Ok(Self::Bytes(key >> 3, take(bytes, length)?))
            }
            other => Err(not_a_request(format!("wire type {other}"))),
        }
    }
}

#[inline]
fn varint(bytes: &mut &[u8]) -> Result<usize, Error> {
    match **bytes {
        [byte @ 0..=0x7F, ..] => {
            *bytes = &bytes[1..];
            Ok(usize::from(byte))
        }
        _ => decode_length_delimiter(bytes).map_err(not_a_request),
    }
}

#[inline]
fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Error> {
    let content = bytes.get(..length).ok_or_else(|| not_a_request("it ends in the middle of a field"))?;
    bytes.advance(length);
    Ok(content)
}

impl<'a> Event<'a> {
    fn of(event: &'a HistoryEvent) -> Self {
        let kind = match &event.event_type {
            Some(EventType::OrchestratorStarted(_)) => Kind::OrchestratorStarted(event.timestamp),
            Some(EventType::OrchestratorCompleted(_)) => Kind::OrchestratorCompleted,
            Some(EventType::TaskScheduled(it)) => Kind::TaskScheduled { name: it.name.as_bytes() },
            Some(EventType::TaskCompleted(it)) => {
                Kind::TaskCompleted { id: it.task_scheduled_id, result: it.result.as_deref() }
            }
            Some(rare) => Kind::Rare(Box::new(rare.clone())),
            None => Kind::Unknown,
        };
        Self { id: event.event_id, kind }
    }

    /// Reads a `HistoryEvent`: in the form the extension writes, without prost.
    fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        if let Some(event) = Self::read_common(bytes) {
            return Ok(event);
        }
        let event = HistoryEvent::decode(bytes).map_err(not_a_request)?;
        let kind = match event.event_type {
            Some(EventType::OrchestratorStarted(_)) => Kind::OrchestratorStarted(event.timestamp),
            Some(EventType::OrchestratorCompleted(_)) => Kind::OrchestratorCompleted,
            Some(rare) => Kind::Rare(Box::new(rare)),
            None => Kind::Unknown,
        };
        Ok(Self { id: event.event_id, kind })
    }

    /// The common events as .NET writes them: every field at most once, in order of their numbers, none that is not known. `None`
    /// for whatever else; prost reads that.
    fn read_common(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let id = match bytes.split_first_chunk() {
            Some((&MINUS_ONE, rest)) => {
                fields = Fields(rest);
                -1
            }
            _ => i32::try_from(fields.number(1)?).ok()?,
        };
        let at = if fields.has(2 << 3 | 2) { Some(fields.timestamp()?) } else { None };
        let key = fields.varint()?;
        let mut content = fields.content()?;
        fields.end()?;
        let kind = match key {
            TASK_SCHEDULED => Kind::TaskScheduled { name: content.message(1)?.unwrap_or_default().0 },
            TASK_COMPLETED => {
                let id = i32::try_from(content.number(1)?).ok()?;
                Kind::TaskCompleted { id, result: content.string_value(2)? }
            }
            ORCHESTRATOR_STARTED => Kind::OrchestratorStarted(at),
            ORCHESTRATOR_COMPLETED => Kind::OrchestratorCompleted,
            _ => return None,
        };
        content.end()?;
        Some(Self { id, kind })
    }
}

/// The event id of what is no action: it takes ten bytes, its key included eleven.
const MINUS_ONE: [u8; 11] = [0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
/// Keys of `HistoryEvent`: the field's number and the wire type of what has a length.
const TASK_SCHEDULED: u64 = 6 << 3 | 2;
const TASK_COMPLETED: u64 = 7 << 3 | 2;
const ORCHESTRATOR_STARTED: u64 = 14 << 3 | 2;
const ORCHESTRATOR_COMPLETED: u64 = 15 << 3 | 2;

/// What is left of a message whose fields are asked for in order. Fields have numbers below 16: their keys are one byte.
#[derive(Clone, Copy, Default)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// A number of at most 56 bits.
    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let (&first, rest) = self.0.split_first()?;
        if first < 0x80 {
            self.0 = rest;
            return Some(u64::from(first));
        }
        let Some(eight) = self.0.first_chunk() else { return self.varint_by_byte() };
        // All its bytes at once: the first without the top bit is its last; seven bits of each are the number's.
        let word = u64::from_le_bytes(*eight);
        let stops = !word & 0x8080_8080_8080_8080;
        let length = stops.trailing_zeros() as usize / 8 + 1;
        self.0 = self.0.get(length..).filter(|_| stops != 0)?;
        let bits = word & (stops ^ (stops - 1)) & 0x7F7F_7F7F_7F7F_7F7F;
        let pairs = bits & 0x007F_007F_007F_007F | (bits & 0x7F00_7F00_7F00_7F00) >> 1;
        let fours = pairs & 0x0000_3FFF_0000_3FFF | (pairs & 0x3FFF_0000_3FFF_0000) >> 2;
        Some(fours & 0x0FFF_FFFF | (fours & 0x0FFF_FFFF_0000_0000) >> 4)
    }

    /// The same where fewer than eight bytes are left.
    fn varint_by_byte(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0, 0);
        while let Some((&byte, rest)) = self.0.split_first() {
            self.0 = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(value);
            }
            shift += 7;
        }
        None
    }

    /// Passes over a key, if it is the next one.
    #[inline]
    fn has(&mut self, key: u8) -> bool {
        let found = self.0.first() == Some(&key);
        self.0 = &self.0[usize::from(found)..];
        found
    }

    /// A number that is 0 where it is absent.
    #[inline]
    fn number(&mut self, field: u8) -> Option<u64> {
        if self.has(field << 3) { self.varint() } else { Some(0) }
    }

    /// A length and so many bytes.
    #[inline]
    fn content(&mut self) -> Option<Self> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (content, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Self(content))
    }

    /// A length and a timestamp of that length.
    #[inline]
    fn timestamp(&mut self) -> Option<Timestamp> {
        let length = self.varint()?;
        let before = self.0.len();
        let (seconds, nanos) = (self.number(1)?, self.number(2)?);
        let is_whole = (before - self.0.len()) as u64 == length;
        is_whole.then_some(Timestamp { seconds: seconds.cast_signed(), nanos: i32::try_from(nanos).ok()? })
    }

    /// A message or text that may be absent.
    #[inline]
    fn message(&mut self, field: u8) -> Option<Option<Self>> {
        if self.has(field << 3 | 2) { self.content().map(Some) } else { Some(None) }
    }

    /// A `google.protobuf.StringValue`: a message that holds a text.
    #[inline]
    fn string_value(&mut self, field: u8) -> Option<Option<&'a str>> {
        let Some(mut value) = self.message(field)? else { return Some(None) };
        let text = value.message(1)?.unwrap_or_default().text()?;
        value.end()?;
        Some(Some(text))
    }

    #[inline]
    fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.0).ok()
    }

    #[inline]
    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::protocol::*;

    fn event(id: i32, nanos: i32, event_type: EventType) -> HistoryEvent {
        HistoryEvent::new(id, Some(Timestamp { seconds: 1_700_000_000, nanos }), Some(event_type))
    }

    fn kinds() -> Vec<HistoryEvent> {
        let completed = |id, result: Option<&str>| TaskCompleted::new(id, result.map(str::to_owned));
        let versioned = TaskScheduled::with(|set| {
            (set.name, set.version, set.input) = ("a".into(), Some(String::new()), Some("1".into()));
        });
        vec![
            event(-1, 5, EventType::OrchestratorStarted(Nothing {})),
            event(0, 0, EventType::TaskScheduled(TaskScheduled::new("ä".to_owned(), None))),
            event(300, 5, EventType::TaskScheduled(TaskScheduled::new(String::new(), None))),
            event(i32::MAX, 5, EventType::TaskScheduled(versioned)),
            event(-7, -5, EventType::OrchestratorCompleted(Nothing {})),
            event(-1, 999_999_999, EventType::TaskCompleted(completed(7, Some("{\"a\":1}")))),
            event(-1, 5, EventType::TaskCompleted(completed(0, Some("")))),
            event(-1, 5, EventType::TaskCompleted(completed(-3, None))),
            HistoryEvent::new(3, None, Some(EventType::TimerFired(TimerFired::new(None, 3)))),
            HistoryEvent::new(3, None, None),
        ]
    }

    /// What an event says, however it was read.
    fn plain(event: &Event<'_>) -> String {
        let kind = match &event.kind {
            Kind::Rare(rare) => match &**rare {
                EventType::TaskScheduled(it) => format!("{:?}", Kind::TaskScheduled { name: it.name.as_bytes() }),
                EventType::TaskCompleted(it) => {
                    let result = it.result.as_deref();
                    format!("{:?}", Kind::TaskCompleted { id: it.task_scheduled_id, result })
                }
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        };
        let kind = kind.strip_prefix("Rare(").and_then(|it| it.strip_suffix(')')).unwrap_or(&kind).to_owned();
        format!("{} {kind}", event.id)
    }

    #[test]
    fn the_common_form_is_read_as_prost_reads_it() {
        for event in kinds() {
            let bytes = event.encode_to_vec();
            assert_eq!(plain(&Event::read(&bytes).unwrap()), plain(&Event::of(&event)), "{event:?}");
            // Damaged anywhere, it is what prost makes of it.
            for at in 0..bytes.len() {
                for byte in 0..=u8::MAX {
                    let mut damaged = bytes.clone();
                    damaged[at] = byte;
                    match (Event::read(&damaged), HistoryEvent::decode(damaged.as_slice())) {
                        (Ok(ours), Ok(theirs)) => assert_eq!(plain(&ours), plain(&Event::of(&theirs)), "{damaged:?}"),
                        (Err(_), Err(_)) => {}
                        // A name that is no text is that of no activity.
                        (Ok(Event { kind: Kind::TaskScheduled { name }, .. }), Err(_))
                            if std::str::from_utf8(name).is_err() => {}
                        (ours, theirs) => panic!("{damaged:?}: {ours:?}, {theirs:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn events_are_those_of_the_whole_message() {
        let mut request = OrchestratorRequest {
            instance_id: "ä".to_owned(),
            past_events: kinds(),
            new_events: kinds(),
            entity_parameters: Some(EntityParameters { reorder_window: Some(Timestamp { seconds: 1800, nanos: 0 }) }),
            ..OrchestratorRequest::default()
        };
        let version = Value::from("2.0".to_owned());
        request.properties.insert(OrchestratorRequest::DEFAULT_VERSION.to_owned(), version);
        let bytes = request.encode_to_vec();
        let (read, whole) = (Episode::read(&bytes).unwrap(), Episode::of(&request));
        assert_eq!((read.instance_id, read.past, read.text("defaultVersion")), ("ä", 10, Some("2.0")));
        let plain = |episode: &Episode<'_>| episode.events.iter().map(plain).collect::<Vec<_>>();
        assert_eq!(plain(&read), plain(&whole));
        for end in 0..bytes.len() {
            // Cut anywhere, it is an error where it is one to prost.
            let (ours, theirs) = (Episode::read(&bytes[..end]), OrchestratorRequest::decode(&bytes[..end]));
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{end}");
        }
    }
}
