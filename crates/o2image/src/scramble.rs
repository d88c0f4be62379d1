//! Names, attributes, targets of links and the label, replaced by text that tells nothing, for an
//! image that is given away. Lengths stay, and so do equal names, as far as a directory has none
//! twice then; the key is made anew for each image and kept nowhere.
//!
//! Names of directories are changed in an overlay, so that their indexes are right. Names of
//! attributes get others with the same hash, in the places they are in.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use anyhow::{Context, Result, bail};
use ocfs2_cli::Interrupt;
use ocfs2_format::Blkno;
use ocfs2_format::dinode::InodeFlags;
use ocfs2_volume::edit::{Edit, EditOptions};
use ocfs2_volume::{Inode, Volume};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
/// Names of a directory may become the same: so often another one is tried.
const TRIES: u64 = 10_000;
/// Bytes whose low five bits make any hash.
const FREE: usize = 7;
/// What each byte of the name of an attribute turns its hash by.
const TURN: u32 = 5;

/// What makes text into other text, with a key of its own.
#[derive(Debug, Default)]
pub struct Scrambler(RandomState);

impl Scrambler {
    /// Text of the same length.
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

    /// The target of a link: each component as the name it is.
    pub fn target(&self, target: &mut [u8]) {
        for part in target.split_mut(|byte| *byte == b'/') {
            if !matches!(&*part, b"." | b"..") {
                let text = self.text(part, 0);
                part.copy_from_slice(&text);
            }
        }
    }

    /// The name of an attribute, which keeps its hash. Of one byte nothing else has that.
    pub fn attribute(&self, name: &mut [u8]) {
        let hash = turned(name);
        if name.len() >= FREE {
            for salt in 0..TRIES {
                let mut text = self.text(name, salt);
                if let Some(end) = text.last_chunk_mut::<FREE>() {
                    *end = [0; FREE];
                }
                let Some(end) = with_hash(hash ^ turned(&text), self.0.hash_one((salt, &text)))
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
        // A bit of a byte and one of the next are in the same place of the hash. Which are turned
        // depends on the length alone, so that no two names become the same.
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

/// What the bytes of a name are in its hash.
fn turned(name: &[u8]) -> u32 {
    name.iter().fold(0_u32, |hash, byte| hash.rotate_left(TURN) ^ u32::from(*byte))
}

/// Bytes that together are `hash`, all of them letters or what is between those.
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
            // The case of a letter is free, but for the last that decides.
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

/// A volume, in memory, with other names of files and another label.
///
/// # Errors
/// A journal has to be replayed; a directory is damaged: its names would be in the image.
pub fn scramble(volume: &Volume, scrambler: &Scrambler, interrupt: &Interrupt) -> Result<Volume> {
    for slot in 0..volume.max_slots() {
        if volume.journal_is_dirty(slot)? {
            bail!("the journal of slot {slot} has to be replayed before names can be scrambled");
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
    for inode in volume.inodes() {
        interrupt.check()?;
        let inode = inode.context("names cannot be scrambled")?;
        let is_system = inode.dinode.flags().contains(InodeFlags::SYSTEM);
        if inode.is_dir() && (!is_system || inode.blkno == root) {
            let names = scramble_names(&mut edit, &inode, scrambler, inode.blkno == root);
            names.with_context(|| {
                format!("names of directory {} cannot be scrambled", inode.blkno)
            })?;
        }
    }
    edit.finish()?;
    Ok(edit.volume().on(edit.changes().clone()))
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
        let mut tries = (0..TRIES).map(|salt| scrambler.text(&name, salt));
        let Some(new) = tries.find(|new| !used.contains(new)) else {
            bail!("it has too many names of {} bytes", name.len());
        };
        edit.link(dir.blkno, &new, inode, file_type)?;
        used.insert(new);
    }
    restore_times(edit, dir.blkno, dir)
}

/// Nobody has changed the directory but for this image.
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
    use ocfs2_format::hash::{CharSign, xattr_hash};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_attribute_keeps_its_hash_and_its_length(name in "[!-~]{1,255}", hash: u32) {
            let scrambler = Scrambler::default();
            let mut bytes = name.clone().into_bytes();
            scrambler.attribute(&mut bytes);
            let of = |name: &[u8]| xattr_hash(name, hash, CharSign::Unsigned);
            prop_assert_eq!(of(&bytes), of(name.as_bytes()), "{}", bytes.escape_ascii());
            prop_assert!(name.len() == 1 || bytes != name.as_bytes(), "{}", name);
            prop_assert_eq!(bytes.len(), name.len());
            prop_assert!(!bytes.contains(&0));
            let mut again = name.into_bytes();
            scrambler.attribute(&mut again);
            prop_assert_eq!(again, bytes);
        }

        #[test]
        fn any_hash_has_a_name(hash: u32, bits: u64) {
            let name = with_hash(hash, bits).unwrap();
            prop_assert_eq!(turned(&name), hash);
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
