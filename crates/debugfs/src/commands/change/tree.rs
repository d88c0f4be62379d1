//! The extent tree of a file, shown record by record, and changed.

use std::io::Write;
use std::ops::Range;

use ocfs2_format::dinode::{Arm, FileKind};
use ocfs2_format::extent::{ExtentBlock, ExtentFlags, ExtentList, ExtentRec, MAX_TREE_DEPTH};
use ocfs2_format::feature::RoCompat;
use ocfs2_format::{Blkno, Block, Cluster, Cpos};
use ocfs2_volume::allocator::Want;
use ocfs2_volume::tree::Extent;

use super::{file_of, refused, say};
use crate::commands::only;
use crate::error::{Explain, Failure, Problem};
use crate::paths::block_of;
use crate::screen::Screen;
use crate::shell::Shell;
use crate::volume::Fs;
use crate::words::{number_of, words as split};

/// The possible answers.
const HELP: &str = "\
root, up, down, next, prev, first, last  go to another record
goto CLUSTER                             go to the record of a cluster of the file
current, all                             show the record, or all of its list
insert CLUSTER COUNT <BLOCK> [unwritten] give the file clusters that are free
delete [CLUSTER [COUNT]]                 free clusters of the file, or those of the record
set written|unwritten                    say whether the clusters of the record were written
ec                                       close the tree
";

/// A record: its list, and its index there.
#[derive(Clone, Copy)]
struct Step {
    /// The extent block of the list; `None` for the inode.
    at: Option<Blkno>,
    index: usize,
}

/// The way from the root to a record.
struct Walk {
    inode: Blkno,
    steps: Vec<Step>,
}

/// A list of the tree.
struct Level {
    depth: u16,
    records: Vec<ExtentRec>,
}

impl Level {
    fn read(fs: &Fs, inode: Blkno, at: Option<Blkno>) -> Result<Self, Failure> {
        let context = || format!("while reading the tree of inode {inode}");
        let of = |list: &ExtentList<'_>| Self {
            depth: list.header.l_tree_depth,
            records: list.records().collect(),
        };
        match at {
            None => {
                let found = fs.inode(inode).explain(context)?;
                if found.dinode.arm() != Arm::ExtentList {
                    return Err(Problem::NoExtents).explain(context);
                }
                Ok(of(&found.extent_list().explain(context)?))
            }
            Some(blkno) => {
                let problem = Problem::BadMagic("extent block");
                let block = fs.signed(blkno, &ExtentBlock::SIGNATURE, problem).explain(context)?;
                Ok(of(&ExtentBlock::list(&block).explain(context)?))
            }
        }
    }

    /// The index of the record that contains `cpos`, or of the last one before it.
    fn index_of(&self, cpos: u64) -> usize {
        let after = self.records.partition_point(|rec| u64::from(rec.e_cpos.0) <= cpos);
        after.saturating_sub(1)
    }
}

impl Walk {
    fn new(inode: Blkno) -> Self {
        Self { inode, steps: vec![Step { at: None, index: 0 }] }
    }

    fn step(&self) -> Step {
        self.steps.last().copied().unwrap_or(Step { at: None, index: 0 })
    }

    fn level(&self, fs: &Fs) -> Result<Level, Failure> {
        Level::read(fs, self.inode, self.step().at)
    }

    /// Goes to a record of the same list.
    fn to(&mut self, fs: &Fs, index: Option<usize>) -> Result<(), Failure> {
        let count = self.level(fs)?.records.len();
        let index = index.filter(|index| *index < count);
        let none = || Failure::Failed("There is no such record in this list".to_owned());
        let index = index.ok_or_else(none)?;
        if let Some(step) = self.steps.last_mut() {
            step.index = index;
        }
        Ok(())
    }

    /// Goes to the list below, to the record that `choose` returns.
    fn down(&mut self, fs: &Fs, choose: impl FnOnce(&Level) -> usize) -> Result<(), Failure> {
        let level = self.level(fs)?;
        let none = || Failure::Failed("There is nothing below".to_owned());
        let record = level.records.get(self.step().index).ok_or_else(none)?;
        let is_deep = self.steps.len() > usize::from(MAX_TREE_DEPTH) + 1;
        if level.depth == 0 || record.e_blkno.is_none() || is_deep {
            return Err(none());
        }
        let at = Some(record.e_blkno);
        let below = Level::read(fs, self.inode, at)?;
        // A depth that does not decrease may be a circle.
        if below.depth >= level.depth {
            return Err(Failure::Failed("The list below is as deep as this one".to_owned()));
        }
        self.steps.push(Step { at, index: choose(&below) });
        Ok(())
    }

    fn goto(&mut self, fs: &Fs, cpos: u64) -> Result<(), Failure> {
        let mut walk = Self::new(self.inode);
        let index = walk.level(fs)?.index_of(cpos);
        walk.steps = vec![Step { at: None, index }];
        while walk.level(fs)?.depth > 0 {
            walk.down(fs, |level| level.index_of(cpos))?;
        }
        self.steps = walk.steps;
        Ok(())
    }

    /// The current record, which has to be in a leaf, with its range of clusters in the file.
    fn leaf(&self, fs: &Fs) -> Result<(ExtentRec, Range<u64>), Failure> {
        let level = self.level(fs)?;
        let record = level.records.get(self.step().index).filter(|_| level.depth == 0);
        let none = || Failure::Failed("That is no record of a leaf: down goes there".to_owned());
        let record = *record.ok_or_else(none)?;
        let start = u64::from(record.e_cpos.0);
        let end = start + u64::from(record.e_leaf_clusters());
        Ok((record, start..end))
    }

    fn show(&self, fs: &Fs, out: &mut Screen) -> Result<(), Failure> {
        let level = self.level(fs)?;
        let index = self.step().index;
        match level.records.get(index) {
            Some(record) => self.row(&level, index, record, out),
            None => Ok(writeln!(out, "the list in {} is empty", self.place())?),
        }
    }

    fn place(&self) -> String {
        match self.step().at {
            None => format!("inode {}", self.inode),
            Some(blkno) => format!("block {blkno}"),
        }
    }

    fn row(
        &self,
        level: &Level,
        index: usize,
        record: &ExtentRec,
        out: &mut Screen,
    ) -> Result<(), Failure> {
        let (cpos, blkno, depth) = (record.e_cpos.0, record.e_blkno.0, level.depth);
        let (clusters, flags) = match depth {
            0 => (u32::from(record.e_leaf_clusters()), record.e_flags()),
            _ => (record.e_int_clusters(), ExtentFlags::empty()),
        };
        let unwritten = flags.contains(ExtentFlags::UNWRITTEN);
        let shared = flags.contains(ExtentFlags::REFCOUNTED);
        let mut said = String::new();
        for (_, name) in [(unwritten, " unwritten"), (shared, " shared")].iter().filter(|it| it.0) {
            said += name;
        }
        let (place, last) = (self.place(), level.records.len().saturating_sub(1));
        out.row(
            "tree_record",
            |it| {
                let it = it.put("depth", depth).put("index", index).put("logical", cpos);
                let it = it.put("clusters", clusters).put("block", blkno);
                it.put("unwritten", unwritten).put("shared", shared)
            },
            format_args!(
                "{place}, depth {depth}, record {index} of 0 to {last}: {clusters} clusters from \
                 {cpos} on, block {blkno}{said}"
            ),
        )?;
        Ok(())
    }
}

/// `extent_open`
pub(in super::super) fn extent_open(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let word = only(words)?;
    let blkno = shell.find(shell.fs()?, word).of(word)?;
    let mut walk = Walk::new(blkno);
    walk.show(shell.fs()?, out)?;
    let prompt = format!("tree of {blkno}: ");
    let mut is_whole = true;
    loop {
        let Some(line) = shell.ask(&prompt, out)? else {
            writeln!(out)?;
            break;
        };
        let line = split(&line);
        let Some((name, rest)) = line.split_first() else { continue };
        if matches!(name.as_slice(), b"ec" | b"extent_close" | b"quit" | b"q") {
            break;
        }
        match answered(shell, &mut walk, (name, rest), out) {
            Err(Failure::Failed(text) | Failure::Argument(text)) => {
                is_whole = false;
                out.say(&format!("extent_open: {text}"));
            }
            Err(Failure::Usage) => {
                is_whole = false;
                out.say(HELP.trim_end());
            }
            done => done?,
        }
    }
    if is_whole { Ok(()) } else { Err(Failure::Said) }
}

fn answered(
    shell: &mut Shell,
    walk: &mut Walk,
    (name, rest): (&[u8], &[Vec<u8>]),
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let index = walk.step().index;
    match (name, rest) {
        (b"current" | b"c" | b"current_node", []) => {}
        (b"root" | b"root_node", []) => walk.steps.truncate(1),
        (b"up" | b"u", []) if walk.steps.len() > 1 => drop(walk.steps.pop()),
        (b"up" | b"u", []) => return Err(Failure::Failed("This is the root".to_owned())),
        (b"down" | b"d", []) => walk.down(fs, |_| 0)?,
        (b"next" | b"n" | b"next_sibling", []) => walk.to(fs, index.checked_add(1))?,
        (b"prev" | b"p" | b"prev_sibling", []) => walk.to(fs, index.checked_sub(1))?,
        (b"first" | b"first_sibling", []) => walk.to(fs, Some(0))?,
        (b"last" | b"last_sibling", []) => {
            let count = walk.level(fs)?.records.len();
            walk.to(fs, count.checked_sub(1))?;
        }
        (b"goto" | b"goto_block", [word]) => walk.goto(fs, number_of(word)?)?,
        (b"all" | b"print_all", []) => {
            let level = walk.level(fs)?;
            return level
                .records
                .iter()
                .enumerate()
                .try_for_each(|(index, record)| walk.row(&level, index, record, out));
        }
        (b"insert" | b"insert_node", [cpos, count, block, rest @ ..]) => {
            let is_unwritten = match rest {
                [] => false,
                [word] if word == b"unwritten" => true,
                _ => return Err(Failure::Usage),
            };
            let (cpos, count) = (number_of(cpos)?, number_of(count)?);
            return insert(shell, walk, (cpos, count, block, is_unwritten), out);
        }
        (b"delete" | b"delete_node", rest) => {
            let range = match rest {
                [] => walk.leaf(fs)?.1,
                [cpos] | [cpos, _] => {
                    let first: u64 = number_of(cpos)?;
                    let count = rest.get(1).map_or(Ok(1), |count| number_of(count))?;
                    first..first.saturating_add(count)
                }
                _ => return Err(Failure::Usage),
            };
            return delete(shell, walk, range, out);
        }
        (b"set", [word]) => {
            let is_unwritten = match word.as_slice() {
                b"written" => false,
                b"unwritten" => true,
                _ => return Err(Failure::Usage),
            };
            return set(shell, walk, is_unwritten, out);
        }
        _ => return Err(Failure::Usage),
    }
    walk.show(shell.fs()?, out)
}

/// The file, if its tree may be changed record by record.
fn changed_file(shell: &Shell, walk: &Walk) -> Result<Blkno, Failure> {
    let word = format!("<{}>", walk.inode);
    let blkno = file_of(shell, word.as_bytes())?;
    let inode = shell.fs()?.inode(blkno).of(word.as_bytes())?;
    match inode.kind() == Some(FileKind::Regular) && !inode.is_inline() {
        true => Ok(blkno),
        false => Err(refused(word.as_bytes(), "is not a regular file with extents")),
    }
}

fn insert(
    shell: &mut Shell,
    walk: &mut Walk,
    (cpos, count, word, is_unwritten): (u64, u64, &[u8], bool),
    out: &mut Screen,
) -> Result<(), Failure> {
    let blkno = changed_file(shell, walk)?;
    let volume = &shell.fs()?.volume;
    if is_unwritten && !volume.features().ro_compat.contains(RoCompat::UNWRITTEN) {
        return Err(Failure::Failed("The volume has no unwritten extents".to_owned()));
    }
    let block = block_of(word).ok_or_else(|| refused(word, "is not a block: <NUMBER>"))?;
    let geometry = *volume.geometry();
    let first = geometry.cluster_of(block).filter(|it| geometry.block_of(*it) == block);
    let first = first.ok_or_else(|| refused(word, "does not begin a cluster"))?;
    let count = u16::try_from(count).ok().filter(|count| *count > 0);
    let start = u32::try_from(cpos).ok();
    let (Some(count), Some(start)) = (count, start) else {
        return Err(refused(word, "cannot have so many clusters, or so far in a file"));
    };
    let flags = if is_unwritten { ExtentFlags::UNWRITTEN } else { ExtentFlags::empty() };
    let ((), committed) = shell.change(|edit| {
        let run = edit.take_clusters(Want::exactly(count.into()).near(Cluster(first.0)))?;
        if run.start != first.0 {
            return Err(refused(word, "begins clusters that are not all free"));
        }
        Ok(edit.insert_extent(blkno, Extent { flags, ..Extent::new(Cpos(start), count, block) })?)
    })?;
    walk.goto(shell.fs()?, cpos)?;
    say(out, &format!("{count} clusters from {start} on are in block {block}"), committed)
}

/// The name of clusters of a file in messages.
fn named(range: &Range<u64>) -> String {
    match range.end.saturating_sub(range.start) {
        1 => format!("cluster {}", range.start),
        _ => format!("the range of clusters {} to {}", range.start, range.end.saturating_sub(1)),
    }
}

fn delete(
    shell: &mut Shell,
    walk: &mut Walk,
    range: Range<u64>,
    out: &mut Screen,
) -> Result<(), Failure> {
    let blkno = changed_file(shell, walk)?;
    let fs = shell.fs()?;
    let bits = fs.volume.geometry().cluster_size.bits();
    let size = fs.inode(blkno)?.size();
    let name = named(&range);
    let bytes = |cluster: u64| cluster.checked_mul(1 << bits);
    let (Some(start), Some(end)) = (bytes(range.start), bytes(range.end)) else {
        return Err(refused(name.as_bytes(), "is not in the file"));
    };
    if range.is_empty() || end.saturating_sub(size) >= 1 << bits {
        let why = "is not all before the end of the file: truncate frees what is after it";
        return Err(refused(name.as_bytes(), why));
    }
    let ((), committed) = shell.change(|edit| Ok(edit.punch(blkno, start..end.min(size))?))?;
    walk.goto(shell.fs()?, range.start)?;
    say(out, &format!("{name}: a hole"), committed)
}

fn set(
    shell: &mut Shell,
    walk: &mut Walk,
    is_unwritten: bool,
    out: &mut Screen,
) -> Result<(), Failure> {
    let blkno = changed_file(shell, walk)?;
    if !shell.fs()?.volume.features().ro_compat.contains(RoCompat::UNWRITTEN) {
        return Err(Failure::Failed("The volume has no unwritten extents".to_owned()));
    }
    let (record, range) = walk.leaf(shell.fs()?)?;
    if record.e_flags().contains(ExtentFlags::REFCOUNTED) {
        return Err(Failure::Failed("Clusters that may be shared stay as they are".to_owned()));
    }
    let name = named(&range);
    let at = range.start;
    let ((), committed) = shell.change(|edit| {
        Ok(edit.change_extents(blkno, range, |mut extent| {
            extent.flags.set(ExtentFlags::UNWRITTEN, is_unwritten);
            Some(extent)
        })?)
    })?;
    walk.goto(shell.fs()?, at)?;
    let state = if is_unwritten { "unwritten" } else { "written" };
    say(out, &format!("{name}: {state}"), committed)
}
