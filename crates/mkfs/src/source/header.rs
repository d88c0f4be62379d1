//! The members of a tar archive: headers in the formats ustar, GNU and PAX, with names, sizes and
//! sparse maps of any length.
//!
//! The `tar` crate decodes the fields. Its archive reader is not used, because it loses attributes
//! with a newline in their value, and the maps of sparse files.

use std::io::{self, ErrorKind, Read};

use ocfs2_volume::Timestamp;
use tar::{EntryType, GnuExtSparseHeader, Header};

/// Bytes per block of an archive.
const BLOCK: usize = 512;
/// Most bytes of all extended headers of a member; attributes have a few MiB at most.
const MOST_EXTENSION: u64 = 16 << 20;

/// Most bytes of records for all following members, because each of these gets a copy.
const MOST_GLOBAL: usize = 64 << 10;

/// Most records in extended headers of a member; a file has a few thousand attributes at most.
const MOST_RECORDS: usize = 1 << 14;

/// Most pieces of a sparse file.
const MOST_PIECES: usize = 1 << 21;

/// Longest path in bytes; no system opens one nearly as long.
const MOST_PATH: usize = 1 << 20;

/// Largest member: the largest offset in a file.
const MOST_SIZE: u64 = i64::MAX as u64;

/// A member of an archive.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) path: Vec<u8>,
    /// The target of a link.
    pub(super) target: Vec<u8>,
    pub(super) kind: EntryType,
    /// `0o7777` and further bits of the archive.
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: Timestamp,
    pub(super) device: (u32, u32),
    /// Number of bytes in the archive.
    pub(super) stored: u64,
    /// Size of the file in bytes.
    pub(super) size: u64,
    /// Offset and length of the stored pieces of a sparse file, in ascending order.
    pub(super) map: Option<Vec<(u64, u64)>>,
    /// Records of extended headers by key; later ones replace earlier ones.
    pub(super) records: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The contents of extended headers.
#[derive(Clone, Debug, Default)]
struct Records {
    /// By key, without duplicates.
    named: Vec<(Vec<u8>, Vec<u8>)>,
    /// Numbers of a sparse map that has a record per number.
    rows: Vec<u64>,
}

fn wrong(text: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text.into())
}

fn cut_off() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the archive is cut off: it ends within a member")
}

/// Fills `buf` from an archive.
pub(super) fn read_whole(reader: &mut impl Read, buf: &mut [u8]) -> io::Result<()> {
    reader.read_exact(buf).map_err(|err| match err.kind() {
        ErrorKind::UnexpectedEof => cut_off(),
        _ => err,
    })
}

/// Reads an archive block by block.
pub(super) struct Archive<R> {
    reader: R,
    /// Records for all following members.
    global: Records,
}

impl<R: Read> Archive<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, global: Records::default() }
    }

    /// The reader, at the present position in the archive.
    pub(super) fn reader(&mut self) -> &mut R {
        &mut self.reader
    }

    /// Skips `bytes`.
    pub(super) fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.reader).take(bytes), &mut io::sink())?;
        if skipped == bytes { Ok(()) } else { Err(cut_off()) }
    }

    /// Reads the next header; `None` at the end.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let bytes = header.as_mut_bytes();
        let mut filled = 0;
        while filled < bytes.len() {
            match self.reader.read(&mut bytes[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(cut_off()),
                Ok(count) => filled += count,
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        if bytes.iter().all(|byte| *byte == 0) {
            // The rest is padding. It is read so that a writer to a pipe does not fail.
            io::copy(&mut self.reader, &mut io::sink())?;
            return Ok(None);
        }
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        let computed = sum(&bytes[..148]) + 8 * 32 + sum(&bytes[156..]);
        if header.cksum().ok() != Some(computed) {
            return Err(wrong(
                "is not a tar archive, or damaged: the checksum of a header is wrong",
            ));
        }
        Ok(Some(header))
    }

    /// Reads the contents of an extended header. `before` counts the bytes of all of them for a
    /// member.
    fn extension(&mut self, size: u64, before: &mut u64) -> io::Result<Vec<u8>> {
        *before = before.saturating_add(size);
        if *before > MOST_EXTENSION {
            return Err(wrong(format!("extended headers of {before} bytes for one file")));
        }
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(size).read_to_end(&mut bytes)?;
        if read as u64 != size {
            return Err(cut_off());
        }
        self.skip(size.next_multiple_of(BLOCK as u64) - size)?;
        Ok(bytes)
    }

    /// Reads the headers of the next member, and stops at its contents; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Member>> {
        let (mut name, mut target) = (None, None);
        let mut records = self.global.clone();
        let mut bytes = 0;
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size()?;
            match header.entry_type() {
                EntryType::XHeader => records.add(&self.extension(size, &mut bytes)?)?,
                EntryType::XGlobalHeader => {
                    let header = self.extension(size, &mut bytes)?;
                    self.global.add(&header)?;
                    if !self.global.is_small() {
                        return Err(wrong("an extended header for all files that is too long"));
                    }
                    records.add(&header)?;
                }
                EntryType::GNULongName => {
                    name = Some(terminated(self.extension(size, &mut bytes)?));
                }
                EntryType::GNULongLink => {
                    target = Some(terminated(self.extension(size, &mut bytes)?));
                }
                _ => return self.member(&header, name, target, records).map(Some),
            }
        }
    }

    fn member(
        &mut self,
        header: &Header,
        name: Option<Vec<u8>>,
        target: Option<Vec<u8>>,
        Records { named, rows }: Records,
    ) -> io::Result<Member> {
        let find =
            |key: &[u8]| named.iter().find(|(name, _)| name == key).map(|(_, value)| &value[..]);
        let number = |key: &[u8]| -> io::Result<Option<u64>> {
            let Some(value) = find(key) else { return Ok(None) };
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            number
                .map(Some)
                .ok_or_else(|| wrong(format!("{} is {}", key.escape_ascii(), value.escape_ascii())))
        };
        let path = find(b"GNU.sparse.name").or_else(|| find(b"path")).map(<[u8]>::to_vec);
        let path = path.or(name).unwrap_or_else(|| header.path_bytes().into_owned());
        let target = find(b"linkpath").map(<[u8]>::to_vec).or(target);
        let target = target.or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        if path.len() > MOST_PATH {
            return Err(wrong(format!("a path of {} bytes", path.len())));
        }
        let mtime = match find(b"mtime") {
            Some(text) => time(text).ok_or_else(|| wrong("a time that is not a number"))?,
            None => Timestamp { seconds: header.mtime()?.cast_signed(), nanoseconds: 0 },
        };
        let mut member = Member {
            path,
            target: target.unwrap_or_default(),
            kind: header.entry_type(),
            mode: header.mode()?,
            uid: number(b"uid")?.map_or_else(|| header.uid(), Ok)?,
            gid: number(b"gid")?.map_or_else(|| header.gid(), Ok)?,
            mtime,
            device: (
                header.device_major().ok().flatten().unwrap_or(0),
                header.device_minor().ok().flatten().unwrap_or(0),
            ),
            stored: number(b"size")?.map_or_else(|| header.entry_size(), Ok)?,
            size: 0,
            map: None,
            records: Vec::new(),
        };
        if member.stored > MOST_SIZE
            || number(b"GNU.sparse.realsize")?.is_some_and(|size| size > MOST_SIZE)
        {
            return Err(wrong("a size that no file can have"));
        }
        member.size = member.stored;
        if member.kind == EntryType::GNUSparse {
            self.old_map(header, &mut member)?;
        } else if let Some(size) = number(b"GNU.sparse.realsize")? {
            member.size = size;
            if find(b"GNU.sparse.major") == Some(b"1") {
                self.map_before_data(&mut member)?;
            }
        } else if let Some(size) = number(b"GNU.sparse.size")? {
            member.size = size;
        }
        if let Some(map) = find(b"GNU.sparse.map") {
            let numbers = map.split(|byte| *byte == b',').filter(|text| !text.is_empty());
            member.map = Some(pairs(numbers.map(number_of))?);
        } else if member.map.is_none() && find(b"GNU.sparse.size").is_some() {
            member.map = Some(pairs(rows.into_iter().map(Some))?);
        }
        if let Some(map) = &member.map {
            let mut end = 0;
            let mut stored = 0_u64;
            for (offset, length) in map {
                let next = offset.checked_add(*length);
                if *offset < end || next.is_none_or(|next| next > member.size) {
                    return Err(wrong("the map of a sparse file is out of order"));
                }
                end = offset + length;
                stored += length;
            }
            if stored > member.stored {
                return Err(wrong("a sparse file has more data than the archive states"));
            }
        }
        member.records = named;
        Ok(member)
    }

    /// Reads the map of the old GNU format, from the header and the blocks that follow.
    fn old_map(&mut self, header: &Header, member: &mut Member) -> io::Result<()> {
        let gnu = header.as_gnu().ok_or_else(|| wrong("a sparse file with no GNU header"))?;
        member.size = gnu.real_size()?;
        let mut map = Vec::new();
        for row in gnu.sparse.iter().filter(|row| !row.is_empty()) {
            map.push((row.offset()?, row.length()?));
        }
        let (mut more, mut blocks) = (gnu.is_extended(), 0);
        while more {
            let mut next = GnuExtSparseHeader::new();
            read_whole(&mut self.reader, next.as_mut_bytes())?;
            for row in next.sparse.iter().filter(|row| !row.is_empty()) {
                map.push((row.offset()?, row.length()?));
            }
            // A block may have no rows.
            blocks += 1;
            if map.len() > MOST_PIECES || blocks > MOST_PIECES {
                return Err(too_many_pieces());
            }
            more = next.is_extended();
        }
        member.map = Some(map);
        Ok(())
    }

    /// Reads the map before the contents: one number per line, padded to a whole block. The first
    /// is the number of pieces.
    fn map_before_data(&mut self, member: &mut Member) -> io::Result<()> {
        let mut numbers = Vec::new();
        let mut line = Vec::new();
        let mut wanted = None;
        while wanted.is_none_or(|wanted| numbers.len() < wanted) {
            let mut block = [0; BLOCK];
            let left = member.stored.checked_sub(BLOCK as u64);
            member.stored = left.ok_or_else(|| wrong("the map of a sparse file does not end"))?;
            read_whole(&mut self.reader, &mut block)?;
            for byte in block {
                if wanted.is_some_and(|wanted| numbers.len() == wanted) {
                    break;
                }
                // No valid number is that long.
                if byte != b'\n' && line.len() < 32 {
                    line.push(byte);
                    continue;
                }
                let number = number_of(&line).ok_or_else(|| wrong("a map that is not a number"))?;
                line.clear();
                match wanted {
                    Some(_) => numbers.push(number),
                    None if number > MOST_PIECES as u64 => return Err(too_many_pieces()),
                    None => wanted = Some(2 * number as usize),
                }
            }
        }
        member.map = Some(pairs(numbers.into_iter().map(Some))?);
        Ok(())
    }
}

impl Records {
    /// Adds records of the form `LENGTH KEY=VALUE\n`. An empty value removes an earlier one.
    fn add(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut added = 0;
        while !bytes.is_empty() {
            let record = || {
                let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
                let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
                let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
                let equals = record.iter().position(|byte| *byte == b'=')?;
                Some((length, &record[..equals], &record[equals + 1..]))
            };
            let Some((length, key, value)) = record() else {
                return Err(wrong("an extended header that is not a list of records"));
            };
            bytes = &bytes[length..];
            // These are repeated, two for each row of a map.
            if key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes" {
                self.rows.push(number_of(value).ok_or_else(no_numbers)?);
                if self.rows.len() > 2 * MOST_PIECES {
                    return Err(too_many_pieces());
                }
                continue;
            }
            added += 1;
            self.named.retain(|(known, _)| known != key);
            if !value.is_empty() || key.starts_with(b"SCHILY.xattr.") {
                self.named.push((key.to_vec(), value.to_vec()));
            }
            if added > MOST_RECORDS || self.named.len() > MOST_RECORDS {
                return Err(wrong(format!(
                    "an extended header of more than {MOST_RECORDS} records"
                )));
            }
        }
        Ok(())
    }

    /// Whether the records are small enough to be copied for each member. The rows of a map are
    /// never shared.
    fn is_small(&self) -> bool {
        let bytes = self.named.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        bytes <= MOST_GLOBAL && self.named.len() <= MOST_GLOBAL / 64 && self.rows.is_empty()
    }
}

/// The bytes up to the first NUL.
fn terminated(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.truncate(end.unwrap_or(bytes.len()));
    bytes
}

fn number_of(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn no_numbers() -> io::Error {
    wrong("the map of a sparse file is not a list of numbers")
}

fn too_many_pieces() -> io::Error {
    wrong(format!("a sparse file of more than {MOST_PIECES} pieces"))
}

/// Combines numbers to pairs.
fn pairs(mut numbers: impl Iterator<Item = Option<u64>>) -> io::Result<Vec<(u64, u64)>> {
    let mut pairs = Vec::new();
    while let Some(offset) = numbers.next() {
        let length = numbers.next().flatten();
        pairs.push(offset.zip(length).ok_or_else(no_numbers)?);
        if pairs.len() > MOST_PIECES {
            return Err(too_many_pieces());
        }
    }
    Ok(pairs)
}

/// Parses seconds with decimals, possibly negative.
fn time(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_negative = seconds.starts_with('-');
    let seconds: i64 = if seconds == "-" { 0 } else { seconds.parse().ok()? };
    let digits: String = decimals.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    Some(match is_negative && nanoseconds > 0 {
        true => {
            Timestamp { seconds: seconds.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds }
        }
        false => Timestamp { seconds, nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_decimals_and_may_be_before_1970() {
        let of = |text: &str| time(text.as_bytes()).map(|time| (time.seconds, time.nanoseconds));
        assert_eq!(of("1700000000.25"), Some((1_700_000_000, 250_000_000)));
        assert_eq!(of("5"), Some((5, 0)));
        assert_eq!(of("-1.5"), Some((-2, 500_000_000)));
        assert_eq!(of("-0.25"), Some((-1, 750_000_000)));
        assert_eq!(of("1.1234567899"), Some((1, 123_456_789)));
        assert_eq!((of("x"), of("1.x"), of("")), (None, None, None));
    }

    #[test]
    fn any_bytes_are_an_error_at_most() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNUSparse);
        header.set_size(u64::MAX);
        (0..12).for_each(|index| header.as_mut_bytes()[386 + index] = 0xff);
        header.set_cksum();
        assert!(Archive::new(&header.as_bytes()[..]).next().is_err());
        for place in (0..500).filter(|place| !(148..156).contains(place)) {
            for byte in [0, 0x80, 0xff, b'7'] {
                let mut header = Header::new_gnu();
                header.set_entry_type(EntryType::GNUSparse);
                header.as_mut_bytes()[place] = byte;
                header.set_cksum();
                let bytes = [&header.as_bytes()[..], &[0; 2048]].concat();
                let mut archive = Archive::new(&bytes[..]);
                while let Ok(Some(member)) = archive.next() {
                    assert!(member.stored <= MOST_SIZE);
                }
            }
        }
    }

    /// A member of an archive with contents.
    fn member(kind: EntryType, contents: &[u8]) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(contents.len() as u64);
        header.set_cksum();
        let padding = contents.len().next_multiple_of(BLOCK) - contents.len();
        [header.as_bytes(), contents, &[0; BLOCK][..padding]].concat()
    }

    fn record(key: &str, value: &str) -> String {
        let bytes = key.len() + value.len() + 3;
        let length = bytes + bytes.to_string().len();
        let length = bytes + length.to_string().len();
        format!("{length} {key}={value}\n")
    }

    /// The error of reading an archive, or else the number of its members.
    fn outcome(archive: &[u8]) -> Result<usize, String> {
        let mut archive = Archive::new(archive);
        let mut members = 0;
        while let Some(member) = archive.next().map_err(|err| err.to_string())? {
            let padded = member.stored.next_multiple_of(BLOCK as u64);
            archive.skip(padded).map_err(|err| err.to_string())?;
            members += 1;
        }
        Ok(members)
    }

    #[test]
    fn what_headers_hold_is_limited() {
        let extended = |records: &str| member(EntryType::XHeader, records.as_bytes());
        let global = |records: &str| member(EntryType::XGlobalHeader, records.as_bytes());
        let file = || member(EntryType::Regular, b"");
        let refused = |parts: &[Vec<u8>], why: &str| {
            let err = outcome(&parts.concat()).unwrap_err();
            assert!(err.contains(why), "{err}");
        };
        // Each of them is short enough.
        let part = extended(&record("comment", &"v".repeat(9 << 20)));
        assert_eq!(outcome(&[part.clone(), file(), part.clone(), file()].concat()), Ok(2));
        refused(&[part.clone(), part, file()], "extended headers of");
        let long = vec![member(EntryType::GNULongName, &[b'n'; 2 << 20]), file()];
        refused(&long, "a path of 2097152 bytes");
        // Each member gets a copy.
        refused(&[global(&record("comment", &"v".repeat(1 << 20))), file()], "for all files");
        let rows = record("GNU.sparse.offset", "0") + &record("GNU.sparse.numbytes", "0");
        refused(&[global(&rows), file()], "for all files");
        assert_eq!(outcome(&[global(&record("comment", "v")), file(), file()].concat()), Ok(2));
        // Each piece of a map takes memory.
        let map = record("GNU.sparse.size", "1") + &record("GNU.sparse.map", &"0,".repeat(5 << 20));
        refused(&[extended(&map), file()], "pieces");
        let sparse = record("GNU.sparse.major", "1") + &record("GNU.sparse.realsize", "1");
        let before = |map: &str| {
            let block = format!("{map:\0<512}");
            vec![extended(&sparse), member(EntryType::Regular, block.as_bytes())]
        };
        refused(&before("9999999\n0\n"), "pieces");
        refused(&before(&"1".repeat(512)), "a map that is not a number");
        refused(&before("5\n0\n"), "a map that is not a number");
        assert_eq!(outcome(&before("1\n0\n0\n").concat()), Ok(1));
    }

    #[test]
    fn records_may_hold_newlines_and_be_taken_back() {
        let mut records = Records::default();
        records.add(b"9 a=b\nc\n\n12 path=one\n12 path=two\n").unwrap();
        let expected = [(b"a".to_vec(), b"b\nc\n".to_vec()), (b"path".to_vec(), b"two".to_vec())];
        assert_eq!(records.named, expected);
        records.add(b"8 path=\n").unwrap();
        assert_eq!(records.named.len(), 1);
        for bad in [&b"x a=b\n"[..], b"99 a=b\n", b"6 a=bc", b"5 ab\n"] {
            assert!(Records::default().add(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
