//! Single fields of structures, set by hand.

use ocfs2_cli::terminal;
use ocfs2_format::dinode::{Arm, Dinode, FileKind, InodeFlags};
use ocfs2_format::feature::Incompat;
use ocfs2_format::inline::InlineData;
use ocfs2_format::superblock::{SUPERBLOCK_BLKNO, SuperBlock};
use ocfs2_format::{Blkno, Block, Cpos, Structure, check};
use ocfs2_volume::{SystemFile, Timestamp, Volume};

use super::journal::slot_of;
use super::{refused, say};
use crate::commands::blocks::block;
use crate::commands::print::{place_and_field, shape_of};
use crate::error::{Explain, Failure};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::show::fields::{Place, encoded, little_endian, places, shown};
use crate::show::group::Group;
use crate::show::parts::Shape;
use crate::words::{number, number_of, time_of};
use crate::writer::Committed;

/// Fields of the superblock that nothing else on the volume depends on.
const FREE_SUPER_FIELDS: [&str; 6] =
    ["s_mnt_count", "s_max_mnt_count", "s_errors", "s_checkinterval", "s_lastcheck", "s_label"];

/// The bits of a mode that hold the type of file.
const TYPE: u16 = 0o170_000;

/// The options of a command that sets a field.
#[derive(Clone, Copy, Default)]
pub(super) struct Options {
    /// Whether to write without a journal and without checks.
    pub is_direct: bool,
    /// Whether the block check stays as it is.
    pub keeps_check: bool,
    /// How to interpret the block.
    shape: Shape,
}

impl Options {
    pub fn of(mut words: &[Vec<u8>]) -> Result<(Self, &[Vec<u8>]), Failure> {
        let mut options = Self::default();
        while let Some((first, rest)) = words.split_first() {
            match first.as_slice() {
                b"--direct" => options.is_direct = true,
                b"-n" => options.keeps_check = true,
                b"-t" => {
                    (options.shape, words) = shape_of(words)?;
                    continue;
                }
                _ => break,
            }
            words = rest;
        }
        Ok((options, words))
    }
}

/// `set`
pub(in super::super) fn set(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (options, words) = Options::of(words)?;
    let [word, value @ ..] = words else { return Err(Failure::Usage) };
    if value.is_empty() {
        return Err(Failure::Usage);
    }
    let (blkno, field) = place_and_field(shell, word)?;
    let field = field.ok_or_else(|| refused(word, "names no field: <filespec>.<field>"))?;
    set_field(shell, options, blkno, &field, value, out)
}

/// `set_inode_field`
pub(in super::super) fn set_inode_field(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (options, words) = Options::of(words)?;
    let [word, field, value @ ..] = words else { return Err(Failure::Usage) };
    if value.is_empty() {
        return Err(Failure::Usage);
    }
    let fs = shell.fs()?;
    let blkno = shell.find(fs, word).of(word)?;
    fs.inode(blkno).of(word)?;
    let field = prefixed("i_", field);
    let is_owner = matches!(field.as_str(), "i_uid" | "i_gid");
    let is_time = matches!(field.as_str(), "i_atime" | "i_ctime" | "i_mtime");
    if let ([time], true) = (value, is_time && !options.is_direct && !options.keeps_check) {
        return set_time(shell, blkno, &field, time_of(time)?, out);
    }
    match (is_owner && !options.is_direct && !options.keeps_check, value) {
        // The usage of both owners changes as well.
        (true, [id]) => set_owner(shell, blkno, &field, id, out),
        _ => set_field(shell, options, blkno, &field, value, out),
    }
}

/// `set_group`: a field of the descriptor of a group.
pub(in super::super) fn set_group(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (options, words) = Options::of(words)?;
    let [word, field, value @ ..] = words else { return Err(Failure::Usage) };
    if value.is_empty() {
        return Err(Failure::Usage);
    }
    let blkno = block(shell.fs()?, word)?;
    Group::read(shell.fs()?, blkno).of(word)?;
    set_field(shell, options, blkno, &prefixed("bg_", field), value, out)
}

/// `set_extent`: a field of a record of an extent list.
pub(in super::super) fn set_extent(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    set_record(shell, words, ("l_recs", "e_"), out)
}

/// `set_refcount`: a field of a record of a refcount block.
pub(in super::super) fn set_refcount(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    set_record(shell, words, ("rl_recs", "r_"), out)
}

/// `set_xattr_field`: a field of the entry of an attribute.
pub(in super::super) fn set_xattr_field(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    set_record(shell, words, ("xh_entries", "xe_"), out)
}

fn set_record(
    shell: &mut Shell,
    words: &[Vec<u8>],
    (list, prefix): (&str, &str),
    out: &mut Screen,
) -> Result<(), Failure> {
    let (options, words) = Options::of(words)?;
    let [word, record, field, value @ ..] = words else { return Err(Failure::Usage) };
    let record: u64 = number_of(record)?;
    if value.is_empty() {
        return Err(Failure::Usage);
    }
    let blkno = shell.find(shell.fs()?, word).of(word)?;
    let field = format!("{list}[{record}].{}", prefixed(prefix, field));
    set_field(shell, options, blkno, &field, value, out)
}

/// `set_super_value`
pub(in super::super) fn set_super_value(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (options, words) = Options::of(words)?;
    let [field, value @ ..] = words else { return Err(Failure::Usage) };
    if value.is_empty() {
        return Err(Failure::Usage);
    }
    set_field(shell, options, SUPERBLOCK_BLKNO, &prefixed("s_", field), value, out)
}

/// `set_journal`
pub(in super::super) fn set_journal(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (options, words) = Options::of(words)?;
    let [slot, field, value @ ..] = words else { return Err(Failure::Usage) };
    if value.is_empty() {
        return Err(Failure::Usage);
    }
    let slot = slot_of(shell, slot)?;
    let file = shell.fs()?.volume.system_file(SystemFile::Journal(slot))?;
    // Without validation, so that a damaged one can be set.
    let first = shell.fs()?.tree(&file)?.map(Cpos(0))?;
    let none = || Failure::Failed(format!("The journal of slot {slot} has no first block"));
    let blkno = first.ok_or_else(none)?.blkno;
    let name = terminal(field);
    let is_plain = name.starts_with("s_") || name.starts_with("h_") || name.contains('.');
    let name = if is_plain { name } else { format!("s_{name}") };
    set_field(shell, options, blkno, &name, value, out)
}

/// The full name of a field: the prefix may be left out.
fn prefixed(prefix: &str, word: &[u8]) -> String {
    let name = terminal(word);
    if name.starts_with(prefix) { name } else { format!("{prefix}{name}") }
}

fn set_owner(
    shell: &mut Shell,
    blkno: Blkno,
    field: &str,
    id: &[u8],
    out: &mut Screen,
) -> Result<(), Failure> {
    let value = number(id).and_then(|id| u32::try_from(id).ok());
    let id = value.ok_or_else(|| refused(id, "is not the number of a user or a group"))?;
    let (before, committed) = shell.change(|edit| {
        let dinode = edit.inode(blkno)?.dinode;
        let (uid, gid) = (dinode.i_uid, dinode.i_gid);
        let is_user = field == "i_uid";
        edit.set_owner(blkno, if is_user { id } else { uid }, if is_user { gid } else { id })?;
        Ok(if is_user { uid } else { gid })
    })?;
    say(out, &format!("{field} of inode {blkno} was {before} and is {id}"), committed)
}

/// Sets a time with its nanoseconds.
fn set_time(
    shell: &mut Shell,
    blkno: Blkno,
    field: &str,
    time: Timestamp,
    out: &mut Screen,
) -> Result<(), Failure> {
    let (before, committed) = shell.change(|edit| {
        let mut before = Timestamp { seconds: 0, nanoseconds: 0 };
        edit.update_dinode(blkno, |dinode, _| {
            let (seconds, nanoseconds) = match field {
                "i_atime" => (&mut dinode.i_atime, &mut dinode.i_atime_nsec),
                "i_ctime" => (&mut dinode.i_ctime, &mut dinode.i_ctime_nsec),
                _ => (&mut dinode.i_mtime, &mut dinode.i_mtime_nsec),
            };
            before = Timestamp { seconds: *seconds as i64, nanoseconds: *nanoseconds };
            (*seconds, *nanoseconds) = (time.seconds as u64, time.nanoseconds);
        })?;
        Ok(before)
    })?;
    let text = |Timestamp { seconds, nanoseconds }| match nanoseconds {
        0 => format!("{seconds}"),
        _ => format!("{seconds}.{nanoseconds:09}"),
    };
    let (was, is) = (text(before), text(time));
    say(out, &format!("{field} of block {blkno} was {was} and is {is}"), committed)
}

fn set_field(
    shell: &mut Shell,
    options: Options,
    blkno: Blkno,
    field: &str,
    value: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    change_field(shell, options, blkno, field, out, |place, before| encoded(place, value, before))
}

/// Changes the contents of a field: `make` gets them in little-endian order and returns the new
/// ones, or what is wrong as a text after the name of the field.
pub(super) fn change_field(
    shell: &mut Shell,
    options: Options,
    blkno: Blkno,
    field: &str,
    out: &mut Screen,
    make: impl FnOnce(&Place, &[u8]) -> Result<Vec<u8>, String>,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let shape = options.shape;
    let mut block = shape.read(fs, blkno).explain(|| format!("while reading block {blkno}"))?;
    let old = block.clone();
    let place = place_of(&block, shape, blkno, field)?;
    let before = bytes_of(&block, &place).to_vec();
    let made = make(&place, &little_endian(&before, &place));
    let after = little_endian(&made.map_err(|why| refused(field.as_bytes(), &why))?, &place);
    if let Some(bytes) = block.get_mut(place.at..place.at + place.size) {
        bytes.copy_from_slice(&after);
    }
    let offset = shape.check_offset(&block);
    if let Some(offset) = offset.filter(|_| fs.has_checks() && !options.keeps_check) {
        check::stamp(&mut block, offset);
    }
    let volume = fs.volume.on(fs.volume.device().clone());
    let committed = match options.is_direct {
        true => shell.damage(|edit| Ok(edit.put_blocks(blkno, &block)?))?,
        false if blkno == SUPERBLOCK_BLKNO => set_superblock(shell, &block, &place, options)?,
        false => {
            verify_change(&old, &block, shape, blkno, &volume)?;
            shell.change(|edit| Ok(edit.put_blocks(blkno, &block)?))?.1
        }
    };
    let (was, is) = (shown(&before, &place), shown(&after, &place));
    say(out, &format!("{} of block {blkno} was {was} and is {is}", place.name), committed)
}

/// Sets a field of the superblock and of all backups.
fn set_superblock(
    shell: &mut Shell,
    block: &[u8],
    place: &Place,
    options: Options,
) -> Result<Committed, Failure> {
    if !FREE_SUPER_FIELDS.contains(&place.name.as_str()) || options.keeps_check {
        let why = "would leave what the rest of the volume was made for: only --direct sets it";
        return Err(refused(place.name.as_bytes(), why));
    }
    let superblock = SuperBlock::of_block(block)?;
    Ok(shell.change(|edit| Ok(edit.update_superblock(|it| *it = superblock)?))?.1)
}

/// The field of a block that a name means, if it is only one.
fn place_of(block: &[u8], shape: Shape, blkno: Blkno, field: &str) -> Result<Place, Failure> {
    let parts = shape.parts(block);
    let mut found: Vec<_> =
        places(block, &parts).into_iter().filter(|place| place.is(field)).collect();
    match (found.pop(), found.len()) {
        (Some(place), 0) => Ok(place),
        (Some(_), _) => Err(Failure::Failed(format!("{field} is not one field alone"))),
        (None, _) if parts.is_empty() => {
            Err(Failure::Failed(format!("Block {blkno} has no signature that is known")))
        }
        (None, _) => {
            Err(Failure::Failed(format!("The structure of block {blkno} has no field '{field}'")))
        }
    }
}

fn bytes_of<'b>(block: &'b [u8], place: &Place) -> &'b [u8] {
    block.get(place.at..place.at + place.size).unwrap_or_default()
}

/// Fails if the type of an inode would change: its directory entries state it as well.
fn verify_type(before: &[u8], after: &[u8]) -> Result<(), Failure> {
    let kind = |block: &[u8]| {
        let dinode = Dinode::decode(block).ok().filter(|_| block.starts_with(&Dinode::SIGNATURE));
        dinode.map(|dinode| dinode.i_mode & TYPE)
    };
    if kind(before) == kind(after) {
        return Ok(());
    }
    let permissions = Dinode::decode(after).map_or(0, |dinode| dinode.i_mode & !TYPE);
    let mode = kind(before).unwrap_or_default() | permissions;
    Err(Failure::Failed(format!(
        "i_mode would be that of another type of file, which its first digits say: 0{mode:o} keeps \
         the type"
    )))
}

/// Fails if the size of an inode would change to one that its contents cannot have.
fn verify_size(before: &[u8], after: &[u8], volume: &Volume) -> Result<(), Failure> {
    let dinode =
        |block: &[u8]| Dinode::decode(block).ok().filter(|_| block.starts_with(&Dinode::SIGNATURE));
    let (Some(before), Some(dinode)) = (dinode(before), dinode(after)) else { return Ok(()) };
    let size = dinode.i_size;
    if before.i_size == size {
        return Ok(());
    }
    let geometry = volume.geometry();
    let is_file =
        dinode.kind() == Some(FileKind::Regular) && !dinode.flags().contains(InodeFlags::SYSTEM);
    let most = match dinode.arm() {
        _ if !is_file => None,
        Arm::InlineData => InlineData::data(dinode.id2(after)).ok().map(|data| data.len() as u64),
        _ if volume.has(Incompat::SPARSE_ALLOC) => Some(geometry.most_file_bytes()),
        _ => Some(u64::from(dinode.i_clusters) << geometry.cluster_size.bits()),
    };
    let why = match most {
        Some(most) if size <= most => return Ok(()),
        Some(most) => format!("would be more than the {most} bytes that this file can have"),
        None => "follows from the contents, unlike that of a file".to_owned(),
    };
    Err(refused(b"i_size", &format!("{why}; --direct sets it nevertheless")))
}

/// Fails if a block would no longer be valid, or what it says would contradict the rest of the volume.
pub(super) fn verify_change(
    before: &[u8],
    after: &[u8],
    shape: Shape,
    blkno: Blkno,
    volume: &Volume,
) -> Result<(), Failure> {
    verify_type(before, after)?;
    verify_size(before, after, volume)?;
    let wrong = |why: String| Failure::Failed(format!("{why}; --direct sets it nevertheless"));
    shape.verify(after, blkno, volume).map_err(|err| wrong(err.to_string()))
}
