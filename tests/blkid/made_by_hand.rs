//! Images of formats whose programs need a kernel or are not free: they contain only what
//! identifies them.

use std::path::PathBuf;

use ocfs2_testing::Scratch;

use crate::images::patched;

const SIZE: u64 = 64 << 20;

/// Two UUIDs.
const IDS: [[u8; 16]; 2] = [
    [16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31],
    [48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63],
];

/// Puts bytes together from pairs of offset and bytes.
fn at(parts: &[(usize, &[u8])]) -> Vec<u8> {
    let len = parts.iter().map(|(at, bytes)| at + bytes.len()).max().unwrap_or_default();
    let mut all = vec![0; len];
    for (at, bytes) in parts {
        all[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    all
}

fn le32(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn be32(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// Returns the superblock, version 1, of a member of a Linux software RAID.
fn md_1(place: u64) -> Vec<u8> {
    let mut sb = at(&[
        (0, &le32(&[0xa92b_4efc, 1])),
        (16, &IDS[0]),
        (32, b"host:name"),
        (72, &le32(&[1])),
        (80, &100_000_u64.to_le_bytes()),
        (92, &le32(&[2])),
        (128, &2048_u64.to_le_bytes()),
        (136, &100_000_u64.to_le_bytes()),
        (144, &(place / 512).to_le_bytes()),
        (168, &IDS[1]),
        (220, &le32(&[2])),
        (256, &[0; 4]),
    ]);
    let words = sb.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    let sum: u64 = words.map(u64::from).sum();
    let folded = (sum & 0xffff_ffff) + (sum >> 32);
    sb[216..220].copy_from_slice(&(folded as u32).to_le_bytes());
    sb
}

/// Returns the superblock of version 0.90, in either byte order.
fn md_0(words: fn(&[u32]) -> Vec<u8>) -> Vec<u8> {
    at(&[
        (0, &words(&[0xa92b_4efc, 0, 90, 0, 0, 0x1122_3344])),
        (28, &words(&[1, 30000, 2])),
        (52, &words(&[0x5566_7788, 0x99aa_bbcc, 0xddee_ff00])),
    ])
}

/// Returns a name-value pair of a ZFS label.
fn pair(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    let mut body = be32(&[name.len() as u32]);
    body.extend(name.as_bytes());
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend(be32(&[kind, 1]));
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
    [be32(&[8 + body.len() as u32, 64]), body].concat()
}

fn zfs_pairs() -> Vec<u8> {
    let name = [be32(&[4]), b"tank".to_vec()].concat();
    [
        be32(&[0x0101_0000, 0, 1]),
        pair("version", 8, &5000_u64.to_be_bytes()),
        pair("name", 9, &name),
        pair("pool_guid", 8, &12_345_678_901_234_567_890_u64.to_be_bytes()),
        pair("guid", 8, &9_876_543_210_987_654_321_u64.to_be_bytes()),
        vec![0; 8],
    ]
    .concat()
}

fn zfs_uberblocks(count: usize, number: fn(u64) -> [u8; 8]) -> Vec<u8> {
    let one = at(&[(0, &number(0x00ba_b10c)), (8, &number(5000)), (1023, &[0])]);
    one.repeat(count)
}

/// Returns the label of an LVM2 physical volume.
fn lvm2() -> Vec<u8> {
    // The checksum is that of pvcreate for exactly these bytes.
    at(&[(0, b"LABELONE\x01\0\0\0\0\0\0\0"), (16, &lvm2_sum().to_le_bytes()), (20, &lvm2_summed())])
}

fn lvm2_summed() -> Vec<u8> {
    at(&[
        (0, &le32(&[32])),
        (4, b"LVM2 001"),
        (12, b"GFVLB7yJoXvEXEmBMzB4oVVVrIfgn1EQ"),
        (491, &[0]),
    ])
}

/// CRC-32 with LVM's own initial value and without inversion.
fn lvm2_sum() -> u32 {
    lvm2_summed().iter().fold(0xf597_a6cf, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 * (sum & 1)))
    })
}

pub fn make_all(scratch: &Scratch) -> Vec<PathBuf> {
    let image = |name: &str, parts: &[(u64, &[u8])]| patched(scratch, name, SIZE, parts);
    let end = (SIZE / 512 - 16) / 8 * 8 * 512;
    let swap_header = at(&[(0, &le32(&[1, 1000, 0])), (12, &IDS[0]), (28, b"slab")]);
    let swap_header_be = at(&[(0, &be32(&[1, 1000, 0])), (12, &IDS[0]), (28, b"slab")]);
    let boot_code = at(&[(0, &swap_header), (150, &[0x11; 300])]);
    let gfs = at(&[
        (0, &be32(&[0x0116_1970])),
        (24, &be32(&[1309, 1401])),
        (160, b"cl:gfs1 "),
        (256, &IDS[0]),
    ]);
    let vmfs: Vec<u8> = (0..=255).collect();
    let erofs = at(&[(0, &le32(&[0xe0f5_e1e2])), (12, &[12]), (48, &IDS[0]), (64, b"erolab")]);
    let second_luks = at(&[
        (0, b"SKUL\xba\xbe\0\x02"),
        (24, b"lab2"),
        (168, b"11111111-2222-3333-4444-555555555555"),
        (256, &0x8000_u64.to_be_bytes()),
    ]);
    let protective = b"\0\0\x01\0\xee\xff\xff\xff\x01\0\0\0\xff\xff\x01\0";
    let place = (1_u64 << 20).to_le_bytes();
    let to_go: &[u8] = b"\x3b\xd6\x67\x49\x2e\x29\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01";
    let metadata: &[u8] = b"-FVE-FS-\x01\x02\x02\0";
    vec![
        image("md-1.0", &[(end, &md_1(end))]),
        image("md-1.1", &[(0, &md_1(0))]),
        image("md-1.2", &[(4096, &md_1(4096))]),
        image("md-1.2-misplaced", &[(4096, &md_1(8192))]),
        image("md-0.90", &[(SIZE - 65536, &md_0(le32))]),
        image("md-0.90-be", &[(SIZE - 65536, &md_0(be32))]),
        image("lvm2", &[(512, &lvm2())]),
        image("lvm2-bad-sum", &[(512, &lvm2()), (512 + 60, b"x")]),
        image("zfs", &[(16384, &zfs_pairs()), (131_072, &zfs_uberblocks(8, u64::to_le_bytes))]),
        image("zfs-be", &[(16384, &zfs_pairs()), (131_072, &zfs_uberblocks(8, u64::to_be_bytes))]),
        image("zfs-leftover", &[(131_072, &zfs_uberblocks(3, u64::to_le_bytes))]),
        image("gfs", &[(65536, &gfs)]),
        image("vmfs-member", &[(1 << 20, &vmfs), (1 << 20, b"\x0d\xd0\x01\xc0")]),
        image(
            "vmfs",
            &[(2 << 20, &vmfs[..29]), (2 << 20, b"\x5e\xf1\xab\x2f"), ((2 << 20) + 29, b"vmlabel")],
        ),
        image("oracleasm", &[(32, b"ORCLDISKVOL1")]),
        image("erofs", &[(1024, &erofs)]),
        image("squashfs3", &[(0, b"hsqs"), (28, &[3, 0, 1, 0])]),
        image("squashfs3-be", &[(0, b"sqsh"), (28, &[0, 3, 0, 1])]),
        image("suspended", &[(4086, b"S1SUSPEND"), (1024, &swap_header)]),
        image("hibernated", &[(4086, b"LINHIB0001"), (1024, &swap_header)]),
        image("tuxonice", &[(0, b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c")]),
        image("swap-0", &[(4086, b"SWAP-SPACE")]),
        image("swap-be", &[(4086, b"SWAPSPACE2"), (1024, &swap_header_be)]),
        image("swap-boot", &[(4086, b"SWAPSPACE2"), (1024, &boot_code)]),
        image(
            "drbd-8",
            &[(SIZE - 4036, b"\x83\x74\x02\x6b"), (SIZE - 4056, b"\0\x01\x02\x03\x04\x05\x06\x07")],
        ),
        image("luks2-second", &[(0x8000, &second_luks)]),
        image("luks-3", &[(0, b"LUKS\xba\xbe\0\x03")]),
        image("pmbr", &[(446, protective), (510, b"\x55\xaa")]),
        image("pmbr-active", &[(446, b"\x80"), (447, &protective[1..]), (510, b"\x55\xaa")]),
        image("bitlocker-vista", &[(0, b"\xeb\x52\x90-FVE-FS-")]),
        image("bitlocker", &[(0, b"\xeb\x58\x90-FVE-FS-"), (176, &place), (1 << 20, metadata)]),
        image("bitlocker-none", &[(0, b"\xeb\x58\x90-FVE-FS-"), (176, &place)]),
        image(
            "bitlocker-to-go",
            &[(0, b"\xeb\x58\x90MSWIN4.1"), (424, to_go), (440, &place), (1 << 20, metadata)],
        ),
        image("high-sierra", &[(32768 + 8, b"\x01CDROM\x01"), (32768 + 48, b"HSLABEL")]),
    ]
}
