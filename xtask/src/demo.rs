//! `cargo xtask demo`: what the programs do, on images in a temporary folder.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use xtask::cargo::{self, Profile};

/// The programs that are shown, and their packages.
const PROGRAMS: [(&str, &str); 5] = [
    ("mkfs.ocfs2", "ocfs2-mkfs"),
    ("fsck.ocfs2", "ocfs2-fsck"),
    ("mounted.ocfs2", "ocfs2-mounted"),
    ("blkid.ocfs2", "ocfs2-blkid"),
    ("o2cb", "ocfs2-o2cb"),
];
/// A volume left by two nodes that lost power.
const CRASHED: &str = "fixtures/crashed-4k-o2cb.img.xz";

/// Where the programs come from.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Folder of programs already built; by default they are built now
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

/// The partition of the volume, in sectors: 522 cylinders of the demo's disk, without the first
/// track.
const PARTITION: (u32, u32) = (63, 8_385_867);

/// Shows the programs.
pub fn run(options: &Options) -> Result<()> {
    let session = Session::new(options.bin_dir.as_deref())?;

    session.say("An image in the place of the disk that two servers share, with one partition.")?;
    session.run("truncate -s 4G disk.img")?;
    if session.has("sfdisk") {
        session.run(&format!("echo {},{},83 | sfdisk -q disk.img", PARTITION.0, PARTITION.1))?;
    } else {
        session.say("(There is no sfdisk on this machine; its work is done by the demo.)")?;
        session.write_partition_table()?;
    }

    session.say("One of the servers makes an OCFS2 volume for four nodes.")?;
    session.run("mkfs.ocfs2 -N 4 -L /OVS --partition 1 disk.img")?;
    session.run("du -h disk.img")?;

    session.say("Every server that sees the disk sees this volume, by its UUID.")?;
    session.run("blkid.ocfs2 disk.img")?;

    session.say("Each server has the same file about their cluster.")?;
    session.run("o2cb --config-file cluster.conf add-cluster ovscluster")?;
    for (node, address) in [("ovs001", "10.0.0.1"), ("ovs002", "10.0.0.2")] {
        let add = format!("add-node ovscluster {node} --ip {address}");
        session.run(&format!("o2cb --config-file cluster.conf {add}"))?;
    }
    session.run("cat cluster.conf")?;

    session.say("Nobody has mounted it yet.")?;
    session.run("mounted.ocfs2 -f --partition 1 disk.img")?;

    session.say(
        "Bringing the cluster online and mounting take the kernels of two servers: see\n\
         docs/walk-through.md, or have two virtual machines do it: cargo xtask kernel --story.\n\
         This image was shared by two that mounted it, and lost power while they wrote (made by\n\
         Linux in virtual machines, see fixtures/).\n\
         mounted.ocfs2 samples the heartbeat of each.",
    )?;
    session.unpack("crashed.img")?;
    session.run("mounted.ocfs2 -fv crashed.img")?;

    session.say(
        "fsck.ocfs2 recovers it, without a cluster: what was in the journals of the crashed nodes\n\
         reaches its place, and what they still owed is done. 1 says that something was corrected.",
    )?;
    session.run("fsck.ocfs2 -p crashed.img || echo \"exit status $?\"")?;

    session.say("Nothing is wrong with it any more, and nobody holds a slot.")?;
    session.run("fsck.ocfs2 -fn crashed.img")?;
    session.run("mounted.ocfs2 -f crashed.img")
}

/// A shell session in a temporary folder, with the programs installed under their names.
struct Session {
    folder: TempDir,
    path: OsString,
}

impl Session {
    fn new(bin_dir: Option<&Path>) -> Result<Self> {
        let bin_dir = bin_dir.map_or_else(build, |dir| Ok(dir.to_owned()))?;
        let folder = tempfile::Builder::new().prefix("ocfs2-demo-").tempdir()?;
        let sbin = folder.path().join(".programs");
        fs::create_dir(&sbin)?;
        for (name, _) in PROGRAMS {
            // Cargo does not accept a dot in a binary's name.
            let built = fs::canonicalize(bin_dir.join(name.replace('.', "-")))
                .with_context(|| format!("{name} is not in {}", bin_dir.display()))?;
            symlink(built, sbin.join(name))?;
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let admin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        let path = env::join_paths([sbin].into_iter().chain(env::split_paths(&path)).chain(admin))?;
        Ok(Self { folder, path })
    }

    /// Returns whether this machine has a program.
    fn has(&self, name: &str) -> bool {
        env::split_paths(&self.path).any(|folder| folder.join(name).is_file())
    }

    /// Unpacks the crashed volume into the session's folder as `name`.
    fn unpack(&self, name: &str) -> Result<()> {
        if !self.has("xz") {
            bail!("there is no xz to unpack {CRASHED} with (package xz-utils)");
        }
        let packed = fs::File::open(cargo::root().join(CRASHED)).context(CRASHED)?;
        let image = fs::File::create_new(self.folder.path().join(name))?;
        let mut xz = Command::new("xz");
        let status = xz.arg("--decompress").stdin(packed).stdout(image).env("PATH", &self.path);
        ensure!(status.status()?.success(), "{CRASHED} cannot be unpacked");
        Ok(())
    }

    /// Explains what comes next.
    fn say(&self, text: &str) -> Result<()> {
        let mut out = io::stdout();
        writeln!(out)?;
        text.lines().try_for_each(|line| writeln!(out, "# {line}"))?;
        Ok(())
    }

    /// Shows a command and what it prints.
    fn run(&self, line: &str) -> Result<()> {
        let mut out = io::stdout();
        writeln!(out, "$ {line}")?;
        // Both outputs in the order in which they are written, and standard error is not a
        // terminal.
        let (mut reader, writer) = io::pipe()?;
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(self.folder.path()).stdin(Stdio::null());
        shell.env("PATH", &self.path).env("LC_ALL", "C");
        let mut child = shell.stdout(writer.try_clone()?).stderr(writer).spawn()?;
        drop(shell);
        io::copy(&mut reader, &mut out)?;
        let status = child.wait().with_context(|| line.to_owned())?;
        ensure!(status.success(), "{line}: {status}");
        Ok(())
    }

    /// Writes what `sfdisk` would write: a partition table with one entry.
    fn write_partition_table(&self) -> Result<()> {
        let mut table = [0; 66];
        table[4] = 0x83;
        table[8..12].copy_from_slice(&PARTITION.0.to_le_bytes());
        table[12..16].copy_from_slice(&PARTITION.1.to_le_bytes());
        table[64..].copy_from_slice(&[0x55, 0xaa]);
        let disk = fs::OpenOptions::new().write(true).open(self.folder.path().join("disk.img"))?;
        Ok(disk.write_all_at(&table, 446)?)
    }
}

/// Builds them as the tests use them, so that nothing is built twice. Returns their folder.
fn build() -> Result<PathBuf> {
    let packages = PROGRAMS.iter().flat_map(|(_, package)| ["--package", package]);
    cargo::run(&mut cargo::cargo(["build", "--bins"].into_iter().chain(packages)))?;
    Ok(cargo::target_dir().join(Profile::Dev.folder()))
}
