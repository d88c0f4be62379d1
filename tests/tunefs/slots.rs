//! More node slots.

use std::fs;

use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::truncate_log::TruncateLogHeader;
use ocfs2_testing::{Run, oracle, program};
use ocfs2_volume::SystemFile;

use crate::bench::{Bench, FORMS, volume_at};

/// Returns the properties of a system file, apart from its place.
fn shape(volume: &ocfs2_volume::Volume, file: SystemFile) -> String {
    let inode = volume.system_file(file).unwrap();
    let dinode = &inode.dinode;
    let body = match file {
        SystemFile::OrphanDir(_) => {
            let entries = volume.entries(&inode).unwrap();
            let names: Vec<_> = entries.map(|entry| entry.unwrap().name.clone()).collect();
            format!("{names:?} {:?}", inode.is_inline())
        }
        SystemFile::LocalAlloc(_) | SystemFile::TruncateLog(_) => {
            format!("{:?}", &inode.id2()[..16])
        }
        SystemFile::ExtentAlloc(_) | SystemFile::InodeAlloc(_) => {
            format!("{:?}", &inode.id2()[..8])
        }
        SystemFile::Journal(slot) => {
            let superblock = volume.journal(slot).unwrap().superblock;
            format!("{} {:#x}", superblock.s_maxlen, superblock.s_feature_incompat)
        }
        SystemFile::LocalQuota(..) => {
            let mut bytes = vec![0; inode.size() as usize];
            volume.file(&inode).unwrap().read_at(&mut bytes, 0).unwrap();
            format!("{:?}", &bytes[..32])
        }
        _ => String::new(),
    };
    let (mode, flags, links) = (dinode.i_mode, dinode.i_flags, dinode.i_links_count);
    let (size, clusters, slot) = (dinode.i_size, dinode.i_clusters, dinode.i_suballoc_slot);
    format!("{mode:o} {flags:#x} {links} {size} {clusters} {slot} {body}")
}

#[test]
fn new_slots_have_what_the_c_tool_gives_them() {
    let theirs = oracle("tunefs.ocfs2");
    for form in FORMS {
        let bench = Bench::new(form, "160M");
        let copy = bench.scratch.join("copy.img");
        fs::copy(&bench.path, &copy).unwrap();
        bench.done("-N 9");
        bench.judge(form);
        let volume = bench.volume();
        assert_eq!(volume.max_slots(), 9);
        assert!(volume.taken_slots().unwrap().is_empty());
        let block_size = volume.block_size();
        assert!(
            LocalAlloc::bitmap_size(block_size) > 0 && TruncateLogHeader::capacity(block_size) > 0
        );
        if let Some(theirs) = &theirs {
            Run::new(theirs).args(["-y", "-q", "-N", "9"]).arg(&copy).success();
            let other = volume_at(&copy);
            for file in SystemFile::expected(&volume, 9).filter(|file| file.slot() > Some(1)) {
                assert_eq!(shape(&volume, file), shape(&other, file), "{form}: {}", file.name());
            }
            let links =
                |volume: &ocfs2_volume::Volume| volume.links_count(&volume.system_dir().unwrap());
            assert_eq!(links(&volume), links(&other), "{form}");
        }
        if let Some(listed) = bench.debugfs("ls -l //") {
            let files = SystemFile::expected(&volume, 9).map(SystemFile::name);
            for name in files {
                assert!(listed.contains(&name), "{form}: {name}: {listed}");
            }
        }
    }
}

#[test]
fn all_slots_there_can_be_fit_and_files_that_c_left_behind_are_used() {
    let bench = Bench::new("-b 4K -C 4K", "1200M");
    bench.done("-N 255");
    bench.judge("255 slots");
    let Some(theirs) = oracle("tunefs.ocfs2") else { return };
    let bench = Bench::new("-b 1K -C 4K", "64M");
    // There is no room for so many slots: it leaves the files that it has made.
    let failed = Run::new(theirs).args(["-y", "-q", "-N", "40"]).arg(&bench.path).output();
    assert_ne!(failed.status, 0);
    assert!(bench.volume().system_file(SystemFile::OrphanDir(39)).is_ok());
    bench.done("-N 3");
    assert_eq!(bench.volume().max_slots(), 3);
    // fsck removes the files of higher slots; the three slots are complete.
    let fsck = Run::new(program("fsck.ocfs2")).arg("-fy").arg(&bench.path).output();
    assert_eq!(fsck.status, 1, "{fsck}");
    bench.judge("files of slots that were not there");
}
