//! Every inode of a volume.

use std::path::Path;

use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::Structure;
use ocfs2_format::dinode::{Arm, DynFeatures};
use ocfs2_format::dx::DxRoot;
use ocfs2_volume::{Inode, Volume, VolumeOptions};

use crate::compare::{Said, assert_same, run};

/// Opens the volume of an image.
pub fn volume(image: &Path) -> Volume {
    let device = open(image, &DeviceOptions::default()).unwrap();
    Volume::open(device, &VolumeOptions::default()).unwrap()
}

/// Returns all inodes in use.
pub fn inodes(volume: &Volume) -> Vec<Inode> {
    volume.inodes().map(Result::unwrap).collect()
}

/// Returns whether the index of a directory is in one block.
fn has_inline_index(volume: &Volume, inode: &Inode) -> bool {
    let root = inode.dinode.i_dx_root;
    let is_indexed = inode.dinode.dyn_features().contains(DynFeatures::INDEXED_DIR);
    let root = |()| DxRoot::decode(&volume.read_block(root).unwrap()).unwrap();
    is_indexed.then_some(()).map(root).is_some_and(|root| root.is_inline())
}

fn commands(volume: &Volume, inode: &Inode) -> Vec<String> {
    let mut names = vec!["stat", "stat -T", "xattr -v", "encode", "bmap 0", "bmap 3"];
    // The C tool takes other kinds of lists for extents, and fast links for damage.
    if matches!(inode.dinode.arm(), Arm::ExtentList | Arm::InlineData) {
        names.push("frag");
    }
    if inode.is_dir() {
        names.extend(["ls", "ls -l", "dirblocks", "dx_dump", "xattr"]);
        // For an index in one block the C tool does not show which blocks have room.
        if !has_inline_index(volume, inode) {
            names.push("dx_space");
        }
    }
    if inode.dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT) {
        names.extend(["refcount", "refcount -e"]);
    }
    let number = inode.blkno;
    let command = |name: &str| match name.split_once(' ') {
        Some(("bmap", block)) => format!("bmap <{number}> {block}"),
        _ => format!("{name} <{number}>"),
    };
    names.into_iter().map(command).collect()
}

/// Returns the C tool's output, corrected where it is wrong.
pub fn mended(said: &Said) -> String {
    let is_dir = ["dirblocks", "dx_space"].iter().any(|name| said.command.starts_with(name));
    let lines = said.c.lines();
    // It computes the check of a directory's block from its trailer alone.
    let lines = lines.filter(|line| !(is_dir && line.contains("**FAILED CHECKSUM**")));
    lines.map(mended_line).collect::<Vec<_>>().join("\n")
}

/// The C tool prints users and numbers of index entries from 2^31 on as negative numbers.
fn mended_line(line: &str) -> String {
    let is_unsigned = line.starts_with("\tUser: ") || line.starts_with("\tTotal Entry Count: ");
    let words = line.split(' ').map(|word| match word.parse::<i32>() {
        Ok(number @ ..0) if is_unsigned => (number as u32).to_string(),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Returns the output of ours in the form of the C tool.
fn of_c(said: &Said, inode: &Inode) -> String {
    let mut text = said.ours.clone();
    // Ours escapes a tab in a name so that it does not look like another column.
    if ["ls", "dirblocks"].iter().any(|name| said.command.starts_with(name)) {
        text = text.replace("\\t", "\t");
    }
    // The C tool leaves out the set-user-ID, set-group-ID and sticky bits.
    let mode = inode.dinode.i_mode;
    if said.command.starts_with("stat") {
        let (all, some) = (mode & 0o7777, mode & 0o777);
        text = text.replacen(&format!("Mode: 0{all:o} "), &format!("Mode: 0{some:o} "), 1);
    }
    text
}

/// Compares the output of both tools for every inode.
pub fn compare(image: &Path) {
    let volume = volume(image);
    let all = inodes(&volume);
    assert!(all.len() > 12);
    let with: Vec<_> = all
        .iter()
        .flat_map(|inode| commands(&volume, inode).into_iter().map(move |it| (inode, it)))
        .collect();
    let commands: Vec<_> = with.iter().map(|(_, command)| command.clone()).collect();
    let Some(said) = run(image, &commands) else { return };
    assert_eq!(said.len(), commands.len(), "the C tool ended early");
    let mut shown = 0;
    for (said, (inode, _)) in said.iter().zip(with) {
        assert_same(image, &said.command, &of_c(said, inode), &mended(said));
        shown += usize::from(said.ours.contains(&format!("\tInode: {} ", inode.blkno)));
    }
    assert!(shown >= all.len() * 2, "stat shows each inode");
}
