//! Further Linux file systems, each recognized by a short superblock.

use std::io;

use crate::checksum::crc32_raw;
use crate::found::Found;
use crate::reader::Reader;
use crate::text;

pub fn reiserfs(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    const MAGIC_AT: usize = 52;
    const MAGICS: [(&[u8], &str); 3] =
        [(b"ReIsErFs", "3.5"), (b"ReIsEr2Fs", "3.6"), (b"ReIsEr3Fs", "JR")];
    for offset in [8 << 10, 64 << 10] {
        let Some(sb) = reader.read(offset, 512)? else { return Ok(None) };
        let found = MAGICS.into_iter().find(|(magic, _)| sb.has(MAGIC_AT, magic));
        let Some((magic, version)) = found else { continue };
        let block_size = u64::from(sb.le16(44));
        // A log of the file system may contain a superblock, too.
        let first = u64::from(sb.le32(20));
        if block_size >= 512 && offset / block_size > first / 2 {
            continue;
        }
        let mut found = Found::filesystem("reiserfs", offset + MAGIC_AT as u64, magic);
        if version != "3.5" {
            found = found.label(sb.slice(100, 16)).uuid(sb.array(84));
        }
        return Ok(Some(found.version(version).block_size(block_size)));
    }
    Ok(None)
}

pub fn jfs(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    const OFFSET: u64 = 32 << 10;
    const MAGIC: &[u8] = b"JFS1";
    let Some(sb) = reader.signed(OFFSET, 512, 0, MAGIC)? else { return Ok(None) };
    let (block, log) = (sb.le32(16), sb.le16(20));
    let (sector, sector_log, factor) = (sb.le32(24), sb.le16(28), sb.le16(22));
    let agree = 1_u32.checked_shl(log.into()) == Some(block)
        && 1_u32.checked_shl(sector_log.into()) == Some(sector)
        && log.checked_sub(sector_log) == Some(factor);
    if !agree {
        return Ok(None);
    }
    let found = Found::filesystem("jfs", OFFSET, MAGIC)
        .label(sb.slice(152, 16))
        .uuid(sb.array(136))
        .block_size(block);
    Ok(Some(found))
}

pub fn squashfs(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    const MAGIC: &[u8] = b"hsqs";
    const BIG_ENDIAN_MAGIC: &[u8] = b"sqsh";
    let Some(sb) = reader.read(0, 96)? else { return Ok(None) };
    let (magic, major, minor) = match () {
        () if sb.has(0, MAGIC) => (MAGIC, sb.le16(28), sb.le16(30)),
        () if sb.has(0, BIG_ENDIAN_MAGIC) => (BIG_ENDIAN_MAGIC, sb.be16(28), sb.be16(30)),
        () => return Ok(None),
    };
    // From version 4 on there is only one byte order.
    let found = match major {
        0..4 => Found::filesystem("squashfs3", 0, magic),
        _ if magic == MAGIC => Found::filesystem("squashfs", 0, magic),
        _ => return Ok(None),
    };
    let found = found.version(format_args!("{major}.{minor}"));
    Ok(Some(if major < 4 { found.block_size(1024) } else { found }))
}

pub fn nilfs2(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    const MAGIC_AT: usize = 6;
    const MAGIC: &[u8] = b"\x34\x34";
    // The backup is in the last whole 4 KiB of the device.
    let backup = (reader.size() / 4096).saturating_sub(1).saturating_mul(4096);
    for offset in [1024, backup] {
        let Some(sb) = reader.signed(offset, 1024, MAGIC_AT, MAGIC)? else { continue };
        let len = usize::from(sb.le16(8));
        if !(20..=1024).contains(&len) {
            continue;
        }
        let mut sum = crc32_raw(sb.le32(12), sb.slice(0, 16));
        sum = crc32_raw(sum, &[0; 4]);
        sum = crc32_raw(sum, sb.slice(20, len - 20));
        if sum != sb.le32(16) {
            continue;
        }
        let found = Found::filesystem("nilfs2", offset + MAGIC_AT as u64, MAGIC)
            .label(sb.slice(168, 80))
            .uuid(sb.array(152))
            .version(sb.le32(0))
            .block_size_log(sb.le32(20), 1024);
        return Ok(Some(found));
    }
    Ok(None)
}

pub fn f2fs(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    const OFFSET: u64 = 1024;
    const MAGIC: &[u8] = b"\x10\x20\xf5\xf2";
    let Some(sb) = reader.signed(OFFSET, 3072, 0, MAGIC)? else { return Ok(None) };
    let (major, minor) = (sb.le16(4), sb.le16(6));
    let mut found = Found::filesystem("f2fs", OFFSET, MAGIC);
    // Version 1.0 has a different layout from here on.
    if (major, minor) != (1, 0) {
        found = found.label(text::trimmed(&text::utf16(sb.slice(124, 1024), u16::from_le_bytes)));
        found = found.uuid(sb.array(108));
    }
    found = found.version(format_args!("{major}.{minor}"));
    Ok(Some(found.block_size_log(sb.le32(16), 1)))
}

pub fn erofs(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    const OFFSET: u64 = 1024;
    const MAGIC: &[u8] = b"\xe2\xe1\xf5\xe0";
    let Some(sb) = reader.signed(OFFSET, 128, 0, MAGIC)? else { return Ok(None) };
    let found = Found::filesystem("erofs", OFFSET, MAGIC)
        .label(sb.slice(64, 16))
        .uuid(sb.array(48))
        .block_size_log(sb.u8(12).into(), 1);
    Ok(Some(found))
}
