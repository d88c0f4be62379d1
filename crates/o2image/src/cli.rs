//! The command line.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use crate::What;

/// Save the metadata of an OCFS2 volume in a file, or put such a file back.
///
/// The image has the superblock with its backups, all inodes, directories, attributes, allocators
/// and trees, and of journals what a crash has left in them: enough to look into the volume, and to
/// check and repair it elsewhere, without the data of files. It has the names of files, their
/// attributes, and the contents of files that are small enough to be in their inodes.
///
/// Packed images, the default, are those of the C program, which reads ours and whose we read. A raw
/// image (-r) is a sparse file as long as the volume, which every tool opens; a qcow2 image (-Q) is a
/// disk for virtual machines.
///
/// -I looks first at what is there: at nodes that use a volume (its cluster's lock is taken where
/// this host is a node of it), and at other file systems and partition tables; and once more
/// directly before the first write.
///
/// The exit status is 0; 1 if nothing was saved or installed; 3 if the image is complete but for
/// what could not be read or is wrong, which standard error lists.
#[derive(Clone, Debug, Parser)]
#[command(name = "o2image", version)]
pub struct Cli {
    /// Each block in its own place, in a sparse file as long as the volume; with -I, from one
    #[arg(short = 'r', long)]
    pub raw: bool,

    /// A disk of QEMU (qcow2), as large as the volume; blocks that are not saved read as zeros
    ///
    /// qemu-img convert -O raw makes a volume of it; -I does not put it back.
    #[arg(short = 'Q', long, conflicts_with = "raw")]
    pub qcow2: bool,

    /// Put an image onto a device: the operands are the device and the image
    #[arg(short = 'I', long, conflicts_with_all = ["interactive", "all", "journals", "free", "qcow2", "unused"])]
    pub install: bool,

    /// Say how large the image will be, and ask
    #[arg(short = 'i', long)]
    pub interactive: bool,

    /// With the data of files: everything in use, a fast copy of the volume
    #[arg(short = 'a', long)]
    pub all: bool,

    /// With all of the journals, also those with nothing to replay
    #[arg(long)]
    pub journals: bool,

    /// With blocks that the allocators of inodes and of other metadata have free
    #[arg(long)]
    pub free: bool,

    /// With -I: also over what is no OCFS2 volume, and where nodes may use the volume
    ///
    /// Over one that is in use nothing is installed.
    #[arg(short = 'F', long, requires = "install")]
    pub force: bool,

    /// Unused parts of blocks as they are
    ///
    /// Otherwise what is left in them of names, attributes and small files that are no more becomes
    /// zeros, except in blocks whose check does not hold and in what is saved of journals.
    #[arg(short = 'A', long)]
    pub unused: bool,

    /// Names, attributes, targets of links and the label as text that tells nothing
    ///
    /// Lengths and trees stay, indexes are right, and fsck.ocfs2 finds what it finds in the volume.
    /// Contents of small files, which are in their inodes, and values of attributes become zeros;
    /// names of attributes of one byte stay, as do owners, sizes and times. A directory that is
    /// damaged, and a journal that has to be replayed, are errors.
    #[arg(short = 's', long, conflicts_with_all = ["all", "journals", "free", "unused", "install"])]
    pub scramble: bool,

    /// Answer yes to the question
    #[arg(short = 'y', long)]
    pub yes: bool,

    /// Show no progress
    #[arg(short = 'q', long)]
    pub quiet: bool,

    /// A partition inside the device or image, by its number in the partition table
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,

    /// The volume: a device, or an image file
    pub device: PathBuf,

    /// The image; `-` is standard output
    pub image: PathBuf,
}

impl Cli {
    /// What is saved.
    pub fn what(&self) -> What {
        What { journals: self.journals, free: self.free, data: self.all, unused: self.unused }
    }
}

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
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
