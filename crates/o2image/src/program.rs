//! The program: save or install.

use std::fs::File;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use ocfs2_cli::{Interrupt, Status, confirm, print_note, print_warning, progress, shown};
use ocfs2_device::{Device, DeviceOptions, open};
use ocfs2_format::dinode::{FileKind, InodeFlags};
use ocfs2_format::superblock::SuperBlock;
use ocfs2_users::{Consent, Look, Occupant, explained, usage_of};
use ocfs2_volume::find::resolve;
use ocfs2_volume::gate::Planned;
use ocfs2_volume::image::PackedImage;
use ocfs2_volume::usage::{SampleOptions, State, SystemClock};
use ocfs2_volume::{SuperblockAt, Volume, VolumeOptions};
use rustix::fs::{SeekFrom, seek, statvfs};
use rustix::io::Errno;

use crate::{
    Blocks, Cli, Form, InstallError, Scrambler, Sink, There, Unreadable, install, scramble, select,
    there, write_image,
};

/// Most problems that are listed individually.
const LISTED: usize = 20;
/// The image was written, but something is missing in it.
const INCOMPLETE: Status = Status(3);

/// Does what `cli` asks for.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli) -> Result<Status> {
    let interrupt = Interrupt::install()?;
    let cli = &Cli { device: resolve(&cli.device)?, ..cli.clone() };
    if cli.install { put(cli, &interrupt) } else { save(cli, &interrupt) }
}

fn save(cli: &Cli, interrupt: &Interrupt) -> Result<Status> {
    let options = DeviceOptions { partition: cli.partition, ..DeviceOptions::default() };
    let mut device = open(&cli.device, &options)?;
    let is_packed = PackedImage::is_one(&*device).with_context(|| shown(&cli.device))?;
    if is_packed {
        // Converts a packed image to another form.
        device = Arc::new(PackedImage::open(device).with_context(|| shown(&cli.device))?);
    }
    let superblock = cli.superblock.map_or(SuperblockAt::Primary, SuperblockAt::Backup);
    let options = VolumeOptions { superblock, allow_short: true, ..VolumeOptions::default() };
    let volume = Volume::open(Arc::clone(&device), &options).map_err(|err| explained(err, &device));
    let volume = volume.with_context(|| shown(&cli.device))?;
    if !is_packed {
        note_users(&volume, &cli.device);
    }
    let scrambler = cli.scramble.then(|| Arc::new(Scrambler::default()));
    let (volume, not_scrambled) = match &scrambler {
        Some(scrambler) => {
            scramble(&volume, scrambler, interrupt).with_context(|| shown(&cli.device))?
        }
        None => (volume, Vec::new()),
    };
    let selected = select(&volume, cli.what(), scrambler, interrupt)?;
    let is_pipe = cli.image == Path::new("-");
    if is_pipe && std::io::stdout().is_terminal() {
        bail!("an image is not written to a terminal");
    }
    if cli.interactive && !cli.yes && !agreed(cli, &volume, &selected.blocks, interrupt)? {
        print_note("Aborting image creation.");
        return Ok(Status::FAILURE);
    }
    if !is_pipe && !is_replaced(cli, interrupt)? {
        print_note("Aborting image creation.");
        return Ok(Status::FAILURE);
    }
    let mut sink = match is_pipe {
        true => Sink::stdout(),
        false => Sink::create(&cli.image)?,
    };
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let form = match (cli.raw, cli.qcow2) {
        (true, _) => Form::Raw,
        (_, true) => Form::Qcow2,
        _ => Form::Packed { time: time as u32 },
    };
    let bar = progress(!cli.quiet);
    let written = write_image(&volume, &selected, form, &mut sink, &*bar, interrupt);
    bar.finish();
    let Unreadable(unreadable) = written.with_context(|| shown(&cli.image))?;
    let (size, found) = (volume.geometry().size_bytes(), device.size_bytes());
    let cut = (found < size).then(|| {
        format!("the device has {found} bytes of {size} of the volume: what lay behind is missing")
    });
    let problems = cut.into_iter().chain(selected.problems.iter().map(ToString::to_string));
    let unreadable = unreadable.iter().map(|range| match range.end - range.start {
        1 => format!("block {} cannot be read, and is zeros in the image", range.start),
        count => format!(
            "{count} blocks from {} on cannot be read, and are zeros in the image",
            range.start
        ),
    });
    let all: Vec<_> = problems.chain(unreadable).chain(not_scrambled).collect();
    all.iter().take(LISTED).for_each(print_warning);
    if all.len() > LISTED {
        print_warning(format!("and {} more", all.len() - LISTED));
    }
    Ok(if all.is_empty() { Status::SUCCESS } else { INCOMPLETE })
}

/// Whether the image may get its name. Somebody at a terminal is asked about a file that it would
/// replace and that is not an image.
fn is_replaced(cli: &Cli, interrupt: &Interrupt) -> Result<bool> {
    match there(&cli.image, &cli.device)? {
        There::Nothing | There::Image => Ok(true),
        There::Volume { owes } if cli.force || cli.raw && !owes => Ok(true),
        There::Volume { owes: true } => bail!(
            "{}: holds a volume that was not unmounted by all nodes; -F puts the new image in its \
             place",
            shown(&cli.image)
        ),
        There::Volume { owes: false } => bail!(
            "{}: holds a volume; -F puts the new image in its place, and -I puts an image onto a \
             volume",
            shown(&cli.image)
        ),
        There::Other(_) if cli.force => Ok(true),
        There::Other(what) if std::io::stdin().is_terminal() => {
            let question = format!("{}: {what}. Overwrite it?", shown(&cli.image));
            confirm(&question, "-F", interrupt)
        }
        There::Other(what) => bail!("{}: {what}; -F overwrites it", shown(&cli.image)),
    }
}

/// Reports who uses the volume: what nodes write meanwhile may not fit together in the image, and
/// nodes that have crashed write no more.
fn note_users(volume: &Volume, path: &Path) {
    if volume.places().is_ok_and(|places| places.taken.is_empty()) {
        return;
    }
    let clock = SystemClock::default();
    let Ok(usage) = usage_of(volume, None, &SampleOptions::quick(), &clock) else { return };
    let slots = |is_one: &dyn Fn(&State) -> bool| {
        let slots = usage.slots.iter().filter(|slot| is_one(&slot.state));
        let slots: Vec<_> = slots.map(|slot| slot.slot.to_string()).collect();
        match &slots[..] {
            [] => None,
            [slot] => Some(format!("slot {slot}")),
            slots => Some(format!("slots {}", slots.join(", "))),
        }
    };
    let path = shown(path);
    let meanwhile = "what nodes write meanwhile may not fit together in the image";
    if let Some(slots) = slots(&|state| *state == State::Live) {
        print_note(format!("{path}: nodes use it, in {slots}: {meanwhile}"));
    }
    if let Some(slots) = slots(&|state| matches!(state, State::Unknown(_))) {
        print_note(format!("{path}: nodes use it or have crashed, in {slots}: {meanwhile}"));
    }
    if let Some(slots) = slots(&|state| matches!(state, State::Crashed { .. })) {
        print_note(format!(
            "{path}: nodes have crashed, in {slots}: the journals are saved, and not replayed"
        ));
    }
}

/// Asks whether to continue, with the numbers of the C program.
fn agreed(cli: &Cli, volume: &Volume, blocks: &Blocks, interrupt: &Interrupt) -> Result<bool> {
    let size = u64::from(volume.block_size().bytes());
    let expected = blocks.count().saturating_mul(size).div_ceil(1024);
    let folder = cli.image.parent().filter(|folder| !folder.as_os_str().is_empty());
    let room = statvfs(folder.unwrap_or(Path::new("."))).map_or(0, |it| it.f_bavail * it.f_frsize);
    let question = format!(
        "Image file expected to be {expected}K, Available free space {}K. Continue ?",
        room / 1024
    );
    confirm(&question, "-y", interrupt)
}

fn put(cli: &Cli, interrupt: &Interrupt) -> Result<Status> {
    let (target, path) = (&cli.device, &cli.image);
    if path == Path::new("-") || target == Path::new("-") {
        bail!("neither the device nor the image of -I can be -");
    }
    let file = open(path, &DeviceOptions::default())?;
    let is_packed = PackedImage::is_one(&*file).with_context(|| shown(path))?;
    if is_packed == cli.raw {
        let (is, option) =
            if is_packed { ("a packed", "without -r") } else { ("not a packed", "with -r") };
        bail!("{}: is {is} image: {option}, if it is one", shown(path));
    }
    let (image, packed): (Arc<dyn Device>, _) = match is_packed {
        true => {
            let image = PackedImage::open(file).with_context(|| shown(path))?;
            let ranges = image.ranges().with_context(|| shown(path))?;
            (Arc::new(image), Some(ranges))
        }
        false => (file, None),
    };
    let volume = Volume::open(image, &VolumeOptions::default()).with_context(|| shown(path))?;
    let blocks = match packed {
        Some(ranges) => Blocks::of(ranges, volume.geometry().blocks()),
        None => of_raw(path, &volume)?,
    };
    let needed = volume.geometry().blocks() * u64::from(volume.block_size().bytes());
    verify_apart(path, target)?;
    let (there, mut occupant) = find_occupant(cli, interrupt)?;
    // What is known is named by the question.
    let is_unknown =
        occupant.volume.is_none() && occupant.damaged.is_none() && occupant.others.is_empty();
    if let Some(device) = there.as_deref().filter(|_| is_unknown && is_file(target) && !cli.force)
        && !begins_with_zeros(device).with_context(|| shown(target))?
    {
        bail!("{}: is a file that is not a volume; -F overwrites it", shown(target));
    }
    check_room(cli, there.as_deref(), needed)?;
    let gate = there.as_ref().map(|device| occupant.gate(device, target)).transpose()?;
    if there.is_none() {
        let path = shown(target);
        print_note(format_args!("{path}: there is none: it becomes a file of {needed} bytes"));
    }
    if lacks_contents(&volume, &blocks, interrupt) {
        print_warning(format!(
            "{} has no contents of files: theirs will be what is in their places on {} now",
            shown(path),
            shown(target)
        ));
    }
    if !agreed_to_install(cli, &volume, &occupant, interrupt).with_context(|| shown(target))? {
        print_note("Aborting operation.");
        return Ok(Status::FAILURE);
    }
    interrupt.check()?;
    let grown = there.as_ref().map(|device| device.size_bytes()).filter(|size| *size < needed);
    if let Some(size) = grown {
        let target = shown(target);
        print_note(format_args!(
            "{target}: becomes as long as the volume: {size} to {needed} bytes"
        ));
    }
    let bar = progress(!cli.quiet);
    let write = |device: &dyn Device| {
        let installed = install(&volume, &blocks, device, &occupant, &*bar, interrupt);
        bar.finish();
        installed.map_err(ended_early).with_context(|| shown(target))
    };
    if let Some(gate) = &gate {
        let pass = gate.open(Planned::default());
        let pass = pass.with_context(|| format!("{}: nothing was written", shown(target)))?;
        if pass.size_bytes() >= needed || !is_file(target) {
            write(&pass)?;
            return Ok(Status::SUCCESS);
        }
    }
    // A file has to become as long as the volume, and can be open only once.
    drop((gate, there));
    write(&*open_target(cli, Some(needed))?)?;
    Ok(Status::SUCCESS)
}

/// Fails if an image would be put in its own place.
fn verify_apart(image: &Path, target: &Path) -> Result<()> {
    let identity = |path: &Path| path.metadata().map(|it| (it.dev(), it.ino())).ok();
    if identity(image).is_some_and(|it| identity(target) == Some(it)) {
        bail!("{}: is the image itself", shown(target));
    }
    Ok(())
}

/// Whether a file has no contents where those of all kinds of files begin.
fn begins_with_zeros(device: &dyn Device) -> std::io::Result<bool> {
    let mut bytes = vec![0; device.size_bytes().min(1 << 20) as usize];
    device.read_at(&mut bytes, 0)?;
    Ok(bytes.iter().all(|byte| *byte == 0))
}

/// What an error of an installation has left.
fn ended_early(err: InstallError) -> anyhow::Error {
    let partly = "is not a volume now; the same command makes it one";
    match err {
        InstallError::TooSmall { .. } | InstallError::Journals(_) => err.into(),
        // By itself it is seen to be one, for the status.
        InstallError::Interrupted(err) => anyhow::Error::new(err).context(partly),
        err => anyhow::Error::new(err).context(partly),
    }
}

/// Whether the image was made without the contents of files, as far as some of them show.
fn lacks_contents(volume: &Volume, blocks: &Blocks, interrupt: &Interrupt) -> bool {
    const LOOKED_AT: usize = 64;
    let inodes = volume.inodes().take_while(|_| !interrupt.requested()).filter_map(Result::ok);
    let files = inodes.filter(|inode| {
        inode.kind() == Some(FileKind::Regular)
            && !inode.dinode.flags().contains(InodeFlags::SYSTEM)
    });
    let firsts = files.filter_map(|inode| volume.tree(&inode).ok()?.extents().next()?.ok());
    let is_saved: Vec<_> =
        firsts.take(LOOKED_AT).map(|extent| blocks.contains(extent.blkno.0)).collect();
    let saved = is_saved.iter().filter(|it| **it).count();
    // The C program saves the contents of some by mistake.
    saved * 2 < is_saved.len()
}

/// Fails if the target cannot be made, or is too small and cannot become larger: nobody has to be
/// asked then.
fn check_room(cli: &Cli, there: Option<&dyn Device>, needed: u64) -> Result<()> {
    let target = &cli.device;
    match there {
        Some(device) => {
            let found = device.size_bytes();
            let is_fixed = cli.partition.is_some() || !is_file(target);
            if found < needed && is_fixed {
                return Err(InstallError::TooSmall { found, needed })
                    .with_context(|| shown(target));
            }
        }
        None => {
            let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
            let is_missing_device = target.starts_with("/dev") && !target.starts_with("/dev/shm");
            if is_missing_device || !folder.unwrap_or(Path::new(".")).is_dir() {
                bail!("{}: no such file or directory", shown(target));
            }
        }
    }
    Ok(())
}

fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|it| it.is_file())
}

/// The target if it exists, and what it holds.
fn find_occupant(cli: &Cli, interrupt: &Interrupt) -> Result<(Option<Arc<dyn Device>>, Occupant)> {
    if !cli.device.exists() {
        return Ok((None, Occupant::default()));
    }
    let device = open_target(cli, None)?;
    let look = Look::Lock { path: &cli.device, partition: cli.partition };
    let occupant = Occupant::find(&device, look, None, interrupt);
    Ok((Some(device), occupant.with_context(|| shown(&cli.device))?))
}

/// Whether the contents of the target may be overwritten. An error says what that would require.
fn agreed_to_install(
    cli: &Cli,
    image: &Volume,
    occupant: &Occupant,
    interrupt: &Interrupt,
) -> Result<bool> {
    interrupt.check()?;
    let is_other = |there: &SuperBlock| there.s_uuid != image.superblock().s_uuid;
    if let Some(there) = occupant.superblock.as_ref().filter(|there| is_other(there))
        && occupant.consent() == Consent::Ask
        && !cli.force
    {
        let (there, image) = (there.uuid_string(), image.superblock().uuid_string());
        let other = format!("it holds another volume: UUID {there}, that of the image is {image}");
        if cli.yes {
            bail!("{other}; -F overwrites it");
        }
        print_warning(format_args!("{}: {other}", shown(&cli.device)));
    }
    match occupant.consent() {
        Consent::ForceAndAsk => {
            let advice = occupant.advice().map(|advice| format!("; {advice}"));
            bail!("{occupant}{}", advice.unwrap_or_default());
        }
        Consent::Force if !cli.force => bail!("{occupant}; -F overwrites it"),
        Consent::Force | Consent::Ask => {
            print_warning(format_args!("{}: {occupant}", shown(&cli.device)));
        }
        Consent::Given => {}
    }
    if let Some(note) = &occupant.not_locked {
        print_note(note);
    }
    let (image, target) = (shown(&cli.image), shown(&cli.device));
    let question = format!("Install {image} image to {target}. Continue?");
    Ok(cli.yes || confirm(&question, "-y", interrupt)?)
}

/// Opens the target exclusively. `size` is the least size of a file, in bytes.
fn open_target(cli: &Cli, size: Option<u64>) -> Result<Arc<dyn Device>> {
    let options = DeviceOptions {
        write: true,
        exclusive: true,
        create_size: size.filter(|_| cli.partition.is_none()),
        partition: cli.partition,
        ..DeviceOptions::default()
    };
    Ok(open(&cli.device, &options)?)
}

/// The blocks in a raw image: what is between its holes.
fn of_raw(path: &Path, volume: &Volume) -> Result<Blocks> {
    let file = File::open(path).with_context(|| shown(path))?;
    let (size, blocks) = (u64::from(volume.block_size().bytes()), volume.geometry().blocks());
    let mut ranges = Vec::new();
    let mut end = 0;
    loop {
        let start = match seek(&file, SeekFrom::Data(end)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(err) => return Err(err).with_context(|| shown(path)),
        };
        end = seek(&file, SeekFrom::Hole(start)).with_context(|| shown(path))?;
        ranges.push(start / size..end.div_ceil(size));
    }
    Ok(Blocks::of(ranges, blocks))
}

#[cfg(test)]
mod tests {
    use ocfs2_cli::{Interrupted, causes, is_interrupted};

    use super::*;

    #[test]
    fn an_interrupted_installation_is_seen_in_the_status_and_says_what_is_left() {
        let err = ended_early(Interrupted.into()).context("disk.img");
        assert!(is_interrupted(&err));
        let text = "disk.img: is not a volume now; the same command makes it one: interrupted";
        assert_eq!(causes(&err), text);
        let small = ended_early(InstallError::TooSmall { found: 1, needed: 2 });
        assert!(!causes(&small).contains("is not a volume"), "{small}");
    }
}
