//! An unmounted volume or image, whose extents this program moves by itself.

mod arrange;
mod mover;
mod owners;
mod pieces;
mod report;

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ocfs2_cli::{
    Interrupt, NoProgress, Output, Progress, ProgressLines, Status, print_json, print_note,
    print_warning, progress, shown, undo_note, volume_argument,
};
use ocfs2_device::Device;
use ocfs2_format::Blkno;
use ocfs2_users::work::{Work, most_blocks};
use ocfs2_users::{Guard, Steps, Writer, open_volume, verify_sound};
use ocfs2_volume::edit::EditOptions;
use ocfs2_volume::find::resolve;
use ocfs2_volume::usage::SystemClock;
use ocfs2_volume::{Timestamp, Volume, VolumeOptions};

use crate::Cli;
use arrange::{Census, Wanted, arrange};
use report::{Free, Report};

/// Bytes of changes that are kept in memory; a rehearsal may have very many.
const MEMORY: u64 = 16 << 20;

/// Looks at the volume that `cli` names, and moves what lies in pieces.
///
/// # Errors
/// The volume cannot be used, is in use, unclean or damaged; a path is not there; a signal came.
pub(crate) fn run(cli: &Cli) -> Result<Status> {
    let Some((device, paths)) = cli.targets.split_first() else { bail!("no device was given") };
    ensure!(!cli.pack || paths.is_empty(), "--pack is about all of a volume: leave out the paths");
    let device = &resolve(device)?;
    let interrupt = Interrupt::install()?;
    let report = arranged(cli, device, paths, &interrupt).with_context(|| shown(device))?;
    let is_good = report.is_good();
    let mut out = Output::stdout();
    if cli.json {
        print_json(&mut out, &report)?;
    } else {
        report.print(cli, device, &mut out)?;
    }
    Ok(if is_good { Status::SUCCESS } else { Status::FAILURE })
}

fn arranged(
    cli: &Cli,
    device: &Path,
    paths: &[std::path::PathBuf],
    interrupt: &Interrupt,
) -> Result<Report> {
    let write = !(cli.count || cli.dry_run);
    let options = VolumeOptions { write, strict: write, ..VolumeOptions::default() };
    let volume = open_volume(device, cli.partition, write, &options)?;
    let only = chosen(&volume, paths, interrupt)?;
    let wanted = Wanted { only, packs: cli.pack };
    let clock = SystemClock::default();
    let guard = match (write, cli.dry_run) {
        (true, _) => Some(Guard::take(&volume, device, cli.partition, &clock, interrupt)?),
        (false, true) => Guard::look(&volume, &clock).map(|_| None)?,
        (false, false) => None,
    };
    if let Some(why) = guard.as_ref().and_then(|guard| guard.not_locked.as_ref()) {
        print_warning(format_args!("{}: {why}", shown(device)));
    }
    let mut census = if cli.count {
        Census::of(&volume, &wanted, interrupt)?
    } else {
        verify_sound(&volume)?;
        Census::verified(&volume, &wanted, interrupt)?
    };
    let before = Free::of(&volume)?;
    let progress: Box<dyn Progress> = match cli.progress {
        None => progress(!cli.json),
        Some(number) => Box::new(
            ProgressLines::to_descriptor(number)
                .with_context(|| format!("--progress: descriptor {number}"))?,
        ),
    };
    let steps = steps(&volume, interrupt, &*progress);
    let make = |work: &mut Work<'_>| arrange(work, &wanted, &mut census, interrupt);
    let (moved, volume) = match guard {
        None if cli.count => (0, volume.on(volume.device().clone())),
        None => steps.rehearse(make)?,
        Some(guard) => {
            let writer = Writer::new(&volume, guard, cli.undo_file.as_deref())?;
            let (made, _) = steps.commit(&|work: &Work<'_>| writer.pass(work), make);
            if writer.finish()?
                && let Some(path) = &cli.undo_file
            {
                print_note(undo_note(path, &volume_argument(cli.partition, device)));
            }
            let options = VolumeOptions { write: true, strict: true, ..VolumeOptions::default() };
            (made?, Volume::open(volume.device().clone(), &options)?)
        }
    };
    Report::new(&volume, &census, moved, before)
}

fn steps<'a>(
    volume: &'a Volume,
    interrupt: &'a Interrupt,
    progress: &'a dyn Progress,
) -> Steps<'a> {
    let options = EditOptions {
        time: Timestamp::now(),
        name_hash: ocfs2_users::name_hash::of_this_kernel(),
        follow_names: true,
        most_blocks: most_blocks(volume),
        memory_bytes: MEMORY,
        ..EditOptions::default()
    };
    Steps { volume, options, interrupt, progress }
}

/// Puts together what lies in pieces on `device`, which holds `volume`; with `packs`, free space, too.
/// The caller has to make sure that nobody uses the volume.
///
/// # Errors
/// What could not be done, and why.
pub fn arrange_volume(volume: &Volume, device: &dyn Device, packs: bool) -> Result<()> {
    let (interrupt, wanted) = (Interrupt::default(), Wanted { only: None, packs });
    verify_sound(volume)?;
    let mut census = Census::verified(volume, &wanted, &interrupt)?;
    let make = |work: &mut Work<'_>| arrange(work, &wanted, &mut census, &interrupt);
    let steps = steps(volume, &interrupt, &NoProgress);
    steps.commit(&|_: &Work<'_>| Ok(device), make).0.map(|_| ())
}

/// The inodes of these paths of the volume, and of everything below them; `None` for all.
fn chosen(
    volume: &Volume,
    paths: &[std::path::PathBuf],
    interrupt: &Interrupt,
) -> Result<Option<BTreeSet<Blkno>>> {
    if paths.is_empty() {
        return Ok(None);
    }
    let mut all = BTreeSet::new();
    for path in paths {
        let inode = volume.resolve(path.as_os_str().as_bytes()).with_context(|| shown(path))?;
        all.insert(inode.blkno);
        if inode.is_dir() {
            for found in volume.walk(&inode)? {
                interrupt.check()?;
                all.insert(found?.inode.blkno);
            }
        }
    }
    Ok(Some(all))
}
