//! A single wrong field, in each place where its structure alone does not reveal it: nothing is
//! lost if the rest of the volume shows what it was, otherwise the loss is reported.

use ocfs2_format::dinode::{Dinode, DynFeatures, InodeFlags};
use ocfs2_format::dir::DirTrailer;
use ocfs2_format::extent::{ExtentFlags, ExtentListHeader, ExtentRec};
use ocfs2_format::quota::{LeafHeader, QuotaEntry, QuotaKind, leaf_entries};
use ocfs2_format::xattr::{XattrArea, XattrHeader};
use ocfs2_format::{Blkno, Structure};
use ocfs2_testing::damage::{Base, Image, edit_list};
use ocfs2_volume::SystemFile;

use super::judge::Contents;
use super::{fsck, judged, report};

/// What becomes of a volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// Everything is as before, and nothing is reported as lost.
    Mended,
    /// Everything that is not as before is reported.
    Told,
}

use Outcome::{Mended, Told};

type Damage = fn(&Image);

fn with_mode(mode: u16) -> impl Fn(&mut Dinode, &mut [u8]) {
    move |dinode, _| dinode.i_mode = mode
}

fn exchange(image: &Image, one: Blkno, other: Blkno) {
    let (first, second) = (image.read(one), image.read(other));
    image.write(one, &second);
    image.write(other, &first);
}

/// Returns the second and the last block with a trailer, of the first directory that has at least
/// three.
fn with_trailers(image: &Image) -> (Blkno, Blkno) {
    let volume = image.volume();
    let dirs = volume.inodes().map(Result::unwrap).filter(|it| it.is_dir() && !it.is_inline());
    let system = volume.superblock().s_system_dir_blkno;
    for dir in dirs.filter(|dir| volume.has_dir_trailers(dir) && dir.blkno != system) {
        let extents = volume.tree(&dir).unwrap().extents().map(Result::unwrap);
        let blocks = extents.flat_map(|extent| {
            let count = u64::from(extent.clusters) << volume.geometry().bpc_bits();
            (extent.blkno.0..extent.blkno.0 + count).map(Blkno)
        });
        let own = blocks.filter(|blkno| {
            let trailer = DirTrailer::of_block(&image.read(*blkno)).unwrap();
            trailer.db_signature == DirTrailer::SIGNATURE && trailer.db_blkno == *blkno
        });
        let own: Vec<_> = own.collect();
        if let [_, one, .., other] = own[..] {
            return (one, other);
        }
    }
    panic!("no such directory");
}

const CASES: [(&str, Outcome, Damage); 24] = [
    ("i_mode: a file that shares clusters is a directory", Mended, |image| {
        image.edit_dinode(image.inode("/reflink/origin").blkno, with_mode(0o040_644));
    }),
    ("i_mode: the same is a symbolic link", Mended, |image| {
        image.edit_dinode(image.inode("/reflink/origin").blkno, with_mode(0o120_644));
    }),
    ("i_mode: the same is a device", Mended, |image| {
        image.edit_dinode(image.inode("/reflink/origin").blkno, with_mode(0o020_644));
    }),
    ("i_mode: a folder is a file", Mended, |image| {
        image.edit_dinode(image.inode("/names").blkno, with_mode(0o100_755));
    }),
    ("i_flags of the root: a truncate log", Mended, |image| {
        let root = image.volume().superblock().s_root_blkno;
        image.edit_dinode(root, |dinode, _| dinode.i_flags |= InodeFlags::DEALLOC.bits());
    }),
    ("i_flags of the system directory", Mended, |image| {
        let dir = image.volume().superblock().s_system_dir_blkno;
        image.edit_dinode(dir, |dinode, _| dinode.i_flags = u32::MAX);
    }),
    ("i_dyn_features of the root", Mended, |image| {
        let root = image.volume().superblock().s_root_blkno;
        let inline = DynFeatures::INLINE_DATA.bits();
        image.edit_dinode(root, |dinode, _| dinode.i_dyn_features ^= inline);
    }),
    ("i_dyn_features of the bitmap", Mended, |image| {
        let file = image.system("global_bitmap").blkno;
        let flag = DynFeatures::INLINE_XATTR.bits();
        image.edit_dinode(file, |dinode, _| dinode.i_dyn_features |= flag);
    }),
    ("i_dyn_features of a quota file", Mended, |image| {
        let file = image.system("aquota.user").blkno;
        image.edit_dinode(file, |dinode, _| dinode.i_dyn_features = 0xffff);
    }),
    ("i_size of a quota file", Mended, |image| {
        let file = image.system("aquota.user").blkno;
        image.edit_dinode(file, |dinode, _| dinode.i_size = 2048);
    }),
    ("e_blkno of the slot map: a descriptor of the bitmap", Mended, |image| {
        let first = image.volume().geometry().first_group;
        image.edit_dinode(image.system("slot_map").blkno, |_, id2| {
            edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                records[0].e_blkno = first;
            });
        });
    }),
    ("i_size of a symbolic link in blocks", Mended, |image| {
        let link = image.inode("/special/slow").blkno;
        image.edit_dinode(link, |dinode, _| dinode.i_size = 300);
    }),
    ("the inode of an entry with an index", Told, |image| {
        let dir = image.directory(true).blkno;
        let dir_inode = image.volume().inode(dir).unwrap();
        let mut entries = image.volume().entries(&dir_inode).unwrap().map(Result::unwrap);
        let name = entries.find(|entry| !entry.name.starts_with(b".")).unwrap().name;
        image.edit_entry(dir, std::str::from_utf8(&name).unwrap(), |entry, _| {
            entry.inode = Blkno(0);
        });
    }),
    ("i_xattr_loc of one with others in the inode", Told, |image| {
        let file = image.inode("/xattr/block");
        assert!(file.dinode.dyn_features().contains(DynFeatures::INLINE_XATTR));
        image.edit_dinode(file.blkno, |dinode, _| dinode.i_xattr_loc = Blkno(0));
    }),
    ("all bits of i_mode", Told, |image| {
        image.edit_dinode(image.inode("/sizes/bytes-65536").blkno, |dinode, _| dinode.i_mode = 0);
    }),
    ("a bit of i_mode of a symbolic link in blocks", Mended, |image| {
        let link = image.inode("/special/slow").blkno;
        image.edit_dinode(link, |dinode, _| dinode.i_mode ^= 0o020_000);
    }),
    ("s_uuid_hash", Mended, |image| {
        image.edit_superblocks(|_, superblock| superblock.s_uuid_hash ^= 1);
    }),
    ("s_xattr_inline_size", Mended, |image| {
        image.edit_superblocks(|_, superblock| superblock.s_xattr_inline_size = 0x120);
    }),
    ("i_xattr_loc of one with a block", Mended, |image| {
        let dir = image.inode("/xattr/dir").blkno;
        image.edit_dinode(dir, |dinode, _| dinode.i_xattr_loc = Blkno(0));
    }),
    ("two blocks of a directory", Mended, |image| {
        let (one, other) = with_trailers(image);
        exchange(image, one, other);
    }),
    ("all bytes of a bucket", Told, |image| {
        let block = image.read(image.inode("/xattr/bucket").dinode.i_xattr_loc);
        let list = ocfs2_format::xattr::XattrTreeRoot::list(&block).unwrap();
        let bucket = list.record(0).unwrap().e_blkno;
        for number in 0..4 {
            image.edit_raw(Blkno(bucket.0 + number), |block| block.fill(0));
        }
    }),
    ("xh_count in an inode", Mended, |image| {
        image.edit_dinode(image.inode("/xattr/inline").blkno, |dinode, id2| {
            let start = id2.len() - usize::from(dinode.i_xattr_inline_size);
            let area = &mut id2[start..];
            let mut header = XattrArea::new(area).unwrap().header;
            assert!(header.xh_count > 1, "{header:?}");
            header.xh_count = 1;
            header.encode(area).unwrap();
            assert_eq!(XattrHeader::decode(area).unwrap().xh_count, 1);
        });
    }),
    ("e_flags", Told, |image| {
        image.edit_dinode(image.inode("/sizes/bytes-65536").blkno, |_, id2| {
            edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                let flags = ExtentFlags::from_bits_retain(0x4d);
                records[0] = ExtentRec::leaf(
                    records[0].e_cpos,
                    records[0].e_leaf_clusters(),
                    flags,
                    records[0].e_blkno,
                );
            });
        });
    }),
    ("e_blkno", Told, |image| {
        let free = image.volume().geometry().clusters / 2;
        let first = image.volume().geometry().block_of(ocfs2_format::Cluster(free));
        image.edit_dinode(image.inode("/sizes/bytes-65536").blkno, |_, id2| {
            edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                records[0].e_blkno = first;
            });
        });
    }),
];

#[test]
fn one_wrong_field_loses_nothing_that_is_not_told() {
    let mut faults = Vec::new();
    for (name, expected, damage) in CASES {
        let image = Base::Fixture("clean-1k-local").image();
        let sound = Contents::of(image.path());
        damage(&image);
        let is_left_by_p = fsck(&["-fp"], image.path()).status == 4;
        let (wrong, report) = judged(&sound, image.path());
        let lost = report["lost"].as_array().map_or(0, Vec::len);
        let again = fsck(&["-fn"], image.path()).status;
        let is_as_expected = match expected {
            Mended => lost == 0 || report["lost"].as_array().unwrap().iter().all(is_doubt),
            Told => lost > 0,
        };
        if !wrong.is_empty() || !is_as_expected || again != 0 || !is_left_by_p {
            faults.push(format!("{name}: {wrong:?}, {lost} lost, again {again}, left by -p: {is_left_by_p}\n{report:#}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn is_doubt(loss: &serde_json::Value) -> bool {
    loss["doubt"].is_string()
}

#[test]
fn a_log_that_goes_on_after_what_is_damaged_is_not_taken_for_one_that_ends() {
    for damage in [
        (|image: &Image| {
            let journal = image.volume().journal(0).unwrap();
            let first = Blkno(journal.blkno.0 + u64::from(journal.superblock.s_start));
            image.edit_raw(first, |block| block.fill(0));
        }) as Damage,
        |image| image.edit_journal(0, |superblock| superblock.s_start -= 4),
        |image| image.edit_journal(0, |superblock| superblock.s_sequence ^= 4),
    ] {
        let image = Base::Fixture("crashed-4k-linux7-local").image();
        damage(&image);
        let preened = fsck(&["-p"], image.path()).expect_status(4);
        assert!(preened.stdout.contains("JOURNAL_LOG_DAMAGED"), "{preened}");
        let report = report(&fsck(&["-fy", "--json"], image.path()).expect_status(1));
        let lost = report["lost"].as_array().unwrap();
        assert!(
            lost.iter().any(|loss| loss["lost"] == serde_json::json!(["journal"])),
            "{report:#}"
        );
        fsck(&["-fn"], image.path()).expect_status(0);
    }
}

#[test]
fn limits_that_cannot_be_read_are_told() {
    let image = Base::Fixture("clean-4k-o2cb").image();
    let volume = image.volume();
    let file = volume.system_file(SystemFile::Quota(QuotaKind::User)).unwrap();
    let size = volume.block_size().size();
    let blocks = volume.tree(&file).unwrap().extents().map(Result::unwrap).flat_map(|extent| {
        let count = u64::from(extent.clusters) << volume.geometry().bpc_bits();
        (extent.blkno.0..extent.blkno.0 + count).map(Blkno)
    });
    let is_leaf = |blkno: &Blkno| {
        let block = image.read(*blkno);
        let entries = LeafHeader::decode(&block).unwrap().dqdh_entries;
        let used = leaf_entries(&block[..size]).filter(QuotaEntry::is_used).count();
        used > 0 && used == usize::from(entries)
    };
    let leaf = blocks.skip(2).find(is_leaf).unwrap();
    image.edit_quota_block(leaf, |block| block.fill(0));
    let report = report(&fsck(&["-fyF", "--json"], image.path()).expect_status(1));
    let lost = report["lost"].as_array().unwrap();
    assert!(lost.iter().any(|loss| loss["path"] == "//aquota.user"), "{report:#}");
}
