//! The program.

use std::cell::Cell;
use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ocfs2_cli::{
    Interrupt, NoProgress, Output, Progress, Status, argument, causes, confirm, is_interrupted,
    is_output_closed, print_error, print_json, print_note, print_warning, shown, undo_note,
    volume_argument,
};
use ocfs2_device::Device;
use ocfs2_format::superblock::STATE_ERROR;
use ocfs2_users::work::{Work, most_blocks};
use ocfs2_users::{Guard, Steps, Writer, forget, verify_end, verify_sound};
use ocfs2_volume::commit::CommitError;
use ocfs2_volume::edit::{Edit, EditError, EditOptions};
use ocfs2_volume::find::resolve;
use ocfs2_volume::usage::SystemClock;
use ocfs2_volume::{Error, Timestamp, Volume, VolumeOptions};

use crate::change::{Change, State};
use crate::cli::Unit;
use crate::online::{Online, Stopped};
use crate::report::{Entry, Outcome, Outcomes, Report};
use crate::shrink::{self, Moved};
use crate::size::{self, Size};
use crate::steps::progress;
use crate::{Cli, query, sparse};

/// The change failed, and the volume is unchanged.
const UNCHANGED: Status = Status(2);
/// The change failed after something was written.
const NEEDS_FSCK: Status = Status(3);

/// The name of a part of the work, as the C tool has it.
const GROWING: &str = "Growing the filesystem";

/// Bytes of changes that are kept in memory; a rehearsal may have very many.
const MEMORY: u64 = 16 << 20;

/// The name of a change of the size.
const SIZE: &str = "volume-size";

/// What only the superblock answers needs nothing else of the volume.
const READING: VolumeOptions = VolumeOptions {
    write: false,
    superblock: ocfs2_volume::SuperblockAt::Primary,
    block_size: None,
    heartbeat_device: true,
    strict: false,
    allow_short: true,
    any_checksum: false,
};

/// A change that takes several transactions was made in part. The volume can be mounted.
#[derive(Debug, thiserror::Error)]
#[error("part of the work is done, and the same command goes on with the rest")]
struct Partly;

/// The size was changed, and other changes could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the volume was {0}; then")]
struct Then(&'static str);

/// Does what `cli` asks for.
///
/// # Errors
/// What could not be done, and why. A failed change is printed, and has a status of its own.
pub fn run(cli: &Cli) -> Result<Status> {
    ensure!(!cli.json || cli.progress != Some(None), "with --json, --progress needs a descriptor");
    let progress = &*progress(cli)?;
    let cli = &Cli { device: resolve(&cli.device)?, ..cli.clone() };
    if let Some(format) = &cli.query {
        let volume = open_volume(cli, false, &READING)?;
        let mut out = Output::stdout();
        out.write_all(query(volume.superblock(), format)?.as_bytes())?;
        out.flush()?;
    }
    if cli.list && !cli.json {
        let volume = open_volume(cli, false, &READING)?;
        let mut out = Output::buffered();
        ocfs2_show::superblock(&mut out, volume.superblock())?;
        out.flush()?;
    }
    if cli.list_sparse {
        let interrupt = Interrupt::install()?;
        let volume = open_volume(cli, false, &VolumeOptions::default())?;
        sparse::list(&volume, &mut Output::buffered(), &interrupt)
            .with_context(|| shown(&cli.device))?;
    }
    if !cli.changes() && !cli.json {
        return Ok(Status::SUCCESS);
    }
    let outcomes = Outcomes::default();
    let made = match cli.changes() {
        true => change(cli, &outcomes, progress).with_context(|| shown(&cli.device)),
        false => Ok(()),
    };
    let status = match &made {
        Ok(()) => Status::SUCCESS,
        Err(err) if is_output_closed(err) => return made.map(|()| Status::SUCCESS),
        Err(err) => {
            print_error(err);
            status_of(err)
        }
    };
    if cli.json {
        let volume = open_volume(cli, false, &READING);
        let error = made.as_ref().err().or(volume.as_ref().err()).map(causes);
        let report = Report::new(cli, outcomes, volume.as_ref().ok(), error, status.0);
        let printed = print_json(&mut Output::stdout(), &report);
        printed.context("what was done cannot be printed")?;
        if made.is_ok() {
            volume?;
        }
    }
    Ok(status)
}

/// The exit status for a failed change, which says whether the volume is unchanged.
fn status_of(err: &anyhow::Error) -> Status {
    if err.is::<Partly>() || err.is::<Then>() {
        return NEEDS_FSCK;
    }
    if is_interrupted(err) {
        return Status::INTERRUPTED;
    }
    match err.downcast_ref::<Stopped>() {
        Some(Stopped::Unchanged) => return UNCHANGED,
        Some(Stopped::At(_)) => return NEEDS_FSCK,
        None => {}
    }
    for cause in err.chain() {
        if let Some(commit) = cause.downcast_ref::<CommitError>() {
            return if commit.is_before_writes() { UNCHANGED } else { NEEDS_FSCK };
        }
        match cause.downcast_ref::<EditError>() {
            Some(EditError::Refused(_) | EditError::TooLarge(_) | EditError::ManyBlocks { .. }) => {
                return Status::FAILURE;
            }
            Some(_) => return UNCHANGED,
            None => {}
        }
        if cause.is::<Error>() {
            return UNCHANGED;
        }
    }
    Status::FAILURE
}

fn open_volume(cli: &Cli, write: bool, options: &VolumeOptions) -> Result<Volume> {
    ocfs2_users::open_volume(&cli.device, cli.partition, write, options)
}

fn change(cli: &Cli, outcomes: &Outcomes, progress: &dyn Progress) -> Result<()> {
    if let Some(unit) = cli.volume_size
        && cli.partition.is_none()
        && let Some(online) = Online::find(&cli.device)?
    {
        return grow_online(cli, online, unit, outcomes, progress);
    }
    change_unmounted(cli, outcomes, progress)
}

/// Extends a volume that is mounted on this host.
fn grow_online(
    cli: &Cli,
    mut online: Online,
    unit: Unit,
    outcomes: &Outcomes,
    progress: &dyn Progress,
) -> Result<()> {
    let run = Run::new(cli, outcomes, progress)?;
    let Some(target) = online.target(cli, unit)? else {
        run.say_same_size(online.volume());
        return Ok(());
    };
    let question = run.size_question(online.volume(), target);
    if cli.no {
        run.note(SIZE, Outcome::Possible, &question);
        return run.print(&[&format!("{question}? n"), "Nothing was changed"]);
    }
    if !run.agrees(SIZE, &State::Ask(question.clone()))? {
        return Ok(());
    }
    let before = online.volume().geometry().clusters;
    progress.start(GROWING, (target - before).into());
    let mut step = |now: u32| {
        run.interrupt.check()?;
        progress.update((now - before).into());
        Ok(())
    };
    online.grow(target, &mut step)?;
    progress.update((target - before).into());
    progress.finish();
    run.note(SIZE, Outcome::Done, &question);
    run.say(&format!("The filesystem has {target} clusters"));
    Ok(())
}

/// The error with what helps if the journals are too small.
fn advised(err: anyhow::Error) -> anyhow::Error {
    let is_large = err.chain().any(|cause| {
        let edit = matches!(cause.downcast_ref(), Some(EditError::ManyBlocks { .. }));
        edit || matches!(cause.downcast_ref(), Some(CommitError::TooLarge { .. }))
    });
    match is_large {
        true => err.context("larger journals are needed, which -J size=SIZE makes"),
        false => err,
    }
}

/// The error with the change that has no room, and how much there is.
fn without_room(err: anyhow::Error, change: &Change, volume: &Volume) -> anyhow::Error {
    let lack = err.downcast_ref::<EditError>().is_some_and(EditError::is_no_room);
    match volume.statfs() {
        Ok(room) if lack => {
            let name = change.name();
            err.context(format!(
                "{name}: {} of {} clusters are free",
                room.free_clusters, room.clusters
            ))
        }
        _ => err,
    }
}

/// Checks what the changes of a run depend on. Growth alone takes no cluster, and touches the last
/// group and the chains only: the others, which may be very many, are not read.
fn verify(cli: &Cli, volume: &Volume, resize: Option<Size>) -> Result<()> {
    match matches!(resize, Some(Size::Larger(_))) && !cli.changes_more_than_size() {
        true => verify_end(volume),
        false => verify_sound(volume),
    }
}

/// Makes the changes of a volume that nobody uses.
fn change_unmounted(cli: &Cli, outcomes: &Outcomes, progress: &dyn Progress) -> Result<()> {
    let write = !cli.no;
    let options = VolumeOptions { write, strict: write, ..Default::default() };
    let volume = open_volume(cli, write, &options)?;
    let run = Run::new(cli, outcomes, progress)?;
    // Report invalid requests before examining anything.
    let resize = match cli.volume_size {
        Some(unit) => size::target(cli, &volume, unit)?,
        None => None,
    };
    let changes = Change::all(cli, &volume)?;
    if volume.superblock().s_state & STATE_ERROR != 0 {
        let device = &run.device;
        print_warning(format_args!(
            "{device}: the volume is marked as having errors: run fsck.ocfs2 -fy {}",
            argument(&cli.device)
        ));
    }
    if cli.volume_size.is_some() && resize.is_none() {
        run.say_same_size(&volume);
    }
    let is_superblock = !cli.changes_structures();
    let is_copy = is_superblock && cli.cloned_volume.is_some();
    let clock = SystemClock::default();
    if cli.no {
        if !is_superblock {
            verify(cli, &volume, resize)?;
        }
        if is_copy {
            Guard::of_copy(&volume, &cli.device, &clock)?;
        } else {
            Guard::look(&volume, &clock)?;
        }
        return run.preview(&volume, resize, &changes).map_err(advised);
    }
    // If the volume belongs to another cluster, nodes cannot be locked out.
    let guard = match is_copy {
        true => Guard::of_copy(&volume, &cli.device, &clock)?,
        false => Guard::take(&volume, &cli.device, cli.partition, &clock, &run.interrupt)?,
    };
    if let Some(why) = &guard.not_locked {
        print_warning(format_args!("{}: {why}", run.device));
    }
    if !is_superblock {
        verify(cli, &volume, resize)?;
    }
    let writer = Writer::new(&volume, guard, cli.undo_file.as_deref())?;
    let pass = |work: &Work<'_>| writer.pass(work);
    let result = run.change(&volume, &pass, resize, &changes).map_err(advised);
    if writer.finish()?
        && let Some(path) = &cli.undo_file
        && !run.is_quiet()
    {
        print_note(undo_note(path, &volume_argument(cli.partition, &cli.device)));
    }
    match result? {
        // The undo file would not fit a shorter file.
        Some(bytes) if cli.partition.is_none() && cli.undo_file.is_none() => run.cut_image(bytes),
        _ => Ok(()),
    }
}

/// Makes all changes that `cli` requests on `device`, which holds `volume`. The caller has to make
/// sure that nobody uses the volume.
///
/// # Errors
/// What could not be done, and why; the text of `--help` says what the state of the volume is then.
pub fn change_volume(cli: &Cli, volume: &Volume, device: &dyn Device) -> Result<()> {
    let resize = match cli.volume_size {
        Some(unit) => size::target(cli, volume, unit)?,
        None => None,
    };
    let changes = Change::all(cli, volume)?;
    verify(cli, volume, resize)?;
    let outcomes = Outcomes::default();
    let run = Run::new(cli, &outcomes, &NoProgress)?;
    run.change(volume, &|_: &Work<'_>| Ok(device), resize, &changes).map(|_| ())
}

/// A run that makes changes.
struct Run<'a> {
    cli: &'a Cli,
    device: String,
    interrupt: Interrupt,
    outcomes: &'a Outcomes,
    progress: &'a dyn Progress,
}

impl<'a> Run<'a> {
    fn new(cli: &'a Cli, outcomes: &'a Outcomes, progress: &'a dyn Progress) -> Result<Self> {
        let (device, interrupt) = (shown(&cli.device), Interrupt::install()?);
        Ok(Self { cli, device, interrupt, outcomes, progress })
    }

    fn options(&self, volume: &Volume) -> EditOptions {
        EditOptions {
            time: Timestamp::now(),
            name_hash: self.cli.name_hash.unwrap_or_else(ocfs2_users::name_hash::of_this_kernel),
            follow_names: self.cli.name_hash.is_none(),
            most_blocks: most_blocks(volume),
            memory_bytes: MEMORY,
            ..EditOptions::default()
        }
    }

    /// Notes the outcome of a change for the report.
    fn note(&self, change: &str, outcome: Outcome, text: &str) {
        let entry = Entry { change: change.to_owned(), outcome, text: text.to_owned() };
        self.outcomes.borrow_mut().push(entry);
    }

    /// Whether nothing but errors is printed as text.
    fn is_quiet(&self) -> bool {
        self.cli.quiet > 0 || self.cli.json
    }

    /// Makes all changes. `pass` is called once for each step, and returns the device to write to.
    /// Returns the new size in bytes of a volume that has become smaller.
    fn change<D: Device>(
        &self,
        volume: &Volume,
        pass: &dyn Fn(&Work<'_>) -> Result<D>,
        resize: Option<Size>,
        changes: &[Change],
    ) -> Result<Option<u64>> {
        let sizes = resize.map_or(Ok(Vec::new()), |size| self.sizes(volume, size))?;
        let Some(last) = sizes.last().copied() else {
            return self.transaction(volume, pass, changes).map(|()| None);
        };
        let question = self.size_question(volume, last);
        if !self.agrees(SIZE, &State::Ask(question.clone()))? {
            return self.transaction(volume, pass, changes).map(|()| None);
        }
        let before = volume.geometry().clusters;
        if !changes.is_empty() {
            self.verify_rest(volume, &sizes, changes)?;
        }
        let mut volume = volume.on(Arc::clone(volume.device()));
        let mut is_begun = false;
        for clusters in sizes {
            let made = match clusters > before {
                true => self.grow(&volume, clusters, pass),
                false => self.shrink(&volume, clusters, pass),
            };
            made.map_err(|err| if is_begun { err.context(Partly) } else { err })?;
            is_begun = true;
            let options = VolumeOptions { write: true, strict: true, ..Default::default() };
            volume = Volume::open(Arc::clone(volume.device()), &options)?;
        }
        self.note(SIZE, Outcome::Done, &question);
        let is_smaller = last < before;
        let verb = if is_smaller { "made smaller" } else { "extended" };
        self.transaction(&volume, pass, changes).map_err(|err| err.context(Then(verb)))?;
        Ok(is_smaller.then_some(volume.geometry().size_bytes()))
    }

    /// Fails if the other changes are not possible once the volume has its new size, before it has.
    fn verify_rest(&self, volume: &Volume, sizes: &[u32], changes: &[Change]) -> Result<()> {
        let before = volume.geometry().clusters;
        // What has room without growth has room after it.
        let is_larger = sizes.last().is_some_and(|last| *last > before);
        if is_larger && self.verify_changes(volume, changes).is_ok() {
            return Ok(());
        }
        let mut then = volume.on(Arc::clone(volume.device()));
        for clusters in sizes {
            then = match is_larger {
                true => self.rehearsed_growth(&then, *clusters)?,
                false => self.rehearsed_shrink(&then, *clusters)?.1,
            };
        }
        let rest = self.verify_changes(&then, changes);
        rest.context("with its new size, the volume cannot get the other changes")
    }

    /// Fails if changes of a volume are not possible.
    fn verify_changes(&self, volume: &Volume, changes: &[Change]) -> Result<()> {
        let rehearsed = self.rehearse(volume, |work| {
            for change in changes {
                let state = change.state(work.edit.volume(), &self.device)?;
                if !matches!(state, State::Done(_)) {
                    change.apply(work).map_err(|err| without_room(err, change, volume))?;
                }
            }
            Ok(work.edit.finish()?)
        });
        rehearsed.map(|_| ())
    }

    /// The sizes in clusters that the volume gets, one after the other; none if it stays as it is.
    /// Where everything has moved, there may be room for a size that is smaller still.
    fn sizes(&self, volume: &Volume, size: Size) -> Result<Vec<u32>> {
        let (Size::Larger(clusters) | Size::Smaller(clusters)) = size else {
            let (mut sizes, mut now) = (Vec::new(), volume.on(Arc::clone(volume.device())));
            let tried = Cell::new(0);
            self.progress.start("Looking for the smallest size", 0);
            loop {
                let fits = |clusters| {
                    tried.set(tried.get() + 1);
                    self.progress.update(tried.get());
                    let (_, then) = self.rehearse(&now, |work| self.shrunk(work, clusters))?;
                    shrink::used(&then)
                };
                let least = shrink::least(&now, &fits)?;
                if least == now.geometry().clusters {
                    break;
                }
                sizes.push(least);
                now = self.rehearse(&now, |work| self.shrunk(work, least))?.1;
            }
            self.progress.finish();
            if sizes.is_empty() {
                self.say_same_size(volume);
            }
            return Ok(sizes);
        };
        Ok(vec![clusters])
    }

    fn say_same_size(&self, volume: &Volume) {
        let (device, clusters) = (&self.device, volume.geometry().clusters);
        let text = format!(
            "Filesystem on device \"{device}\" is already {clusters} clusters; nothing to do"
        );
        self.note(SIZE, Outcome::Already, &text);
        self.say(&text);
    }

    fn size_question(&self, volume: &Volume, clusters: u32) -> String {
        let (device, now) = (&self.device, volume.geometry().clusters);
        let verb = if clusters < now { "Shrink" } else { "Grow" };
        format!("{verb} the filesystem on device \"{device}\" from {now} to {clusters} clusters")
    }

    /// Makes the volume smaller in as many transactions as that takes, after a rehearsal.
    fn shrink<D: Device>(
        &self,
        volume: &Volume,
        clusters: u32,
        pass: &dyn Fn(&Work<'_>) -> Result<D>,
    ) -> Result<()> {
        let (moved, _) = self.rehearsed_shrink(volume, clusters)?;
        if moved.has_inodes() {
            print_warning(format_args!(
                "{}: inodes get other numbers: NFS clients lose the files that they have open",
                self.device
            ));
        }
        self.in_steps(volume, pass, |work| self.shrunk(work, clusters))?;
        self.say(&format!("The filesystem has {clusters} clusters"));
        Ok(())
    }

    fn rehearsed_shrink(&self, volume: &Volume, clusters: u32) -> Result<(Moved, Volume)> {
        let moved = self.rehearse(volume, |work| self.shrunk(work, clusters));
        moved.map_err(|err| match err.downcast_ref::<EditError>() {
            Some(lack) if lack.is_no_room() => err.context(format!(
                "{clusters} clusters are not enough, and -S with min finds the smallest size"
            )),
            _ => err,
        })
    }

    fn shrunk(&self, work: &mut Work<'_>, clusters: u32) -> Result<Moved> {
        shrink::shrink(work, clusters, self.cli.keep_inode_numbers)
    }

    /// Offers to make the image file as long as the volume in it.
    fn cut_image(&self, bytes: u64) -> Result<()> {
        let metadata = std::fs::metadata(&self.cli.device)?;
        if !metadata.is_file() || metadata.len() <= bytes {
            return Ok(());
        }
        let device = &self.device;
        let question = format!("Truncate the image file \"{device}\" to {bytes} bytes");
        // A volume that is shorter than its file is as good as any.
        if self.cli.yes || confirm(&question, "-y", &self.interrupt).unwrap_or(false) {
            let file = std::fs::File::options().write(true).open(&self.cli.device)?;
            file.set_len(bytes)?;
            file.sync_all()?;
        }
        Ok(())
    }

    fn rehearsed_growth(&self, volume: &Volume, clusters: u32) -> Result<Volume> {
        let grown = self.rehearse(volume, |work| {
            let growth = work.edit.grow(clusters)?;
            Ok(growth.write(work.edit.volume().device())?)
        });
        grown.map(|(_, volume)| volume)
    }

    fn grow<D: Device>(
        &self,
        volume: &Volume,
        clusters: u32,
        pass: &dyn Fn(&Work<'_>) -> Result<D>,
    ) -> Result<()> {
        self.progress.start(GROWING, 1);
        let edit = Edit::new(volume, self.options(volume));
        let mut work = Work::new(edit, &only_one, &NoProgress);
        let growth = work.edit.grow(clusters)?;
        let pass = pass(&work)?;
        growth.write(&pass)?;
        work.commit(volume.max_slots(), &pass)?;
        self.say(&format!("The filesystem has {clusters} clusters"));
        self.progress.update(1);
        self.progress.finish();
        Ok(())
    }

    /// Makes all changes except that of the size.
    ///
    /// They are worked out first as one transaction, which finds everything that is damaged or not
    /// possible, and whether there is room. If some of them take long, this was a rehearsal, and
    /// they are made again in as many transactions as they take.
    fn transaction<D: Device>(
        &self,
        volume: &Volume,
        pass: &dyn Fn(&Work<'_>) -> Result<D>,
        changes: &[Change],
    ) -> Result<()> {
        let rehearsed = |work: &mut Work<'_>| forget(work, &self.interrupt);
        let edit = Edit::new(volume, self.options(volume));
        let mut work = Work::rehearsal(edit, &rehearsed);
        let (mut done, mut questions) = (Vec::new(), Vec::new());
        for (index, change) in changes.iter().enumerate() {
            work.is_last = index + 1 == changes.len();
            let state = change.state(work.edit.volume(), &self.device)?;
            if let State::Done(text) = &state {
                self.note(&change.name(), Outcome::Already, text);
                self.say_already(change, text);
                continue;
            }
            if !self.agrees(&change.name(), &state)? {
                continue;
            }
            change.apply(&mut work).map_err(|err| without_room(err, change, volume))?;
            done.push(change);
            questions.push(state.text().to_owned());
        }
        work.edit.finish()?;
        if work.is_empty() {
            return Ok(());
        }
        self.interrupt.check()?;
        if done.iter().any(|change| change.is_long()) {
            drop(work);
            self.in_steps(volume, pass, |work| {
                done.iter().try_for_each(|change| change.apply(work))?;
                work.flush()
            })?;
        } else {
            self.progress.start("Writing the changes", done.len() as u64);
            let pass = pass(&work)?;
            work.commit(volume.max_slots(), &pass)?;
            self.progress.update(done.len() as u64);
            self.progress.finish();
        }
        for (change, question) in done.iter().zip(&questions) {
            self.note(&change.name(), Outcome::Done, question);
            if matches!(change, Change::Stack(_)) && !self.is_quiet() {
                writeln!(Output::stdout(), "The cluster stack was changed")?;
            }
        }
        Ok(())
    }

    fn steps<'b>(&'b self, volume: &'b Volume) -> Steps<'b> {
        let (interrupt, progress) = (&self.interrupt, self.progress);
        Steps { volume, options: self.options(volume), interrupt, progress }
    }

    /// Makes changes in memory only, as one transaction. Returns the volume with them, too.
    fn rehearse<T>(
        &self,
        volume: &Volume,
        make: impl FnOnce(&mut Work<'_>) -> Result<T>,
    ) -> Result<(T, Volume)> {
        self.steps(volume).rehearse(make)
    }

    /// Makes changes in several transactions, after each of which the volume can be mounted.
    fn in_steps<D: Device, T>(
        &self,
        volume: &Volume,
        pass: &dyn Fn(&Work<'_>) -> Result<D>,
        make: impl FnOnce(&mut Work<'_>) -> Result<T>,
    ) -> Result<T> {
        match self.steps(volume).commit(pass, make) {
            (made, 0) => made,
            (made, _) => made.context(Partly),
        }
    }

    /// Prints the questions and messages of a dry run.
    fn preview(&self, volume: &Volume, resize: Option<Size>, changes: &[Change]) -> Result<()> {
        let say = |text: &str| self.print(&[text]);
        let sizes = resize.map_or(Ok(Vec::new()), |size| self.sizes(volume, size))?;
        if let Some(last) = sizes.last() {
            let question = self.size_question(volume, *last);
            say(&format!("{question}? n"))?;
            self.note(SIZE, Outcome::Possible, &question);
        }
        let before = volume.geometry().clusters;
        let mut now = volume.on(Arc::clone(volume.device()));
        for clusters in sizes.into_iter().filter(|clusters| *clusters < before) {
            let (moved, then) = self.rehearsed_shrink(&now, clusters)?;
            if !self.is_quiet() {
                moved.print(&now, clusters, &mut Output::stdout())?;
            }
            now = then;
        }
        self.rehearse(&now, |work| {
            for (index, change) in changes.iter().enumerate() {
                work.is_last = index + 1 == changes.len();
                let state = change.state(work.edit.volume(), &self.device)?;
                let outcome = match &state {
                    State::Done(_) => Outcome::Already,
                    _ => Outcome::Possible,
                };
                self.note(&change.name(), outcome, state.text());
                match state {
                    State::Done(text) => say(&text)?,
                    State::Ask(question) => say(&format!("{question}? n"))?,
                    State::Critical(text, question) => {
                        say(&text)?;
                        if !matches!(change, Change::Stack(_)) {
                            say(&format!("{question}? n"))?;
                        }
                    }
                }
                change.apply(work)?;
            }
            Ok(work.edit.finish()?)
        })?;
        say("Nothing was changed")?;
        Ok(())
    }

    /// Prints lines, unless told to be quiet.
    fn print(&self, lines: &[&str]) -> Result<()> {
        let mut out = Output::stdout();
        for line in lines.iter().filter(|_| !self.is_quiet()) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// Whether a change may be made.
    fn agrees(&self, change: &str, state: &State) -> Result<bool> {
        let question = match state {
            State::Done(_) => return Ok(false),
            State::Ask(question) => {
                if !self.cli.interactive {
                    return Ok(true);
                }
                question
            }
            State::Critical(text, question) => {
                self.print(&[text])?;
                question
            }
        };
        let agrees = self.cli.yes || confirm(question, "-y", &self.interrupt)?;
        if !agrees {
            self.note(change, Outcome::Declined, question);
        }
        Ok(agrees)
    }

    /// Reports that a change is already done: with -v only, except for the cluster.
    fn say_already(&self, change: &Change, text: &str) {
        match change {
            Change::Stack(_) if !self.is_quiet() => {
                let _ = writeln!(Output::stdout(), "{text}");
            }
            _ => self.say(text),
        }
    }

    fn say(&self, text: &str) {
        if self.cli.verbose > self.cli.quiet {
            print_note(text);
        }
    }
}

/// Ends a transaction that is the only one: there is nothing to be done before it is complete.
fn only_one(_: &mut Work<'_>) -> Result<()> {
    Ok(())
}
