//! The program.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use ocfs2_cli::{Output, Status, print_error, print_note, print_warning, shown, terminal};
use ocfs2_cluster::{Kernel, Patience, References, RunningKernel};

use crate::{Cli, Machine, mount, system_mount};

/// Waits until a signal ends the program.
struct Waiting<'a> {
    source: &'a Path,
}

impl Patience for Waiting<'_> {
    fn say(&self, what: &str) {
        print_note(format_args!("{}: {what}", shown(self.source)));
    }

    fn pause(&self, time: Duration) -> bool {
        std::thread::sleep(time);
        true
    }
}

/// Mounts what `cli` names.
///
/// # Errors
/// None: errors are printed here, because each has its own exit status.
pub fn run(cli: &Cli) -> Result<Status> {
    let kernel = RunningKernel::default();
    let references = References::default();
    let machine = Machine {
        kernel: &kernel,
        references: &references,
        mount: &system_mount,
        mountinfo: &|| fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
        patience: &Waiting { source: &cli.device },
    };
    let done = cli.options().map_err(Into::into).and_then(|options| {
        if !options.fake && !rustix::process::geteuid().is_root() {
            print_error(&anyhow::anyhow!("only root can mount"));
            return Ok(Status::FAILURE);
        }
        let outcome = mount(&options, &machine)?;
        // mount(8) prints nothing on success.
        for note in outcome.notes.iter().filter(|_| cli.verbose) {
            print_warning(format!("{}: {note}", shown(&outcome.request.source)));
        }
        if cli.verbose {
            let request = &outcome.request;
            let (source, target) = (shown(&request.source), shown(&request.target));
            let data = terminal(&request.data);
            // The volume is mounted, whether or not this can be written.
            let _ = writeln!(Output::stdout(), "{source} on {target} type ocfs2 ({data})");
        }
        if outcome.request.data.ends_with("heartbeat=local") && !options.fake {
            raise_priority(&kernel, &outcome.request.source);
        }
        Ok(Status::SUCCESS)
    });
    Ok(done.unwrap_or_else(|err: crate::MountError| {
        let status = err.status();
        print_error(&err.into());
        Status(status)
    }))
}

/// Raises the I/O priority of the heartbeat, so that it does not wait behind other I/O. If that
/// fails, the heartbeat works nevertheless.
fn raise_priority(kernel: &dyn Kernel, device: &Path) {
    let path = kernel.read("proc/sys/fs/ocfs2/nm/hb_ctl_path");
    let path = path.unwrap_or_else(|_| "/sbin/ocfs2_hb_ctl".to_owned());
    let mut command = Command::new(path);
    command.arg("-P").arg("-d").arg(device);
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}
