//! ext2, ext3, ext4 and their external journals.

use std::io;

use crate::found::{Found, Usage};
use crate::reader::Reader;

const OFFSET: u64 = 1024;
const MAGIC_AT: usize = 56;
const MAGIC: &[u8] = b"\x53\xef";

const COMPAT_HAS_JOURNAL: u32 = 0x4;
const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
/// Set by the ext4 that was still in development.
const FLAG_TEST_FILESYS: u32 = 0x4;

/// filetype, meta_bg
const INCOMPAT_EXT2: u32 = 0x12;
/// and needs_recovery
const INCOMPAT_EXT3: u32 = 0x16;
/// sparse_super, large_file, btree_dir
const RO_COMPAT_EXT3: u32 = 0x7;

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    let Some(sb) = reader.signed(OFFSET, 1024, MAGIC_AT, MAGIC)? else { return Ok(None) };
    let (compat, incompat, ro_compat) = (sb.le32(92), sb.le32(96), sb.le32(100));
    let kind = match kind(compat, incompat, ro_compat) {
        "ext4" if sb.le32(352) & FLAG_TEST_FILESYS != 0 => "ext4dev",
        kind => kind,
    };
    let usage = if kind == "jbd" { Usage::Other } else { Usage::Filesystem };
    let mut found = Found::new(kind, usage, OFFSET + MAGIC_AT as u64, MAGIC)
        .label(sb.slice(120, 16))
        .uuid(sb.array(104));
    if compat & COMPAT_HAS_JOURNAL != 0 {
        found = found.uuid_as("EXT_JOURNAL", sb.array(208));
    }
    if kind != "ext2" && kind != "jbd" && incompat & !INCOMPAT_EXT2 == 0 {
        found = found.tag("SEC_TYPE", "ext2");
    }
    found = found.version(format_args!("{}.{}", sb.le32(76), sb.le16(62)));
    found = found.block_size_log(sb.le32(24), 1024);
    if kind == "jbd" {
        found = found.uuid_as("LOGUUID", sb.array(104));
    }
    Ok(Some(found))
}

fn kind(compat: u32, incompat: u32, ro_compat: u32) -> &'static str {
    if incompat & INCOMPAT_JOURNAL_DEV != 0 {
        return "jbd";
    }
    if ro_compat & !RO_COMPAT_EXT3 != 0 || incompat & !INCOMPAT_EXT3 != 0 {
        return "ext4";
    }
    if compat & COMPAT_HAS_JOURNAL != 0 { "ext3" } else { "ext2" }
}
