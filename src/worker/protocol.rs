//! What front and worker say to each other: length-prefixed JSON over the socket pair on the worker's fd 0.

use std::time::Duration;

use bytes::Bytes;
use futures::{Sink, SinkExt, Stream, StreamExt};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::net::{
    UnixStream,
    unix::{OwnedReadHalf, OwnedWriteHalf},
};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::blob::CallEvent;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "message")]
pub(super) enum ToWorker {
    /// The first message, sent when the memory limit is in force.
    Start {
        generation: u32,
        memory_limit_bytes: Option<u64>,
    },
    Invoke(Work),
    /// Its time is over.
    Cancel {
        id: u64,
    },
    Ping,
}

/// One blob to process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Work {
    pub(super) id: u64,
    pub(super) container: String,
    pub(super) name: String,
    pub(super) time_left: Duration,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "message")]
pub(super) enum FromWorker {
    /// Threads are up, limits are set.
    Ready,
    Pong,
    /// A storage call of an invocation started or ended.
    Call {
        id: u64,
        #[serde(flatten)]
        event: CallEvent,
    },
    /// An invocation is over.
    Done {
        id: u64,
        outcome: Answer,
    },
}

/// How an invocation ended inside the worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub(super) enum Answer {
    /// The blob has its record.
    Recorded,
    /// The blob was deleted before it was read.
    Gone,
    /// Memory was refused; the text says how much.
    MemoryError {
        detail: String,
    },
    Failed {
        detail: String,
    },
}

/// Far above any message; a longer one is a broken peer.
const LONGEST_MESSAGE_BYTES: usize = 1 << 20;

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(LONGEST_MESSAGE_BYTES).new_codec()
}

/// Both directions of a connection, as typed messages. A message that cannot be read ends the stream.
pub(super) fn typed<In, Out>(
    stream: UnixStream,
) -> (impl Stream<Item = In> + Send + Unpin, impl Sink<Out, Error = std::io::Error> + Send + Unpin)
where
    In: DeserializeOwned + Send,
    Out: Serialize + Send + 'static,
{
    let (reading, writing): (OwnedReadHalf, OwnedWriteHalf) = stream.into_split();
    let messages = FramedRead::new(reading, codec())
        .map(|frame| frame.ok().and_then(|frame| serde_json::from_slice(&frame).ok()))
        .take_while(|message: &Option<In>| std::future::ready(message.is_some()))
        .filter_map(std::future::ready);
    let sink = FramedWrite::new(writing, codec())
        .with(|message: Out| std::future::ready(serde_json::to_vec(&message).map(Bytes::from).map_err(Into::into)));
    (messages, sink)
}
