//! The program: options, mounting, going into the background, unmounting.

use std::collections::BTreeSet;
use std::env;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fuser::{Config, MountOption, Session, SessionACL};
use ocfs2_cli::{Interrupt, Output, Status, arguments, shown, this_program};
use ocfs2_volume::find::resolve;
use rustix::mount::{UnmountFlags, unmount};

use crate::Cli;
use crate::answers::Answers;
use crate::log::Log;
use crate::source::{self, Source, open_source};

/// Tells this program that it was started to stay in the background: it writes a line to standard
/// output when the volume is mounted.
const BACKGROUND: &str = "OCFS2_FUSE_BACKGROUND";

/// The line.
const MOUNTED: &[u8] = b"mounted\n";

/// How often signals are looked for.
const BETWEEN: Duration = Duration::from_millis(100);

/// What the options ask for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub partition: Option<u32>,
    pub unsafe_snapshot: bool,
    /// `ro`
    reads_only: bool,
    allow_other: Option<bool>,
    mount: Vec<MountOption>,
}

impl Wanted {
    /// Reads the options of the command line.
    fn of(cli: &Cli) -> Result<Self> {
        let mut wanted = Self {
            partition: cli.partition,
            unsafe_snapshot: cli.unsafe_snapshot,
            ..Self::default()
        };
        let words = cli.options.iter().flat_map(|words| words.split(','));
        for word in words.filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "ro" => wanted.reads_only = true,
                "rw" => wanted.reads_only = false,
                "defaults" | "auto" | "noauto" | "_netdev" | "nofail" | "user" | "users"
                | "owner" | "group" | "relatime" | "noatime" | "nodev" | "nosuid" | "exec"
                | "async" | "sync" => {}
                _ if name.starts_with("x-") || name.starts_with("comment") => {}
                "allow_other" => wanted.allow_other = Some(true),
                "noallow_other" => wanted.allow_other = Some(false),
                "unsafe_snapshot" => wanted.unsafe_snapshot = true,
                "dev" => wanted.mount.push(MountOption::Dev),
                "suid" => wanted.mount.push(MountOption::Suid),
                "noexec" => wanted.mount.push(MountOption::NoExec),
                "partition" => {
                    let number = value.parse().ok();
                    wanted.partition =
                        Some(number.with_context(|| format!("-o {word}: expected a number"))?);
                }
                _ if cli.sloppy => {}
                _ => bail!("-o {word}: no such option"),
            }
        }
        Ok(wanted)
    }

    /// Whether nothing is written.
    pub fn is_read_only(&self) -> bool {
        self.reads_only || self.unsafe_snapshot
    }

    /// The settings of the mount.
    fn config(&self, cli: &Cli) -> Config {
        let is_root = rustix::process::geteuid().is_root();
        let mut config = Config::default();
        config.mount_options = self.mount.clone();
        config.mount_options.extend([
            if self.is_read_only() { MountOption::RO } else { MountOption::RW },
            MountOption::FSName(source::name(cli)),
            MountOption::Subtype("ocfs2".to_owned()),
            MountOption::DefaultPermissions,
        ]);
        config.acl = match self.allow_other.unwrap_or(is_root) {
            true => SessionACL::All,
            false => SessionACL::Owner,
        };
        let cores = thread::available_parallelism().map_or(2, std::num::NonZero::get);
        config.n_threads = Some(cli.threads.map_or(cores.clamp(2, 8), usize::from));
        config.clone_fd = true;
        config
    }
}

/// Mounts the volume.
///
/// # Errors
/// It cannot be mounted, and why.
pub fn run(cli: &Cli) -> Result<Status> {
    let cli = &Cli { device: resolve(&cli.device)?, ..cli.clone() };
    let wanted = Wanted::of(cli)?;
    check_directory(&cli.directory)?;
    if cli.foreground || env::var_os(BACKGROUND).is_some() {
        return serve(cli, &wanted).map(|()| Status::SUCCESS);
    }
    start_in_background()
}

/// Starts this program again, waits until it has mounted the volume, and lets it go on.
fn start_in_background() -> Result<Status> {
    let mut child = this_program().context("this program")?;
    child.args(arguments().into_iter().skip(1)).env(BACKGROUND, "1");
    let mut child = child.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut said = Vec::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_end(&mut said)?;
    }
    if said.ends_with(MOUNTED) {
        return Ok(Status::SUCCESS);
    }
    // It has printed why.
    let status = child.wait()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(Status(status.filter(|code| *code != 0).unwrap_or(32)))
}

/// Mounts the volume and answers until it is unmounted.
fn serve(cli: &Cli, wanted: &Wanted) -> Result<()> {
    let interrupt = Interrupt::install_flag()?;
    let opened = open_source(cli, wanted, &interrupt).with_context(|| shown(&cli.device))?;
    let source = Arc::new(opened);
    let log = || if cli.foreground { Log::Foreground } else { Log::system() };
    let (report, mut waiting) = (log(), BTreeSet::new());
    let answers = Answers::new(Arc::clone(&source), !wanted.unsafe_snapshot, log());
    let session = Session::new(answers, &cli.directory, &wanted.config(cli));
    let session = session.map_err(|err| explained(&err, &cli.directory))?;
    let session = session.spawn()?;
    if !cli.foreground {
        leave_terminal()?;
    }
    let mounted = Mounted::new(&cli.directory);
    while !session.guard.is_finished() {
        if interrupt.requested()
            && let Err(err) = mounted.unmount()
            && waiting.insert(err.to_string())
        {
            report.report(&format!("{}: not unmounted yet: {err}", shown(&cli.directory)));
        }
        if let Source::Written(written) = &*source
            && let Err(err) = written.tick()
            && let Some(why) = err.report
        {
            report.report(&format!("{}: {why}", shown(&cli.device)));
        }
        thread::sleep(BETWEEN);
    }
    if !mounted.is_dead() {
        // Dropping it would unmount what is mounted there now, which is something else.
        std::mem::forget(session);
    } else {
        drop(session);
    }
    finish(source).with_context(|| shown(&cli.device))
}

/// Writes everything, and leaves a clean journal.
fn finish(source: Arc<Source>) -> Result<()> {
    // The threads that answer may still be ending.
    let mut source = source;
    for _ in 0..100 {
        match Arc::try_unwrap(source) {
            Ok(Source::Written(written)) if !written.has_failed() => {
                return written.close().map_err(|err| {
                    let why = err.report.unwrap_or_else(|| err.errno.to_string());
                    anyhow::anyhow!("not everything was written: {why}; fsck.ocfs2 recovers it")
                });
            }
            Ok(Source::Written(_)) => bail!("not everything was written: fsck.ocfs2 recovers it"),
            Ok(Source::Read(_)) => return Ok(()),
            Err(shared) => source = shared,
        }
        thread::sleep(BETWEEN);
    }
    if let Source::Written(written) = &*source {
        let synced = written.sync();
        synced.map_err(|err| anyhow::anyhow!("{}", err.report.unwrap_or_default()))?;
    }
    Ok(())
}

/// Fails for a directory that nothing should be mounted on.
fn check_directory(directory: &Path) -> Result<()> {
    let found = directory.metadata();
    if found.as_ref().is_err_and(is_dead) {
        bail!("{}: something dead is mounted there: umount it first", shown(directory));
    }
    ensure!(found.is_ok_and(|it| it.is_dir()), "{}: is not a directory", shown(directory));
    let is_root = directory.canonicalize()?.parent().is_none();
    ensure!(!is_root, "{}: is the root directory of this system", shown(directory));
    Ok(())
}

/// Whether the program behind a mount has ended.
fn is_dead(err: &std::io::Error) -> bool {
    err.raw_os_error() == Some(rustix::io::Errno::NOTCONN.raw_os_error())
}

/// Where the volume is mounted.
struct Mounted {
    directory: PathBuf,
    /// The number of its file system.
    number: Option<u64>,
}

impl Mounted {
    fn new(directory: &Path) -> Self {
        let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
        let number = directory.metadata().map(|it| it.dev()).ok();
        Self { directory, number }
    }

    /// Whether it is still mounted there, and nobody answers any more.
    fn is_dead(&self) -> bool {
        self.directory.metadata().is_err_and(|err| is_dead(&err))
    }

    /// Unmounts it if nobody is inside, and nothing else is mounted over it.
    fn unmount(&self) -> Result<()> {
        let now = self.directory.metadata().map(|it| it.dev()).ok();
        ensure!(now == self.number, "something else is mounted over it");
        if rustix::process::geteuid().is_root() {
            return Ok(unmount(&self.directory, UnmountFlags::NOFOLLOW)?);
        }
        let done = Command::new("fusermount3").args(["-u", "--"]).arg(&self.directory).output()?;
        let why = ocfs2_cli::terminal(done.stderr.trim_ascii());
        ensure!(done.status.success(), "{why}");
        Ok(())
    }
}

/// Tells the parent that the volume is mounted, and closes what the terminal or a pipe waits for.
fn leave_terminal() -> Result<()> {
    let mut out = Output::stdout();
    out.write_all(MOUNTED)?;
    out.flush()?;
    // Fails for the leader of a group, which this process is not.
    let _ = rustix::process::setsid();
    env::set_current_dir("/")?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// What kept the mount from being made, and what to do.
fn explained(err: &std::io::Error, directory: &Path) -> anyhow::Error {
    let is_device =
        Path::new("/dev/fuse").metadata().is_ok_and(|it| it.file_type().is_char_device());
    let is_root = rustix::process::geteuid().is_root();
    let is_for_all = std::fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
    let what_to_do = match () {
        () if !is_root && is_device && !is_for_all => {
            ": only root may open /dev/fuse here (chmod 666 /dev/fuse)"
        }
        () if !is_device => ": there is no /dev/fuse here (load the module fuse)",
        () if !is_root => ": an ordinary user needs fusermount3, of the package fuse3",
        () => "",
    };
    anyhow::anyhow!("mount on {}: {err}{what_to_do}", shown(directory))
}
