//! Recognition of the contents of a device: file systems, RAID and LVM members, encryption,
//! partition tables.
//!
//! Formats are recognized by their signatures, and by checksums where they have them, so that
//! leftovers are not mistaken for contents in use. Results have the tags that util-linux's `blkid
//! -p` prints, in its order. Any bytes on the device are handled, and little is read.
#![deny(missing_docs)]

mod bitlocker;
mod btrfs;
mod checksum;
mod container;
mod exfat;
mod ext;
mod fat;
mod found;
mod gfs2;
mod instead;
mod iso9660;
mod linux;
mod luks;
mod lvm;
mod ntfs;
mod ocfs;
mod raid;
mod reader;
mod signature;
mod swap;
mod table;
mod text;
mod udf;
mod vmfs;
mod xfs;
mod zfs;

use std::io;

use ocfs2_device::Device;
use reader::Reader;
use signature::Signature;

pub use container::container;
pub use found::{Found, Tag, Usage};
pub use instead::{explained, instead, partitions};

type Probe = fn(&Reader<'_>) -> io::Result<Option<Found>>;

/// A format: the types that its probe can find, and the probe.
struct Format {
    types: &'static [&'static str],
    probe: Probe,
}

macro_rules! formats {
    ($($types:expr => $probe:path,)*) => {
        &[$(Format { types: &$types, probe: $probe }),*]
    };
}

/// In the order of util-linux: formats that contain others come first.
const FORMATS: &[Format] = formats![
    ["linux_raid_member"] => raid::md,
    ["bcache"] => raid::bcache,
    ["drbd"] => raid::drbd,
    ["LVM2_member"] => lvm::probe,
    ["crypto_LUKS"] => luks::probe,
    ["VMFS_volume_member"] => vmfs::member,
    ["BitLocker"] => bitlocker::probe,
    ["vfat"] => fat::probe,
    ["swsuspend"] => swap::suspended,
    ["swap"] => swap::probe,
    ["xfs"] => xfs::probe,
    ["ext4dev", "ext4", "ext3", "ext2", "jbd"] => ext::probe,
    ["reiserfs"] => linux::reiserfs,
    ["jfs"] => linux::jfs,
    ["udf"] => udf::probe,
    ["iso9660"] => iso9660::probe,
    ["zfs_member"] => zfs::probe,
    ["ntfs"] => ntfs::probe,
    ["gfs"] => gfs2::first,
    ["gfs2"] => gfs2::probe,
    ["ocfs"] => ocfs::first,
    ["ocfs2"] => ocfs::probe,
    ["oracleasm"] => ocfs::asm,
    ["squashfs", "squashfs3"] => linux::squashfs,
    ["btrfs"] => btrfs::probe,
    ["VMFS"] => vmfs::probe,
    ["nilfs2"] => linux::nilfs2,
    ["exfat"] => exfat::probe,
    ["f2fs"] => linux::f2fs,
    ["erofs"] => linux::erofs,
    ["dos", "gpt", "PMBR"] => table::probe,
];

/// The types that can be found, in the order in which they are looked for.
pub fn types() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    let of = |signatures: &'static [Signature]| signatures.iter().map(|signature| signature.kind);
    let formats = FORMATS.iter().flat_map(|format| format.types).copied();
    // Some types have more than one row.
    let all = of(signature::OUTER).chain(formats).chain(of(signature::INNER));
    all.filter(move |kind| std::mem::replace(&mut last, *kind) != *kind)
}

/// Returns everything found on `device`, in the order of [`types`]; empty if nothing is recognized.
///
/// More than one result is common: a whole-disk image of a live CD is an ISO 9660 file system and
/// has a partition table. [`Found::is_tolerant`] says which formats may share a device.
///
/// # Errors
/// Those of the device.
pub fn contents(device: &dyn Device) -> io::Result<Vec<Found>> {
    contents_of_types(device, |_| true)
}

/// Like [`contents`], but only looks for types that `wanted` accepts.
///
/// # Errors
/// Those of the device.
pub fn contents_of_types(
    device: &dyn Device,
    wanted: impl Fn(&str) -> bool,
) -> io::Result<Vec<Found>> {
    let reader = Reader::new(device)?;
    let mut all = Vec::new();
    let signed = |signatures: &[Signature], all: &mut Vec<Found>| {
        for signature in signatures.iter().filter(|signature| wanted(signature.kind)) {
            all.extend(signature.probe(&reader)?);
        }
        io::Result::Ok(())
    };
    signed(signature::OUTER, &mut all)?;
    for format in FORMATS {
        if !format.types.iter().any(|name| wanted(name)) {
            continue;
        }
        all.extend((format.probe)(&reader)?.filter(|found| wanted(found.kind)));
    }
    signed(signature::INNER, &mut all)?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use ocfs2_device::{CountingDevice, MemoryDevice};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_device_holds_nothing_and_little_is_read() {
        for size in [0, 1, 511, 512, 4096, 1 << 20, 1 << 44] {
            let device = CountingDevice::new(MemoryDevice::new(size));
            assert_eq!(contents(&device).unwrap(), []);
            let read = device.counts().read_bytes;
            assert!(read < 4 << 20, "{read} of {size} bytes were read");
        }
    }

    /// Signatures with their offsets.
    const SIGNATURES: &[(u64, &[u8])] = &[
        (0, b"XFSB"),
        (3, b"NTFS    "),
        (3, b"EXFAT   "),
        (0, b"LUKS\xba\xbe"),
        (0x52, b"FAT32   "),
        (0x36, b"FAT16   "),
        (510, b"\x55\xaa"),
        (512, b"LABELONE"),
        (536, b"LVM2 001"),
        (512, b"EFI PART"),
        (0, b"hsqs"),
        (1080, b"\x53\xef"),
        (1024, b"\x10\x20\xf5\xf2"),
        (1024, b"\xe2\xe1\xf5\xe0"),
        (1030, b"\x34\x34"),
        (4086, b"SWAPSPACE2"),
        (1024, b"\x01\0\0\0\xff"),
        (8192, b"OCFSV2"),
        (8, b"OracleCFS"),
        (0, b"\xfc\x4e\x2b\xa9\x01\0\0\0"),
        (4096, b"\xfc\x4e\x2b\xa9\x01\0\0\0"),
        (32768, b"\x01CD001"),
        (34816, b"\x02CD001"),
        (32768, b"JFS1"),
        (65536, b"\x01\x16\x19\x70\0\0\0\x01"),
        (65536 + 52, b"ReIsEr2Fs"),
        (65600, b"_BHRfS_M"),
    ];

    proptest! {
        #[test]
        fn any_bytes_behind_the_signatures_are_survived(
            chosen in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
            noise in prop::collection::vec((0_u64..70_000, any::<[u8; 24]>()), 0..60),
            size in 70_100_u64..140_000,
        ) {
            let device = MemoryDevice::new(size);
            for (at, bytes) in noise {
                device.write_at(&bytes, at).unwrap();
            }
            for index in chosen {
                let (at, bytes) = SIGNATURES[index.index(SIGNATURES.len())];
                device.write_at(bytes, at).unwrap();
            }
            for found in contents(&device).unwrap() {
                prop_assert!(types().any(|name| name == found.kind));
                prop_assert!(!found.to_string().is_empty());
            }
        }

        #[test]
        fn extreme_values_in_headers_are_survived(
            chosen in any::<prop::sample::Index>(),
            fill in prop::sample::select(vec![0x00_u8, 0x01, 0x7f, 0x80, 0xff]),
            len in 1_usize..1000,
        ) {
            let device = MemoryDevice::new(256 << 10);
            let (at, bytes) = SIGNATURES[chosen.index(SIGNATURES.len())];
            device.write_at(&vec![fill; len], at.saturating_sub(40)).unwrap();
            device.write_at(bytes, at).unwrap();
            contents(&device).unwrap();
        }
    }
}
