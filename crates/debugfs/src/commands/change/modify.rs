//! All fields of an inode, changed by answers.

use std::io::Write;

use ocfs2_format::{Blkno, check};

use super::fields::{Options, verify_change};
use super::{refused, say};
use crate::error::{Explain, Failure};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::show::fields::{Place, encoded, little_endian, places, shown};
use crate::show::parts::Shape;
use crate::words::words as split;

/// The fields that are asked for, in this order. The others are its place and its contents.
const ASKED: [&str; 17] = [
    "i_mode",
    "i_uid",
    "i_gid",
    "i_size",
    "i_links_count",
    "i_attr",
    "i_ctime",
    "i_ctime_nsec",
    "i_atime",
    "i_atime_nsec",
    "i_mtime",
    "i_mtime_nsec",
    "i_dtime",
    "i_generation",
    "i_flags",
    "i_dyn_features",
    "i_clusters",
];

/// A field with new contents.
struct Change {
    place: Place,
    bytes: Vec<u8>,
}

/// `modify_inode`
pub(in super::super) fn modify_inode(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (options, words) = Options::of(words)?;
    let [word] = words else { return Err(Failure::Usage) };
    shell.writer()?;
    let fs = shell.fs()?;
    let blkno = shell.find(fs, word).of(word)?;
    let block = fs.inode(blkno).of(word)?.block().to_vec();
    let shape = Shape::default();
    let index = |place: &Place| ASKED.iter().position(|name| place.name == *name);
    let mut asked = places(&block, &shape.parts(&block));
    asked.retain(|place| index(place).is_some());
    asked.sort_by_key(index);
    let mut changes = Vec::new();
    for place in asked {
        let before = block.get(place.at..place.at + place.size).unwrap_or_default().to_vec();
        let Some(bytes) = answer(shell, &place, &before, out)? else { break };
        if bytes != before {
            changes.push(Change { place, bytes });
        }
    }
    if changes.is_empty() {
        writeln!(out, "nothing of inode {blkno} is to be changed")?;
        return Ok(());
    }
    let committed = match options.is_direct {
        true => {
            let patched = patched(shell, options, block.clone(), &changes)?;
            shell.damage(|edit| Ok(edit.put_blocks(blkno, &patched)?))?
        }
        false => consistently(shell, options, blkno, &changes)?,
    };
    let told: Vec<_> = changes
        .iter()
        .map(|Change { place, bytes }| {
            let was = block.get(place.at..place.at + place.size).unwrap_or_default();
            format!("{} was {} and is {}", place.name, shown(was, place), shown(bytes, place))
        })
        .collect();
    say(out, &format!("inode {blkno}: {}", told.join(", ")), committed)
}

/// Asks for a field; `None` at the end of the input.
fn answer(
    shell: &mut Shell,
    place: &Place,
    before: &[u8],
    out: &mut Screen,
) -> Result<Option<Vec<u8>>, Failure> {
    let prompt = format!("{:>20} [{}] ", place.name, shown(before, place));
    loop {
        let Some(text) = shell.ask(&prompt, out)? else {
            writeln!(out)?;
            return Ok(None);
        };
        if text.is_empty() {
            return Ok(Some(before.to_vec()));
        }
        match encoded(place, &split(&text), &little_endian(before, place)) {
            Ok(bytes) => return Ok(Some(little_endian(&bytes, place))),
            // A person may try again; from a file, the next line belongs to the next field.
            Err(why) if shell.is_asking_somebody() => {
                out.say(&format!("modify_inode: {} {why}", place.name));
            }
            Err(why) => return Err(refused(place.name.as_bytes(), &why)),
        }
    }
}

fn patched(
    shell: &Shell,
    options: Options,
    mut block: Vec<u8>,
    changes: &[Change],
) -> Result<Vec<u8>, Failure> {
    for Change { place, bytes } in changes {
        if let Some(part) = block.get_mut(place.at..place.at + place.size) {
            part.copy_from_slice(bytes);
        }
    }
    let offset = Shape::default().check_offset(&block);
    if let Some(offset) = offset.filter(|_| !options.keeps_check)
        && shell.fs()?.has_checks()
    {
        check::stamp(&mut block, offset);
    }
    Ok(block)
}

/// Changes fields in a transaction that leaves a valid inode; quota follows its owner.
fn consistently(
    shell: &mut Shell,
    options: Options,
    blkno: Blkno,
    changes: &[Change],
) -> Result<crate::writer::Committed, Failure> {
    let owner = |name: &str| {
        let change = changes.iter().find(|change| change.place.name == name)?;
        change.bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    };
    let (uid, gid) = (owner("i_uid"), owner("i_gid"));
    let has_checks = shell.fs()?.has_checks();
    let (_, committed) = shell.change(|edit| {
        if uid.is_some() || gid.is_some() {
            let now = edit.inode(blkno)?.dinode;
            edit.set_owner(blkno, uid.unwrap_or(now.i_uid), gid.unwrap_or(now.i_gid))?;
        }
        let mut block = edit.volume().read_block(blkno)?;
        let old = block.clone();
        for Change { place, bytes } in changes {
            if let Some(part) = block.get_mut(place.at..place.at + place.size) {
                part.copy_from_slice(bytes);
            }
        }
        let offset = Shape::default().check_offset(&block);
        if let Some(offset) = offset.filter(|_| has_checks && !options.keeps_check) {
            check::stamp(&mut block, offset);
        }
        verify_change(&old, &block, Shape::default(), blkno, edit.volume())?;
        Ok(edit.put_blocks(blkno, &block)?)
    })?;
    Ok(committed)
}
