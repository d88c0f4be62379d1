//! Images that are made with the programs of their formats.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ocfs2_testing::{Run, Scratch, oracle};

const UUID: &str = "11111111-2222-3333-4444-555555555555";
const MIB: u64 = 1 << 20;

/// Name, size in bytes, and the command line that makes the image `$i` in a folder that also
/// contains a folder `folder` with a file; `$u` is the UUID. The first word is the program.
const RECIPES: &[(&str, u64, &str)] = &[
    ("ext2", 4 * MIB, "mkfs.ext2 -q -L data -U $u $i"),
    ("ext3", 16 * MIB, "mkfs.ext3 -q -L two_words -U $u $i"),
    ("ext4", 16 * MIB, "mkfs.ext4 -q -L data -U $u $i"),
    ("ext4-4k", 16 * MIB, "mkfs.ext4 -q -b 4096 -O ^has_journal $i"),
    ("ext4-plain", 16 * MIB, "mkfs.ext4 -q -O ^extent,^64bit,^flex_bg $i"),
    ("ext-journal", 16 * MIB, "mkfs.ext4 -q -O journal_dev -L journal -U $u $i"),
    ("xfs", 310 * MIB, "mkfs.xfs -q -L xlabel -m uuid=$u $i"),
    ("xfs-4k", 310 * MIB, "mkfs.xfs -q -s size=4096 -m crc=0 $i"),
    ("btrfs", 128 * MIB, "mkfs.btrfs -q -L blabel $i"),
    ("fat12", 1440 << 10, "mkfs.vfat -n FLOPPY -i 12345678 $i"),
    ("fat16", 32 * MIB, "mkfs.vfat -F16 -n DOS16 -i 12345678 $i"),
    ("fat32", 64 * MIB, "mkfs.vfat -F32 -n DOS32 -i 12345678 $i"),
    ("fat32-4k", 300 * MIB, "mkfs.vfat -F32 -S 4096 -n K4 -i 12345678 $i"),
    ("fat32-unnamed", 64 * MIB, "mkfs.vfat -F32 $i"),
    ("exfat", 64 * MIB, "mkfs.exfat -L exlabel $i"),
    ("exfat-unnamed", 64 * MIB, "mkfs.exfat $i"),
    ("ntfs", 64 * MIB, "mkfs.ntfs -q -F -L ntlabel $i"),
    ("ntfs-unnamed", 64 * MIB, "mkfs.ntfs -q -F $i"),
    ("swap", 4 * MIB, "mkswap -L swp -U $u $i"),
    ("swap-64k", 4 * MIB, "mkswap -p 65536 -U $u $i"),
    ("iso", 0, "xorriso -as mkisofs -V ISO -J -R -o $i folder"),
    (
        "iso-long",
        0,
        "genisoimage -quiet -J -V a_very_long_volume_name_it_is -A app -p me -o $i folder",
    ),
    ("iso-plain", 0, "genisoimage -quiet -V PLAIN -publisher _FILE.TXT -o $i folder"),
    ("squashfs", 0, "mksquashfs folder $i -quiet -noappend -no-progress"),
    (
        "luks1",
        32 * MIB,
        "cryptsetup luksFormat -q --type luks1 --uuid $u --pbkdf-force-iterations 1000 $i -",
    ),
    (
        "luks2",
        32 * MIB,
        "cryptsetup luksFormat -q --type luks2 --label lukslab --subsystem sub --uuid $u --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $i -",
    ),
    ("gfs2", 128 * MIB, "mkfs.gfs2 -O -q -p lock_dlm -t clus:gfslab -j1 -J 8 $i"),
    ("f2fs", 128 * MIB, "mkfs.f2fs -q -l f2lab $i"),
    ("nilfs2", 160 * MIB, "mkfs.nilfs2 -q -L nillab $i"),
    ("jfs", 32 * MIB, "mkfs.jfs -q -L jfslab $i"),
    ("reiserfs", 64 * MIB, "mkfs.reiserfs -q -f -f -l rlab -u $u $i"),
    ("bcache", 32 * MIB, "make-bcache -B $i"),
    ("drbd", 64 * MIB, "drbdmeta --force 0 v09 $i internal create-md 1"),
    ("gpt", 64 * MIB, "sgdisk -n 1:2048:+10M -n 2:0:0 -c 2:da_ta -u 1:$u -U $u $i"),
    ("mbr", 64 * MIB, "sfdisk -q $i"),
    ("mbr-empty", 4 * MIB, "parted -s $i mklabel msdos"),
    ("ocfs2-1k", 64 * MIB, "mkfs.ocfs2 -q -F -b 1024 -L ocfslab -M local -U $u $i"),
    (
        "ocfs2-4k",
        256 * MIB,
        "mkfs.ocfs2 -q -F -N 4 -C 64K --cluster-stack=o2cb --cluster-name=ovs $i",
    ),
    ("ocfs2-heartbeat", 64 * MIB, "mkfs.ocfs2 -q -F -H -L hb $i"),
];

/// Returns the answers to the questions of a program.
fn answers(name: &str) -> &'static str {
    match name {
        "mbr" => "label: dos\nlabel-id: 0x12345678\n2048,20000,83,*\n,20000,5\n,5000\n,,82\n",
        name if name.starts_with("luks") => "password",
        _ => "y\ny\n",
    }
}

/// Makes the image `name`. `None`, with a message, if its program is not installed.
pub fn make(scratch: &Scratch, name: &str) -> Option<PathBuf> {
    let recipe = RECIPES.iter().find(|(recipe, ..)| *recipe == name);
    let (name, size, line) = recipe.unwrap_or_else(|| panic!("no recipe for {name}"));
    let mut words = line.split_whitespace();
    let program = oracle(words.next().unwrap())?;
    let file = format!("{name}.img");
    let path = scratch.join(&file);
    if *size > 0 {
        scratch.image(&file, *size);
    }
    fs::create_dir_all(scratch.join("folder")).unwrap();
    fs::write(scratch.join("folder/file"), "contents").unwrap();
    let words = words.map(|word| word.replace("$i", &file).replace("$u", UUID));
    Run::new(program).args(words).current_dir(scratch.path()).stdin(answers(name)).success();
    Some(path)
}

/// Makes all images whose programs are installed.
pub fn make_all(scratch: &Scratch) -> Vec<PathBuf> {
    RECIPES.iter().filter_map(|(name, ..)| make(scratch, name)).collect()
}

/// Makes an image of zeros with some bytes written into it.
pub fn patched(scratch: &Scratch, name: &str, size: u64, parts: &[(u64, &[u8])]) -> PathBuf {
    let path = scratch.image(&format!("{name}.img"), size);
    patch(&path, parts);
    path
}

/// Writes bytes into an image.
pub fn patch(path: &PathBuf, parts: &[(u64, &[u8])]) {
    let file = File::options().write(true).open(path).unwrap();
    for (at, bytes) in parts {
        file.write_all_at(bytes, *at).unwrap();
    }
}

/// Returns a piece of an image.
pub fn piece(path: &PathBuf, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    File::open(path).unwrap().read_exact_at(&mut bytes, at).unwrap();
    bytes
}
