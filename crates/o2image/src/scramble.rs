//! Replacing names, attributes, targets of links and the label by meaningless text, for an image
//! that is given away. Lengths are kept. Equal names stay equal, as far as that does not make names
//! of a directory collide. Each image has a new key, which is not kept.
//!
//! Names in directories are changed in an overlay, so that their indexes are correct. Names of
//! attributes are replaced in place by others with the same hash; those of one byte, of which no
//! other has the hash, in the overlay.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use anyhow::{Result, bail};
use ocfs2_cli::Interrupt;
use ocfs2_format::check::{Checked, stamp, validate};
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::dir::{DirEntryHeader, DirTrailer, entries};
use ocfs2_format::feature::Incompat;
use ocfs2_format::hash::{CharSign, xattr_hash};
use ocfs2_format::inline::InlineData;
use ocfs2_format::xattr::{MAX_VALUE, XattrPrefix};
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::edit::{Edit, EditOptions};
use ocfs2_volume::{Inode, Volume};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
/// New names in a directory may collide: how often another one is tried.
const TRIES: u64 = 10_000;
/// How often one of `ALPHABET` is tried before other bytes are: for short names, of which a
/// directory may have more than there is text.
const PLAIN_TRIES: u64 = 1000;
/// Bytes whose low five bits can produce any hash.
const FREE: usize = 7;
/// Bits by which each byte of an attribute name rotates the hash.
const TURN: u32 = 5;

/// Replaces text by other text, with a key of its own.
#[derive(Debug, Default)]
pub struct Scrambler(RandomState);

impl Scrambler {
    /// Returns text of the same length.
    fn text(&self, bytes: &[u8], salt: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        let mut round = 0_u64;
        while out.len() < bytes.len() {
            let mut bits = self.0.hash_one((salt, round, bytes));
            for _ in 0..10 {
                out.extend(ALPHABET.get((bits & 63) as usize));
                bits >>= 6;
            }
            round += 1;
        }
        out.truncate(bytes.len());
        out
    }

    /// Returns a name of the same length that `used` does not have; `None` if none was found.
    fn unused(&self, name: &[u8], used: &HashSet<Vec<u8>>) -> Option<Vec<u8>> {
        let mut tries = (0..TRIES).map(|salt| {
            let mut text = self.text(name, salt);
            if salt >= PLAIN_TRIES {
                for (index, byte) in text.iter_mut().enumerate() {
                    let other = self.0.hash_one((salt, index, name)) as u8;
                    if !matches!(other, 0 | b'/') {
                        *byte = other;
                    }
                }
            }
            text
        });
        tries.find(|text| !used.contains(text))
    }

    /// Scrambles the target of a link, each component like the name it refers to.
    pub fn target(&self, target: &mut [u8]) {
        for part in target.split_mut(|byte| *byte == b'/') {
            if !matches!(&*part, b"." | b"..") {
                let text = self.text(part, 0);
                part.copy_from_slice(&text);
            }
        }
    }

    /// Scrambles the name of an attribute. Its hash stays the same, with bytes from 0x80 on taken
    /// as `sign` says. A name of one byte stays, because no other has its hash:
    /// [`scramble`] has replaced it.
    pub fn attribute(&self, name: &mut [u8], sign: CharSign) {
        // The new name consists of bytes that hash the same with either sign.
        let hash = turned(name, sign);
        if name.len() >= FREE {
            for salt in 0..TRIES {
                let mut text = self.text(name, salt);
                if let Some(end) = text.last_chunk_mut::<FREE>() {
                    *end = [0; FREE];
                }
                let Some(end) =
                    with_hash(hash ^ turned(&text, sign), self.0.hash_one((salt, &text)))
                else {
                    continue;
                };
                let start = text.len() - FREE;
                text.truncate(start);
                text.extend(end);
                if text != name {
                    name.copy_from_slice(&text);
                    return;
                }
            }
        }
        // A bit of one byte and a bit of the next have the same place in the hash, so that flipping
        // both keeps it. Which bits are flipped depends on the length alone, so that different
        // names stay different.
        let mut bits = self.0.hash_one(name.len()) | 1;
        for at in 1..name.len() {
            if bits & 1 != 0
                && let Some([before, byte]) = name.get_mut(at - 1..=at)
                && *before ^ 1 != 0
                && *byte ^ 0x20 != 0
            {
                (*before, *byte) = (*before ^ 1, *byte ^ 0x20);
            }
            bits = bits.rotate_right(1);
        }
    }
}

/// What the bytes of a name contribute to its hash.
fn turned(name: &[u8], sign: CharSign) -> u32 {
    xattr_hash(name, 0, sign)
}

/// Returns bytes with the hash `hash`, all of them letters or characters between those.
fn with_hash(hash: u32, bits: u64) -> Option<[u8; FREE]> {
    let place = |index: usize| TURN * (FREE - 1 - index) as u32;
    for first in 0..63_u64 {
        let mut bytes = [0; FREE];
        let first = 0x40 | ((first + bits) % 63) as u8;
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        let mut left = hash ^ u32::from(first).rotate_left(place(0));
        for index in (1..FREE).rev() {
            let low = (left >> place(index)) & 31;
            // The case of a letter is free, except for the last one, which decides.
            for case in [0x40, 0x60] {
                let byte = low | if (bits >> index) & 1 == 0 { case } else { case ^ 0x20 };
                let rest = left ^ byte.rotate_left(place(index));
                if (index > 1 || rest == 0) && byte != 0x7f {
                    if let Some(place) = bytes.get_mut(index) {
                        *place = byte as u8;
                    }
                    left = rest;
                    break;
                }
            }
        }
        let are_all = bytes.iter().all(|byte| (0x40..0x7f).contains(byte));
        if left == 0 && are_all {
            return Some(bytes);
        }
    }
    None
}

/// Returns the volume with scrambled names of files and another label, in memory, and a list of
/// problems: in a damaged directory names are scrambled in place, and its index is not updated.
///
/// # Errors
/// If a journal has to be replayed, or the device cannot be read.
pub fn scramble(
    volume: &Volume,
    scrambler: &Scrambler,
    interrupt: &Interrupt,
) -> Result<(Volume, Vec<String>)> {
    for slot in 0..volume.max_slots() {
        if volume.journal_is_dirty(slot)? {
            bail!(
                "the journal of slot {slot} has to be replayed before names can be scrambled: save \
                 a raw image (-r), replay its journals (debugfs.ocfs2 -w -R jr IMAGE), and \
                 scramble that"
            );
        }
    }
    let mut edit = Edit::new(volume, EditOptions::default());
    edit.update_superblock(|superblock| {
        let len = superblock.label().len();
        if let Some(label) = superblock.s_label.get_mut(..len) {
            let text = scrambler.text(label, 0);
            label.copy_from_slice(&text);
        }
    })?;
    let root = volume.superblock().s_root_blkno;
    let mut problems = Vec::new();
    for inode in volume.inodes() {
        interrupt.check()?;
        // A damaged inode is reported when blocks are selected, and not saved.
        let Ok(inode) = inode else { continue };
        let is_system = inode.dinode.flags().contains(InodeFlags::SYSTEM);
        if let Err(err) = edit.attempt(|edit| scramble_short(edit, &inode, scrambler)) {
            let blkno = inode.blkno;
            problems.push(format!(
                "inode {blkno}: names of attributes of one byte were not scrambled ({err:#})"
            ));
        }
        if inode.is_dir() && (!is_system || inode.blkno == root) {
            let is_root = inode.blkno == root;
            let names = edit.attempt(|edit| scramble_names(edit, &inode, scrambler, is_root));
            if let Err(err) = names {
                scramble_in_place(&mut edit, &inode, scrambler, is_root)?;
                let blkno = inode.blkno;
                problems.push(format!(
                    "directory {blkno} is damaged: its names were scrambled where they could be \
                     read, and its index does not lead to them ({err:#})"
                ));
            }
        }
    }
    edit.finish()?;
    Ok((edit.volume().on(edit.changes().clone()), problems))
}

/// Scrambles the readable names of a directory in place. What follows an invalid entry may be a
/// name, and is zeroed.
fn scramble_in_place(
    edit: &mut Edit,
    dir: &Inode,
    scrambler: &Scrambler,
    is_root: bool,
) -> Result<()> {
    let has_checks = edit.volume().has(Incompat::META_ECC);
    let put = |edit: &mut Edit, blkno, mut block: Vec<u8>, names: Range<usize>, check: usize| {
        let is_good = has_checks && matches!(validate(&block, check), Checked::Good);
        scramble_entries(block.get_mut(names).unwrap_or_default(), scrambler, is_root);
        // A check that was wrong has to stay wrong in the image.
        if is_good {
            stamp(&mut block, check);
        }
        edit.put_blocks(blkno, &block)
    };
    if dir.is_inline() {
        let start = Dinode::ID2_OFFSET + InlineData::SIZE;
        let len = InlineData::data(dir.id2()).map_or(0, <[u8]>::len);
        let names = start..start + usize::try_from(dir.size()).unwrap_or(usize::MAX).min(len);
        return Ok(put(edit, dir.blkno, dir.block().to_vec(), names, Dinode::CHECK_OFFSET)?);
    }
    let volume = edit.volume().without_checks();
    let Ok(tree) = volume.tree(dir) else { return Ok(()) };
    let bits = volume.geometry().bpc_bits();
    for extent in tree.extents().filter_map(Result::ok) {
        for index in 0..u64::from(extent.clusters) << bits {
            let blkno = Blkno(extent.blkno.0 + index);
            let Ok(block) = volume.read_block(blkno) else { continue };
            let trailer = DirTrailer::of_block(&block).ok();
            let is_one = trailer.is_some_and(|it| it.db_signature == DirTrailer::SIGNATURE);
            let end = if is_one { DirTrailer::offset(block.len()) } else { block.len() };
            let check = DirTrailer::check_offset(block.len());
            put(edit, blkno, block, 0..end, check)?;
        }
    }
    Ok(())
}

fn scramble_entries(names: &mut [u8], scrambler: &Scrambler, is_root: bool) {
    let (mut places, mut end) = (Vec::new(), names.len());
    for entry in entries(names) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(bad) => {
                // The header of the invalid entry stays.
                end = bad.offset + DirEntryHeader::SIZE;
                break;
            }
        };
        let is_kept = matches!(entry.name, b"." | b"..") || is_root && entry.name == b"lost+found";
        if !is_kept {
            let start = entry.offset + DirEntryHeader::SIZE;
            places.push((start, scrambler.text(entry.name, 0)));
        }
    }
    names.get_mut(end..).unwrap_or_default().fill(0);
    for (start, text) in places {
        if let Some(name) = names.get_mut(start..start + text.len()) {
            name.copy_from_slice(&text);
        }
    }
}

fn scramble_names(
    edit: &mut Edit,
    dir: &Inode,
    scrambler: &Scrambler,
    is_root: bool,
) -> Result<()> {
    let (mut names, mut used) = (Vec::new(), HashSet::new());
    for entry in edit.entries(dir)? {
        let entry = entry?;
        if entry.is_dot() || is_root && entry.name == b"lost+found" {
            used.insert(entry.name);
            continue;
        }
        let Some(file_type) = entry.file_type else { bail!("an entry has an unknown type") };
        names.push((entry.name, entry.inode, file_type));
    }
    for (name, _, _) in &names {
        edit.unlink_name(dir.blkno, name)?;
    }
    for (name, inode, file_type) in names {
        let Some(new) = scrambler.unused(&name, &used) else {
            bail!("it has too many names of {} bytes", name.len());
        };
        edit.link(dir.blkno, &new, inode, file_type)?;
        used.insert(new);
    }
    restore_times(edit, dir.blkno, dir)
}

/// Scrambles the names of attributes that have one byte. Their values become zeros, as all values
/// do in the image.
fn scramble_short(edit: &mut Edit, inode: &Inode, scrambler: &Scrambler) -> Result<()> {
    let mut short = Vec::new();
    // What is damaged is reported when blocks are selected.
    for xattr in edit.volume().xattrs(inode).flatten() {
        let name = xattr.name.get(xattr.prefix.as_str().len()..).unwrap_or_default();
        if name.len() == 1 && xattr.size() <= MAX_VALUE {
            short.push((xattr.prefix, name.to_vec(), vec![0; xattr.size() as usize]));
        }
    }
    if short.is_empty() {
        return Ok(());
    }
    for (prefix, name, _) in &short {
        edit.remove_xattr(inode.blkno, *prefix, name)?;
    }
    let mut used: BTreeMap<XattrPrefix, HashSet<Vec<u8>>> = BTreeMap::new();
    for (prefix, name, value) in short {
        let used = used.entry(prefix).or_default();
        let Some(new) = scrambler.unused(&name, used) else { bail!("it has too many of them") };
        edit.set_xattr(inode.blkno, prefix, &new, &value)?;
        used.insert(new);
    }
    restore_times(edit, inode.blkno, inode)
}

/// The image must not make the inode look changed.
fn restore_times(edit: &mut Edit, blkno: Blkno, before: &Inode) -> Result<()> {
    let before = &before.dinode;
    edit.update_dinode(blkno, |dinode, _| {
        (dinode.i_mtime, dinode.i_mtime_nsec) = (before.i_mtime, before.i_mtime_nsec);
        (dinode.i_ctime, dinode.i_ctime_nsec) = (before.i_ctime, before.i_ctime_nsec);
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use ocfs2_format::dir::{FileType, write_entry};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_attribute_keeps_its_hash_and_its_length(
            name in "[!-~ä-ÿ]{1,120}",
            hash: u32,
            is_signed: bool,
        ) {
            let sign = if is_signed { CharSign::Signed } else { CharSign::Unsigned };
            let scrambler = Scrambler::default();
            let mut bytes = name.clone().into_bytes();
            scrambler.attribute(&mut bytes, sign);
            let of = |name: &[u8]| xattr_hash(name, hash, sign);
            prop_assert_eq!(of(&bytes), of(name.as_bytes()), "{}", bytes.escape_ascii());
            prop_assert!(name.len() == 1 || bytes != name.as_bytes(), "{}", name);
            prop_assert_eq!(bytes.len(), name.len());
            prop_assert!(!bytes.contains(&0));
            let mut again = name.into_bytes();
            scrambler.attribute(&mut again, sign);
            prop_assert_eq!(again, bytes);
        }

        #[test]
        fn any_hash_has_a_name(hash: u32, bits: u64) {
            let name = with_hash(hash, bits).unwrap();
            prop_assert_eq!(turned(&name, CharSign::Signed), hash);
        }
    }

    #[test]
    fn what_comes_after_an_impossible_entry_is_no_name_any_more() {
        let mut names = vec![0; 96];
        let write = |names: &mut [u8], len, name: &[u8]| {
            write_entry(names, Blkno(5), len, FileType::Regular, name).unwrap();
        };
        write(&mut names, 24, b"first");
        write(&mut names[24..], 24, b"second");
        write(&mut names[48..], 48, b"third");
        names[32] = 3;
        scramble_entries(&mut names, &Scrambler::default(), false);
        let shown = names.escape_ascii().to_string();
        for name in ["first", "second", "third"] {
            assert!(!shown.contains(name), "{shown}");
        }
        assert_eq!((names[24], names[32]), (5, 3));
        assert_eq!(entries(&names).map_while(Result::ok).count(), 1);
    }

    #[test]
    fn as_many_names_of_one_byte_as_there_can_be_have_others() {
        let (scrambler, mut used) = (Scrambler::default(), HashSet::from([b".".to_vec()]));
        for name in (1..=255).filter(|byte| !matches!(byte, b'/' | b'.')) {
            let new = scrambler.unused(&[name], &used).unwrap();
            assert!(new.len() == 1 && !matches!(new[0], 0 | b'/'), "{new:?}");
            assert!(used.insert(new));
        }
    }

    #[test]
    fn a_link_leads_where_it_did() {
        let scrambler = Scrambler::default();
        let mut target = b"../some folder/./x/file".to_vec();
        scrambler.target(&mut target);
        let parts: Vec<_> = target.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        let text = |name: &[u8]| scrambler.text(name, 0);
        let expected =
            [b"..".to_vec(), text(b"some folder"), b".".to_vec(), text(b"x"), text(b"file")];
        assert_eq!(parts, expected);
    }
}
