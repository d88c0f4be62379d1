//! XFS.

use std::io;

use crate::found::Found;
use crate::reader::{Bytes, Reader};

const MAGIC: &[u8] = b"XFSB";

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    let Some(sb) = reader.signed(0, 512, 0, MAGIC)? else { return Ok(None) };
    if !is_sound(&sb) {
        return Ok(None);
    }
    let found = Found::filesystem("xfs", 0, MAGIC)
        .label(sb.slice(108, 12))
        .uuid(sb.array(32))
        .block_size(sb.be16(102));
    Ok(Some(found))
}

/// Whether sizes are powers of two that agree with their logarithms, and numbers are plausible.
fn is_sound(sb: &Bytes) -> bool {
    let log = |size: u32, log: u8| size.is_power_of_two() && size.trailing_zeros() == log.into();
    let (block, sector, inode) = (sb.be32(4), sb.be16(102), sb.be16(104));
    let blocks = sb.be64(8);
    let realtime_extent = u64::from(sb.be32(80)) * u64::from(block);
    let (group_blocks, groups) = (u64::from(sb.be32(84)), u64::from(sb.be32(88)));
    let most = group_blocks.saturating_mul(groups);
    (512..=65536).contains(&block)
        && (512..=32768).contains(&sector)
        && (256..=2048).contains(&inode)
        && log(block, sb.u8(120))
        && log(sector.into(), sb.u8(121))
        && log(inode.into(), sb.u8(122))
        && groups > 0
        && block >> sb.u8(123).min(31) == inode.into()
        && (4 << 10..=1 << 30).contains(&realtime_extent)
        && sb.u8(127) <= 100
        && blocks > 0
        && blocks <= most
        && blocks >= most.saturating_sub(group_blocks).saturating_add(64)
}
