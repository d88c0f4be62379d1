//! `debugfs.ocfs2` and `o2info`: compared with the C tools, for every inode and every structure of
//! all fixtures; failing commands, and random damage; commands that change a volume, with both fsck
//! as judges.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod age;
mod allocation;
mod compare;
mod copies;
mod features;
mod fields;
mod files;
mod hostile;
mod info;
mod inodes;
mod json;
mod judge;
mod live;
mod random;
mod raw;
mod rdump;
mod recipes;
mod shell;
mod structures;
mod terminal;
mod undelete;
mod unsound;
mod writing;

/// Makes a test per fixture, so that the large ones are compared at the same time.
macro_rules! for_each_fixture {
    ($($test:ident: $name:literal,)*) => {$(
        mod $test {
            #[test]
            fn every_inode_is_shown_as_by_the_c_tool() {
                crate::inodes::compare(&ocfs2_testing::fixture($name));
            }

            #[test]
            fn every_structure_is_shown_as_by_the_c_tool() {
                crate::structures::compare(&ocfs2_testing::fixture($name));
            }
        }
    )*};
}

for_each_fixture! {
    clean_512_local: "clean-512-local",
    clean_1k_local: "clean-1k-local",
    clean_1k_linux7_local: "clean-1k-linux7-local",
    clean_2k_local: "clean-2k-local",
    clean_4k_o2cb: "clean-4k-o2cb",
    clean_1m_global: "clean-1m-global",
    crashed_512_local: "crashed-512-local",
    crashed_512_o2cb: "crashed-512-o2cb",
    crashed_1k_o2cb: "crashed-1k-o2cb",
    crashed_4k_linux7_local: "crashed-4k-linux7-local",
    crashed_4k_o2cb: "crashed-4k-o2cb",
}
