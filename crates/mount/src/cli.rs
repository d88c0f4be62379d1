//! The command line.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use crate::MountOptions;
use crate::mount::Options;
use crate::options::OptionError;

/// Mount an OCFS2 volume; called by mount(8) for `mount -t ocfs2`.
///
/// The volume's stack and cluster are compared with those of this host. With local heartbeat, the
/// node's heartbeat on the volume is started before the mount, and stopped again if the mount
/// fails. At unmount the kernel runs ocfs2_hb_ctl to stop it. On a member of a cluster of corosync
/// (stack pcmk) it waits until the cluster is quorate and has fenced the nodes that failed.
///
/// Options for -o are those of all file systems (ro, noatime, nosuid...), and those of OCFS2: acl,
/// user_xattr, commit=SECONDS, data=ordered|writeback, errors=remount-ro|panic|continue,
/// coherency=full|buffered, localflocks, inode64, atime_quantum=SECONDS, preferred_slot=N,
/// resv_level=N, dir_resv_level=N, usrquota, grpquota, intr, barrier=0|1. heartbeat= and
/// cluster_stack= are accepted if they match the volume. `nocluster` mounts a volume of a cluster
/// without its cluster, if no node is seen to use it. For fstab: _netdev. user, users, owner and
/// group imply nosuid and nodev, and the first two also noexec.
///
/// The exit status is that of mount(8): 0; 1 for an invalid call or missing permission, 2 for a
/// system error, 32 if the volume could not be mounted.
#[derive(Clone, Debug, Parser)]
#[command(name = "mount.ocfs2", version, arg_required_else_help = true)]
pub struct Cli {
    /// The block device, UUID=... or LABEL=...
    #[arg(value_name = "DEVICE")]
    pub device: PathBuf,
    /// The directory to mount it on
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,
    /// Options, separated by commas
    #[arg(short, value_name = "OPTIONS")]
    pub options: Vec<String>,
    /// Report what is done, and what is notable about the volume
    #[arg(short)]
    pub verbose: bool,
    /// Do not write /etc/mtab, which this program never does
    #[arg(short)]
    pub no_mtab: bool,
    /// Ignore options that OCFS2 does not have
    #[arg(short)]
    pub sloppy: bool,
    /// Do everything except starting the heartbeat and mounting
    #[arg(short)]
    pub fake: bool,
    /// Mount read-only, like -o ro
    #[arg(short, conflicts_with = "write")]
    pub read_only: bool,
    /// Mount for writing, like -o rw
    #[arg(short)]
    pub write: bool,
    /// The type of the file system
    #[arg(short, value_name = "TYPE", value_parser = ["ocfs2"])]
    pub type_: Option<String>,
}

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

impl Cli {
    /// The options for [`crate::mount()`].
    ///
    /// # Errors
    /// If an option is not valid.
    pub fn options(&self) -> Result<Options, OptionError> {
        let mut text = self.options.join(",");
        for (told, option) in [(self.read_only, ",ro"), (self.write, ",rw")] {
            if told {
                text += option;
            }
        }
        Ok(Options {
            source: self.device.clone(),
            target: self.directory.clone(),
            mount: MountOptions::parse(&text, self.sloppy)?,
            fake: self.fake,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_that_of_a_mount_helper() {
        command().debug_assert();
        let cli =
            Cli::parse_from(["x", "/dev/vda", "/mnt", "-sfnv", "-o", "ro,acl", "-o", "noatime"]);
        assert!(cli.sloppy && cli.fake && cli.no_mtab && cli.verbose);
        let options = cli.options().unwrap();
        assert!(options.mount.flags.is_read_only() && options.fake);
        let cli = Cli::parse_from(["x", "LABEL=/OVS", "/mnt", "-o", "rw", "-t", "ocfs2", "-r"]);
        assert!(cli.options().unwrap().mount.flags.is_read_only());
        assert!(Cli::try_parse_from(["x", "/dev/vda"]).is_err());
    }
}
