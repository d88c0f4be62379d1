//! The programs to install.

use std::path::Path;

/// A program of this workspace.
pub struct Program {
    /// The name that the system uses. The name of the binary has `-` in place of the dot, which
    /// cargo does not accept.
    pub name: &'static str,
    /// Its command line.
    pub command: fn() -> clap::Command,
}

/// All programs; a new tool is one more line.
pub const PROGRAMS: &[Program] = &[
    Program { name: "mkfs.ocfs2", command: ocfs2_mkfs::command },
    Program { name: "fsck.ocfs2", command: ocfs2_fsck::command },
    Program { name: "mounted.ocfs2", command: ocfs2_mounted::command },
    Program { name: "blkid.ocfs2", command: ocfs2_blkid::command },
    Program { name: "o2cb", command: ocfs2_o2cb::command },
    Program { name: "o2cb_ctl", command: ocfs2_o2cb::ctl::command },
    Program { name: "ocfs2_hb_ctl", command: ocfs2_o2cb::hb_ctl::command },
    Program { name: "o2hbmonitor", command: ocfs2_o2cb::monitor::command },
    Program { name: "mount.ocfs2", command: ocfs2_mount::command },
    Program { name: "tunefs.ocfs2", command: ocfs2_tunefs::command },
    Program { name: "o2cluster", command: ocfs2_tunefs::o2cluster::command },
    Program { name: "o2image", command: ocfs2_o2image::command },
    Program { name: "debugfs.ocfs2", command: ocfs2_debugfs::command },
    Program { name: "o2info", command: ocfs2_o2info::command },
    Program { name: "defragfs.ocfs2", command: ocfs2_defragfs::command },
    Program { name: "ocfs2-fuse", command: ocfs2_fuse::command },
];

/// Further names by which the system calls a program, and the program.
pub const LINKS: &[(&str, &str)] = &[("mount.fuse.ocfs2", "ocfs2-fuse")];

impl Program {
    /// Returns cargo's name for it.
    pub fn binary(&self) -> String {
        self.name.replace('.', "-")
    }

    /// Returns its command line under its own name.
    pub fn command(&self) -> clap::Command {
        (self.command)().name(self.name).bin_name(self.name)
    }

    /// Returns its path in `bin_dir`; fails if cargo has not built it.
    pub fn built_in(&self, bin_dir: &Path) -> anyhow::Result<std::path::PathBuf> {
        let path = bin_dir.join(self.binary());
        anyhow::ensure!(path.is_file(), "{} is not there", path.display());
        Ok(path)
    }
}
