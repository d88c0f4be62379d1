//! Commands about the contents of journals.

use std::collections::BTreeSet;
use std::io::Write;

use ocfs2_format::Blkno;
use ocfs2_format::Structure;
use ocfs2_format::journal::{
    BlockType, JBD2_MAGIC, JournalHeader, JournalIncompat, JournalSuperblock, LogChecksums,
    TagFlags, revoked, tags,
};
use ocfs2_volume::Inode;

use super::blocks::block;
use crate::error::{Explain, Failure, Problem};
use crate::past::places;
use crate::screen::Screen;
use crate::shell::Shell;
use crate::show::journal;
use crate::show::parts::kind;
use crate::volume::Fs;
use crate::words::{number, number_of};

/// What to show of a log.
enum Wanted {
    /// All blocks, as in the C tool.
    All,
    /// What a replay would write.
    Live,
    /// All copies of one block.
    Of(Blkno),
}

/// `logdump`
pub(super) fn logdump(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let (mut wanted, mut rest) = (Wanted::All, words);
    let slot = loop {
        match rest {
            [option, more @ ..] if option == b"-T" => rest = more,
            [option, more @ ..] if option == b"-s" => (wanted, rest) = (Wanted::Live, more),
            [option, word, more @ ..] if option == b"-b" => {
                (wanted, rest) = (Wanted::Of(bare_block(fs, word)?), more);
            }
            [word, ..] => break number_of::<u64>(word)?,
            [] => return Err(Failure::Usage),
        }
    };
    if slot >= fs.volume.superblock().s_max_slots.into() {
        return Err(Failure::Failed("Invalid node slot number".to_owned()));
    }
    let name = format!("journal:{slot:04}");
    let context = || format!("while looking up journal {name}");
    let system = fs.inode(fs.volume.superblock().s_system_dir_blkno).explain(context)?;
    let blkno = fs.lookup(&system, name.as_bytes()).explain(context)?;
    let file = fs.inode(blkno).explain(context)?;
    match wanted {
        Wanted::All => whole(shell, fs, &file, context, out),
        Wanted::Live => Log::open(fs, &file).explain(context)?.live(slot as u16, out),
        Wanted::Of(blkno) => Log::open(fs, &file).explain(context)?.copies(blkno, out),
    }
}

/// Parses a block with `<` and `>` or, as in e2fsprogs, without.
fn bare_block(fs: &Fs, word: &[u8]) -> Result<Blkno, Failure> {
    match number(word) {
        Some(_) => block(fs, &[b"<", word, b">"].concat()),
        None => block(fs, word),
    }
}

fn whole(
    shell: &Shell,
    fs: &Fs,
    file: &Inode,
    context: impl Fn() -> String,
    out: &mut Screen,
) -> Result<(), Failure> {
    let mut log = journal::Log::new(shell.people(), fs.has_checks());
    let bits = fs.volume.geometry().bpc_bits();
    let blocks = fs.volume.geometry().blocks_for(file.size());
    let mut end = 0;
    for extent in fs.tree(file).explain(&context)?.extents() {
        let extent = extent.explain(&context)?;
        let first = u64::from(extent.cpos.0) << bits;
        let count = (u64::from(extent.clusters) << bits).min(blocks.saturating_sub(first));
        for index in 0..count {
            let block = fs.block(Blkno(extent.blkno.0 + index)).explain(&context)?;
            let index = u32::try_from(first + index).unwrap_or(u32::MAX);
            if let Err(err) = log.block(out, index, &block) {
                match err {
                    Failure::Failed(text) => out.say(&format!("logdump: block {index}: {text}")),
                    err => return Err(err),
                }
            }
            end = index.saturating_add(1);
        }
    }
    Ok(log.end_of_others(out, end)?)
}

/// A log that is read by transactions.
struct Log<'f> {
    fs: &'f Fs,
    superblock: JournalSuperblock,
    places: Vec<Blkno>,
    /// The indexes of the first block of the log, and of the one after the last.
    first: usize,
    end: usize,
    /// Checksums; only with CSUM_V2 or CSUM_V3.
    checksums: Option<LogChecksums>,
}

/// The text about a checksum.
fn verdict(holds: Option<bool>) -> &'static str {
    match holds {
        None => "",
        Some(true) => "   check holds",
        Some(false) => "   CHECK DOES NOT HOLD",
    }
}

impl<'f> Log<'f> {
    fn open(fs: &'f Fs, file: &Inode) -> Result<Self, Problem> {
        let places = places(fs, file)?;
        let head = fs.block(places.first().copied().ok_or(Problem::InvalidBlock)?)?;
        let superblock = JournalSuperblock::decode(&head)?;
        let is_log = matches!(
            JournalHeader::decode(&head)?.block_type(),
            Some(BlockType::SuperblockV1 | BlockType::SuperblockV2)
        );
        if !is_log {
            return Err(Problem::BadMagic("journal superblock"));
        }
        let csum = JournalIncompat::CSUM_V2 | JournalIncompat::CSUM_V3;
        let is_checked = superblock.incompat().intersects(csum);
        let checksums = is_checked.then(|| LogChecksums::new(&superblock.s_uuid));
        let end = (superblock.s_maxlen as usize).min(places.len());
        let first = (superblock.s_first as usize).clamp(1, end.max(1));
        Ok(Self { fs, superblock, places, first, end, checksums })
    }

    fn next(&self, index: usize) -> usize {
        if index + 1 >= self.end { self.first } else { index + 1 }
    }

    fn read(&self, index: usize) -> Result<Vec<u8>, Problem> {
        self.fs.block(self.places.get(index).copied().ok_or(Problem::InvalidBlock)?)
    }

    fn has_wide_numbers(&self) -> bool {
        self.superblock.incompat().contains(JournalIncompat::BIT64)
    }

    /// Shows the transactions that a replay would write, block by block.
    fn live(&self, slot: u16, out: &mut Screen) -> Result<(), Failure> {
        if self.superblock.s_start == 0 {
            out.row("log_end", |it| it.put("transactions", 0), format_args!("\tThe log is empty"))?;
            return Ok(());
        }
        let mut at = self.superblock.s_start as usize;
        let (mut sequence, mut left) = (self.superblock.s_sequence, self.end);
        let mut is_begun = false;
        while left > 0 && at < self.end {
            let bytes = self.read(at)?;
            let header = JournalHeader::decode(&bytes)?;
            let Some(kind) = header.block_type().filter(|_| header.h_sequence == sequence) else {
                break;
            };
            if !is_begun {
                writeln!(out, "\tTransaction {sequence}")?;
                is_begun = true;
            }
            let index = at;
            at = self.next(at);
            left -= 1;
            match kind {
                BlockType::Descriptor => {
                    let tail = self.checksums.map(|it| it.tail_holds(&bytes));
                    if tail == Some(false) {
                        out.say(&format!("logdump: block {index}: its check does not hold"));
                    }
                    (at, left) = self.copies_of(&bytes, sequence, (at, left), out)?;
                }
                BlockType::Revoke => self.revokes(&bytes, sequence, index, out)?,
                BlockType::Commit => {
                    let holds = self.checksums.map(|it| it.commit_holds(&bytes));
                    out.row(
                        "log_commit",
                        |it| {
                            let it = it.put("sequence", sequence).put("index", index);
                            it.put("check_holds", holds)
                        },
                        format_args!("\t  committed by block {index}{}", verdict(holds)),
                    )?;
                    (sequence, is_begun) = (sequence.wrapping_add(1), false);
                }
                BlockType::SuperblockV1 | BlockType::SuperblockV2 => break,
            }
        }
        if is_begun {
            writeln!(out, "\t  not committed")?;
        }
        let replay = self.fs.volume.replay(slot);
        let replay = replay.map_err(|err| Failure::Failed(err.to_string()))?;
        let (count, blocks, end) = (replay.transactions, replay.blocks().len(), replay.end);
        out.row(
            "log_end",
            |it| {
                let it = it.put("transactions", count).put("blocks", blocks);
                it.put("end", end.to_string())
            },
            format_args!(
                "\tA replay brings {count} transactions with {blocks} blocks to their places: {end}"
            ),
        )?;
        Ok(())
    }

    /// Shows the copies after a descriptor; returns where the log continues.
    fn copies_of(
        &self,
        descriptor: &[u8],
        sequence: u32,
        (mut at, mut left): (usize, usize),
        out: &mut Screen,
    ) -> Result<(usize, usize), Failure> {
        let format = self.superblock.tag_format();
        for tag in tags(descriptor, format) {
            if left == 0 {
                break;
            }
            let bytes = self.read(at)?;
            let holds = self.checksums.map(|it| it.tag_holds(&tag, format, sequence, &bytes));
            let (home, what) = (tag.blkno.0, described(&bytes, tag.flags));
            out.row(
                "log_copy",
                |it| {
                    let it = it.put("sequence", sequence).put("index", at).put("home", home);
                    it.put("structure", what).put("check_holds", holds)
                },
                format_args!("\t  block {at:<8} of {home:<15} {what}{}", verdict(holds)),
            )?;
            at = self.next(at);
            left -= 1;
        }
        Ok((at, left))
    }

    fn revokes(
        &self,
        bytes: &[u8],
        sequence: u32,
        index: usize,
        out: &mut Screen,
    ) -> Result<(), Failure> {
        for home in revoked(bytes, self.has_wide_numbers()) {
            out.row(
                "log_revoke",
                |it| it.put("sequence", sequence).put("index", index).put("home", home.0),
                format_args!("\t  block {index:<8} revokes {home}"),
            )?;
        }
        Ok(())
    }

    /// Shows all copies of a block in the log, oldest transaction first, whether or not they would
    /// be replayed.
    fn copies(&self, home: Blkno, out: &mut Screen) -> Result<(), Failure> {
        let mut found: BTreeSet<(u32, usize, Option<usize>)> = BTreeSet::new();
        for index in self.first..self.end {
            let bytes = self.read(index)?;
            let header = JournalHeader::decode(&bytes)?;
            match header.block_type() {
                Some(BlockType::Descriptor) => {
                    let mut at = index;
                    for tag in tags(&bytes, self.superblock.tag_format()) {
                        at = self.next(at);
                        // From here on a later transaction has overwritten this one.
                        if JournalHeader::decode(&self.read(at)?)?.block_type().is_some() {
                            break;
                        }
                        if tag.blkno == home {
                            found.insert((header.h_sequence, index, Some(at)));
                        }
                    }
                }
                Some(BlockType::Revoke)
                    if revoked(&bytes, self.has_wide_numbers()).any(|blkno| blkno == home) =>
                {
                    found.insert((header.h_sequence, index, None));
                }
                _ => {}
            }
        }
        for (sequence, index, at) in &found {
            let Some(at) = *at else {
                self.revokes_one(home, *sequence, *index, out)?;
                continue;
            };
            let mut bytes = self.read(at)?;
            let is_escaped = tags(&self.read(*index)?, self.superblock.tag_format())
                .any(|tag| tag.blkno == home && tag.flags.contains(TagFlags::ESCAPE));
            if let Some(magic) = bytes.get_mut(..4).filter(|_| is_escaped) {
                magic.copy_from_slice(&JBD2_MAGIC.to_be_bytes());
            }
            let what = described(&bytes, TagFlags::empty());
            out.row(
                "log_copy",
                |it| {
                    let it = it.put("sequence", *sequence).put("index", at).put("home", home.0);
                    it.put("structure", what)
                },
                format_args!("\tTransaction {sequence}: block {at} of the log   {what}"),
            )?;
            out.structure(&bytes, self.fs.has_checks())?;
            for line in super::print::fields_of(&bytes) {
                writeln!(out, "\t  {line}")?;
            }
        }
        let count = found.len();
        let end = if count == 1 { "" } else { "s" };
        writeln!(out, "\t{count} version{end} of block {home}")?;
        Ok(())
    }

    fn revokes_one(
        &self,
        home: Blkno,
        sequence: u32,
        index: usize,
        out: &mut Screen,
    ) -> Result<(), Failure> {
        out.row(
            "log_revoke",
            |it| it.put("sequence", sequence).put("index", index).put("home", home.0),
            format_args!("\tTransaction {sequence}: revoked by block {index}"),
        )?;
        Ok(())
    }
}

/// The kind of a copied block.
fn described(bytes: &[u8], flags: TagFlags) -> &'static str {
    match flags.contains(TagFlags::ESCAPE) {
        true => "data that begins as a block of the log",
        false => kind(bytes).unwrap_or("data"),
    }
}
