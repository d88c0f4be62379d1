//! The command line.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use crate::What;

/// Save the metadata of an OCFS2 volume in a file, or restore it from such a file.
///
/// The image contains the superblock with its backups, all inodes, directories, attributes,
/// allocators and trees, and the part of the journals that a crash has left to replay: enough to
/// examine the volume, and to check and repair it elsewhere, without the data of files. It contains
/// the names of files, their attributes, and the contents of files that are small enough to be
/// stored in their inodes.
///
/// Packed images, the default, are compatible with the C program in both directions. A raw image
/// (-r) is a sparse file as long as the volume, which every tool can open; a qcow2 image (-Q) is a
/// disk for virtual machines.
///
/// -I first checks what is on the device: nodes that use a volume (the lock of its cluster is taken
/// if this host is a node of it), other file systems and partition tables. It checks again directly
/// before the first write.
///
/// The exit status is 0; 1 if nothing was saved or installed, also if a question was answered with
/// no; 3 if the image is complete except for what could not be read or is damaged, which is listed on
/// standard error; 130 after a signal, such as Ctrl-C. An image gets its name when it is complete:
/// until then an older one stays, and a program that is killed leaves a hidden file .tmp... beside it.
#[derive(Clone, Debug, Parser)]
#[command(name = "o2image", version)]
pub struct Cli {
    /// Store each block in its own place, in a sparse file as long as the volume; with -I, read
    /// such a file
    #[arg(short = 'r', long)]
    pub raw: bool,

    /// Write a QEMU disk (qcow2) as large as the volume; blocks that are not saved read as zeros
    ///
    /// qemu-img convert -O raw turns it into a volume; -I cannot install it.
    #[arg(short = 'Q', long, conflicts_with = "raw")]
    pub qcow2: bool,

    /// Install an image on a device: the operands are the device and the image
    #[arg(short = 'I', long, conflicts_with_all = ["interactive", "all", "journals", "free", "qcow2", "unused"])]
    pub install: bool,

    /// Show the expected size of the image, and ask whether to continue
    #[arg(short = 'i', long)]
    pub interactive: bool,

    /// Include the data of files: everything in use, a fast copy of the volume
    #[arg(short = 'a', long)]
    pub all: bool,

    /// Include all of the journals, even those with nothing to replay
    #[arg(long)]
    pub journals: bool,

    /// Include the free blocks of the allocators of inodes and other metadata
    #[arg(long)]
    pub free: bool,

    /// Overwrite a file that is not an image, or one that holds a volume, which -r does without it.
    /// With -I: overwrite even something other than an OCFS2 volume, or a volume that nodes may use; with
    /// -y also another volume than the one of the image
    ///
    /// A volume that is in use is never overwritten. Without -F a terminal is asked about a file that
    /// is not an image.
    #[arg(short = 'F', long)]
    pub force: bool,

    /// Keep the unused parts of blocks
    ///
    /// Otherwise remains of deleted names, attributes and small files in these parts become zeros,
    /// except in blocks whose check is wrong and in what is saved of journals.
    #[arg(short = 'A', long)]
    pub unused: bool,

    /// Replace names, attributes, targets of links and the label by meaningless text
    ///
    /// Lengths and trees are kept, indexes are correct, and fsck.ocfs2 finds the same problems as
    /// in the volume. Contents of small files, which are in their inodes, and values of attributes
    /// become zeros. Owners, sizes, times, the UUID, the name of the cluster and of lost+found stay.
    /// A damaged directory is reported, and a journal that has to be replayed is an error.
    #[arg(short = 's', long, conflicts_with_all = ["all", "journals", "free", "unused", "install"])]
    pub scramble: bool,

    /// Answer yes to the question
    #[arg(short = 'y', long)]
    pub yes: bool,

    /// Show no progress
    #[arg(short = 'q', long)]
    pub quiet: bool,

    /// Number of the partition on the device or image
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,

    /// Open the volume by this backup of its superblock, 1 to 6. The image has the superblock as it
    /// is
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u8).range(1..=6),
        conflicts_with = "install"
    )]
    pub superblock: Option<u8>,

    /// The volume: a device or an image file
    pub device: PathBuf,

    /// The image; `-` for standard output, not with -I
    pub image: PathBuf,
}

impl Cli {
    /// What is saved beyond the metadata.
    pub fn what(&self) -> What {
        What { journals: self.journals, free: self.free, data: self.all, unused: self.unused }
    }
}

/// The command line with samples, for manual pages and completions.
pub fn command() -> clap::Command {
    let samples = concat!(
        "Examples, on volumes that Linux made; ... stands for what was left out.\n\n",
        include_str!("samples.txt")
    );
    Cli::command().after_long_help(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_c_program_are_understood() {
        command().debug_assert();
        let cli = Cli::try_parse_from(["o2image", "-ri", "/dev/sdb1", "-"]).unwrap();
        assert!(cli.raw && cli.interactive && cli.image == *"-");
        assert!(Cli::try_parse_from(["o2image", "/dev/sdb1"]).is_err());
        assert!(Cli::try_parse_from(["o2image", "-Ii", "a", "b"]).is_err());
    }
}
