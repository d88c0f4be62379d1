//! Formats of Oracle: OCFS2, the first OCFS, ASM disks.

use std::io;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::superblock::{self, Stack, SuperBlock};
use ocfs2_format::{BlockSize, Structure, ocfs1};

use crate::found::Found;
use crate::reader::Reader;

/// The signature without its padding of NULs.
const MAGIC: &[u8] = b"OCFSV2";

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    for block_size in BlockSize::ALL {
        let Some(offset) = superblock::SUPERBLOCK_BLKNO.offset_bytes(block_size) else { continue };
        let Some(block) = reader.signed(offset, block_size.size(), 0, MAGIC)? else { continue };
        let decoded = (Dinode::decode(&block.0), SuperBlock::of_block(&block.0));
        let (Ok(dinode), Ok(sb)) = decoded else { continue };
        let found = Found::filesystem("ocfs2", offset, MAGIC)
            .label(sb.label())
            .uuid(sb.s_uuid)
            .version(format_args!("{}.{}", sb.s_major_rev_level, sb.s_minor_rev_level))
            .block_size_log(sb.s_blocksize_bits, 1);
        return Ok(Some(described(found, &dinode, &sb)));
    }
    Ok(None)
}

/// Adds tags that util-linux does not know.
fn described(mut found: Found, dinode: &Dinode, sb: &SuperBlock) -> Found {
    let stack = match sb.stack() {
        Stack::Local => "local".to_owned(),
        stack => stack.to_string(),
    };
    found = found.tag("OCFS2_SLOTS", sb.s_max_slots.to_string()).tag("OCFS2_CLUSTER_STACK", stack);
    if let Some(info) = sb.cluster_info() {
        found = found.text("OCFS2_CLUSTER_NAME", &info.ci_cluster);
    }
    if let Some(cluster_size) = sb.cluster_size() {
        let size = u64::from(dinode.i_clusters).saturating_mul(cluster_size.bytes().into());
        found = found
            .tag("OCFS2_CLUSTER_SIZE", cluster_size.to_string())
            .tag("OCFS2_VOLUME_SIZE", size.to_string());
    }
    found.tag("OCFS2_FEATURES", sb.features().names().join(" "))
}

pub fn first(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    const MAGIC_AT: usize = 8;
    const MAGIC: &[u8] = b"OracleCFS";
    let Some(header) = reader.signed(0, 1024, MAGIC_AT, MAGIC)? else { return Ok(None) };
    let (minor, major) = (header.le32(0), header.le32(4));
    let mut found = Found::filesystem("ocfs", MAGIC_AT as u64, MAGIC);
    if major == 1 {
        found = found.tag("SEC_TYPE", "ocfs1");
    } else if major >= 9 {
        found = found.tag("SEC_TYPE", "ntocfs");
    }
    let label = ocfs1::label(&header.0).unwrap_or_default();
    let label_len = usize::from(header.le16(512 + 112));
    let mount_len = usize::from(header.le16(264));
    found = found
        .label(label.get(..label_len).unwrap_or(label))
        .text("MOUNT", header.slice(136, mount_len.min(128)))
        .uuid(header.array(512 + 114))
        .version(format_args!("{major}.{minor}"));
    Ok(Some(found))
}

pub fn asm(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    const MAGIC_AT: usize = 32;
    const MAGIC: &[u8] = b"ORCLDISK";
    // The header of the first block, which ASM writes whether or not ASMLib has named the disk.
    const HEADER: &[u8] = b"\x01\x82\x01\x01";
    let Some(header) = reader.read(0, 512)? else { return Ok(None) };
    if !header.has(MAGIC_AT, MAGIC) {
        let is_disk = header.has(0, HEADER);
        return Ok(is_disk.then(|| Found::filesystem("oracleasm", 0, HEADER)));
    }
    let found = Found::filesystem("oracleasm", MAGIC_AT as u64, MAGIC);
    Ok(Some(found.label(header.slice(40, 24))))
}
