//! A repair that is interrupted at any write, with unflushed writes in any order on the device: one
//! replay produces the repaired volume, or the volume is as before.
//!
//! `OCFS2_RECIPE=EB_` in the environment runs only the recipes whose code or name contains that.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use ocfs2_cli::Interrupt;
use ocfs2_device::{AfterWrites, Device, DeviceOptions, FailingDevice, OverlayDevice, open};
use ocfs2_fsck::plan::{Judge, plan};
use ocfs2_fsck::repair::commit::{Written, commit};
use ocfs2_fsck::{Found, Options, Pass};
use ocfs2_testing::damage::{Base, Files, Recipe, c_fsck, demand_none, judge_all, recipes};
use ocfs2_testing::{Run, oracle, program};
use ocfs2_volume::recovery::{RecoverOptions, Writes};
use ocfs2_volume::{Volume, VolumeOptions};

/// Approximate number of writes after which a repair is interrupted.
const POINTS: usize = 30;

/// Codes for which one more run is not enough, or a file is lost, if structures that are written in
/// place are torn: an extent tree of which half is another one, an incomplete root directory, and
/// two owners of a cluster of which only one has got its copy. The garbage target of a link may
/// also end elsewhere.
const TORN: &[&str] = &["EB_GEN_FIX", "ROOT_DIR_MISSING", "DUP_CLUSTERS_CLONE", "LINK_NULLTERM"];

/// An operation on a device.
enum Step {
    Write(u64, Vec<u8>),
    Flush,
}

/// Records the writes, and passes them to an overlay.
struct Recorder {
    disk: Arc<dyn Device>,
    steps: Mutex<Vec<Step>>,
}

impl Device for Recorder {
    fn size_bytes(&self) -> u64 {
        self.disk.size_bytes()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.steps.lock().unwrap().push(Step::Write(offset, buf.to_vec()));
        self.disk.write_at(buf, offset)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_at(&vec![0; len as usize], offset)
    }

    fn discard(&self, _offset: u64, _len: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn flush(&self) -> io::Result<()> {
        self.steps.lock().unwrap().push(Step::Flush);
        Ok(())
    }
}

/// Answers yes to everything and records what is found in the first round.
#[derive(Default)]
struct Yes {
    round: u32,
    found: BTreeSet<String>,
}

impl Judge for Yes {
    fn round(&mut self, round: u32) {
        self.round = round;
    }

    fn pass(&mut self, _pass: Pass, _total: u64) {}

    fn answer(&mut self, found: Found<'_>) -> bool {
        if self.round == 1 {
            self.found.insert(format!("{} {}", found.finding.code, found.finding.text));
        }
        true
    }
}

type Overlay = Arc<OverlayDevice<Arc<dyn Device>>>;

fn overlay(device: &Arc<dyn Device>) -> Overlay {
    Arc::new(OverlayDevice::new(Arc::clone(device), 512))
}

fn opened(device: Arc<dyn Device>) -> Option<Volume> {
    Volume::open(device, &VolumeOptions { allow_short: true, ..Default::default() }).ok()
}

/// Repairs the volume on `device` in an overlay. Returns the overlay, the findings, and those that
/// are left.
fn repaired(device: &Arc<dyn Device>) -> (Overlay, BTreeSet<String>, Vec<String>) {
    let blocks = opened(Arc::clone(device)).expect("it can be opened").block_size().bytes();
    let changes: Overlay = Arc::new(OverlayDevice::new(Arc::clone(device), blocks));
    let on: Arc<dyn Device> = changes.clone();
    let open = || {
        let options = VolumeOptions { allow_short: true, ..Default::default() };
        Volume::open(Arc::clone(&on), &options)
    };
    let mut yes = Yes::default();
    let options = Options { threads: 1, ..Default::default() };
    let plan = plan(&open, &options, &Interrupt::default(), &mut yes).expect("there is a plan");
    let left = plan.findings.iter().filter(|planned| !planned.is_repaired);
    let left = left.map(|it| format!("{} {}", it.finding.code, it.finding.text)).collect();
    (changes, yes.found, left)
}

/// Recovers the dirty slots, as any recovery does first.
fn recover(device: &Arc<dyn Device>) {
    let volume = opened(Arc::clone(device)).expect("it can be opened");
    let slots = 0..volume.max_slots();
    let dirty: Vec<u16> =
        slots.filter(|slot| volume.journal_is_dirty(*slot).is_ok_and(|dirty| dirty)).collect();
    if dirty.is_empty() {
        return;
    }
    let never = || false;
    let writes = Writes::Journaled;
    let options = RecoverOptions { slots: &dirty, writes, time: 1, interrupted: &never };
    // A damaged journal cannot be recovered; the repair deals with it.
    volume.recover(device, &options);
}

/// Returns the disk after a crash after step `at`: everything flushed is there; of the rest, the
/// writes for which `keep` is true, and half of some others. Also returns how much of each write is
/// there.
fn crashed(
    base: &Arc<dyn Device>,
    steps: &[Step],
    at: usize,
    keep: impl Fn(usize) -> bool,
) -> (Arc<dyn Device>, Vec<u8>) {
    let disk: Arc<dyn Device> = overlay(base);
    let mut state = Vec::new();
    let done = &steps[..at];
    let flushed = done.iter().rposition(|step| matches!(step, Step::Flush)).unwrap_or(0);
    for (index, step) in done.iter().enumerate() {
        if let Step::Write(offset, bytes) = step {
            if index < flushed || keep(index) {
                disk.write_at(bytes, *offset).unwrap();
                state.push(2);
            } else if index % 2 == 1 {
                // A torn write ends at a sector boundary.
                disk.write_at(&bytes[..bytes.len() / 1024 * 512], *offset).unwrap();
                state.push(1);
            } else {
                state.push(0);
            }
        }
    }
    while state.last() == Some(&0) {
        state.pop();
    }
    (disk, state)
}

/// Returns whether everything that was to be changed is the same on `device`.
fn same(changes: &Overlay, device: &Arc<dyn Device>) -> bool {
    let compared = changes.for_each_change(|offset, bytes| {
        let mut found = vec![0; bytes.len()];
        device.read_at(&mut found, offset)?;
        if found == bytes { Ok(()) } else { Err(io::Error::other("it differs")) }
    });
    compared.is_ok()
}

/// Interrupts the repair of a recipe everywhere. Returns how often the old and the new state were
/// seen; `None` if the volume cannot be opened, or if `journals` is true and no journal is used.
fn interrupted(recipe: &Recipe, journals: bool) -> Result<Option<(usize, usize)>, String> {
    let image = recipe.image();
    let base: Arc<dyn Device> = open(image.path(), &DeviceOptions::default()).unwrap();
    let Some(volume) = opened(Arc::clone(&base)) else { return Ok(None) };
    let (changes, found, left) = repaired(&base);
    if !left.is_empty() {
        return Err(format!("{left:?} are left of {found:?}"));
    }
    let proven: Arc<dyn Device> = changes.clone();
    let files = |device: &Arc<dyn Device>| Files::of_volume(&opened(device.clone()).unwrap());
    let proven_files = LazyLock::new(|| files(&proven));
    let untrusted: HashSet<u16> = match journals {
        true => HashSet::new(),
        false => (0..volume.max_slots()).collect(),
    };
    let recorder = Recorder { disk: overlay(&base), steps: Mutex::default() };
    let written = commit(&volume, &changes, &recorder, &untrusted).unwrap();
    let is_journaled = matches!(written, Written::Journaled { .. });
    if journals && !is_journaled {
        return Ok(None);
    }
    let steps = recorder.steps.into_inner().unwrap();
    let (mut old, mut new) = (0, 0);
    let mut seen = HashSet::new();
    // Some of the writes if there are many, and those next to each flush.
    let every = steps.len().div_ceil(POINTS).max(1);
    let is_flush = |at: usize| matches!(steps.get(at), Some(Step::Flush));
    let is_point =
        |at: &usize| at.is_multiple_of(every) || (at.saturating_sub(1)..*at + 2).any(is_flush);
    for at in (0..=steps.len()).filter(is_point) {
        for seed in 0..3_usize {
            let keep = |index: usize| match seed {
                0 => true,
                1 => false,
                _ => (index * 7 + at * 3) % 5 < 2,
            };
            let (disk, state) = crashed(&base, &steps, at, keep);
            if !seen.insert(state) {
                continue;
            }
            recover(&disk);
            let (again, now, left) = repaired(&disk);
            let here = format!("crash behind {at} of {} steps, order {seed}", steps.len());
            if !left.is_empty() {
                return Err(format!("{here}: {left:?} are left of {now:?}"));
            }
            let known = |it: &String| {
                found.contains(it) || it.contains("SUPERBLOCK") || it.contains("JOURNAL")
            };
            match (now.is_empty(), now == found) {
                (true, _) => new += 1,
                (false, true) => old += 1,
                // Only the superblock and its backups are written after the transaction.
                (false, false) if is_journaled && !now.iter().all(known) => {
                    return Err(format!("{here}: half-done: {now:?}"));
                }
                (false, false) => {}
            }
            // If the blocks are the same, so are the files.
            let again: Arc<dyn Device> = again;
            if same(&changes, &again) {
                continue;
            }
            let files = files(&again);
            if files != *proven_files {
                let mut lost = proven_files.lost(&files);
                lost.extend(proven_files.lost_attributes(&files));
                if lost.is_empty() && !is_journaled {
                    // Something was found on the way that would otherwise be deleted.
                    continue;
                }
                return Err(format!("{here}: the files are others, lost are {lost:?}"));
            }
        }
    }
    if is_journaled && new == 0 {
        return Err("never new".to_owned());
    }
    Ok(Some((old, new)))
}

/// Returns one recipe per code, or those that are asked for.
fn chosen() -> Vec<Recipe> {
    let mut recipes = recipes();
    let mut seen = HashSet::new();
    // No repair makes a device longer.
    recipes.retain(|recipe| recipe.code != "DEVICE_SHORT");
    recipes.retain(|recipe| recipe.found.len() < 4 && seen.insert(recipe.code));
    recipes
}

#[test]
fn a_repair_through_the_journal_is_done_or_not() {
    let recipes = chosen();
    let done = Mutex::new(0);
    let wrong = judge_all(&recipes, |recipe| {
        let seen = interrupted(recipe, true)?;
        *done.lock().unwrap() += usize::from(seen.is_some());
        Ok(())
    });
    demand_none(&wrong, recipes.len());
    let done = done.into_inner().unwrap();
    println!("{done} kinds of damage were repaired through a journal");
    assert!(recipes.len() < 40 || done >= 40, "only {done} of {}", recipes.len());
}

#[test]
fn a_repair_without_a_journal_can_be_done_again() {
    let mut recipes = chosen();
    // This takes twice as long as the test above, so only half of the recipes are tried.
    recipes.retain(|recipe| !TORN.contains(&recipe.code));
    let recipes: Vec<_> = recipes.into_iter().step_by(2).collect();
    let wrong = judge_all(&recipes, |recipe| interrupted(recipe, false).map(|_| ()));
    demand_none(&wrong, recipes.len());
}

/// The C fsck replays the journal; then it gives up here because no cluster runs.
#[test]
fn the_c_fsck_completes_an_interrupted_repair() {
    if oracle("fsck.ocfs2").is_none() {
        return;
    }
    let mut recipes = chosen();
    recipes.retain(|recipe| matches!(recipe.on, Base::Fixture(name) if name.ends_with("-local")));
    let recipes: Vec<_> = recipes.into_iter().step_by(5).collect();
    let done = Mutex::new(0);
    let wrong = judge_all(&recipes, |recipe| {
        *done.lock().unwrap() += usize::from(completed_by_c(recipe)?);
        Ok(())
    });
    demand_none(&wrong, recipes.len());
    let done = done.into_inner().unwrap();
    assert!(recipes.len() < 20 || done >= 20, "only {done} of {}", recipes.len());
}

/// Returns whether there was anything to complete.
fn completed_by_c(recipe: &Recipe) -> Result<bool, String> {
    // The log, the journal's inode and its superblock; nothing is written to its place.
    let image = recipe.image();
    let options = DeviceOptions { write: true, ..DeviceOptions::default() };
    let device: Arc<dyn Device> = open(image.path(), &options).unwrap();
    let Some(volume) = opened(Arc::clone(&device)) else { return Ok(false) };
    let (changes, _, _) = repaired(&device);
    let failing = FailingDevice::new(Arc::clone(&device), 3, AfterWrites::Fail);
    match commit(&volume, &changes, &failing, &HashSet::new()) {
        Ok(_) => return Ok(false),
        Err(_) => device.flush().unwrap(),
    }
    drop(failing);
    let fsck = Run::new(program("fsck.ocfs2")).args(["-fn", "-F"]).arg(image.path()).output();
    if !fsck.stdout.contains("Replaying slot") {
        // It was written without a journal.
        return Ok(false);
    }
    // After the replay it asks for a cluster, which does not exist, and gives up.
    let theirs = c_fsck(image.path(), "-fy");
    if !theirs.output.contains("journal replayed successfully") {
        return Err(format!("the C fsck says {}", theirs.output));
    }
    let size = u64::from(volume.block_size().bytes());
    let mut missing = Vec::new();
    let compared = changes.for_each_change(|offset, bytes| {
        let mut found = vec![0; bytes.len()];
        device.read_at(&mut found, offset)?;
        // The superblock is written after everything else; the C fsck also writes the superblock of
        // a journal that was dirty once more.
        let is_journal = bytes.starts_with(&[0xc0, 0x3b, 0x39, 0x98]);
        if found != bytes && offset / size > 2 && !is_journal {
            missing.push(offset / size);
        }
        Ok::<_, io::Error>(())
    });
    compared.unwrap();
    if !missing.is_empty() {
        return Err(format!("the C fsck does not write {missing:?}"));
    }
    Ok(true)
}
