//! Bits of allocators, set and cleared by hand, together with their counters.

use std::ops::Range;

use ocfs2_format::dinode::InodeFlags;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Block, Cluster, Structure};
use ocfs2_volume::SystemFile;
use ocfs2_volume::edit::Edit;

use super::{refused, say};
use crate::commands::bits::{Bits, Of, are_set, bit_of, bits_of, clusters, user_of};
use crate::error::{Explain, Failure};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::volume::Fs;

/// The options of a command that changes bits.
#[derive(Clone, Copy, Default)]
struct Options {
    /// Whether to ignore owners, and to write without a journal.
    is_direct: bool,
    /// Whether to change only the bits, not their counters.
    is_raw: bool,
}

impl Options {
    fn of(mut words: &[Vec<u8>]) -> Result<(Self, &[Vec<u8>]), Failure> {
        let mut options = Self::default();
        while let Some((first, rest)) = words.split_first() {
            match first.as_slice() {
                b"--direct" => options.is_direct = true,
                b"-r" => options.is_raw = true,
                _ => break,
            }
            words = rest;
        }
        match options.is_raw && !options.is_direct {
            true => Err(refused(b"-r", "leaves counters that are wrong: only with --direct")),
            false => Ok((options, words)),
        }
    }
}

/// Bits to be changed, and their name in messages.
struct Wanted {
    all: Vec<Bits>,
    /// The blocks that they stand for.
    blocks: Range<u64>,
    /// Whether they stand for clusters.
    are_clusters: bool,
    name: String,
}

impl Wanted {
    fn clusters(fs: &Fs, words: &[Vec<u8>]) -> Result<Self, Failure> {
        let clusters = clusters(fs, words)?;
        let block = |cluster| fs.volume.geometry().block_of(Cluster(cluster)).0;
        let Range { start, end } = clusters;
        let name = match end - start {
            1 => format!("cluster {start}"),
            _ => format!("clusters {start} to {}", end - 1),
        };
        let (all, blocks) = (bits_of(fs, &clusters), block(start)..block(end));
        Ok(Self { all, blocks, are_clusters: true, name })
    }

    fn block(shell: &Shell, fs: &Fs, words: &[Vec<u8>], of: Of) -> Result<Self, Failure> {
        let [word] = words else { return Err(Failure::Usage) };
        let Blkno(blkno) = shell.find(fs, word).of(word)?;
        let all = vec![bit_of(fs, Blkno(blkno), of)?];
        let (blocks, name) = (blkno..blkno + 1, format!("block {blkno}"));
        Ok(Self { all, blocks, are_clusters: false, name })
    }

    /// Fails if a bit already has the wanted state, or if something that is to be freed has an
    /// owner.
    fn verify(&self, fs: &Fs, used: bool) -> Result<(), Failure> {
        let name = self.name.as_bytes();
        let are_many = self.name.contains(" to ");
        let belong = if are_many { "belong, or one of them does," } else { "belongs" };
        for bits in &self.all {
            if are_set(fs, bits)?.contains(&used) {
                let state = if used { "in use" } else { "free" };
                let are = if are_many { "or one of them: already" } else { "is already" };
                return Err(refused(name, &format!("{are} {state}")));
            }
            if !used && !self.are_clusters && bits.bits.start == 0 {
                return Err(refused(name, "is the descriptor of its group"));
            }
        }
        if used {
            return Ok(());
        }
        let user = match self.are_inodes() {
            true => inode_in(fs, Blkno(self.blocks.start)),
            false => user_of(fs, &self.blocks, self.are_clusters)?,
        };
        match user {
            Some(user) => {
                Err(refused(name, &format!("{belong} to {user}: --direct frees nevertheless")))
            }
            None => Ok(()),
        }
    }

    /// Whether only inodes can be in these blocks.
    fn are_inodes(&self) -> bool {
        let is_one =
            |file| matches!(file, SystemFile::InodeAlloc(_) | SystemFile::GlobalInodeAlloc);
        self.all.iter().all(|bits| is_one(bits.file))
    }
}

/// The name of the inode in a block, if it is in use.
fn inode_in(fs: &Fs, blkno: Blkno) -> Option<String> {
    let inode = fs.inode(blkno).ok()?.dinode;
    let is_used = inode.flags().contains(InodeFlags::VALID)
        && inode.verify(blkno, fs.volume.generation()).is_ok();
    is_used.then(|| format!("inode {blkno}"))
}

fn change(
    shell: &mut Shell,
    options: Options,
    wanted: &Wanted,
    used: bool,
    out: &mut Screen,
) -> Result<(), Failure> {
    if !options.is_direct {
        wanted.verify(shell.fs()?, used)?;
    }
    let with_counts = |edit: &mut Edit| {
        for Bits { file, group, bits } in &wanted.all {
            edit.mark_bits(*file, *group, bits.clone(), used)?;
        }
        Ok(())
    };
    let committed = match options {
        Options { is_raw: true, .. } => shell
            .damage(|edit| wanted.all.iter().try_for_each(|bits| only_bits(edit, bits, used)))?,
        Options { is_direct: true, .. } => shell.damage(with_counts)?,
        _ => shell.change(with_counts)?.1,
    };
    let state = if used { "in use" } else { "free" };
    say(out, &format!("{}: {state}", wanted.name), committed)
}

/// Changes bits without their counters.
fn only_bits(edit: &mut Edit, bits: &Bits, used: bool) -> Result<(), Failure> {
    let context = || format!("while reading group {}", bits.group);
    let mut block = edit.volume().read_block(bits.group).explain(context)?;
    let desc = GroupDesc::decode(&block)?;
    let mut bitmap = desc.bitmap_mut(&mut block)?;
    let (start, count) = (bits.bits.start as usize, bits.bits.len());
    match used {
        true => bitmap.set_range(start, count),
        false => bitmap.clear_range(start, count),
    }
    Ok(edit.put_block::<GroupDesc>(bits.group, &block)?)
}

/// `setb`
pub(in super::super) fn setb(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (options, words) = Options::of(words)?;
    let wanted = Wanted::clusters(shell.fs()?, words)?;
    change(shell, options, &wanted, true, out)
}

/// `freeb`
pub(in super::super) fn freeb(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (options, words) = Options::of(words)?;
    let wanted = Wanted::clusters(shell.fs()?, words)?;
    change(shell, options, &wanted, false, out)
}

fn change_block(
    shell: &mut Shell,
    words: &[Vec<u8>],
    (of, used): (Of, bool),
    out: &mut Screen,
) -> Result<(), Failure> {
    let (options, words) = Options::of(words)?;
    let wanted = Wanted::block(shell, shell.fs()?, words, of)?;
    change(shell, options, &wanted, used, out)
}

/// `seti`
pub(in super::super) fn seti(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    change_block(shell, words, (Of::Inodes, true), out)
}

/// `freei`
pub(in super::super) fn freei(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    change_block(shell, words, (Of::Inodes, false), out)
}

/// `setsub`
pub(in super::super) fn setsub(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    change_block(shell, words, (Of::Any, true), out)
}

/// `freesub`
pub(in super::super) fn freesub(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    change_block(shell, words, (Of::Any, false), out)
}
