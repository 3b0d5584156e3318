//! A zip that is not trusted: its names, and of its content what is asked for, never more in memory than that.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use zip::ZipArchive;

/// A host.json or function.json.
const LARGEST_TEXT_BYTES: u64 = 1 << 20;
/// What may be read to find and read the list of entries, which stands at the end of a zip.
const LARGEST_DIRECTORY_BYTES: u64 = 32 << 20;
/// Records of the end of a zip, and of its larger form.
const END_64: &[u8] = b"PK\x06\x06";
const END_64_LOCATOR: &[u8] = b"PK\x06\x07";

/// How much a zip may have. A package of Azure has 1 GB at most, packed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub entries: u64,
    pub unpacked_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 100_000, unpacked_bytes: 1 << 30 }
    }
}

#[derive(Debug)]
pub(super) struct Archive {
    zip: ZipArchive<Metered>,
    limits: Limits,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    index: usize,
    mode: Option<u32>,
    is_link: bool,
    /// Of the files whose content is checked.
    text: Option<Vec<u8>>,
}

impl Archive {
    /// Reads the list of entries. The inner error is why the zip is refused.
    ///
    /// # Errors
    /// When it is no zip.
    pub(super) fn open(mut file: File, limits: Limits) -> anyhow::Result<Result<Self, String>> {
        let told = entries_told(&mut file)?;
        if told > limits.entries {
            return Ok(Err(too_many(told, limits)));
        }
        let left = Arc::new(AtomicU64::new(LARGEST_DIRECTORY_BYTES));
        let zip = ZipArchive::new(Metered { file, left: Arc::clone(&left) })?;
        left.store(u64::MAX, Ordering::Relaxed);
        let count = zip.len() as u64;
        if count > limits.entries {
            return Ok(Err(too_many(count, limits)));
        }
        Ok(Ok(Self { zip, limits, entries: BTreeMap::new() }))
    }

    /// Unpacks everything once, into nothing but the texts that are checked; says what cannot be unpacked.
    pub(super) fn read_all(&mut self) -> Vec<String> {
        let mut findings = Vec::new();
        let mut left = self.limits.unpacked_bytes;
        for index in 0..self.zip.len() {
            let shown = self
                .zip
                .name_for_index(index)
                .and_then(Result::ok)
                .map_or_else(|| format!("entry {index}"), Into::into);
            let name = shown.trim_start_matches("./").to_owned();
            match self.read_one(index, &name, &mut left) {
                Ok(entry) => {
                    if entry.text.is_none() && is_checked(&name) {
                        findings.push(format!(
                            "{name} is larger than {} MiB: no file of its kind is",
                            LARGEST_TEXT_BYTES >> 20
                        ));
                    }
                    self.entries.insert(name, entry);
                }
                Err(ReadError::TooLarge) => {
                    let most = self.limits.unpacked_bytes >> 20;
                    findings.push(format!(
                        "{name} unpacks to more than is left of {most} MiB for all: a package that large is refused, whatever its headers say"
                    ));
                    return findings;
                }
                Err(ReadError::Broken(cause)) => findings.push(format!("{name} cannot be unpacked: {cause}")),
            }
        }
        findings
    }

    fn read_one(&mut self, index: usize, name: &str, left: &mut u64) -> Result<Entry, ReadError> {
        let mut file = self.zip.by_index(index)?;
        if file.size() > *left {
            return Err(ReadError::TooLarge);
        }
        let mut entry = Entry { index, mode: file.unix_mode(), is_link: file.is_symlink(), text: None };
        let mut text = Vec::new();
        if is_checked(name) {
            file.by_ref().take(LARGEST_TEXT_BYTES + 1).read_to_end(&mut text)?;
        }
        let mut rest = file.take((*left).saturating_sub(text.len() as u64).saturating_add(1));
        let unpacked = text.len() as u64 + io::copy(&mut rest, &mut io::sink())?;
        if unpacked > *left {
            return Err(ReadError::TooLarge);
        }
        *left -= unpacked;
        entry.text = (is_checked(name) && text.len() as u64 <= LARGEST_TEXT_BYTES).then_some(text);
        Ok(entry)
    }

    /// Names of the entries; of a folder's the name ends with a slash.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    pub(super) fn has_duplicates(&self) -> bool {
        self.zip.has_duplicate_names()
    }

    /// The content of host.json or of a function.json.
    pub(super) fn text(&self, name: &str) -> Option<&[u8]> {
        self.entries.get(name)?.text.as_deref()
    }

    /// The mode of an entry, which some zips do not have.
    pub(super) fn mode(&self, name: &str) -> Option<Option<u32>> {
        Some(self.entries.get(name)?.mode)
    }

    pub(super) fn is_link(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|it| it.is_link)
    }

    /// Some bytes of an entry, as far as there are any.
    pub(super) fn range(&mut self, name: &str, offset: u64, length: usize) -> Option<Vec<u8>> {
        let index = self.entries.get(name)?.index;
        let mut file = self.zip.by_index(index).ok()?;
        io::copy(&mut file.by_ref().take(offset), &mut io::sink()).ok()?;
        let mut bytes = Vec::new();
        file.take(length as u64).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}

enum ReadError {
    TooLarge,
    Broken(String),
}

impl From<zip::result::ZipError> for ReadError {
    fn from(error: zip::result::ZipError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Whether the content of a file is read: host.json, and function.json of a folder at the top.
fn is_checked(name: &str) -> bool {
    name == "host.json" || name.strip_suffix("/function.json").is_some_and(|it| !it.contains('/'))
}

fn too_many(count: u64, limits: Limits) -> String {
    format!("the zip says that it has {count} entries, and a package with more than {} is refused", limits.entries)
}

/// How many entries the zip's last records tell of: what a reader would make room for before it sees one. The two bytes of the small
/// record cannot tell of many.
fn entries_told(file: &mut File) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let start = length.saturating_sub(LARGEST_DIRECTORY_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(LARGEST_DIRECTORY_BYTES).read_to_end(&mut tail)?;
    let mut most = 0;
    for at in places(&tail, END_64) {
        most = most.max(number(&tail, at + 32).unwrap_or_default());
    }
    for at in places(&tail, END_64_LOCATOR) {
        let Some(record) = number(&tail, at + 8).filter(|it| *it < length) else { continue };
        file.seek(SeekFrom::Start(record))?;
        let mut head = Vec::new();
        file.take(56).read_to_end(&mut head)?;
        if head.starts_with(END_64) {
            most = most.max(number(&head, 32).unwrap_or_default());
        }
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(most)
}

fn places(bytes: &[u8], signature: &[u8]) -> Vec<usize> {
    bytes.windows(signature.len()).enumerate().filter(|it| it.1 == signature).map(|it| it.0).collect()
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// A file of which no more is read than is left.
#[derive(Debug)]
struct Metered {
    file: File,
    left: Arc<AtomicU64>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::other(format!(
                "its list of entries is larger than {} MiB",
                LARGEST_DIRECTORY_BYTES >> 20
            )));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read(&mut buffer[..most])?;
        // What is left without a limit stays so.
        self.left.store(if left == u64::MAX { left } else { left - count as u64 }, Ordering::Relaxed);
        Ok(count)
    }
}

impl Seek for Metered {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
