//! The program: from the command line to a volume.

use std::cell::Cell;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use ocfs2_cli::{CannotAsk, Interrupt, Output, Status, confirm, print_note, print_warning, shown};
use ocfs2_device::Device;
use ocfs2_format::superblock::STACK_O2CB;
use ocfs2_users::{Consent, Look, Occupant};
use ocfs2_volume::find::resolve as resolve_device;
use ocfs2_volume::gate::{Gate, Planned};
use ocfs2_volume::undo::{NO_VOLUME, UndoDevice};

use crate::cli::Cli;
use crate::messages::Messages;
use crate::summary::Summary;
use crate::target::{Request, Target};
use crate::{
    ClusterId, Facts, Files, FillError, Options, Plan, Progress, Random, Settings, Source, Stage,
    WriteOptions, resolve,
};

/// Makes the volume and prints what mkfs.ocfs2 prints.
///
/// # Errors
/// The reason why it was not made. Nothing that looks like a volume is left then.
pub fn run(cli: &Cli) -> Result<Status> {
    let cli = &Cli { device: resolve_device(&cli.device)?, ..cli.clone() };
    let options = cli.options()?;
    let time = time_of_format()?;
    let mut messages = Messages::new(cli, Output::stdout());
    messages.banner();
    let mut target = Target::find(Request {
        path: cli.device.clone(),
        partition: cli.partition,
        extent: options.extent,
        force: cli.force,
    })?;
    make(cli, &options, time, &mut target, &mut messages).with_context(|| shown(&cli.device))
}

fn make(
    cli: &Cli,
    options: &Options,
    time: u64,
    target: &mut Target,
    messages: &mut Messages,
) -> Result<Status> {
    let look = match (cli.force && cli.never_ask, cli.dry_run) {
        // Whoever overwrites a volume in use without a question need not wait to hear about it.
        (true, _) => Look::No,
        // The lock needs a heartbeat, which is a write.
        (false, true) => Look::Watch,
        (false, false) => Look::Lock { path: &cli.device, partition: cli.partition },
    };
    // A signal must not kill the program while the heartbeat for the lock is running.
    let interrupt = Interrupt::install()?;
    let mut occupant = match &target.device {
        Some(device) => Occupant::find(device, look, target.in_use.take(), &interrupt)?,
        None => Occupant::default(),
    };
    interrupt.check()?;
    let facts = Facts {
        size_bytes: target.size_bytes,
        sector_size: target.sector_size,
        running: ClusterId::running(),
        on_disk: occupant.superblock.as_ref().and_then(ClusterId::of_superblock),
        time,
        random: cli.seed.map_or_else(Random::fresh, Random::from_seed),
    };
    let gate = match &target.device {
        Some(device) => Some(occupant.gate(device, &cli.device)?),
        None => None,
    };
    let settings = resolve(options, &facts)?;
    let mut plan = Plan::new(&settings)?;
    let mut summary = Summary::new(cli, &settings, &plan);
    let mut source = match &cli.files {
        Some(_) if settings.is_heartbeat_device() => bail!(FillError::HeartbeatDevice),
        Some(path) => Some(Source::open(path).with_context(|| shown(path))?),
        None => None,
    };
    if cli.dry_run {
        warn_of(cli, &occupant)?;
        if let Some(source) = &mut source {
            let files = rehearse(cli, &settings, &mut plan, source, &interrupt, messages)?;
            summary.count_files(files, &plan);
        }
        messages.dry_run(&summary);
        return Ok(Status::SUCCESS);
    }
    if options.uuid.is_some() {
        messages.uuid_warning();
    }
    // What is refused anyway is refused before a long reading.
    question(cli, &occupant)?;
    if let Some(source) = &mut source
        && let Some(start) = source.position()
    {
        // What is there is not given up for files that cannot be had or do not fit.
        let rehearsed =
            rehearse(cli, &settings, &mut Plan::new(&settings)?, source, &interrupt, messages);
        rehearsed.context("nothing was written")?;
        source.go_back(start)?;
    }
    if let Some(running) = facts.running.as_ref().filter(|it| it.stack != STACK_O2CB)
        && options.cluster.is_none()
        && settings.cluster_info == running.info()
    {
        print_note(format_args!("{running} runs on this host: the volume is made for it"));
    }
    messages.before(&summary);
    if let Some(note) = &occupant.not_locked {
        print_note(note);
    }
    if !consent(cli, &occupant, &interrupt)? {
        bail!("nothing was written");
    }
    let is_gone = Cell::new(false);
    let over =
        Over { occupant: &occupant, interrupt: &interrupt, summary: &summary, is_gone: &is_gone };
    match write(cli, &settings, &mut plan, source.as_mut(), (over, gate), target, messages) {
        Ok(files) => {
            if let Some(files) = files {
                summary.count_files(files, &plan);
            }
            messages.done(&summary);
            Ok(Status::SUCCESS)
        }
        Err(err) => {
            let left = if target.remove_created() {
                "the image was removed"
            } else if is_gone.get() && cli.undo_file.is_none() {
                "no volume was made, and what was there is gone"
            } else {
                "no volume was made"
            };
            Err(err.context(left))
        }
    }
}

/// Warns of what a run would overwrite, and reports its question. Returns an error if the run would
/// be refused.
fn warn_of(cli: &Cli, occupant: &Occupant) -> Result<()> {
    let asks = match question(cli, occupant)? {
        Some(option) => {
            format!("; without -n there is a question: {PROCEED}? {option} answers yes")
        }
        None => String::new(),
    };
    if occupant.consent() != Consent::Given {
        print_warning(format_args!("{}: {occupant}{asks}", shown(&cli.device)));
    }
    Ok(())
}

/// The question before an overwrite.
const PROCEED: &str = "Proceed";

/// Returns the option that answers the question whether the device may be overwritten; `None` if
/// there is no question. An error says what an overwrite requires.
fn question(cli: &Cli, occupant: &Occupant) -> Result<Option<&'static str>> {
    let needed = occupant.consent();
    // A partition was chosen already.
    let advice = occupant.advice().filter(|_| needed > Consent::Force || cli.partition.is_none());
    let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
    match needed {
        Consent::Given => Ok(None),
        Consent::Force if cli.force => Ok(None),
        Consent::Ask if cli.force || cli.never_ask => Ok(None),
        Consent::ForceAndAsk if cli.force && cli.never_ask => Ok(None),
        Consent::Force => bail!("{occupant}{advice}; -F overwrites it"),
        Consent::ForceAndAsk if !cli.force => bail!(
            "{occupant}{advice}; -F overwrites it nevertheless, after a question that -x answers"
        ),
        Consent::Ask => Ok(Some("-F")),
        Consent::ForceAndAsk => Ok(Some("-F -x")),
    }
}

/// Whether the device may be overwritten. An error says what that requires.
fn consent(cli: &Cli, occupant: &Occupant, interrupt: &Interrupt) -> Result<bool> {
    let option = question(cli, occupant)?;
    // Who overwrites what is in use learns of it even if there is no question.
    if option.is_some() || occupant.consent() == Consent::ForceAndAsk {
        print_warning(format_args!("{}: {occupant}", shown(&cli.device)));
    }
    let Some(option) = option else { return Ok(true) };
    confirm(PROCEED, option, interrupt).map_err(|err| {
        if !err.is::<CannotAsk>() {
            return err;
        }
        let why = "nobody can be asked, standard input has ended";
        anyhow::anyhow!("{occupant}; {option} overwrites it ({why})")
    })
}

/// What is overwritten, and what with.
#[derive(Clone, Copy)]
struct Over<'a> {
    occupant: &'a Occupant,
    interrupt: &'a Interrupt,
    summary: &'a Summary,
    /// Set once something that was there is overwritten.
    is_gone: &'a Cell<bool>,
}

/// Writes the volume. There is no gate for an image that does not exist yet. Returns the number of
/// files in it, if there is a source.
fn write(
    cli: &Cli,
    settings: &Settings,
    plan: &mut Plan,
    source: Option<&mut Source>,
    (over, gate): (Over<'_>, Option<Gate>),
    target: &mut Target,
    messages: &mut Messages,
) -> Result<Option<u64>> {
    over.interrupt.check()?;
    let gate = match gate {
        // The image has to be reopened to be extended, and can be open only once.
        Some(gate) if !target.is_provided() => {
            gate.open(Planned::default())?;
            None
        }
        gate => gate,
    };
    let pass = gate.as_ref().map(|gate| gate.open(Planned::default())).transpose()?;
    if cli.undo_file.is_some() && target.device.is_none() {
        bail!("there is nothing to save with --undo-file: the image does not exist");
    }
    let provided = target.provide()?;
    let device: &dyn Device = match &pass {
        Some(pass) => pass,
        None => &provided,
    };
    let Some(path) = &cli.undo_file else {
        return overwrite(cli, settings, plan, source, &over, device, messages);
    };
    let unit = settings.geometry.block_size.bytes();
    let saving = UndoDevice::create(device, path, NO_VOLUME, unit)?;
    let made = overwrite(cli, settings, plan, source, &over, &saving, messages);
    let is_saved = saving.finish();
    // Whatever else failed, what was there can be put back.
    if let Ok(true) = is_saved {
        messages.saved(cli, path);
    }
    made.and_then(|files| Ok(is_saved.map(|_| files)?))
}

/// Overwrites what is on `device` by the volume. Returns the number of files in it, if there is a
/// source.
fn overwrite(
    cli: &Cli,
    settings: &Settings,
    plan: &mut Plan,
    source: Option<&mut Source>,
    over: &Over<'_>,
    device: &dyn Device,
    messages: &mut Messages,
) -> Result<Option<u64>> {
    let Over { occupant, interrupt, summary, is_gone } = *over;
    // From here on the message is true.
    if let Some(volume) = &occupant.volume {
        messages.overwriting(volume.kind);
    }
    messages.summary(summary);
    is_gone.set(occupant.consent() != Consent::Given);
    occupant.erase_signatures(settings.geometry.size_bytes(), device)?;
    if let Some(lock) = &occupant.lock {
        plan.wipe(device)?;
        device.flush()?;
        lock.release();
    }
    let options = WriteOptions { discard: !cli.nodiscard };
    if let Some(source) = source {
        let mut tell = |progress| tell(progress, interrupt, messages);
        let written = write_files(cli, plan, source, (device, options), interrupt, &mut tell);
        return written.map(Some).inspect_err(|_| messages.stopped());
    }
    plan.write(device, options, &mut |progress| tell(progress, interrupt, messages))
        .inspect_err(|_| messages.stopped())?;
    Ok(None)
}

/// Works out the volume with the files of `source`, all of which are read. Returns their number.
fn rehearse(
    cli: &Cli,
    settings: &Settings,
    plan: &mut Plan,
    source: &mut Source,
    interrupt: &Interrupt,
    messages: &mut Messages,
) -> Result<u64> {
    let nowhere = Nowhere(settings.geometry.size_bytes());
    let discard = WriteOptions { discard: true };
    let mut tell = |progress: Progress| {
        interrupt.check().map_err(io::Error::other)?;
        messages.rehearsed(progress);
        Ok(())
    };
    let files = write_files(cli, plan, source, (&nowhere, discard), interrupt, &mut tell);
    messages.stopped();
    files
}

/// Writes the volume with the files of `source`. Returns their number.
fn write_files(
    cli: &Cli,
    plan: &mut Plan,
    source: &mut Source,
    (device, options): (&dyn Device, WriteOptions),
    interrupt: &Interrupt,
    tell: &mut dyn FnMut(Progress) -> io::Result<()>,
) -> Result<u64> {
    let mut count = 0;
    let is_archive = matches!(source, Source::Archive(_));
    let mut fill = |files: &mut Files<'_>| {
        source.fill(files, Some(&cli.device), interrupt)?;
        count = files.count();
        Ok(())
    };
    match plan.write_with(device, options, &mut fill, tell) {
        Ok(()) => Ok(count),
        Err(FillError::Io(err)) => Err(err.into()),
        Err(err @ FillError::Full) => Err(err.into()),
        // The files of a folder have the folder in their path.
        Err(err) if is_archive => {
            let path = cli.files.as_deref().filter(|path| path.as_os_str() != "-");
            Err(anyhow::Error::new(err).context(path.map_or("standard input".to_owned(), shown)))
        }
        Err(err) => Err(err.into()),
    }
}

fn tell(progress: Progress, interrupt: &Interrupt, messages: &mut Messages) -> io::Result<()> {
    let finished = progress.stage == Stage::Superblock && progress.done == progress.total;
    if !finished {
        interrupt.check().map_err(io::Error::other)?;
    }
    messages.progress(progress);
    Ok(())
}

/// A device that discards all writes, to check whether something fits.
struct Nowhere(u64);

impl Device for Nowhere {
    fn size_bytes(&self) -> u64 {
        self.0
    }

    fn read_at(&self, buf: &mut [u8], _offset: u64) -> io::Result<()> {
        buf.fill(0);
        Ok(())
    }

    fn write_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        Ok(())
    }

    fn zero(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> io::Result<bool> {
        Ok(true)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Seconds since 1970: the value of `SOURCE_DATE_EPOCH`, or the present time.
fn time_of_format() -> Result<u64> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH") else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        return Ok(now.map_or(0, |since| since.as_secs()));
    };
    let seconds = value.to_str().and_then(|text| text.parse().ok());
    seconds
        .with_context(|| format!("SOURCE_DATE_EPOCH is {value:?}; expected the seconds since 1970"))
}
