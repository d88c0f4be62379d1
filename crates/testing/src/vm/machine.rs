//! Describing machines, and starting them.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::kernel::{self, cache_folder};
use super::running::{Run, Running};
use super::turn::Turn;
use super::{Lab, clock, corosync, guest};

/// Where the nodes of a cluster write their heartbeat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heartbeat {
    /// On every volume they mount.
    Local,
    /// On the volume of the first disk, whatever they mount.
    Global,
}

/// What becomes of a node of a cluster of corosync that fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fencing {
    /// The others take it for dead.
    No,
    /// The others wait until `dlm_tool fence_ack` says that it is dead.
    Acknowledged,
}

/// What the machines form.
#[derive(Clone, Debug)]
enum Cluster {
    O2cb(Heartbeat),
    /// Its programs are in this archive.
    Corosync(Fencing, PathBuf),
}

/// Machines to be started: their common properties, and a script for each.
#[derive(Debug)]
#[must_use]
pub struct Machines<'lab> {
    lab: &'lab Lab,
    disks: Vec<PathBuf>,
    snapshot: bool,
    programs: Vec<PathBuf>,
    share: Option<PathBuf>,
    cluster: Option<Cluster>,
    scripts: Vec<String>,
    timeout: Duration,
    allowed: Vec<String>,
}

impl<'lab> Machines<'lab> {
    pub(super) fn new(lab: &'lab Lab, count: usize) -> Self {
        Self {
            lab,
            disks: Vec::new(),
            snapshot: false,
            programs: Vec::new(),
            share: None,
            cluster: None,
            scripts: vec![String::new(); count],
            timeout: Duration::from_secs(if count == 1 { 180 } else { 400 }),
            allowed: Vec::new(),
        }
    }

    /// Adds a disk, which is a raw image: `/dev/vda` is the first, `/dev/vdb` the next.
    pub fn disk(mut self, image: impl AsRef<Path>) -> Self {
        self.disks.push(image.as_ref().to_owned());
        self
    }

    /// Adds disks.
    pub fn disks(self, images: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        images.into_iter().fold(self, Self::disk)
    }

    /// Discards everything that is written to the disks. For one machine only.
    pub fn snapshot(mut self) -> Self {
        self.snapshot = true;
        self
    }

    /// Adds a program to `/sbin`, with the libraries it needs.
    pub fn program(mut self, program: impl AsRef<Path>) -> Self {
        self.programs.push(program.as_ref().to_owned());
        self
    }

    /// Adds programs.
    pub fn programs(self, programs: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        programs.into_iter().fold(self, Self::program)
    }

    /// Sets a folder of the host that the machines see as `/share` and may write to.
    pub fn share(mut self, folder: impl AsRef<Path>) -> Self {
        self.share = Some(folder.as_ref().to_owned());
        self
    }

    /// Makes the machines form a cluster. One machine alone is its node 0, and never sees node 1.
    pub fn o2cb(mut self, heartbeat: Heartbeat) -> Self {
        self.cluster = Some(Cluster::O2cb(heartbeat));
        self
    }

    /// Makes the machines form a cluster of corosync. One machine alone is its node 1, and quorate.
    ///
    /// # Errors
    /// If [`super::prepare`] has not downloaded its services.
    pub fn corosync(mut self, fencing: Fencing) -> Result<Self> {
        self.cluster = Some(Cluster::Corosync(fencing, corosync::cached()?));
        Ok(self)
    }

    /// Sets the shell script that all machines run. `$NODE` tells them apart.
    pub fn script(mut self, script: impl AsRef<str>) -> Self {
        self.scripts.fill(script.as_ref().to_owned());
        self
    }

    /// Sets the script of one machine: 0 or 1.
    ///
    /// # Panics
    /// If there is no such machine.
    pub fn node(mut self, number: usize, script: impl AsRef<str>) -> Self {
        script.as_ref().clone_into(&mut self.scripts[number]);
        self
    }

    /// Sets how long everything may take, not counting the wait for its turn. Machines running
    /// after that are killed. By default 3 minutes for one machine, almost 7 for a cluster.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Expects kernel log lines that contain `text`: they are not a failure.
    pub fn allow(mut self, text: impl Into<String>) -> Self {
        self.allowed.push(text.into());
        self
    }

    /// Like [`Machines::allow`], for several texts.
    pub fn allows(self, texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        texts.into_iter().fold(self, Self::allow)
    }

    /// Runs the machines to their end.
    ///
    /// # Errors
    /// Those of [`Machines::start`] and [`Running::wait`].
    pub fn run(self) -> Result<Run> {
        self.start()?.wait()
    }

    /// Starts the machines when it is their turn: no more than two run at a time.
    ///
    /// # Errors
    /// If a disk or program does not exist, or the emulator does not start.
    pub fn start(self) -> Result<Running> {
        let rate = clock::rate_khz(self.lab)?;
        self.start_with(rate)
    }

    /// Starts the machines, which are told that this computer's clock has `rate_khz`.
    pub(super) fn start_with(self, rate_khz: Option<u32>) -> Result<Running> {
        let count = self.scripts.len();
        ensure!(!(self.snapshot && count > 1), "nodes would not see what the others write");
        for disk in &self.disks {
            ensure!(disk.exists(), "{} is not there", disk.display());
        }
        let folder = tempfile::Builder::new().prefix("ocfs2-vm-").tempdir()?;
        let mut initrd = kernel::read(&self.lab.kernel.modules)?;
        initrd.append(&mut guest::root(&self.lab.busybox, &self.programs)?);
        if let Some(Cluster::Corosync(_, programs)) = &self.cluster {
            initrd.append(&mut kernel::read(programs)?);
        }
        fs::write(folder.path().join("initrd"), initrd)?;
        let lab = folder.path().join("lab");
        fs::create_dir(&lab)?;
        fs::write(lab.join("settings"), self.settings())?;
        for (number, script) in self.scripts.iter().enumerate() {
            fs::write(lab.join(format!("script.{number}")), script)?;
        }

        let turn = Turn::wait(&cache_folder()?, count)?;
        // The network is a socket with a machine at either end.
        let mut network: Vec<_> = if count == 2 {
            let (one, other) = UnixStream::pair()?;
            [one, other].into_iter().map(|end| Some(OwnedFd::from(end))).collect()
        } else {
            vec![None]
        };
        let mut machines = Vec::new();
        for (number, end) in network.drain(..).enumerate() {
            let machine = self.emulator(number, &folder, end, rate_khz)?.spawn().context("qemu")?;
            machines.push(Machine { process: machine, ended: false });
        }
        Ok(Running::new(machines, folder, turn, self.timeout, self.allowed))
    }

    /// Returns the settings for the scripts of the folder `guest`.
    fn settings(&self) -> String {
        let mut settings = format!("NODES={}\n", self.scripts.len());
        match &self.cluster {
            Some(Cluster::O2cb(heartbeat)) => {
                let heartbeat = match heartbeat {
                    Heartbeat::Local => "local",
                    Heartbeat::Global => "global",
                };
                // 14 seconds until a node is declared dead: a busy host may be slower than any
                // shorter time.
                settings += "CLUSTER=ovscluster CLUSTER_UP=cluster-up\n";
                settings += &format!("HEARTBEAT={heartbeat} DEAD_THRESHOLD=8\n");
            }
            Some(Cluster::Corosync(fencing, _)) => {
                settings += "CLUSTER=ovscluster CLUSTER_UP=corosync-up\n";
                settings += &format!("FENCING={}\n", u8::from(*fencing != Fencing::No));
            }
            None => {}
        }
        if self.share.is_some() {
            settings += "SHARE=yes\n";
        }
        settings
    }

    fn emulator(
        &self,
        number: usize,
        folder: &TempDir,
        net: Option<OwnedFd>,
        rate_khz: Option<u32>,
    ) -> Result<Command> {
        let file = |name: &str| folder.path().join(name);
        let rate = rate_khz.map(|khz| format!(" tsc_early_khz={khz}")).unwrap_or_default();
        let stack = match self.cluster {
            Some(Cluster::Corosync(..)) => " stack=pcmk",
            _ => "",
        };
        let mut qemu = Command::new(&self.lab.qemu);
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .args(["-machine", "pc,hpet=off,usb=off,vmport=off,dump-guest-core=off"])
            .args(["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "1024"])
            .arg("-kernel")
            .arg(&self.lab.kernel.image)
            .arg("-initrd")
            .arg(file("initrd"))
            // The console shows warnings and worse: the log is judged by it. A panic ends the
            // machine. Self-tests of the crypto code would take a second.
            .arg("-append")
            .arg(format!(
                "console=ttyS0 loglevel=5 oops=panic panic=-1 mitigations=off nokaslr tsc=reliable \
                 no_timer_check cryptomgr.notests ipv6.disable=1 random.trust_cpu=on \
                 node={number}{rate}{stack}"
            ))
            .args([
                "-serial".into(),
                format!("file:{}", file(&format!("console.{number}")).display()),
            ])
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x01"])
            .args(["-device", "virtio-serial-pci", "-device", "virtconsole,chardev=output"])
            .arg("-chardev")
            .arg(format!("file,id=output,path={}", file(&format!("output.{number}")).display()));
        let folders = [("lab", Some(file("lab"))), ("share", self.share.clone())];
        for (tag, folder) in folders {
            let Some(folder) = folder else { continue };
            let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
            let path = option(&folder);
            qemu.arg("-fsdev").arg(format!("local,id={tag},path={path},security_model=none"));
            qemu.arg("-device").arg(format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"));
        }
        for (index, disk) in self.disks.iter().enumerate() {
            // Both nodes write through the page cache of this host, which does not crash: each sees
            // what the other has written.
            let mode = if self.snapshot { "snapshot=on" } else { "file.locking=off" };
            let path = option(disk);
            qemu.arg("-drive").arg(format!(
                "file={path},format=raw,if=none,id=disk{index},cache=unsafe,discard=unmap,{mode}"
            ));
            qemu.arg("-device").arg(format!("virtio-blk-pci,drive=disk{index},share-rw=on"));
        }
        if let Some(end) = net {
            // The machine's end of the network is the emulator's standard input.
            qemu.args(["-netdev", "socket,id=net,fd=0"]);
            let mac = format!("52:54:00:0c:f5:{:02}", number + 1);
            qemu.arg("-device").arg(format!("virtio-net-pci,netdev=net,romfile=,mac={mac}"));
            qemu.stdin(Stdio::from(end));
        } else {
            qemu.stdin(Stdio::null());
        }
        let errors = fs::File::create(file(&format!("emulator.{number}")))?;
        qemu.stdout(errors.try_clone()?).stderr(errors);
        Ok(qemu)
    }
}

/// Returns a path as part of an option of the emulator, where commas are separators.
fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// A machine that is running or has ended.
#[derive(Debug)]
pub(super) struct Machine {
    pub process: Child,
    pub ended: bool,
}
