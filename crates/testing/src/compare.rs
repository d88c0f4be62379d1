//! Comparison of two volumes that should be the same, block by block.
//!
//! Only what two runs of mkfs cannot have in common is left out: generation, hash seed, times, and
//! what the C tool leaves undefined. Every other difference is named by block, structure, field and
//! both values.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::dir::DirEntryHeader;
use ocfs2_format::dx::{DxEntryListHeader, DxRoot};
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::journal::JournalSuperblock;
use ocfs2_format::quota::{GlobalInfo, QuotaHeader};
use ocfs2_format::superblock::SuperBlock;
use ocfs2_format::{BlockSize, Field, Structure};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// A difference between two volumes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// Number of the block.
    pub blkno: u64,
    /// The structure in it, by its signature; that of the first volume if they differ.
    pub structure: &'static str,
    /// The field the first different byte belongs to.
    pub field: String,
    /// Offset of that byte in the block, in bytes.
    pub offset: usize,
    /// Bytes of the first volume from there on.
    pub first: Vec<u8>,
    /// Bytes of the second volume from there on.
    pub second: Vec<u8>,
    /// Number of bytes of the block that differ.
    pub bytes: usize,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { blkno, structure, field, offset, first, second, bytes } = self;
        write!(
            f,
            "block {blkno}: {structure}: {field} at {offset:#x}: {first:02x?} and {second:02x?} \
             ({bytes} bytes differ)"
        )
    }
}

/// Longest time in seconds between two runs of mkfs that are compared.
const SAME_TIME: u64 = 3600;

/// Result of a comparison.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Comparison {
    /// The differences, at most [`Comparison::MOST`].
    pub differences: Vec<Difference>,
    /// Number of blocks that are not zero in both volumes.
    pub blocks: u64,
    /// Number of those in which something was left out: a random number, a time, or undefined
    /// bytes.
    pub masked: u64,
}

impl Comparison {
    /// Largest number of differences that are listed.
    pub const MOST: usize = 50;
}

/// Compares `ours` with `theirs`, a volume made by the C tool with the same UUID on an image of the
/// same size. Holes count as zeros.
///
/// # Panics
/// If one of them has no superblock or cannot be read.
pub fn compare(ours: &Path, theirs: &Path) -> Comparison {
    let (ours, theirs) = (Image::open(ours), Image::open(theirs));
    assert_eq!(ours.block_size, theirs.block_size, "the block sizes differ");
    let size = ours.block_size.size();
    let mut comparison = Comparison::default();
    assert_eq!(ours.len, theirs.len, "the images differ in size");
    let mut offset = 0;
    let mut chunks = (Vec::new(), Vec::new());
    while let Some(data) = [&ours, &theirs].iter().filter_map(|i| i.next_data(offset)).min() {
        let start = data - data % CHUNK;
        let len = CHUNK.min(ours.len - start) as usize;
        ours.read(start, len, &mut chunks.0);
        theirs.read(start, len, &mut chunks.1);
        offset = start + len as u64;
        let blocks = chunks.0.chunks_mut(size).zip(chunks.1.chunks_mut(size));
        for (index, (first, second)) in blocks.enumerate() {
            if first.iter().chain(&*second).all(|byte| *byte == 0) {
                continue;
            }
            comparison.blocks += 1;
            let blkno = start / size as u64 + index as u64;
            if first == second {
                continue;
            }
            if mask(first, &ours, second, &theirs) {
                comparison.masked += 1;
            }
            if comparison.differences.len() < Comparison::MOST {
                comparison.differences.extend(difference(blkno, first, second));
            }
        }
    }
    comparison
}

/// Number of bytes that are compared at once.
const CHUNK: u64 = 1 << 20;

struct Image {
    file: File,
    len: u64,
    block_size: BlockSize,
    generation: u32,
    dx_seed: [u32; 3],
}

impl Image {
    fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let len = file.metadata().unwrap().len();
        let found = BlockSize::ALL.into_iter().find_map(|block_size| {
            let mut block = vec![0; block_size.size()];
            file.read_exact_at(&mut block, 2 * u64::from(block_size.bytes())).ok()?;
            let superblock = SuperBlock::of_block(&block).ok()?;
            let found = block.starts_with(b"OCFSV2\0\0")
                && superblock.s_blocksize_bits == block_size.bits();
            found.then(|| (block_size, Dinode::decode(&block).unwrap(), superblock))
        });
        let (block_size, dinode, superblock) =
            found.unwrap_or_else(|| panic!("{}: no superblock", path.display()));
        let generation = dinode.i_fs_generation;
        Self { file, len, block_size, generation, dx_seed: superblock.s_dx_seed }
    }

    /// Returns the offset of the first byte from `offset` on that is not in a hole.
    fn next_data(&self, offset: u64) -> Option<u64> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => Some(data),
            Err(Errno::NXIO) => None,
            Err(err) => panic!("{}", io::Error::from(err)),
        }
    }

    fn read(&self, offset: u64, len: usize, buffer: &mut Vec<u8>) {
        buffer.resize(len, 0);
        self.file.read_exact_at(buffer, offset).unwrap();
    }
}

/// A structure in a block: its offset and its fields.
type Part = (usize, &'static [Field]);

/// A kind of metadata block: its signature, its name and its structures.
struct Kind {
    signature: &'static [u8],
    name: &'static str,
    /// Offsets of fields that hold the generation of the volume.
    generations: &'static [usize],
    /// Offsets of times: seconds since 1970, eight bytes each.
    times: &'static [usize],
    /// Offset of the block check.
    check: Option<usize>,
    parts: &'static [Part],
}

const KINDS: &[Kind] = &[
    Kind {
        signature: b"OCFSV2\0\0",
        name: "superblock",
        generations: &[0x08, 0x60],
        times: &[0x30, 0x38, 0x40, 0xd0],
        check: Some(0x80),
        parts: &[(0, Dinode::FIELDS), (Dinode::ID2_OFFSET, SuperBlock::FIELDS)],
    },
    Kind {
        signature: b"INODE01\0",
        name: "dinode",
        generations: &[0x08, 0x60],
        times: &[0x30, 0x38, 0x40],
        check: Some(0x80),
        parts: &[(0, Dinode::FIELDS)],
    },
    Kind {
        signature: b"GROUP01\0",
        name: "group descriptor",
        generations: &[0x10],
        times: &[],
        check: Some(0x30),
        parts: &[(0, GroupDesc::FIELDS)],
    },
    Kind {
        signature: b"EXBLK01\0",
        name: "extent block",
        generations: &[0x14],
        times: &[],
        check: Some(0x08),
        parts: &[(0, ExtentBlock::FIELDS)],
    },
    Kind {
        signature: b"DXDIR01\0",
        name: "dx root",
        generations: &[0x14],
        times: &[],
        check: Some(0x08),
        parts: &[(0, DxRoot::FIELDS), (DxRoot::LIST_OFFSET, DxEntryListHeader::FIELDS)],
    },
    Kind {
        signature: b"\xc0\x3b\x39\x98",
        name: "journal superblock",
        generations: &[],
        times: &[],
        check: None,
        parts: &[(0, JournalSuperblock::FIELDS)],
    },
    quota(b"\x70\x24\xf5\x0c", "header of aquota.user"),
    quota(b"\x71\x24\xf5\x0c", "header of aquota.group"),
];

const fn quota(signature: &'static [u8], name: &'static str) -> Kind {
    let parts: &[Part] = &[(0, QuotaHeader::FIELDS), (QuotaHeader::SIZE, GlobalInfo::FIELDS)];
    Kind { signature, name, generations: &[], times: &[], check: None, parts }
}

fn kind_of(block: &[u8]) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| block.starts_with(kind.signature))
}

/// Makes equal what may differ between `first` and `second`. Returns whether anything differed.
fn mask(first: &mut [u8], ours: &Image, second: &mut [u8], theirs: &Image) -> bool {
    let mut masked = false;
    let size = first.len();
    let Some(kind) = kind_of(first).filter(|kind| second.starts_with(kind.signature)) else {
        return mask_directory(first, second);
    };
    for at in kind.generations.iter().copied() {
        let generations = (number::<4>(first, at), number::<4>(second, at));
        let own = (u64::from(ours.generation), u64::from(theirs.generation));
        if generations == own && own.0 != own.1 {
            masked |= clear(first, second, at, 4);
        }
    }
    for at in kind.times.iter().copied() {
        let (time, other) = (number::<8>(first, at), number::<8>(second, at));
        if time != 0 && other != 0 && time.abs_diff(other) < SAME_TIME {
            masked |= clear(first, second, at, 8);
        }
    }
    match kind.name {
        // K-2: if lost+found is not inline, the C tool forgets to count the trailer of its block.
        "dinode" if number::<4>(first, 0x2c) == u64::from(InodeFlags::VALID.bits()) => {
            let sizes = (number::<8>(first, 0x20), number::<8>(second, 0x20));
            if sizes == (size as u64, size as u64 - 64) {
                masked |= clear(first, second, 0x20, 8);
            }
        }
        "superblock" => {
            if ours.dx_seed != [0; 3] && theirs.dx_seed != [0; 3] {
                masked |= clear(first, second, 0x17c, 12);
            }
            // The C tool copies 16 bytes, but the name ends at the first NUL.
            let end = second[0x168..0x178].iter().position(|byte| *byte == 0);
            let rest = end.map_or(0x178, |end| 0x168 + end)..0x178;
            if first[rest.clone()].iter().all(|byte| *byte == 0) {
                masked |= clear(first, second, rest.start, rest.len());
            }
        }
        "dx root" if ours.dx_seed != theirs.dx_seed => masked |= mask_hashes(first, second),
        name if name.starts_with("header of") => {
            // Left-over memory of the C tool. Ours is zero.
            if first[0x20..size - 8].iter().all(|byte| *byte == 0) {
                masked |= clear(first, second, 0x20, size - 0x28);
                masked |= masked && clear(first, second, size - 8, 8);
            }
            // K-4: the C tool writes a stale copy if directories are indexed.
            let stale = number::<4>(second, 0x14) == 2 && number::<4>(second, 0x1c) == 0;
            if stale && number::<4>(first, 0x14) > 2 {
                masked |= clear(first, second, 0x14, 4);
                masked |= clear(first, second, 0x1c, 4);
                masked |= clear(first, second, size - 8, 8);
            }
        }
        _ => {}
    }
    if let Some(check) = kind.check.filter(|_| masked) {
        let both = number::<8>(first, check) != 0 && number::<8>(second, check) != 0;
        if both {
            clear(first, second, check, 8);
        }
    }
    masked
}

/// Masks the block of lost+found, if it is not inline: the C tool leaves the padding of `.` and
/// `..` and everything after them undefined.
fn mask_directory(first: &mut [u8], second: &mut [u8]) -> bool {
    let size = first.len();
    let dot = DirEntryHeader::decode(first).ok().filter(|dot| {
        let name = first.get(0x0c..0x0d) == Some(b".");
        dot.name_len == 1 && dot.rec_len == 16 && name && first[..0x0d] == second[..0x0d]
    });
    if dot.is_none() || &first[0x1c..0x1e] != b".." {
        return false;
    }
    let dotdot_rec_len = number::<2>(first, 0x18) as usize;
    let end = 0x10 + dotdot_rec_len;
    if end > size || end < size - 64 {
        return false;
    }
    let mut masked = false;
    for (at, len) in [(0x0d, 3), (0x1e, 2), (0x20, end - 0x20)] {
        if first[at..at + len].iter().all(|byte| *byte == 0) {
            masked |= clear(first, second, at, len);
        }
    }
    if masked && end < size {
        clear(first, second, size - 8, 8);
    }
    masked
}

/// Masks the hashes of an inline index, by which its entries are sorted.
fn mask_hashes(first: &mut [u8], second: &mut [u8]) -> bool {
    let mut masked = false;
    for block in [first, second] {
        let used = number::<2>(block, 0xc6) as usize;
        let entries = block.get_mut(0xc8..0xc8 + 16 * used).unwrap_or_default();
        for entry in entries.chunks_exact_mut(16) {
            // `.` and `..` have no hash, whatever the seed.
            masked |= entry[..8].iter().any(|byte| *byte != 0);
            entry[..8].fill(0);
        }
    }
    masked
}

fn number<const N: usize>(block: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes[..N].copy_from_slice(&block[at..at + N]);
    u64::from_le_bytes(bytes)
}

fn clear(first: &mut [u8], second: &mut [u8], at: usize, len: usize) -> bool {
    let differ = first[at..at + len] != second[at..at + len];
    if differ {
        first[at..at + len].fill(0);
        second[at..at + len].fill(0);
    }
    differ
}

fn field_at(kind: &Kind, offset: usize) -> Option<&'static Field> {
    // The last structure that begins before the offset: one may lie in a gap of another one.
    let (base, fields) = kind.parts.iter().rev().find(|(base, _)| *base <= offset)?;
    let within = offset - base;
    fields.iter().find(|field| (field.offset..field.offset + field.size).contains(&within))
}

fn difference(blkno: u64, first: &[u8], second: &[u8]) -> Option<Difference> {
    let offset = first.iter().zip(second).position(|(one, other)| one != other)?;
    let bytes = first.iter().zip(second).filter(|(one, other)| one != other).count();
    let kind = kind_of(first).or_else(|| kind_of(second));
    let field = kind.and_then(|kind| field_at(kind, offset));
    let end = (offset + 16).min(first.len());
    let structure = match kind {
        Some(kind) => kind.name,
        None if first.iter().all(|byte| *byte == 0) => "zeros in the first",
        None if second.iter().all(|byte| *byte == 0) => "zeros in the second",
        None => "directory, quota or other block",
    };
    let mut field = field.map_or("a byte", |field| field.name).to_owned();
    if kind.is_some_and(|kind| kind.name == "dinode") {
        let flags = InodeFlags::from_bits_retain(number::<4>(first, 0x2c) as u32);
        field = format!("{field} ({flags:?})");
    }
    let (one, other) = (first[offset..end].to_vec(), second[offset..end].to_vec());
    Some(Difference { blkno, structure, field, offset, first: one, second: other, bytes })
}
