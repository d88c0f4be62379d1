//! The quota file of a slot: changes that the global one does not have yet (invariant Q-3).

use ocfs2_format::Structure;
use ocfs2_format::bitmap::Bitmap;
use ocfs2_format::quota::{
    LocalChunk, LocalEntry, LocalInfo, QuotaHeader, QuotaKind, local_blocks_per_chunk,
    local_chunk_block, local_entries_per_block,
};

use super::file::QuotaFile;
use crate::Finding;
use crate::codes::quota as codes;
use crate::tables::usage::{Amount, Usage};

/// Checks the file and adds the changes that it holds to `pending`.
pub(super) fn check(
    file: &QuotaFile<'_>,
    kind: QuotaKind,
    pending: &mut Usage,
    findings: &mut Vec<Finding>,
) {
    let invalid = |why: &dyn std::fmt::Display| file.finding(codes::QUOTA_LOCAL_INVALID, None, why);
    let before = findings.len();
    let Some(block) = file.read(0, findings) else {
        if findings.len() == before {
            findings.push(invalid(&"has no first block"));
        }
        return;
    };
    let info = block.bytes.get(QuotaHeader::SIZE..).unwrap_or_default();
    let (Ok(header), Ok(info)) = (QuotaHeader::decode(&block.bytes), LocalInfo::decode(info))
    else {
        return;
    };
    if let Err(why) = header
        .verify(block.blkno, kind.local_magic())
        .and_then(|()| info.verify(block.blkno, file.block_size(), file.blocks()))
    {
        findings.push(invalid(&why));
        return;
    }
    if let Some(bad) = block.bad_check {
        findings.push(invalid(&format!("block {}: {bad}", block.blkno)));
        return;
    }
    let mut changes = 0;
    for chunk in 0..info.dqi_chunks {
        changes += match self::chunk(file, kind, chunk, pending, findings) {
            Ok(changes) => changes,
            Err(why) => {
                // A block that cannot be read was reported.
                if findings.len() == before {
                    findings.push(invalid(&why));
                }
                return;
            }
        };
    }
    if changes > 0 || info.dqi_flags & LocalInfo::CLEAN == 0 {
        let text = format!("dqi_flags is {:#x}, {changes} changes", info.dqi_flags);
        findings.push(file.finding(codes::QUOTA_LOCAL_DIRTY, None, text));
    }
}

/// Reads the changes of a chunk. Returns their number.
fn chunk(
    file: &QuotaFile<'_>,
    kind: QuotaKind,
    chunk: u32,
    pending: &mut Usage,
    findings: &mut Vec<Finding>,
) -> Result<usize, String> {
    let size = file.block_size();
    let start = u32::try_from(local_chunk_block(size, chunk)).unwrap_or(u32::MAX);
    let per_block = local_entries_per_block(size);
    let data =
        file.blocks().saturating_sub(start.saturating_add(1)).min(local_blocks_per_chunk(size));
    let missing = |index: u32| format!("block {index} of the file is not there");
    let block = file.read(start, findings).ok_or_else(|| missing(start))?;
    let header = LocalChunk::decode(&block.bytes).map_err(|err| err.to_string())?;
    if let Some(bad) = &block.bad_check {
        return Err(format!("chunk {chunk}, block {}: {bad}", block.blkno));
    }
    let bits = (data * per_block) as usize;
    let bitmap = Bitmap::new(block.bytes.get(LocalChunk::SIZE..).unwrap_or_default(), bits);
    let used = bitmap.count_ones();
    if header.dqc_free as usize != bits - used {
        return Err(format!(
            "chunk {chunk}: dqc_free is {}, expected {}",
            header.dqc_free,
            bits - used
        ));
    }
    for block in 0..data {
        let index = start + 1 + block;
        let read = file.read(index, findings).ok_or_else(|| missing(index))?;
        if let Some(bad) = &read.bad_check {
            return Err(format!("block {}: {bad}", read.blkno));
        }
        let bits = block * per_block..(block + 1) * per_block;
        let entries = bits.zip(read.bytes.chunks_exact(LocalEntry::SIZE));
        for (_, bytes) in entries.filter(|(bit, _)| bitmap.get(*bit as usize)) {
            let entry = LocalEntry::decode(bytes).map_err(|err| err.to_string())?;
            let id = u32::try_from(entry.dqb_id);
            let id = id.map_err(|_| format!("block {}: dqb_id is {}", read.blkno, entry.dqb_id))?;
            let amount = Amount { inodes: entry.dqb_inodemod, bytes: entry.dqb_spacemod };
            pending.add(kind, id, amount);
        }
    }
    Ok(used)
}
