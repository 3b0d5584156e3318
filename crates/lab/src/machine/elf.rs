//! What an executable says of itself in its ELF header (64 bit, little-endian).

/// Whether it is for x86-64, the only machine a Functions plan for Linux runs.
pub(crate) fn is_for_x86_64(elf: &[u8]) -> bool {
    const CLASS_64: u8 = 2;
    const X86_64: &[u8] = &[62, 0];
    elf.starts_with(&[0x7F, b'E', b'L', b'F', CLASS_64]) && elf.get(18..20) == Some(X86_64)
}

/// Bytes of the head.
pub(crate) const HEAD_BYTES: usize = 64;
/// Size of a program header.
const HEADER_BYTES: usize = 56;
/// Longer is no path.
const LONGEST_PATH: u64 = 4096;

/// The loader it asks for (`PT_INTERP`); none where it is linked statically.
pub(crate) fn interpreter(elf: &[u8]) -> Option<String> {
    interpreter_of(&mut |offset, length| {
        let start = usize::try_from(offset).ok()?;
        Some(elf.get(start..start.checked_add(length)?)?.to_vec())
    })
}

/// The same of an executable that is not in memory: `read` gives the bytes at an offset, as far as there are any.
pub(crate) fn interpreter_of(read: &mut impl FnMut(u64, usize) -> Option<Vec<u8>>) -> Option<String> {
    const PT_INTERP: u64 = 3;
    let head = read(0, HEAD_BYTES)?;
    let (table, size, count) = (number(&head, 32, 8)?, number(&head, 54, 2)? as usize, number(&head, 56, 2)? as usize);
    if size != HEADER_BYTES {
        return None;
    }
    let headers = read(table, size * count)?;
    let header = headers.chunks(size).find(|it| number(it, 0, 4) == Some(PT_INTERP))?;
    let (offset, length) = (number(header, 8, 8)?, number(header, 32, 8)?.min(LONGEST_PATH));
    let text = read(offset, length as usize)?;
    Some(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned())
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + length)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// The C library that loader belongs to; none where it is linked statically.
pub(crate) fn libc(elf: &[u8]) -> Option<&'static str> {
    let interpreter = interpreter(elf)?;
    let known = [("ld-linux", "glibc"), ("ld-musl", "musl")];
    Some(known.iter().find(|it| interpreter.contains(it.0)).map_or("unknown", |it| it.1))
}
