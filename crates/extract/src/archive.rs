//! The copy as a tar archive in the PAX format. Holes stay holes; extended attributes are records
//! `SCHILY.xattr.NAME`, as GNU tar and others write them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ocfs2_format::dinode::FileKind;
use ocfs2_volume::Timestamp;
use ocfs2_volume::file::FileReader;
use tar::{EntryType, Header};

use crate::attributes::{acl_text, each_attribute};
use crate::local::{each_piece, local_path};
use crate::{Copied, CopyError, Output, Target, Unfinished};

/// Bytes per block of an archive.
const BLOCK: u64 = 512;
/// Bytes of records before a member; attributes have a few MiB at most.
const MOST_RECORDS: usize = 16 << 20;
/// Pieces of a file with holes; one with more is written with zeros for its holes.
const MOST_PIECES: usize = 1 << 20;
/// Zeros for holes and padding.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// An archive that is being written. One in a file is removed on drop unless it was ended.
#[derive(Debug)]
pub struct Archive {
    /// `None` for standard output.
    file: Option<(BufWriter<File>, PathBuf)>,
    /// Removes the file.
    unfinished: Option<Unfinished>,
    /// Sockets that were left out.
    sockets: u64,
}

/// Records of a PAX header.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
    /// Whether one did not fit.
    is_cut: bool,
}

impl Records {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        // The number counts its own digits.
        let rest = key.len() + value.len() + 3;
        let mut len = rest + 1;
        while rest + len.to_string().len() != len {
            len = rest + len.to_string().len();
        }
        if self.bytes.len() + len > MOST_RECORDS {
            self.is_cut = true;
            return;
        }
        self.bytes.extend(len.to_string().bytes().chain([b' ']));
        self.bytes.extend([key, b"=", value, b"\n"].concat());
    }
}

/// A name as part of a key, in which `=` ends the key.
fn key_of(name: &[u8]) -> Vec<u8> {
    let mut key = b"SCHILY.xattr.".to_vec();
    for byte in name {
        match byte {
            b'=' => key.extend(b"%3D"),
            b'%' => key.extend(b"%25"),
            byte => key.push(*byte),
        }
    }
    key
}

/// Seconds since 1970 with a fraction.
fn time_text(time: Timestamp) -> String {
    let (seconds, nanoseconds) = (time.seconds, time.nanoseconds.min(999_999_999));
    // The fraction counts forwards, while the sign is that of all of the number.
    match (seconds < 0, nanoseconds) {
        (_, 0) => seconds.to_string(),
        (false, _) => format!("{seconds}.{nanoseconds:09}"),
        (true, _) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds),
    }
}

impl Archive {
    /// Writes to a new file, or to standard output for `-`, which must not have JSON as well.
    ///
    /// # Errors
    /// The file exists or cannot be made, or standard output cannot have an archive.
    pub fn new(target: &[u8], is_json: bool) -> Result<Self, CopyError> {
        if target != b"-" {
            let path = local_path(target);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let file = BufWriter::new(file.map_err(|err| CopyError::of_file(&err, path))?);
            let unfinished = Some(Unfinished::new(path));
            return Ok(Self { file: Some((file, path.to_owned())), unfinished, sockets: 0 });
        }
        if is_json {
            let why = "An archive and JSON cannot both be on standard output";
            return Err(CopyError::Failed(why.to_owned()));
        }
        if ocfs2_cli::is_terminal() {
            let why = "An archive is nothing for a terminal: name a file, or use a pipe";
            return Err(CopyError::Failed(why.to_owned()));
        }
        Ok(Self { file: None, unfinished: None, sockets: 0 })
    }

    fn write(&mut self, bytes: &[u8], out: &mut dyn Output) -> Result<(), CopyError> {
        match &mut self.file {
            Some((file, path)) => file.write_all(bytes).map_err(|err| unwritten(&err, path)),
            None => Ok(out.raw(bytes)?),
        }
    }

    fn zeros(&mut self, mut count: u64, out: &mut dyn Output) -> Result<(), CopyError> {
        while count > 0 {
            let len = count.min(ZEROS.len() as u64);
            self.write(ZEROS.get(..len as usize).unwrap_or_default(), out)?;
            count -= len;
        }
        Ok(())
    }

    /// Writes bytes, padded to whole blocks.
    fn padded(&mut self, bytes: &[u8], out: &mut dyn Output) -> Result<(), CopyError> {
        self.write(bytes, out)?;
        let len = bytes.len() as u64;
        self.zeros(len.next_multiple_of(BLOCK) - len, out)
    }

    /// Writes the headers of a member. Returns what is wrong with its attributes.
    fn head(
        &mut self,
        it: &Copied<'_>,
        member: Member<'_>,
        out: &mut dyn Output,
    ) -> Result<Result<(), CopyError>, CopyError> {
        let Member { kind, path, link, size, mut records } = member;
        let dinode = &it.inode.dinode;
        let mut header = Header::new_ustar();
        let fields = header.as_old_mut();
        if !put(&mut fields.name, &path) {
            // Before what is there for sparse files: some readers take the last name of a file.
            let others = std::mem::take(&mut records.bytes);
            records.add(b"path", &path);
            records.bytes.extend(others);
        }
        if !put(&mut fields.linkname, link) {
            records.add(b"linkpath", link);
        }
        header.set_entry_type(kind);
        header.set_mode(u32::from(dinode.i_mode & 0o7777));
        // Seven octal digits.
        for (key, id) in [("uid", dinode.i_uid), ("gid", dinode.i_gid)] {
            let fits = id < 1 << 21;
            let shown = if fits { u64::from(id) } else { 0 };
            if key == "uid" {
                header.set_uid(shown)
            } else {
                header.set_gid(shown)
            }
            if !fits {
                records.add(key.as_bytes(), id.to_string().as_bytes());
            }
        }
        let fits = size < 1 << 33;
        header.set_size(if fits { size } else { 0 });
        if !fits {
            records.add(b"size", size.to_string().as_bytes());
        }
        let (mtime, atime) = (it.inode.mtime(), it.inode.atime());
        let seconds = u64::try_from(mtime.seconds).ok().filter(|seconds| *seconds < 1 << 33);
        header.set_mtime(seconds.unwrap_or(0));
        if mtime.nanoseconds != 0 || seconds.is_none() {
            records.add(b"mtime", time_text(mtime).as_bytes());
        }
        records.add(b"atime", time_text(atime).as_bytes());
        if matches!(kind, EntryType::Char | EntryType::Block) {
            let (major, minor) = dinode.rdev();
            // Both have room for what the kernel can have.
            let set = header.set_device_major(major).and(header.set_device_minor(minor));
            set.map_err(|err| CopyError::Unreadable(err.to_string()))?;
        }
        // Other names have the attributes of the first one.
        let known = match kind {
            EntryType::Link => Ok(None),
            _ => each_attribute(it, |name, value| {
                records.add(&key_of(name), value);
                let list = match name {
                    b"system.posix_acl_access" => b"SCHILY.acl.access",
                    b"system.posix_acl_default" => &b"SCHILY.acl.default"[..],
                    _ => return Ok(()),
                };
                // GNU tar and others restore it from the text.
                if let Some(text) = acl_text(value) {
                    records.add(list, text.as_bytes());
                }
                Ok(())
            }),
        }?;
        let mut extended = Header::new_ustar();
        let name = [&b"PaxHeaders/"[..], &path].concat();
        put(&mut extended.as_old_mut().name, &name);
        extended.set_entry_type(EntryType::XHeader);
        extended.set_mode(0o644);
        extended.set_size(records.bytes.len() as u64);
        extended.set_cksum();
        header.set_cksum();
        self.write(extended.as_bytes(), out)?;
        self.padded(&records.bytes, out)?;
        self.write(header.as_bytes(), out)?;
        let cut = records.is_cut.then(|| {
            let text = format!("attributes of inode {} are too large", it.inode.blkno);
            CopyError::Incomplete(text)
        });
        Ok(known.or(cut).map_or(Ok(()), Err))
    }

    /// Writes the contents of a file: its pieces one after the other, or all of it with zeros for
    /// the holes. What cannot be read is zeros, so that the rest of the archive can be read.
    fn contents(
        &mut self,
        it: &Copied<'_>,
        reader: &FileReader<'_>,
        pieces: Option<&[Range<u64>]>,
        out: &mut dyn Output,
    ) -> Result<(), CopyError> {
        let whole = 0..reader.size();
        let pieces = pieces.unwrap_or(std::slice::from_ref(&whole));
        let total: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
        let mut pieces = pieces.iter();
        let mut piece = pieces.next();
        // Bytes of the archive before `piece`, and bytes that were written.
        let (mut before, mut done) = (0, 0);
        let read = each_piece(it, reader, |at, bytes| {
            let mut at = at;
            let mut bytes = bytes;
            while let Some(current) = piece.filter(|_| !bytes.is_empty()) {
                if at >= current.end {
                    before += current.end - current.start;
                    piece = pieces.next();
                    continue;
                }
                // What appears in a hole of the list while it is written is left out.
                let skipped = current.start.saturating_sub(at).min(bytes.len() as u64);
                let len = (current.end - at).min(bytes.len() as u64 - skipped) as usize;
                bytes = bytes.get(skipped as usize..).unwrap_or_default();
                at += skipped;
                let (now, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
                if !now.is_empty() {
                    let place = before + (at - current.start);
                    self.zeros(place.saturating_sub(done), out)?;
                    self.write(now, out)?;
                    done = place + now.len() as u64;
                    at += now.len() as u64;
                }
                bytes = rest;
            }
            Ok(())
        });
        if let Err(CopyError::Interrupted(_) | CopyError::Output(_) | CopyError::Ended(_)) = read {
            return read;
        }
        self.zeros(total - done, out)?;
        self.zeros(total.next_multiple_of(BLOCK) - total, out)?;
        match read {
            // The member is there.
            Err(CopyError::Unreadable(text)) => {
                Err(CopyError::Incomplete(format!("{text}; the archive has zeros for it")))
            }
            read => read,
        }
    }
}

/// Without what could not be written the rest of an archive is of no use.
fn unwritten(err: &io::Error, path: &Path) -> CopyError {
    match CopyError::of_file(err, path) {
        CopyError::Failed(text) => CopyError::Ended(text),
        err => err,
    }
}

/// Puts a name into a field of a header. Returns whether it fits, without bytes that readers could
/// take for those of another character set.
fn put(field: &mut [u8], name: &[u8]) -> bool {
    let len = name.len().min(field.len());
    if let (Some(field), Some(name)) = (field.get_mut(..len), name.get(..len)) {
        field.copy_from_slice(name);
    }
    name.len() <= field.len() && name.is_ascii()
}

/// The pieces of a file that are stored, in ascending order; `None` if it is to be written with
/// zeros for its holes.
fn pieces_of(
    it: &Copied<'_>,
    reader: &FileReader<'_>,
) -> Result<Option<Vec<Range<u64>>>, CopyError> {
    let (mut pieces, mut stored) = (Vec::<Range<u64>>::new(), 0);
    // What is wrong is found again where the contents are read.
    for range in reader.stored().filter_map(Result::ok).map(|stored| stored.range) {
        it.interrupt.check()?;
        if pieces.len() == MOST_PIECES {
            // Zeros for its holes would fill any disk.
            if reader.size() > it.volume.geometry().size_bytes() {
                let text = "has more pieces than an archive lists, and is larger than the volume";
                return Err(CopyError::Unreadable(format!("inode {} {text}", it.inode.blkno)));
            }
            return Ok(None);
        }
        stored += range.end - range.start;
        match pieces.last_mut().filter(|last| last.end == range.start) {
            Some(last) => last.end = range.end,
            None => pieces.push(range),
        }
    }
    Ok((stored < reader.size()).then_some(pieces))
}

/// The list of pieces that comes before them.
fn map_of(pieces: &[Range<u64>], size: u64) -> Vec<u8> {
    // GNU tar makes a file as long as its last piece ends.
    let end = pieces.last().map_or(0, |piece| piece.end);
    let last = (end < size).then_some((size, 0));
    let rows = pieces.iter().map(|piece| (piece.start, piece.end - piece.start)).chain(last);
    let mut map = format!("{}\n", rows.clone().count()).into_bytes();
    for (start, len) in rows {
        map.extend(format!("{start}\n{len}\n").bytes());
    }
    map.resize(map.len().next_multiple_of(BLOCK as usize), 0);
    map
}

/// What the headers of a member say besides what the inode does.
struct Member<'a> {
    kind: EntryType,
    path: Vec<u8>,
    link: &'a [u8],
    size: u64,
    records: Records,
}

impl<'a> Member<'a> {
    fn new(kind: EntryType, path: &Path, link: &'a [u8]) -> Self {
        let path = path.as_os_str().as_bytes().to_vec();
        Self { kind, path, link, size: 0, records: Records::default() }
    }
}

impl Target for Archive {
    fn shown(&self, path: &Path) -> String {
        ocfs2_cli::shown(path)
    }

    fn is_output(&self) -> bool {
        self.file.is_none()
    }

    fn directory(&mut self, it: &Copied<'_>, out: &mut dyn Output) -> Result<(), CopyError> {
        let mut member = Member::new(EntryType::Directory, it.path, b"");
        if member.path.is_empty() {
            member.path.push(b'.');
        }
        member.path.push(b'/');
        self.head(it, member, out)?
    }

    fn filled(&mut self, _: &Copied<'_>, _: &mut dyn Output) -> Result<(), CopyError> {
        Ok(())
    }

    fn regular(&mut self, it: &Copied<'_>, out: &mut dyn Output) -> Result<(), CopyError> {
        let reader = it.volume.file(it.inode).map_err(|err| it.failed(&err))?;
        let pieces = pieces_of(it, &reader)?;
        let mut member = Member::new(EntryType::Regular, it.path, b"");
        let Some(pieces) = pieces else {
            member.size = reader.size();
            let attributes = self.head(it, member, out)?;
            return self.contents(it, &reader, None, out).and(attributes);
        };
        let map = map_of(&pieces, reader.size());
        let stored: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
        member.size = stored + map.len() as u64;
        let records = &mut member.records;
        records.add(b"GNU.sparse.major", b"1");
        records.add(b"GNU.sparse.minor", b"0");
        records.add(b"GNU.sparse.name", &member.path);
        records.add(b"GNU.sparse.realsize", reader.size().to_string().as_bytes());
        // Where holes are not known, the list is seen to be no contents of the file.
        let (folder, name) = (it.path.parent(), it.path.file_name().unwrap_or_default());
        let path = folder.unwrap_or(Path::new("")).join("GNUSparseFile.0").join(name);
        member.path = path.as_os_str().as_bytes().to_vec();
        let attributes = self.head(it, member, out)?;
        self.write(&map, out)?;
        self.contents(it, &reader, Some(&pieces), out).and(attributes)
    }

    fn symlink(
        &mut self,
        it: &Copied<'_>,
        to: &[u8],
        out: &mut dyn Output,
    ) -> Result<(), CopyError> {
        self.head(it, Member::new(EntryType::Symlink, it.path, to), out)?
    }

    fn special(
        &mut self,
        it: &Copied<'_>,
        kind: FileKind,
        out: &mut dyn Output,
    ) -> Result<(), CopyError> {
        let kind = match kind {
            FileKind::CharDevice => EntryType::Char,
            FileKind::BlockDevice => EntryType::Block,
            FileKind::Fifo => EntryType::Fifo,
            _ => {
                self.sockets += 1;
                return Ok(());
            }
        };
        self.head(it, Member::new(kind, it.path, b""), out)?
    }

    fn link(
        &mut self,
        it: &Copied<'_>,
        first: &Path,
        out: &mut dyn Output,
    ) -> Result<(), CopyError> {
        // A socket, which was left out with all its names.
        if it.inode.kind() == Some(FileKind::Socket) {
            return Ok(());
        }
        let first = first.as_os_str().as_bytes();
        self.head(it, Member::new(EntryType::Link, it.path, first), out)?
    }

    fn end(&mut self, out: &mut dyn Output) -> Result<Vec<String>, CopyError> {
        // They say that it ends here, and was not cut off.
        self.zeros(2 * BLOCK, out)?;
        if let Some((file, path)) = &mut self.file {
            file.flush().map_err(|err| unwritten(&err, path))?;
        }
        if let Some(unfinished) = self.unfinished.take() {
            unfinished.finished();
        }
        let count = self.sockets;
        let note = format!("{count} sockets were left out: archives have none");
        Ok(if count > 0 { vec![note] } else { Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_itself() {
        let mut records = Records::default();
        records.add(b"path", &[b'x'; 2]);
        records.add(b"k", &[b'y'; 95]);
        records.add(b"k", &[b'y'; 94]);
        let text = String::from_utf8(records.bytes).unwrap();
        let lens: Vec<_> = text.lines().map(|line| line.len() + 1).collect();
        let said: Vec<usize> =
            text.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(lens, said, "{text}");
        assert_eq!(key_of(b"user.a=b%"), b"SCHILY.xattr.user.a%3Db%25");
    }

    #[test]
    fn times_before_1970_are_negative_as_a_whole() {
        let text = |seconds, nanoseconds| time_text(Timestamp { seconds, nanoseconds });
        assert_eq!(text(5, 0), "5");
        assert_eq!(text(5, 7), "5.000000007");
        assert_eq!(text(-5, 0), "-5");
        assert_eq!(text(-5, 250_000_000), "-4.750000000");
        assert_eq!(text(-1, 250_000_000), "-0.750000000");
        assert_eq!(text(i64::MIN, 1), "-9223372036854775807.999999999");
    }

    #[test]
    fn a_file_that_ends_in_a_hole_has_its_size_in_the_list() {
        assert!(map_of(&[0..3, 8..9], 9).starts_with(b"2\n0\n3\n8\n1\n\0"));
        let first = 0..3;
        assert!(map_of(std::slice::from_ref(&first), 9).starts_with(b"2\n0\n3\n9\n0\n\0"));
        assert!(map_of(&[], 9).starts_with(b"1\n9\n0\n\0"));
        assert_eq!(map_of(&[], 9).len(), 512);
    }
}
