//! `--rescue-to`: copies out what can be found.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use ocfs2_cli::{Interrupt, Interrupted, print_warning, shown};
use ocfs2_device::{Device, OverlayDevice};
use ocfs2_extract::{Archive, CopyError, Existing, Folder, Output, Target};
use ocfs2_format::dinode::InodeFlags;
use ocfs2_volume::image::{OnlySaved, PackedImage};
use ocfs2_volume::open::FoundSuperblock;
use ocfs2_volume::replay::{LogEnd, Replay, ReplayError};
use ocfs2_volume::survey::{Counts, Remains, Survey};
use ocfs2_volume::{Journal, Volume, VolumeOptions};

use super::{Run, StoppingDevice};
use crate::report::{MissingRecord, ProgressOut, Record, VolumeRecord};
use crate::rescue::{Missing, Rescue, copy};
use crate::target::{Source, open_device};

/// Standard output.
struct ToOutput;

impl Output for ToOutput {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        ocfs2_cli::Output::stdout().raw(bytes)
    }
}

impl Run<'_> {
    /// Copies everything that can be found to `to`.
    pub(super) fn rescue(&mut self, to: &Path, interrupt: &Interrupt) -> Result<()> {
        let mut target = self.rescue_target(to)?;
        let opened = open_device(self.cli)?;
        for holder in &opened.holders {
            print_warning(format_args!("{}: {holder}", shown(&self.cli.device)));
        }
        let mut saved: Option<Arc<dyn Device>> = None;
        let device: Arc<dyn Device> = if PackedImage::is_one(&*opened.device)? {
            let image = Arc::new(PackedImage::open(opened.device)?);
            saved = Some(Arc::new(OnlySaved(Arc::clone(&image))));
            image
        } else {
            opened.device
        };
        let device: Arc<dyn Device> = Arc::new(StoppingDevice::new(device, interrupt));
        let mut progress = ProgressOut::new(self.cli)?;
        let survey = self.survey(&device, &mut progress, interrupt)?;
        let (volume, remains) = self.surveyed(&device, &survey)?;
        self.report.show(&Record::Volume(VolumeRecord::new(&volume)));
        let volume = match saved {
            Some(saved) => volume.on(saved),
            None => volume,
        };
        let volume = self.replayed(&volume, &remains, interrupt)?;
        progress.begin_task("Copying", remains.counts.inodes);
        let report = &mut self.report;
        let mut tell = |missing: Missing| {
            let path = missing.path.as_os_str().as_bytes();
            report.show(&Record::Missing(&MissingRecord::new(path, missing.text)));
        };
        let rescued = copy(Rescue {
            volume: &volume,
            remains: &remains,
            directory_blocks: &survey.directory_blocks,
            interrupt,
            target: &mut *target,
            out: &mut ToOutput,
            tell: &mut tell,
            progress: &mut |done| progress.update(done),
        });
        progress.finish();
        let rescued = rescued.map_err(|err| match err {
            CopyError::Interrupted(err) => anyhow::Error::from(err),
            CopyError::Output(err) => anyhow::Error::from(err).context("standard output"),
            err => err.into(),
        })?;
        self.bits.left |= !rescued.is_whole() || survey.unreadable_bytes > 0;
        self.report.show(&Record::Rescued(&rescued));
        Ok(())
    }

    fn rescue_target(&self, to: &Path) -> Result<Box<dyn Target>> {
        if self.cli.rescues_to_output() {
            let is_json = self.cli.json || self.cli.json_lines;
            return Ok(Box::new(Archive::new(b"-", is_json)?));
        }
        match std::fs::read_dir(to) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    bail!("{} is not empty: choose an empty folder, or a new one", shown(to));
                }
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir(to).with_context(|| shown(to))?;
            }
            Err(err) => return Err(err).with_context(|| shown(to)),
        }
        Ok(Box::new(Folder::new(to, Existing::Refused)?))
    }

    /// Reads the whole device, and notes what of it cannot be read.
    pub(super) fn survey(
        &mut self,
        device: &Arc<dyn Device>,
        progress: &mut ProgressOut,
        interrupt: &Interrupt,
    ) -> Result<Survey> {
        progress.begin_task("Surveying", device.size_bytes());
        let survey = Survey::of(device, |done| {
            progress.update(done);
            !interrupt.requested()
        });
        progress.finish();
        let survey = survey.ok_or(Interrupted)?;
        for range in &survey.unreadable {
            let (start, len) = (range.start, range.end - range.start);
            self.report.note(&format!("Bytes that cannot be read: {len} from byte {start} on"));
        }
        Ok(survey)
    }

    /// The volume that is to be copied, and what was found of it. Notes all that are there.
    fn surveyed(&mut self, device: &Arc<dyn Device>, survey: &Survey) -> Result<(Volume, Remains)> {
        let stated = self.stated(device);
        let chosen = match (self.cli.generation, &stated) {
            (Some(generation), _) => Some(generation),
            (None, Some(volume)) => Some(volume.generation()),
            (None, None) => survey.volumes.first().map(|it| it.generation),
        };
        for remains in &survey.volumes {
            let is_chosen = chosen == Some(remains.generation);
            if is_chosen || remains.counts.inodes > 0 {
                self.report.note(&described(remains, is_chosen));
            }
        }
        let Some(generation) = chosen else { bail!("nothing of an OCFS2 volume is found") };
        let remains = survey.of_generation(generation);
        let stated = stated.filter(|volume| volume.generation() == generation);
        match (remains, stated) {
            (remains, Some(volume)) => {
                let none = || Remains::new(volume.block_size(), generation);
                let remains = remains.cloned().unwrap_or_else(none);
                Ok((volume, remains))
            }
            (None, None) => bail!("nothing of a volume of generation {generation:#010x} is found"),
            (Some(remains), None) => {
                let found = survey.superblock(device, remains).with_context(|| {
                    format!("what is left of generation {generation:#010x} is not enough")
                })?;
                let options = VolumeOptions { allow_short: true, ..VolumeOptions::default() };
                let volume = Volume::open_by(Arc::clone(device), found, &options)?;
                let mended = volume.found_superblock().mended.as_ref();
                let how = mended.map_or_else(
                    || format!("block {} has one", volume.found_superblock().blkno),
                    |mended| mended.fields.join(", "),
                );
                self.report.note(&format!("The superblock cannot be used; {how}"));
                Ok((volume, remains.clone()))
            }
        }
    }

    /// The volume by its superblock or a backup of it.
    fn stated(&self, device: &Arc<dyn Device>) -> Option<Volume> {
        let source = Source::new(self.cli);
        let err = match source.open(device) {
            Ok(volume) => return Some(volume),
            Err(err) => err,
        };
        let contents = source.by_contents(device, &err).ok().flatten();
        let other = contents.or_else(|| source.by_backup(device, &err).map(|(_, other)| other));
        other.and_then(|other| other.open(device).ok())
    }

    /// The volume with the logs of crashed nodes replayed, in memory.
    fn replayed(
        &mut self,
        volume: &Volume,
        remains: &Remains,
        interrupt: &Interrupt,
    ) -> Result<Volume> {
        let inner = Arc::clone(volume.device());
        let memory = self.changes_bytes();
        let overlay = OverlayDevice::within(inner, volume.block_size().bytes(), memory);
        let overlay: Arc<dyn Device> = Arc::new(overlay);
        for journal in journals(volume, remains).into_iter().filter(Journal::is_dirty) {
            let slot = journal.slot;
            let interrupted = || interrupt.requested();
            let replay = volume.replay_journal(journal, &interrupted);
            let applied = replay.and_then(|replay| {
                replay.apply_unless(volume, &*overlay, &interrupted).map(|()| replay)
            });
            let text = match applied {
                Err(ReplayError::Interrupted) => return Err(Interrupted.into()),
                Err(err) => format!("{err}; what it holds is missing"),
                Ok(Replay { end: LogEnd::Complete, transactions, .. }) => {
                    format!(
                        "Journal of slot {slot}: transactions replayed in memory: {transactions}"
                    )
                }
                Ok(Replay { end, .. }) => format!("Journal of slot {slot}: {end}"),
            };
            self.report.note(&text);
        }
        Ok(volume.on(overlay))
    }
}

/// The journals of all slots: by the system directory, or else by their inodes.
fn journals(volume: &Volume, remains: &Remains) -> Vec<Journal> {
    let by_name: Vec<_> =
        (0..volume.max_slots()).filter_map(|slot| volume.journal(slot).ok()).collect();
    if !by_name.is_empty() {
        return by_name;
    }
    let inodes = remains.system.iter().filter(|it| it.flags().contains(InodeFlags::JOURNAL));
    let inodes = inodes.filter_map(|it| volume.inode(it.i_blkno).ok());
    (0..).zip(inodes).filter_map(|(slot, inode)| volume.journal_of(slot, inode).ok()).collect()
}

/// Bytes in which the survey counts places, as a power of two.
const SECTOR_BITS: u32 = 9;
/// Clusters that are searched for.
const MOST_SUSPECTS: usize = 1 << 20;

/// The clusters in which a survey has found groups or blocks of directories, in order.
pub(super) fn suspects(found: &FoundSuperblock, remains: &Remains, survey: &Survey) -> Vec<u32> {
    let Some(cluster_size) = found.superblock.cluster_size() else { return Vec::new() };
    let bits = cluster_size.bits();
    let block_bits = found.block_size.bits();
    let cluster = |bytes: u64| u32::try_from(bytes >> bits).ok();
    let groups = remains.group_blocks.iter().map(|blkno| blkno.0 << block_bits);
    let directories = survey.directory_blocks.iter().map(|sector| sector.0 << SECTOR_BITS);
    let mut all: Vec<_> =
        groups.chain(directories).take(MOST_SUSPECTS).filter_map(cluster).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What was found of a volume, in words.
pub(super) fn described(remains: &Remains, is_chosen: bool) -> String {
    let Remains { block_size, generation, counts, .. } = remains;
    let Counts { inodes, directories, .. } = counts;
    let choice = if is_chosen { "" } else { "; --generation chooses it" };
    format!(
        "Found: generation {generation:#010x}, {inodes} inodes, {directories} of them directories, \
         in blocks of {} bytes{choice}",
        block_size.bytes()
    )
}
