//! Answers of an executor, written down for those who don't have it.
//!
//! For each life the number of calls and, for each call, a digest of what it tells, the answer's length and the answer; numbers are
//! little-endian. The whole is compressed (zlib).

use std::{
    io::{Read, Write},
    path::PathBuf,
};

use durable::protocol::OrchestratorRequest;
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use prost::Message;

/// What a call tells, as a digest, and the answer.
pub(super) type Call = (u64, Vec<u8>);

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/it/oracle/dotnet.zlib"].iter().collect()
}

pub(super) fn write(lives: &[Vec<Call>]) {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    for calls in lives {
        let mut bytes = (calls.len() as u64).to_le_bytes().to_vec();
        for (digest, answer) in calls {
            bytes.extend(digest.to_le_bytes());
            bytes.extend((answer.len() as u64).to_le_bytes());
            bytes.extend(answer);
        }
        encoder.write_all(&bytes).unwrap();
    }
    std::fs::write(path(), encoder.finish().unwrap()).unwrap();
}

pub(super) fn read() -> Vec<Vec<Call>> {
    let mut bytes = Vec::new();
    ZlibDecoder::new(std::fs::File::open(path()).unwrap()).read_to_end(&mut bytes).unwrap();
    let mut rest = bytes.as_slice();
    let mut lives = Vec::new();
    while !rest.is_empty() {
        let calls = number(&mut rest);
        lives.push((0..calls).map(|_| call(&mut rest)).collect());
    }
    lives
}

fn call(rest: &mut &[u8]) -> Call {
    let (digest, length) = (number(rest), number(rest));
    (digest, rest.split_off(..length as usize).unwrap().to_vec())
}

fn number(rest: &mut &[u8]) -> u64 {
    u64::from_le_bytes(*rest.split_off(..8).unwrap().first_chunk().unwrap())
}

/// Of what a call tells: what was told before, and was done, stands in the calls and answers before it. FNV-1a.
pub(super) fn digest(request: &OrchestratorRequest) -> u64 {
    let mut told = request.clone();
    told.past_events.clear();
    let byte = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    told.encode_to_vec().into_iter().fold(0xcbf2_9ce4_8422_2325, byte)
}
