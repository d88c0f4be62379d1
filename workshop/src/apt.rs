//! The packages that the tests need, from Debian's archive.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use ocfs2_testing::{c_tool, find_program};

use xtask::cargo::is_ci;

/// A package, the program in it that the tests use, and what is skipped without it.
struct Package {
    name: &'static str,
    program: &'static str,
    purpose: &'static str,
}

const fn package(name: &'static str, program: &'static str, purpose: &'static str) -> Package {
    Package { name, program, purpose }
}

// This includes modprobe: without it the C tools that look for a cluster run on twice after a fork.
const C_TOOLS: &str = "the C tools' judgement of our volumes";
const KERNEL: &str = "mounting volumes with the Linux kernel in a virtual machine";
const BLKID: &str = "comparing blkid's output, and mkfs recognising what it must not destroy";

const PACKAGES: &[Package] = &[
    package("ocfs2-tools", "fsck.ocfs2", C_TOOLS),
    package("qemu-system-x86", "qemu-system-x86_64", KERNEL),
    package("qemu-utils", "qemu-img", "disks of QEMU that o2image makes"),
    package("busybox-static", "busybox", KERNEL),
    package("kmod", "modprobe", C_TOOLS),
    package("xz-utils", "xz", KERNEL),
    package("dmsetup", "dmsetup", KERNEL),
    package("util-linux", "mkfs", "calling mkfs and blkid as the system does"),
    package("mount", "losetup", "loop devices"),
    package("fdisk", "sfdisk", "partitioned disk images"),
    package("e2fsprogs", "mkfs.ext4", BLKID),
    package("xfsprogs", "mkfs.xfs", BLKID),
    package("btrfs-progs", "mkfs.btrfs", BLKID),
    package("dosfstools", "mkfs.vfat", BLKID),
    package("exfatprogs", "mkfs.exfat", BLKID),
    package("ntfs-3g", "mkfs.ntfs", BLKID),
    package("gfs2-utils", "mkfs.gfs2", BLKID),
    package("xorriso", "xorriso", BLKID),
    package("genisoimage", "genisoimage", BLKID),
    package("squashfs-tools", "mksquashfs", BLKID),
    package("cryptsetup-bin", "cryptsetup", BLKID),
    package("f2fs-tools", "mkfs.f2fs", BLKID),
    package("nilfs-tools", "mkfs.nilfs2", BLKID),
    package("jfsutils", "mkfs.jfs", BLKID),
    package("reiserfsprogs", "mkfs.reiserfs", BLKID),
    package("bcache-tools", "make-bcache", BLKID),
    package("drbd-utils", "drbdmeta", BLKID),
    package("attr", "getfattr", "attributes of volumes mounted by FUSE"),
    package("fuse3", "fusermount3", "mounting by FUSE as an ordinary user"),
    package("gdisk", "sgdisk", BLKID),
    package("parted", "parted", BLKID),
];

impl Package {
    fn is_here(&self) -> bool {
        let program = self.program;
        if program.ends_with(".ocfs2") { c_tool(program) } else { find_program(program) }.is_some()
    }
}

/// Installs what is missing if this user may, and reports what is still missing.
///
/// # Errors
/// Under `CI=true`, if anything is still missing.
pub fn provide() -> Result<()> {
    // A second time, because apt may remove what was there to make room for what was missing: a
    // qemu-utils from a newer release for a qemu-system-x86 from this one.
    for _ in 0..2 {
        let missing = missing();
        if missing.is_empty() {
            break;
        }
        let Some(apt) = Apt::find() else {
            eprintln!("not root and no sudo without a password: nothing is installed");
            break;
        };
        apt.install(&missing);
    }
    report()
}

/// Reports what is skipped.
///
/// # Errors
/// Under `CI=true`, if anything is.
pub fn report() -> Result<()> {
    let missing = missing();
    for Package { name, program, purpose } in &missing {
        eprintln!("LEFT OUT: {purpose}: no {program} (package {name})");
    }
    if is_ci() && !missing.is_empty() {
        bail!("{} packages are missing, and CI=true allows nothing to be left out", missing.len());
    }
    Ok(())
}

fn missing() -> Vec<&'static Package> {
    PACKAGES.iter().filter(|package| !package.is_here()).collect()
}

/// A working apt-get.
struct Apt {
    /// Whether it has to be called through sudo.
    sudo: bool,
}

impl Apt {
    fn find() -> Option<Self> {
        find_program("apt-get")?;
        let succeeds = |program, args: &[&str]| {
            let mut command = Command::new(program);
            let command = command.args(args).stdin(Stdio::null()).stderr(Stdio::null());
            command.output().ok().filter(|output| output.status.success())
        };
        let root = succeeds("id", &["-u"]).is_some_and(|id| id.stdout == b"0\n");
        if root {
            return Some(Self { sudo: false });
        }
        succeeds("sudo", &["-n", "true"]).map(|_| Self { sudo: true })
    }

    fn install(&self, packages: &[&Package]) {
        let names: Vec<_> = packages.iter().map(|package| package.name).collect();
        eprintln!("installing {}", names.join(" "));
        let has_lists = Path::new("/var/lib/apt/lists")
            .read_dir()
            .is_ok_and(|mut dir| dir.any(|file| is_package_list(file.ok())));
        if has_lists && self.get("install", &names) {
            return;
        }
        self.get("update", &[]);
        if !self.get("install", &names) {
            // One package that this release lacks is no reason to skip the others.
            for name in names {
                self.get("install", &[name]);
            }
        }
    }

    /// Returns whether it succeeded. Its error messages are shown.
    fn get(&self, action: &str, names: &[&str]) -> bool {
        let mut command = if self.sudo { Command::new("sudo") } else { Command::new("env") };
        if self.sudo {
            command.args(["-n", "env"]);
        }
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y", action]);
        if action == "install" {
            command.arg("--no-install-recommends");
        }
        let output = command.args(names).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => true,
            Ok(output) => {
                eprint!("{}", String::from_utf8_lossy(&output.stderr));
                false
            }
            Err(err) => {
                eprintln!("apt-get: {err}");
                false
            }
        }
    }
}

fn is_package_list(file: Option<std::fs::DirEntry>) -> bool {
    file.is_some_and(|file| file.file_name().to_string_lossy().contains("_Packages"))
}
