//! Journals, block by block.

use std::io::Write;

use ocfs2_cli::People;
use ocfs2_format::dinode::Dinode;
use ocfs2_format::dx::{DxLeaf, DxRoot};
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::journal::{
    BlockType, JournalHeader, JournalIncompat, JournalSuperblock, TagFlags, revoked, tags,
};
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::superblock::SUPERBLOCK_SIGNATURE;
use ocfs2_format::xattr::{XattrBlock, XattrValueRoot};
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::Inode;

use super::{Out, Shown, dx, extents, group, inode, refcount, xattr};
use crate::error::Failure;

/// The state while the blocks of a log are shown.
pub struct Log<'p> {
    people: &'p People,
    is_checked: bool,
    superblock: JournalSuperblock,
    /// The first of consecutive blocks without a known signature.
    others: Option<u32>,
}

impl<'p> Log<'p> {
    /// For a volume with or without block checks.
    pub fn new(people: &'p People, is_checked: bool) -> Self {
        Self { people, is_checked, superblock: JournalSuperblock::default(), others: None }
    }

    /// Shows the block with this index.
    pub fn block(&mut self, out: Out<'_>, index: u32, block: &[u8]) -> Result<(), Failure> {
        let header = JournalHeader::decode(block)?;
        if index == 0 {
            self.superblock = JournalSuperblock::decode(block)?;
            out.record("log_block", |it| it.put("index", 0).put("type", "Journal Superblock"))?;
            out.structure(block, false)?;
            return Ok(self.superblock(out, header)?);
        }
        if let Some(kind) = header.block_type() {
            self.end_of_others(out, index)?;
            return Ok(self.log_block(out, index, header, kind, block)?);
        }
        let Some(kind) = Kind::of(block) else {
            self.others.get_or_insert(index);
            return Ok(());
        };
        self.end_of_others(out, index)?;
        let name = kind.name();
        out.record("log_block", |it| it.put("index", index).put("type", name))?;
        writeln!(out, "\tBlock {index}: {name}")?;
        self.metadata(out, kind, block)?;
        Ok(writeln!(out)?)
    }

    /// Shows the range of unknown blocks that ends before `index`.
    pub fn end_of_others(&mut self, out: Out<'_>, index: u32) -> Shown {
        let Some(first) = self.others.take() else { return Ok(()) };
        let last = index - 1;
        out.record("log_block", |it| {
            it.put("index", first).put("last", last).put("type", "Unknown -- Probably Data")
        })?;
        match last > first {
            true => write!(out, "\tBlock {first} to {last}: ")?,
            false => write!(out, "\tBlock {first}: ")?,
        }
        writeln!(out, "Unknown -- Probably Data\n")
    }

    fn superblock(&self, out: Out<'_>, header: JournalHeader) -> Shown {
        let sb = &self.superblock;
        writeln!(out, "\tBlock 0: Journal Superblock")?;
        head(out, header)?;
        let (size, blocks, first) = (sb.s_blocksize, sb.s_maxlen, sb.s_first);
        writeln!(out, "\tBlocksize: {size}   Total Blocks: {blocks}   First Block: {first}")?;
        let (sequence, start) = (sb.s_sequence, sb.s_start);
        writeln!(out, "\tFirst Commit ID: {sequence}   Start Log Blknum: {start}")?;
        writeln!(out, "\tError: {}", sb.s_errno)?;
        writeln!(out, "\tFeature Compat: {} ", sb.s_feature_compat)?;
        let bit64 = sb.incompat().contains(JournalIncompat::BIT64);
        let width = if bit64 { "block64" } else { "block32" };
        writeln!(out, "\tFeature Incompat: {} {width} ", sb.s_feature_incompat)?;
        writeln!(out, "\tFeature RO compat: {} ", sb.s_feature_ro_compat)?;
        writeln!(out, "\tJournal UUID: {}", uuid(&sb.s_uuid))?;
        let (users, copy) = (sb.s_nr_users, sb.s_dynsuper);
        writeln!(out, "\tFS Share Cnt: {users}   Dynamic Superblk Blknum: {copy}")?;
        let (journal, data) = (sb.s_max_transaction, sb.s_max_trans_data);
        writeln!(out, "\tPer Txn Block Limit    Journal: {journal}    Data: {data}\n")
    }

    fn log_block(
        &self,
        out: Out<'_>,
        index: u32,
        header: JournalHeader,
        kind: BlockType,
        block: &[u8],
    ) -> Shown {
        let name = match kind {
            BlockType::Descriptor => "Journal Descriptor",
            BlockType::Commit => "Journal Commit Block",
            BlockType::Revoke => "Journal Revoke Block",
            BlockType::SuperblockV1 | BlockType::SuperblockV2 => "Journal Superblock",
        };
        let sequence = header.h_sequence;
        out.record("log_block", |it| {
            it.put("index", index).put("type", name).put("sequence", sequence)
        })?;
        writeln!(out, "\tBlock {index}: {name}")?;
        head(out, header)?;
        match kind {
            BlockType::Descriptor => self.descriptor(out, block)?,
            BlockType::Revoke => self.revokes(out, block)?,
            _ => {}
        }
        writeln!(out)
    }

    fn descriptor(&self, out: Out<'_>, block: &[u8]) -> Shown {
        writeln!(out, "\tNo. Blocknum        Flags")?;
        let format = self.superblock.tag_format();
        let mut at = JournalHeader::SIZE;
        for (index, tag) in tags(block, format).enumerate() {
            at += format.tag_size();
            let (blkno, flags) = (tag.blkno.0, flag_names(tag.flags));
            out.row(
                "log_tag",
                |it| it.put("index", index).put("home", blkno).put("flags", flags.trim_end()),
                format_args!("\t{index:>2}. {blkno:<15} {flags}"),
            )?;
            if !tag.flags.intersects(TagFlags::SAME_UUID | TagFlags::LAST_TAG) {
                let bytes = block.get(at..).and_then(|rest| rest.first_chunk::<16>());
                writeln!(out, "\tUUID: {}", uuid(bytes.unwrap_or(&[0; 16])))?;
                at += 16;
            }
        }
        Ok(())
    }

    fn revokes(&self, out: Out<'_>, block: &[u8]) -> Shown {
        let bytes = block.get(JournalHeader::SIZE..).and_then(|rest| rest.first_chunk::<4>());
        let count = u32::from_be_bytes(*bytes.unwrap_or(&[0; 4]));
        writeln!(out, "\tr_count:\t\t{count}")?;
        let bit64 = self.superblock.incompat().contains(JournalIncompat::BIT64);
        for (index, blkno) in revoked(block, bit64).enumerate() {
            out.row(
                "log_revoke",
                |it| it.put("index", index).put("home", blkno.0),
                format_args!("\trevoke[{index}]:\t\t{blkno}"),
            )?;
        }
        Ok(())
    }

    fn metadata(&self, out: Out<'_>, kind: Kind, block: &[u8]) -> Result<(), Failure> {
        let is_checked = self.is_checked;
        match kind {
            Kind::Inode => {
                let decoded = Inode::decode(Blkno(0), block.to_vec());
                let found = decoded.map_err(crate::error::Problem::from)?;
                inode::head(out, &found, self.people, is_checked)?;
                inode::own(out, &found)?;
            }
            Kind::Extent => extents::extent_block(out, block, is_checked)?,
            Kind::Group => {
                let found = group::Group::of(block.to_vec())?;
                out.structure(&found.block, is_checked)?;
                group::title(out, &found, is_checked)?;
                group::row(out, 0, &found, true)?;
            }
            Kind::Xattr => {
                out.structure(block, is_checked)?;
                if !XattrBlock::decode(block)?.is_indexed() {
                    let area = XattrBlock::area(block)?;
                    xattr::area_rows(out, &area, |out, root| {
                        Ok(extents::list(out, &XattrValueRoot::list(root)?)?)
                    })?;
                }
            }
            Kind::Refcount => refcount::head(out, block, is_checked)?,
            Kind::DxRoot => dx::root(out, block, is_checked)?,
            Kind::DxLeaf => dx::leaf(out, block, is_checked)?,
        }
        Ok(())
    }
}

fn head(out: Out<'_>, header: JournalHeader) -> Shown {
    let name = match BlockType::from_code(header.h_blocktype) {
        Some(BlockType::Descriptor) => "JBD2_DESCRIPTOR_BLOCK",
        Some(BlockType::Commit) => "JBD2_COMMIT_BLOCK",
        Some(BlockType::SuperblockV1) => "JBD2_SUPERBLOCK_V1",
        Some(BlockType::SuperblockV2) => "JBD2_SUPERBLOCK_V2",
        Some(BlockType::Revoke) => "JBD2_REVOKE_BLOCK",
        None => "???",
    };
    let (sequence, kind) = (header.h_sequence, header.h_blocktype);
    writeln!(out, "\tSeq: {sequence}   Type: {kind} ({name})")
}

fn uuid(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn flag_names(flags: TagFlags) -> String {
    let names = [
        (TagFlags::ESCAPE, "JBD2_FLAG_ESCAPE "),
        (TagFlags::SAME_UUID, "JBD2_FLAG_SAME_UUID "),
        (TagFlags::DELETED, "JBD2_FLAG_DELETED "),
        (TagFlags::LAST_TAG, "JBD2_FLAG_LAST_TAG"),
    ];
    if flags.is_empty() {
        return "none".to_owned();
    }
    names.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name).collect()
}

/// The kind of a block by its signature.
#[derive(Clone, Copy)]
enum Kind {
    Inode,
    Extent,
    Group,
    Xattr,
    Refcount,
    DxRoot,
    DxLeaf,
}

impl Kind {
    fn of(block: &[u8]) -> Option<Self> {
        let kinds = [
            (&Dinode::SIGNATURE, Self::Inode),
            (&SUPERBLOCK_SIGNATURE, Self::Inode),
            (&ExtentBlock::SIGNATURE, Self::Extent),
            (&GroupDesc::SIGNATURE, Self::Group),
            (&XattrBlock::SIGNATURE, Self::Xattr),
            (&RefcountBlock::SIGNATURE, Self::Refcount),
            (&DxRoot::SIGNATURE, Self::DxRoot),
            (&DxLeaf::SIGNATURE, Self::DxLeaf),
        ];
        let signed = kinds.iter().find(|(signature, _)| block.starts_with(&signature[..]));
        signed.map(|(_, kind)| *kind)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Inode => "Inode",
            Self::Extent => "Extent",
            Self::Group => "Group",
            Self::Xattr => "Xattr",
            Self::Refcount => "Refcount",
            Self::DxRoot => "DxRoot",
            Self::DxLeaf => "DxLeaf",
        }
    }
}
