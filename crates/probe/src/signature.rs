//! Formats of which only the presence is reported, which is enough to avoid overwriting them.
//!
//! Each signature has one row. If it is short, more of the format is checked, so that text
//! beginning with the same letters is not mistaken for it.

use std::io;

use crate::found::{Found, Usage};
use crate::reader::Reader;

/// The place of a signature.
#[derive(Clone, Copy)]
enum Place {
    /// Bytes from the start.
    At(u64),
    /// The start of the sector of 512 bytes that is so many sectors before the end.
    FromEnd(u64),
    /// The same sector, and an offset in bytes within it.
    In(u64, u64),
}
use Place::{At, FromEnd, In};

/// Checks more than the signature, which is at the given offset.
type Check = fn(&Reader<'_>, u64) -> io::Result<bool>;

/// One format.
pub struct Signature {
    /// The type as blkid calls it.
    pub kind: &'static str,
    pub usage: Usage,
    places: &'static [Place],
    magics: &'static [&'static [u8]],
    check: Option<Check>,
}

const fn plain(
    kind: &'static str,
    usage: Usage,
    places: &'static [Place],
    magics: &'static [&'static [u8]],
) -> Signature {
    Signature { kind, usage, places, magics, check: None }
}

const fn checked(
    kind: &'static str,
    usage: Usage,
    places: &'static [Place],
    magics: &'static [&'static [u8]],
    check: Check,
) -> Signature {
    Signature { kind, usage, places, magics, check: Some(check) }
}

use Usage::{Crypto, Filesystem, Other, Raid};

const START: &[Place] = &[At(0)];
const LAST: &[Place] = &[FromEnd(1)];
/// Signatures of UFS and UFS2 in all variants and both byte orders.
const UFS: &[&[u8]] = &[
    b"\x19\x01\x54\x19",
    b"\x19\x54\x01\x19",
    b"\x54\x19\x01\x00",
    b"\x00\x01\x19\x54",
    b"\x12\x56\x19\x00",
    b"\x00\x19\x56\x12",
    b"\x14\x50\x09\x00",
    b"\x00\x09\x50\x14",
    b"\x95\x21\x61\x00",
    b"\x00\x61\x21\x95",
    b"\x94\x19\x23\x05",
    b"\x05\x23\x19\x94",
];
const UFS_PLACES: &[Place] =
    &[At(1372), At((8 << 10) + 1372), At((64 << 10) + 1372), At((256 << 10) + 1372)];
/// Sectors before the end of the disk.
const PROMISE: &[Place] = &[
    FromEnd(63),
    FromEnd(255),
    FromEnd(256),
    FromEnd(16),
    FromEnd(399),
    FromEnd(591),
    FromEnd(675),
    FromEnd(735),
    FromEnd(911),
    FromEnd(974),
    FromEnd(991),
    FromEnd(951),
    FromEnd(3087),
];
const SYSV: &[Place] = &[At(1016), At(9 * 1024 + 1016), At(15 * 1024 + 1016), At(18 * 1024 + 1016)];
const MINIX: &[&[u8]] = &[
    b"\x7f\x13",
    b"\x8f\x13",
    b"\x13\x7f",
    b"\x13\x8f",
    b"\x68\x24",
    b"\x78\x24",
    b"\x24\x68",
    b"\x24\x78",
];
const BCACHEFS: &[u8] = b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";

/// Formats that are looked for first, because they contain others.
pub const OUTER: &[Signature] = &[
    plain("ddf_raid_member", Raid, &[FromEnd(1), FromEnd(257)], &[b"\xde\x11\xde\x11"]),
    plain("isw_raid_member", Raid, &[FromEnd(2), FromEnd(16)], &[b"Intel Raid ISM Cfg Sig. "]),
    plain("lsi_mega_raid_member", Raid, LAST, &[b"$XIDE$"]),
    checked("via_raid_member", Raid, LAST, &[b"\x55\xaa"], via),
    checked("silicon_medley_raid_member", Raid, &[In(1, 0x60)], &[b"\0\0\0\x2f"], silicon),
    checked("nvidia_raid_member", Raid, &[FromEnd(2)], &[b"NVIDIA  "], nvidia),
    plain("promise_fasttrack_raid_member", Raid, PROMISE, &[b"Promise Technology, Inc."]),
    plain("hpt45x_raid_member", Raid, &[FromEnd(11)], &[b"\xf3\x16\x78\x5a", b"\xfd\x16\x78\x5a"]),
    plain("hpt37x_raid_member", Raid, &[At(4640)], &[b"\xf0\x16\x78\x5a", b"\xfd\x16\x78\x5a"]),
    plain("adaptec_raid_member", Raid, LAST, &[b"\x37\xfc\x4d\x1e"]),
    checked("jmicron_raid_member", Raid, LAST, &[b"JM"], jmicron),
    checked("LVM1_member", Raid, START, &[b"HM"], lvm1),
    plain("ubi", Raid, START, &[b"UBI#"]),
    plain("stratis", Raid, &[At(516), At(4612)], &[b"!Stra0tis\x86\xff\x02^\x41rh"]),
    plain("DM_verity_hash", Crypto, START, &[b"verity\0\0"]),
    plain("DM_integrity", Crypto, START, &[b"integrt\0"]),
    checked("cs_fvault2", Crypto, &[At(88)], &[b"CS"], fvault2),
];

/// All other formats.
pub const INNER: &[Signature] = &[
    plain("bcachefs", Filesystem, &[At(4096 + 24), At((2 << 20) + 24), In(2048, 24)], &[BCACHEFS]),
    plain("ceph_bluestore", Other, START, &[b"bluestore block device"]),
    plain("drbdmanage_control_volume", Other, START, &[b"$DRBDmgr=q"]),
    plain("drbdproxy_datalog", Filesystem, START, &[b"DRBDdlh*"]),
    plain("DM_snapshot_cow", Other, START, &[b"SnAp"]),
    plain("vdo", Other, START, &[b"dmvdo001"]),
    plain("sbd", Other, START, &[b"SBD_SBD_"]),
    checked("xfs_external_log", Other, START, &[b""], xfs_log),
    plain("exfs", Filesystem, START, &[b"EXFS"]),
    plain("reiser4", Filesystem, &[At(64 << 10)], &[b"ReIsEr4"]),
    checked("hfsplus", Filesystem, &[At(1024)], &[b"H+", b"HX", b"BD"], hfs_plus),
    checked("hfs", Filesystem, &[At(1024)], &[b"BD"], hfs),
    plain("ufs", Filesystem, UFS_PLACES, UFS),
    checked("hpfs", Filesystem, &[At(8192)], &[b"\x49\xe8\x95\xf9"], hpfs),
    plain("sysv", Filesystem, SYSV, &[b"\x20\x7e\x18\xfd", b"\xfd\x18\x7e\x20"]),
    plain("xenix", Filesystem, &[At(2048)], &[b"\x2b\x55\x44", b"\x44\x55\x2b"]),
    plain("ReFS", Filesystem, START, &[b"\0\0\0ReFS\0"]),
    checked(
        "cramfs",
        Filesystem,
        START,
        &[b"\x45\x3d\xcd\x28", b"\x28\xcd\x3d\x45"],
        |reader, _| has(reader, 16, b"Compressed ROMFS"),
    ),
    plain("romfs", Filesystem, START, &[b"-rom1fs-"]),
    checked("scoutfs_meta", Filesystem, &[At(65540)], &[b"\x8b\x42\x3c\x10"], |reader, at| {
        scoutfs(reader, at, true)
    }),
    checked("scoutfs_data", Filesystem, &[At(65540)], &[b"\x8b\x42\x3c\x10"], |reader, at| {
        scoutfs(reader, at, false)
    }),
    checked("minix", Filesystem, &[At(1024 + 16)], MINIX, minix),
    checked("minix", Filesystem, &[At(1024 + 24)], &[b"\x5a\x4d", b"\x4d\x5a"], minix_3),
    plain("vxfs", Filesystem, &[At(1024)], &[b"\xf5\xfc\x01\xa5"]),
    plain("vxfs", Filesystem, &[At(8192)], &[b"\xa5\x01\xfc\xf5"]),
    plain("nss", Filesystem, &[At(4096)], &[b"SPB5"]),
    plain("ubifs", Filesystem, START, &[b"\x31\x18\x10\x06"]),
    plain("bfs", Filesystem, START, &[b"\xce\xfa\xad\x1b"]),
    checked("befs", Filesystem, &[At(32), At(544)], &[b"BFS1", b"1SFB"], befs),
    plain("mpool", Filesystem, START, &[b"mpoolDev"]),
    plain("apfs", Filesystem, &[At(32)], &[b"NXSB"]),
    plain("zonefs", Filesystem, START, &[b"SFOZ"]),
];

impl Signature {
    /// Looks for the format on a device.
    pub fn probe(&self, reader: &Reader<'_>) -> io::Result<Option<Found>> {
        for place in self.places {
            let Some(at) = offset(reader, *place) else { continue };
            for magic in self.magics {
                if !has(reader, at, magic)? {
                    continue;
                }
                let good = match self.check {
                    Some(check) => check(reader, at)?,
                    None => true,
                };
                if good {
                    return Ok(Some(Found::new(self.kind, self.usage, at, magic)));
                }
            }
        }
        Ok(None)
    }
}

fn offset(reader: &Reader<'_>, place: Place) -> Option<u64> {
    match place {
        At(at) => Some(at),
        FromEnd(sectors) => offset(reader, In(sectors, 0)),
        In(sectors, bytes) => {
            (reader.size() / 512).checked_sub(sectors).map(|sector| sector * 512 + bytes)
        }
    }
}

fn has(reader: &Reader<'_>, at: u64, bytes: &[u8]) -> io::Result<bool> {
    Ok(reader.signed(at, bytes.len(), 0, bytes)?.is_some())
}

/// The sum of the first bytes is stored after them.
fn via(reader: &Reader<'_>, at: u64) -> io::Result<bool> {
    let Some(sector) = reader.read(at, 512)? else { return Ok(false) };
    let sum = sector.slice(0, 50).iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    Ok(sector.u8(2) <= 2 && sum == sector.u8(50))
}

fn sum_of_words(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
    words.fold(0, u16::wrapping_add)
}

fn silicon(reader: &Reader<'_>, at: u64) -> io::Result<bool> {
    const SUM_AT: usize = 0x13e;
    let Some(sector) = reader.read(at - 0x60, 512)? else { return Ok(false) };
    Ok(sum_of_words(sector.slice(0, SUM_AT)).wrapping_neg() == sector.le16(SUM_AT))
}

fn nvidia(reader: &Reader<'_>, at: u64) -> io::Result<bool> {
    Ok(reader.read(at, 512)?.is_some_and(|sector| sector.le32(8) == 30))
}

fn jmicron(reader: &Reader<'_>, at: u64) -> io::Result<bool> {
    let Some(sector) = reader.read(at, 512)? else { return Ok(false) };
    Ok(matches!(sum_of_words(sector.slice(0, 128)), 0 | 1) && sector.u8(0x30) <= 5)
}

fn lvm1(reader: &Reader<'_>, _: u64) -> io::Result<bool> {
    Ok(reader.read(0, 512)?.is_some_and(|sector| matches!(sector.le16(2), 1 | 2)))
}

fn fvault2(reader: &Reader<'_>, _: u64) -> io::Result<bool> {
    let Some(sector) = reader.read(0, 512)? else { return Ok(false) };
    Ok(sector.le16(8) == 1 && sector.le16(10) == 0x10 && sector.le32(90) == 1)
}

fn scoutfs(reader: &Reader<'_>, at: u64, is_meta: bool) -> io::Result<bool> {
    let Some(sb) = reader.read(at - 4, 512)? else { return Ok(false) };
    Ok((sb.le64(48) & 1 == 1) == is_meta)
}

/// One of the first sectors has the header of a record.
fn xfs_log(reader: &Reader<'_>, _: u64) -> io::Result<bool> {
    const SECTOR: usize = 512;
    let Some(bytes) = reader.read(0, 512 * SECTOR)? else { return Ok(false) };
    for at in (0..512).map(|sector| sector * SECTOR) {
        if bytes.has(at, b"XFSB") {
            return Ok(false);
        }
        let version = bytes.be32(at + 8);
        let is_record = bytes.has(at, b"\xfe\xed\xba\xbe")
            && version != 0
            && version & !3 == 0
            && (1..1 << 31).contains(&bytes.be32(at + 12))
            && matches!(bytes.be32(at + 300), 1..=3);
        if is_record {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Either within an old HFS, or by itself.
fn hfs_plus(reader: &Reader<'_>, at: u64) -> io::Result<bool> {
    let Some(header) = reader.read(at, 512)? else { return Ok(false) };
    if header.has(0, b"BD") {
        return Ok(header.has(0x7c, b"H+") || header.has(0x7c, b"HX"));
    }
    let block_size = header.be32(40);
    Ok(block_size >= 512 && block_size.is_power_of_two())
}

fn hfs(reader: &Reader<'_>, at: u64) -> io::Result<bool> {
    let Some(header) = reader.read(at, 512)? else { return Ok(false) };
    let size = header.be32(20);
    Ok(size != 0 && size.is_multiple_of(512) && !hfs_plus(reader, at)?)
}

fn hpfs(reader: &Reader<'_>, _: u64) -> io::Result<bool> {
    has(reader, 8192 + 512, b"\x49\x18\x91\xf9")
}

fn befs(reader: &Reader<'_>, at: u64) -> io::Result<bool> {
    let Some(sb) = reader.read(at, 64)? else { return Ok(false) };
    Ok([sb.le32(36), sb.be32(36)].contains(&0xdd12_1031))
}

/// A signature of two bytes is not enough: the bitmaps must also have room for all inodes and
/// zones.
fn minix(reader: &Reader<'_>, _: u64) -> io::Result<bool> {
    let Some(sb) = reader.read(1024, 512)? else { return Ok(false) };
    let swapped = sb.u8(16) == 0x13 || sb.u8(16) == 0x24;
    let word = |at| if swapped { sb.be16(at) } else { sb.le16(at) };
    let is_2 = matches!(word(16), 0x2468 | 0x2478);
    let zones = match (is_2, swapped) {
        (true, true) => sb.be32(20),
        (true, false) => sb.le32(20),
        (false, _) => word(2).into(),
    };
    let state = word(18);
    let fits = fits(word(0).into(), zones, word(4), word(6), word(8)) && word(10) == 0;
    Ok(fits && state & !3 == 0 && !is_other_at_1024(reader)?)
}

fn minix_3(reader: &Reader<'_>, _: u64) -> io::Result<bool> {
    let Some(sb) = reader.read(1024, 512)? else { return Ok(false) };
    let swapped = sb.u8(24) == 0x4d;
    let word = |at| if swapped { sb.be16(at) } else { sb.le16(at) };
    let long = |at| if swapped { sb.be32(at) } else { sb.le32(at) };
    let fits = fits(long(0), long(20), word(6), word(8), word(10)) && word(12) == 0;
    Ok(fits && !is_other_at_1024(reader)?)
}

fn fits(inodes: u32, zones: u32, inode_blocks: u16, zone_blocks: u16, first: u16) -> bool {
    const BITS: u64 = 1024 * 8;
    let (inodes, zones, first) = (u64::from(inodes), u64::from(zones), u64::from(first));
    inodes != 0
        && inodes != u64::from(u32::MAX)
        && u64::from(inode_blocks) * BITS > inodes
        && first <= zones
        && u64::from(zone_blocks) * BITS > zones - first
}

/// ext2 to ext4 and erofs have their superblocks in the same place.
fn is_other_at_1024(reader: &Reader<'_>) -> io::Result<bool> {
    Ok(has(reader, 1024 + 56, b"\x53\xef")? || has(reader, 1024, b"\xe2\xe1\xf5\xe0")?)
}

#[cfg(test)]
mod tests {
    use ocfs2_device::Device;
    use ocfs2_device::MemoryDevice;

    use super::*;

    const SIZE: u64 = 64 << 20;

    /// What is required in addition to the signature.
    fn rest(kind: &str) -> Vec<(u64, Vec<u8>)> {
        let last = SIZE - 512;
        match kind {
            "via_raid_member" => vec![(last, b"\x55\xaa\x01".to_vec()), (last + 50, vec![0])],
            "silicon_medley_raid_member" => {
                vec![(last + 0x13e, vec![0, 0xd1])]
            }
            "nvidia_raid_member" => vec![(SIZE - 1024 + 8, vec![30])],
            "jmicron_raid_member" => {
                vec![(last + 2, (0_u16.wrapping_sub(0x4d4a)).to_le_bytes().to_vec())]
            }
            "LVM1_member" => vec![(2, vec![1])],
            "cs_fvault2" => vec![(8, vec![1, 0, 0x10]), (90, vec![1])],
            "xfs_external_log" => vec![
                (1024, b"\xfe\xed\xba\xbe\0\0\0\x01\0\0\0\x02\0\0\x02\0".to_vec()),
                (1024 + 303, vec![1]),
            ],
            "hfsplus" => vec![(1024 + 42, vec![0x10])],
            "hfs" => vec![(1024 + 22, vec![0x10])],
            "hpfs" => vec![(8192 + 512, b"\x49\x18\x91\xf9".to_vec())],
            "cramfs" => vec![(16, b"Compressed ROMFS".to_vec())],
            "scoutfs_meta" => vec![(65536 + 48, vec![1])],
            _ => Vec::new(),
        }
    }

    fn found(parts: &[(u64, Vec<u8>)]) -> Vec<Found> {
        let device = MemoryDevice::new(SIZE);
        for (at, bytes) in parts {
            device.write_at(bytes, *at).unwrap();
        }
        crate::contents(&device).unwrap()
    }

    #[test]
    fn each_signature_is_found_where_it_lies_and_is_gone_with_it() {
        for signature in OUTER.iter().chain(INNER) {
            // Formats with variable fields are tested below.
            if matches!(signature.kind, "minix" | "befs") {
                continue;
            }
            let device = MemoryDevice::new(SIZE);
            let reader = Reader::new(&device).unwrap();
            let at = offset(&reader, signature.places[0]).unwrap();
            let mut parts = vec![(at, signature.magics[0].to_vec())];
            parts.extend(rest(signature.kind));
            let found = found(&parts);
            let kinds: Vec<_> = found.iter().map(|found| found.kind).collect();
            assert_eq!(kinds, [signature.kind]);
            assert_eq!(found[0].magic.start, at);
            assert!(!found[0].to_string().is_empty());
        }
    }

    #[test]
    fn short_signatures_alone_are_text() {
        for (at, bytes) in [
            (0, &b"HM what is this?"[..]),
            (SIZE - 512, b"\x55\xaa"),
            (SIZE - 512, b"JM"),
            (88, b"CS"),
            (1024, b"BD"),
            (1024, b"H+"),
            (1040, b"\x7f\x13"),
            (1048, b"\x5a\x4d"),
            (32, b"BFS1"),
            (0, b"\x45\x3d\xcd\x28"),
        ] {
            assert_eq!(found(&[(at, bytes.to_vec())]), [], "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn minix_and_befs_are_told_in_either_byte_order() {
        let words = |words: &[u16], big: bool| -> Vec<u8> {
            words.iter().flat_map(|w| if big { w.to_be_bytes() } else { w.to_le_bytes() }).collect()
        };
        for (big, kind) in [(false, 0x137f), (true, 0x138f)] {
            let sb = words(&[352, 1024, 1, 1, 15, 0, 0, 0, kind, 1], big);
            assert_eq!(found(&[(1024, sb)])[0].kind, "minix");
        }
        for big in [false, true] {
            let magic: &[u8] = if big { b"BFS1BIGE" } else { b"1SFBEGIB" };
            let second = 0xdd12_1031_u32;
            let second = if big { second.to_be_bytes() } else { second.to_le_bytes() };
            let parts = [(544, magic.to_vec()), (544 + 36, second.to_vec())];
            assert_eq!(found(&parts)[0].kind, "befs");
        }
    }

    #[test]
    fn an_asm_disk_without_asmlib_is_told() {
        let found = found(&[(0, b"\x01\x82\x01\x01".to_vec())]);
        assert_eq!((found[0].kind, found[0].magic.clone()), ("oracleasm", 0..4));
    }
}
