//! What an executable says of itself in its ELF header (64 bit, little-endian).

/// Whether it is for x86-64, the only machine a Functions plan for Linux runs.
pub(crate) fn is_for_x86_64(elf: &[u8]) -> bool {
    const CLASS_64: u8 = 2;
    const X86_64: &[u8] = &[62, 0];
    elf.starts_with(&[0x7F, b'E', b'L', b'F', CLASS_64]) && elf.get(18..20) == Some(X86_64)
}

/// The loader it asks for (`PT_INTERP`); none where it is linked statically.
pub(crate) fn interpreter(elf: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = elf.get(at..at + length)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let (table, size, count) = (number(32, 8)? as usize, number(54, 2)? as usize, number(56, 2)? as usize);
    let headers = (0..count).map(|n| table + n * size);
    let header = headers.into_iter().find(|at| number(*at, 4) == Some(PT_INTERP))?;
    let (offset, length) = (number(header + 8, 8)? as usize, number(header + 32, 8)? as usize);
    let text = elf.get(offset..offset + length)?;
    Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
}

/// The C library that loader belongs to; none where it is linked statically.
pub(crate) fn libc(elf: &[u8]) -> Option<&'static str> {
    let interpreter = interpreter(elf)?;
    let known = [("ld-linux", "glibc"), ("ld-musl", "musl")];
    Some(known.iter().find(|it| interpreter.contains(it.0)).map_or("unknown", |it| it.1))
}
