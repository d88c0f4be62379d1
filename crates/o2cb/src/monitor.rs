//! `o2hbmonitor`: warns when this node is late with its heartbeat, before the cluster takes it for dead.

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Parser;
use ocfs2_cli::encode::json_line;
use ocfs2_cli::{
    Interrupt, Output, Status, print_error, print_warning, shown, terminal, this_program,
};
use ocfs2_cluster::{Kernel, RunningKernel};
use serde::Serialize;

/// Time between two heartbeats, which the kernel has fixed.
const BEAT_MS: u64 = 2000;

/// Times to the next look: without a cluster, usually, and after a warning.
const NO_CLUSTER: Duration = Duration::from_secs(60);
const USUALLY: Duration = Duration::from_secs(10);
const LATE: Duration = Duration::from_secs(2);

/// Time until a program that was put into the background has to run.
const START: Duration = Duration::from_secs(5);

/// Where the kernel has the files of clusters and, for those who debug it, of heartbeats.
const CLUSTERS: &str = "sys/kernel/config/cluster";
const DEBUG: &str = "sys/kernel/debug";

/// Warn when this node is late with its o2cb heartbeat
///
/// A node writes a heartbeat every two seconds. If it has written none for as long as dead_threshold
/// says, the others take it for dead, and it reboots itself. This program looks at the time since the
/// last heartbeat on each region every 10 seconds, and warns from --warn percent of that time on; then
/// it looks every 2 seconds. Without a cluster it looks once a minute.
///
/// It goes into the background and logs to /dev/log, unless -i is given. Only one runs at a time. The
/// times are in debugfs of the kernel: mount it at /sys/kernel/debug. The unit o2hbmonitor.service runs
/// it under systemd.
///
/// The exit status is 0 after a signal that ends it, and 1 if it runs already or the command line is
/// wrong; with --once, 1 also for a region on which the heartbeat is late.
#[derive(Clone, Debug, Parser)]
#[command(name = "o2hbmonitor", version)]
pub struct Cli {
    /// Warn from this part of the time on after which the node is taken for dead
    #[arg(short, long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=99))]
    pub warn: u64,

    /// Stay in the foreground and log to standard error; under systemd, with priorities
    #[arg(short, long)]
    pub interactive: bool,

    /// Report every region at every look, late or not
    #[arg(short, long)]
    pub verbose: bool,

    /// Look once, and end
    #[arg(long)]
    pub once: bool,

    /// Print a line of JSON on standard output for every region at every look; needs -i or --once
    #[arg(long)]
    pub json_lines: bool,

    /// Write the times to FILE at every look, for the textfile collector of node exporters
    #[arg(long, value_name = "FILE")]
    pub textfile: Option<PathBuf>,

    /// The folder that stands for / in tests
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub root: PathBuf,

    /// In the background already
    #[arg(long, hide = true)]
    pub background: bool,
}

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// The heartbeat of this node on one region.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Beat {
    /// The cluster.
    pub cluster: String,
    /// The region: a UUID.
    pub region: String,
    /// The device that the region is on, below `/dev`.
    pub device: String,
    /// Milliseconds since the last heartbeat.
    pub elapsed_ms: u64,
    /// Milliseconds after which this node is taken for dead.
    pub dead_ms: u64,
    /// Whether that is late.
    pub late: bool,
}

/// What a look has found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Look {
    /// No cluster of o2cb is online.
    NoCluster,
    /// The kernel's files for those who debug it are not there.
    NoDebugfs,
    /// The heartbeats on all regions, in order.
    Beats(Vec<Beat>),
}

impl Look {
    /// Looks at the heartbeats of this node; from `warn` percent of the time on they are late.
    pub fn at(kernel: &dyn Kernel, warn: u64) -> Self {
        let clusters = kernel.folders(CLUSTERS);
        if clusters.is_empty() {
            return Self::NoCluster;
        }
        if !kernel.exists(&format!("{DEBUG}/o2hb")) {
            return Self::NoDebugfs;
        }
        let number = |path: String| kernel.read(&path).ok()?.trim().parse::<u64>().ok();
        let mut beats = Vec::new();
        for cluster in clusters {
            let heartbeat = format!("{CLUSTERS}/{cluster}/heartbeat");
            let Some(threshold) = number(format!("{heartbeat}/dead_threshold")) else { continue };
            let dead_ms = threshold.saturating_sub(1).saturating_mul(BEAT_MS);
            for region in kernel.folders(&heartbeat) {
                let elapsed = number(format!("{DEBUG}/o2hb/{region}/elapsed_time_in_ms"));
                // A region that is not started has none.
                let Some(elapsed_ms) = elapsed else { continue };
                let device = kernel.read(&format!("{heartbeat}/{region}/dev")).unwrap_or_default();
                let late = elapsed_ms >= dead_ms.saturating_mul(warn) / 100;
                let cluster = cluster.clone();
                beats.push(Beat { cluster, region, device, elapsed_ms, dead_ms, late });
            }
        }
        Self::Beats(beats)
    }

    fn beats(&self) -> &[Beat] {
        match self {
            Self::Beats(beats) => beats,
            _ => &[],
        }
    }

    /// Whether a heartbeat is late.
    pub fn is_late(&self) -> bool {
        self.beats().iter().any(|beat| beat.late)
    }

    fn next(&self) -> Duration {
        match self {
            Self::Beats(_) if self.is_late() => LATE,
            Self::Beats(_) => USUALLY,
            _ => NO_CLUSTER,
        }
    }

    /// The text for node exporters.
    pub fn metrics(&self, now: SystemTime) -> String {
        let mut text = String::new();
        let mut family = |name: &str, help: &str, lines: &[(String, String)]| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
            for (labels, value) in lines {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let of = |value: &dyn Fn(&Beat) -> String| -> Vec<(String, String)> {
            self.beats().iter().map(|beat| (labels(beat), value(beat))).collect()
        };
        let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
        family(
            "ocfs2_heartbeat_elapsed_seconds",
            "Time since this node wrote its last heartbeat.",
            &of(&|beat| seconds(beat.elapsed_ms)),
        );
        family(
            "ocfs2_heartbeat_dead_seconds",
            "Time after which this node is taken for dead.",
            &of(&|beat| seconds(beat.dead_ms)),
        );
        family(
            "ocfs2_heartbeat_late",
            "Whether the heartbeat of this node is late.",
            &of(&|beat| u8::from(beat.late).to_string()),
        );
        let time = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        family(
            "ocfs2_heartbeat_looked_at_seconds",
            "When this was measured, in seconds since 1970.",
            &[(String::new(), time.to_string())],
        );
        text
    }
}

fn labels(beat: &Beat) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let [cluster, region, device] =
        [&*beat.cluster, &*beat.region, &*beat.device].map(|text| escaped(&terminal(text)));
    format!("{{cluster=\"{cluster}\",region=\"{region}\",device=\"/dev/{device}\"}}")
}

/// How urgent a message is, as syslog counts.
#[derive(Clone, Copy)]
enum Priority {
    Warning = 4,
    Info = 6,
}

/// Where messages go.
enum Log {
    Foreground {
        /// Whether each line begins with its priority, which the journal takes off.
        with_priority: bool,
    },
    Background(PathBuf),
}

impl Log {
    fn new(cli: &Cli) -> Self {
        match cli.background {
            true => Self::Background(cli.root.join("dev/log")),
            false => {
                // Set by systemd.
                let journal = std::env::var_os("JOURNAL_STREAM");
                Self::Foreground { with_priority: journal.is_some_and(|it| !it.is_empty()) }
            }
        }
    }

    fn say(&self, priority: Priority, text: &str) {
        let number = priority as u8;
        // There is nobody to tell if that fails.
        let _ = match self {
            Self::Foreground { with_priority: true } => {
                writeln!(Output::stderr(), "<{number}>{text}")
            }
            Self::Foreground { .. } => writeln!(Output::stderr(), "o2hbmonitor: {text}"),
            Self::Background(path) => syslog(path, number, text),
        };
    }
}

/// Sends a message of a daemon to the system's log.
fn syslog(path: &Path, priority: u8, text: &str) -> io::Result<()> {
    /// The facility of daemons.
    const DAEMON: u8 = 3;
    let line = format!("<{}>o2hbmonitor[{}]: {text}", DAEMON << 3 | priority, std::process::id());
    UnixDatagram::unbound()?.send_to(line.as_bytes(), path).map(drop)
}

/// The program: from its command line to its exit status.
pub fn main() -> std::process::ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| run(&cli))
}

/// Does what `cli` asks for.
///
/// # Errors
/// It runs already; a file cannot be written.
pub fn run(cli: &Cli) -> Result<Status> {
    if cli.json_lines && !(cli.interactive || cli.once || cli.background) {
        bail!("--json-lines needs -i: in the background nobody reads them");
    }
    if !(cli.interactive || cli.once || cli.background) {
        return into_background(cli);
    }
    let interrupt = Interrupt::install_flag()?;
    let kernel = RunningKernel::under(&cli.root);
    if cli.once {
        let look = Look::at(&kernel, cli.warn);
        report(cli, &look, &Log::new(cli), 0)?;
        return Ok(if look.is_late() { Status::FAILURE } else { Status::SUCCESS });
    }
    let _lock = only_one(&cli.root)?;
    let log = Log::new(cli);
    log.say(Priority::Info, "Starting");
    let mut looks = 0;
    while !interrupt.requested() {
        let look = Look::at(&kernel, cli.warn);
        // A full disk is no reason to stop watching.
        if let Err(err) = report(cli, &look, &log, looks) {
            if ocfs2_cli::is_output_closed(&err) {
                return Err(err);
            }
            log.say(Priority::Warning, &format!("{err:#}"));
        }
        looks += 1;
        let until = Instant::now() + look.next();
        while Instant::now() < until && !interrupt.requested() {
            thread::sleep(Duration::from_millis(200).min(until - Instant::now()));
        }
    }
    Ok(Status::SUCCESS)
}

/// Reports a look, the one with this number.
fn report(cli: &Cli, look: &Look, log: &Log, number: u32) -> Result<()> {
    match look {
        Look::NoCluster if cli.verbose => log.say(Priority::Info, "no cluster is online"),
        Look::NoDebugfs if number.is_multiple_of(10) => {
            log.say(Priority::Warning, "mount debugfs at /sys/kernel/debug");
        }
        _ => {}
    }
    for beat in look.beats() {
        let Beat { region, device, elapsed_ms, late, .. } = beat;
        if *late || cli.verbose {
            let priority = if *late { Priority::Warning } else { Priority::Info };
            let (region, device) = (terminal(region), terminal(device));
            let text = format!("Last ping {elapsed_ms} msecs ago on /dev/{device}, {region}");
            log.say(priority, &text);
        }
        if cli.json_lines {
            writeln!(Output::stdout(), "{}", json_line(beat)?)?;
        }
    }
    match &cli.textfile {
        Some(path) => write_textfile(path, &look.metrics(SystemTime::now()))
            .with_context(|| format!("--textfile: {}", shown(path))),
        None => Ok(()),
    }
}

/// Writes a file as a whole, readable for the exporter.
fn write_textfile(path: &Path, text: &str) -> io::Result<()> {
    // A device such as /dev/null would become a file.
    if path.metadata().is_ok_and(|it| !it.is_file()) {
        return Err(io::Error::other("is not a regular file"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))
        // Without the name of a file that nobody knows.
        .map_err(|err| io::Error::from(err.kind()))?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.persist(path).map(drop).map_err(|err| err.error)
}

/// The lock of the one that runs.
fn only_one(root: &Path) -> Result<File> {
    let path = root.join("run/o2hbmonitor.lock");
    let name = || shown(&path);
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(name)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            bail!("runs already: another one has locked {}", name())
        }
        Err(fs::TryLockError::Error(err)) => Err(err).with_context(name),
    }
}

/// Starts this program again, in the background.
fn into_background(cli: &Cli) -> Result<Status> {
    // The lock is free again when this returns; the other one takes it.
    drop(only_one(&cli.root)?);
    let mut command = this_program()?;
    command.arg("--background").arg("--root").arg(&cli.root);
    command.args(["--warn", &cli.warn.to_string()]);
    if cli.verbose {
        command.arg("--verbose");
    }
    if let Some(path) = &cli.textfile {
        command.arg("--textfile").arg(std::path::absolute(path)?);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.process_group(0).current_dir("/").spawn()?;
    let end = Instant::now() + START;
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            print_error(&anyhow::anyhow!("ended at once: {status}; -i says why"));
            return Ok(Status::FAILURE);
        }
        if only_one(&cli.root).is_err() {
            return Ok(Status::SUCCESS);
        }
        thread::sleep(Duration::from_millis(50));
    }
    print_warning("has not begun to watch yet");
    Ok(Status::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert_eq!(parse("x -i -v -w 70").unwrap().warn, 70);
        for wrong in ["x -w 0", "x -w 100", "x -w", "x disk"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    /// The files of a kernel with a cluster and two regions.
    fn recorded(root: &Path) {
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("sys/kernel/config/cluster/web/heartbeat/dead_threshold", "31\n");
        put("sys/kernel/config/cluster/web/heartbeat/mode", "global\n");
        for (region, device, elapsed) in [("AA", "sdb1", "29999"), ("BB", "dm-3", "30000")] {
            put(&format!("sys/kernel/config/cluster/web/heartbeat/{region}/dev"), device);
            put(&format!("sys/kernel/debug/o2hb/{region}/elapsed_time_in_ms"), elapsed);
        }
        fs::create_dir_all(root.join("sys/kernel/config/cluster/web/heartbeat/not started"))
            .unwrap();
    }

    #[test]
    fn a_heartbeat_is_late_from_a_part_of_the_time_on() {
        let root = tempfile::tempdir().unwrap();
        let kernel = RunningKernel::under(root.path());
        assert_eq!(Look::at(&kernel, 50), Look::NoCluster);
        recorded(root.path());
        let look = Look::at(&kernel, 50);
        let late: Vec<_> = look.beats().iter().map(|beat| (&*beat.region, beat.late)).collect();
        assert_eq!(late, [("AA", false), ("BB", true)]);
        assert_eq!((look.beats()[0].dead_ms, look.next()), (60_000, LATE));
        assert_eq!(Look::at(&kernel, 51).next(), USUALLY);
        fs::remove_dir_all(root.path().join("sys/kernel/debug")).unwrap();
        assert_eq!(Look::at(&kernel, 50), Look::NoDebugfs);
        assert_eq!(Look::NoDebugfs.next(), NO_CLUSTER);
    }

    #[test]
    fn times_are_seconds_for_exporters_and_labels_are_escaped() {
        let beat = Beat {
            cluster: "w\"b\\".into(),
            region: "AA".into(),
            device: "sdb1".into(),
            elapsed_ms: 1234,
            dead_ms: 60_000,
            late: false,
        };
        let text = Look::Beats(vec![beat]).metrics(UNIX_EPOCH + Duration::from_secs(7));
        let line = "ocfs2_heartbeat_elapsed_seconds{cluster=\"w\\\"b\\\\\",region=\"AA\",device=\"/dev/sdb1\"} 1.234\n";
        assert!(text.contains(line), "{text}");
        assert!(text.ends_with("\nocfs2_heartbeat_looked_at_seconds 7\n"), "{text}");
    }
}
