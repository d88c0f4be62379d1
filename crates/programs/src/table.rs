//! The programs of this workspace.

use std::process::ExitCode;

/// A program of this workspace.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The name that the system uses. The name of the binary has `-` in place of the dot, which
    /// cargo does not accept.
    pub name: &'static str,
    /// Its command line.
    pub command: fn() -> clap::Command,
    /// The program, from its command line to its exit status.
    pub main: fn() -> ExitCode,
}

/// Further names by which the system calls a program, and the program.
pub const LINKS: &[(&str, &str)] = &[("mount.fuse.ocfs2", "ocfs2-fuse")];

/// All programs; a new tool is one more line.
pub const PROGRAMS: &[Program] = &[
    Program { name: "mkfs.ocfs2", command: ocfs2_mkfs::command, main: ocfs2_mkfs::main },
    Program { name: "fsck.ocfs2", command: ocfs2_fsck::command, main: ocfs2_fsck::main },
    Program { name: "mounted.ocfs2", command: ocfs2_mounted::command, main: ocfs2_mounted::main },
    Program { name: "blkid.ocfs2", command: ocfs2_blkid::command, main: ocfs2_blkid::main },
    Program { name: "o2cb", command: ocfs2_o2cb::command, main: ocfs2_o2cb::main },
    Program { name: "o2cb_ctl", command: ocfs2_o2cb::ctl::command, main: ocfs2_o2cb::ctl::main },
    Program {
        name: "ocfs2_hb_ctl",
        command: ocfs2_o2cb::hb_ctl::command,
        main: ocfs2_o2cb::hb_ctl::main,
    },
    Program {
        name: "o2hbmonitor",
        command: ocfs2_o2cb::monitor::command,
        main: ocfs2_o2cb::monitor::main,
    },
    Program { name: "mount.ocfs2", command: ocfs2_mount::command, main: ocfs2_mount::main },
    Program { name: "tunefs.ocfs2", command: ocfs2_tunefs::command, main: ocfs2_tunefs::main },
    Program {
        name: "o2cluster",
        command: ocfs2_tunefs::o2cluster::command,
        main: ocfs2_tunefs::o2cluster::main,
    },
    Program { name: "o2image", command: ocfs2_o2image::command, main: ocfs2_o2image::main },
    Program { name: "debugfs.ocfs2", command: ocfs2_debugfs::command, main: ocfs2_debugfs::main },
    Program { name: "o2info", command: ocfs2_o2info::command, main: ocfs2_o2info::main },
    Program {
        name: "defragfs.ocfs2",
        command: ocfs2_defragfs::command,
        main: ocfs2_defragfs::main,
    },
    Program { name: "ocfs2-fuse", command: ocfs2_fuse::command, main: ocfs2_fuse::main },
];

impl Program {
    /// Its name in the program `ocfs2`.
    pub fn short(&self) -> &'static str {
        let name = self.name.strip_suffix(".ocfs2").unwrap_or(self.name);
        name.strip_prefix("ocfs2").map_or(name, |rest| rest.trim_start_matches(['-', '_']))
    }

    /// Its command line under its own name.
    pub fn command(&self) -> clap::Command {
        (self.command)().name(self.name).bin_name(self.name)
    }
}
