//! Plan and prove: asks about what is found, makes the repairs in an overlay, and checks that again
//! from the start until there is nothing left to repair.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use ocfs2_cli::Interrupt;
use ocfs2_format::Blkno;
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;
use ocfs2_volume::{OpenVolumeError, SystemFile, Volume};

use crate::name_hashes::Hashing;
use crate::repair::{EditError, Repair, Terms, Together, When, directory, lost_found, xattrs};
use crate::{Context, Finding, Found, Observer, Options, Outcome, Pass, Place, Stop, check};

/// Rounds of repairs after which the rest is left.
pub const MAX_ROUNDS: u32 = 20;

/// Rounds after which the rest is left once a check finds the same as an earlier one: repairs undo
/// each other. Rounds of repairs that come first are not counted, up to the same number, nor are
/// those that packed directories or finished the plan.
const USUAL_ROUNDS: u32 = 5;

/// Answers the questions of a plan.
pub trait Judge {
    /// A round, which is a whole check, begins. Counted from 1.
    fn round(&mut self, round: u32);
    /// See [`Observer::pass`].
    fn pass(&mut self, pass: Pass, total: u64);
    /// See [`Observer::progress`].
    fn progress(&mut self, _done: u64) {}
    /// Bytes of memory that the collected facts about the volume take, at the end of a round.
    fn known(&mut self, _bytes: u64) {}
    /// Returns whether to repair a finding. Asked once for each finding.
    fn answer(&mut self, found: Found<'_>) -> bool;
    /// Returns whether to repair nothing, whatever the answers were.
    fn stops(&self) -> bool {
        false
    }

    /// Returns a last repair for when everything agreed to is repaired: asked once, if anything was
    /// changed. `volume` is the repaired one.
    fn finish(&mut self, _volume: &Volume, _findings: &[Planned]) -> Option<Repair> {
        None
    }
}

/// A finding with its answer and its result.
#[derive(Debug)]
pub struct Planned {
    /// The pass that found it.
    pub pass: Pass,
    /// What was found.
    pub finding: Finding,
    /// Whether it was to be repaired.
    pub answer: bool,
    /// Whether its repair may lose something.
    pub may_lose: bool,
    /// Inodes whose contents may be wrong in spite of its repair.
    pub doubtful: Vec<Blkno>,
    /// Whether the last check no longer found it.
    pub is_repaired: bool,
    /// Why it could not be repaired.
    pub problem: Option<String>,
    /// Whether packing directories caused it: nobody is asked, and it is reported only if it stays.
    pub is_own: bool,
}

/// The result of planning.
#[derive(Debug)]
pub struct Plan {
    /// Everything that was found, in the order of the first finding of each.
    pub findings: Vec<Planned>,
    /// The number of whole checks.
    pub rounds: u32,
    /// Whether repairs were left: [`MAX_ROUNDS`] were not enough, or repairs undid each other.
    pub gave_up: bool,
    /// Whether the judge stopped it: nothing is repaired, and the overlay must not be used.
    pub is_stopped: bool,
    /// Whether anything was changed.
    pub is_changed: bool,
    /// The result of the last check.
    pub outcome: Outcome,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The check was interrupted.
    #[error(transparent)]
    Stop(#[from] Stop),
    /// The volume cannot be opened after it was repaired.
    #[error("after repairs: {0}")]
    Open(#[from] OpenVolumeError),
}

/// Makes repairs until a check finds nothing more to repair. `open` opens the volume on the overlay
/// in which they are made.
///
/// # Errors
/// [`PlanError`]. The overlay must not be used then.
pub fn plan(
    open: &dyn Fn() -> Result<Volume, OpenVolumeError>,
    options: &Options,
    interrupt: &Interrupt,
    judge: &mut dyn Judge,
) -> Result<Plan, PlanError> {
    let mut answers = Answers::default();
    let mut is_changed = false;
    let (mut prepared, mut may_prepare, mut is_packed) = (0, true, false);
    let (mut is_finished, mut seen) = (false, HashSet::new());
    for round in 1.. {
        let volume = open()?;
        let context = Context { volume: &volume, options, interrupt };
        judge.round(round);
        (answers.beyond, answers.last_beyond) = (0, None);
        let mut planner = Planner {
            judge,
            answers: &mut answers,
            round,
            is_packed,
            most: options.most_findings,
            accepted: Vec::new(),
            may_prepare,
            prepares: false,
            found: DefaultHasher::new(),
        };
        let mut outcome = check(&context, &mut planner)?;
        let volume_shows = outcome.totals.name_hashes.most();
        let hashing = Hashing { demanded: options.name_hash, volume: volume_shows };
        let Planner { accepted, prepares, found, .. } = planner;
        if judge.stops() {
            return Ok(answers.stopped(round, outcome));
        }
        judge.known(outcome.known_bytes);
        let is_new = seen.insert(found.finish());
        let gave_up = if !is_new && round > USUAL_ROUNDS + prepared {
            Some(format!("repairs undo each other, it was found in each of {round} rounds"))
        } else {
            (round > MAX_ROUNDS).then(|| format!("{MAX_ROUNDS} rounds of repairs were not enough"))
        };
        let made = match gave_up {
            Some(_) => None,
            None => {
                let contested = std::mem::take(&mut outcome.contested);
                let mut together = Together::with_contested(interrupt, contested);
                make(&volume, &accepted, &mut answers, hashing, &mut together)?
            }
        };
        // What was not asked about because another repair came first is found again.
        may_prepare &= !prepares || made == Some(When::First);
        match made {
            None if prepares && gave_up.is_none() => continue,
            None if options.pack_directories && !is_packed && outcome.findings == 0 => {
                is_packed = true;
                prepared += 1;
                is_changed |= pack(&volume, &mut answers, hashing, interrupt)?;
                continue;
            }
            None if is_changed
                && !std::mem::replace(&mut is_finished, true)
                && finish(&volume, judge, &mut answers, hashing) =>
            {
                prepared += 1;
                continue;
            }
            None => {
                let (rounds, is_stopped) = (round, false);
                let why = gave_up.as_deref().unwrap_or("its repair has nothing to change");
                let findings = answers.conclude(round, why);
                let gave_up = gave_up.is_some();
                return Ok(Plan { findings, rounds, gave_up, is_stopped, is_changed, outcome });
            }
            Some(When::First) => prepared = (prepared + 1).min(USUAL_ROUNDS),
            Some(_) => {}
        }
        is_changed = true;
    }
    Err(Stop::Interrupted.into())
}

/// Makes the repairs that can be made now. Returns which kind it was, if they changed anything.
fn make(
    volume: &Volume,
    accepted: &[(usize, Repair)],
    answers: &mut Answers,
    hashing: Hashing,
    together: &mut Together,
) -> Result<Option<When>, Stop> {
    let interrupt = together.interrupt.clone();
    let superblock = || volume.read_block(SUPERBLOCK_BLKNO).ok();
    let before = superblock();
    answers.no_room = None;
    let mut done = HashSet::new();
    let mut later: Vec<usize> = Vec::new();
    for when in [When::First, When::Now, When::Sound] {
        let may_take = when == When::Sound;
        let terms = Terms { may_take, hashing };
        let mut changed = false;
        for (index, repair) in accepted {
            if repair.when() != when && !(may_take && later.contains(index)) {
                continue;
            }
            if interrupt.requested() {
                return Err(Stop::Interrupted);
            }
            if repair.key().is_some_and(|key| !done.insert((key, may_take))) {
                continue;
            }
            let made = repair.make(volume, terms, together);
            changed |= *made.as_ref().unwrap_or(&false);
            if matches!(made, Err(EditError::NotYet)) {
                later.push(*index);
            }
            if let Err(EditError::NoRoom(what)) = &made {
                answers.no_room = Some(what);
            }
            if let Some(planned) = answers.all.get_mut(*index) {
                planned.problem = made.err().map(|err| err.to_string());
            }
            // With another superblock everything else may look different.
            if changed && superblock() != before {
                return Ok(Some(when));
            }
        }
        for removal in directory::remove_all(std::mem::take(&mut together.removed)) {
            if interrupt.requested() {
                return Err(Stop::Interrupted);
            }
            let made = removal.make(volume, terms, together);
            changed |= *made.as_ref().unwrap_or(&false);
            if let Err(err) = made {
                answers.problem = Some(format!("a directory: {err}"));
            }
        }
        if !together.lost.is_empty() {
            let lost = std::mem::take(&mut together.lost);
            let mut made = lost_found::link_all(lost.clone()).make(volume, terms, together);
            if matches!(made, Err(EditError::NoRoom(_))) {
                made = lost_found::link_alone(lost).make(volume, terms, together);
            }
            changed |= *made.as_ref().unwrap_or(&false);
            if let Err(err) = made {
                answers.problem = Some(format!("lost+found: {err}"));
            }
        }
        if changed {
            return Ok(Some(when));
        }
    }
    Ok(None)
}

/// Makes the last repair of the judge, which the next check proves. Returns whether it changed
/// anything.
fn finish(volume: &Volume, judge: &mut dyn Judge, answers: &mut Answers, hashing: Hashing) -> bool {
    let Some(repair) = judge.finish(volume, &answers.all) else { return false };
    let made = repair.make(volume, Terms { may_take: true, hashing }, &mut Together::default());
    made.unwrap_or_else(|err| {
        answers.problem = Some(err.to_string());
        false
    })
}

/// Packs all directories of a sound volume, and rehashes names if demanded. Returns whether that
/// changed anything.
fn pack(
    volume: &Volume,
    answers: &mut Answers,
    hashing: Hashing,
    interrupt: &Interrupt,
) -> Result<bool, Stop> {
    let terms = Terms { may_take: true, hashing };
    let mut changed = false;
    for (blkno, what, repair) in packing(volume, hashing) {
        if interrupt.requested() {
            return Err(Stop::Interrupted);
        }
        match repair.make(volume, terms, &mut Together::new(interrupt)) {
            Ok(is_packed) => changed |= is_packed,
            // The directory stays as it is.
            Err(err) => answers.problem = Some(format!("{what} {blkno}: {err}")),
        }
    }
    Ok(changed)
}

/// Returns the repairs that packing consists of, with the inode each is about.
fn packing(volume: &Volume, hashing: Hashing) -> Vec<(Blkno, &'static str, Repair)> {
    let own = (0..volume.max_slots())
        .filter_map(|slot| volume.system_file(SystemFile::OrphanDir(slot)).ok());
    let mut others: HashSet<_> = own.map(|inode| inode.blkno).collect();
    others.insert(volume.superblock().s_system_dir_blkno);
    let mut all = Vec::new();
    for inode in volume.inodes().filter_map(Result::ok) {
        let blkno = inode.blkno;
        if inode.is_dir() && !inode.is_inline() && !others.contains(&blkno) {
            all.push((blkno, "packing directory", directory::packed(blkno)));
            if hashing.demanded.is_some() {
                let repair = directory::hashed_as_demanded(blkno);
                all.push((blkno, "hashing the names of directory", repair));
            }
        }
        if hashing.demanded.is_some() && !inode.dinode.i_xattr_loc.is_none() {
            let repair = xattrs::hashed_as_demanded(blkno);
            all.push((blkno, "hashing the attributes of inode", repair));
        }
    }
    all
}

/// Identifies a finding from round to round.
pub(crate) type Key = (&'static str, Place, String);

/// Returns the key of a finding.
pub(crate) fn key(finding: &Finding) -> Key {
    (finding.code.name, finding.place.clone(), finding.text.clone())
}

/// All answers so far.
#[derive(Default)]
struct Answers {
    all: Vec<Planned>,
    /// The last round in which each was found.
    last_seen: Vec<u32>,
    by_key: HashMap<Key, usize>,
    /// Findings of this round beyond the limit: how many, and the last of them.
    beyond: u64,
    last_beyond: Option<(Pass, Finding)>,
    /// Why a repair of several findings together failed.
    problem: Option<String>,
    /// For what there was no room.
    no_room: Option<&'static str>,
}

impl Answers {
    /// The plan in which nothing is repaired.
    fn stopped(self, rounds: u32, outcome: Outcome) -> Plan {
        let mut findings = self.all;
        findings.iter_mut().for_each(|planned| planned.answer = false);
        Plan { findings, rounds, gave_up: false, is_stopped: true, is_changed: false, outcome }
    }

    /// Returns the results of all findings. `why` is the reason for what is left without a reason
    /// of its own.
    fn conclude(self, last: u32, why: &str) -> Vec<Planned> {
        let Self { mut all, last_seen, problem, no_room, beyond, last_beyond, .. } = self;
        let waits =
            no_room.map(|what| format!("it waits for others, and there is no room for {what}"));
        let problem = problem.or(waits);
        for (planned, seen) in all.iter_mut().zip(last_seen) {
            planned.is_repaired = seen != last;
            let linking = || planned.answer.then(|| problem.as_deref().unwrap_or(why).to_owned());
            planned.problem = planned.problem.take().or_else(linking);
        }
        all.extend(last_beyond.map(|(pass, mut finding)| {
            finding.text += &format!(", and {} more findings", beyond.saturating_sub(1));
            let problem = Some("there are too many for one run: run fsck.ocfs2 again".to_owned());
            let (may_lose, doubtful) = (false, Vec::new());
            let (answer, is_repaired, is_own) = (false, false, false);
            Planned { pass, finding, answer, may_lose, doubtful, is_repaired, problem, is_own }
        }));
        all.retain(|planned| !(planned.is_own && planned.is_repaired));
        all
    }
}

struct Planner<'a> {
    judge: &'a mut dyn Judge,
    answers: &'a mut Answers,
    round: u32,
    /// Whether directories of a sound volume were packed: what is found now is caused by that.
    is_packed: bool,
    /// The largest number of findings that are kept.
    most: usize,
    /// Accepted repairs, each with the number of its finding.
    accepted: Vec<(usize, Repair)>,
    /// Whether repairs that come first can be made.
    may_prepare: bool,
    /// Whether one of these was accepted: everything else may look different after it.
    prepares: bool,
    /// A hash of all that was found in this round.
    found: DefaultHasher,
}

impl Planner<'_> {
    /// Returns the number of a finding and the answer to it; `None` beyond the limit of findings.
    fn answer(&mut self, pass: Pass, finding: &Finding) -> Option<(usize, bool)> {
        let key = key(finding);
        key.hash(&mut self.found);
        let Answers { all, last_seen, by_key, beyond, last_beyond, .. } = self.answers;
        if let Some(index) = by_key.get(&key).copied()
            && let (Some(planned), Some(seen)) = (all.get(index), last_seen.get_mut(index))
        {
            *seen = self.round;
            return Some((index, planned.answer));
        }
        if all.len() >= self.most {
            *beyond += 1;
            let kept = Finding { repair: None, otherwise: None, ..finding.clone() };
            *last_beyond = Some((pass, kept));
            return None;
        }
        let is_own = self.is_packed;
        let answer = is_own || self.judge.answer(Found { pass, finding });
        let index = all.len();
        by_key.insert(key, index);
        last_seen.push(self.round);
        let can_be = finding.chain().any(|finding| finding.repair.is_some());
        let problem = (!can_be).then(|| "there is no repair for it".to_owned());
        let may_lose = finding.repair.as_ref().is_some_and(Repair::may_lose);
        let doubtful = finding.repair.as_ref().map_or(Vec::new(), |it| it.doubtful().to_vec());
        let finding = Finding { repair: None, otherwise: None, ..finding.clone() };
        let is_repaired = false;
        let planned =
            Planned { pass, finding, answer, may_lose, doubtful, is_repaired, problem, is_own };
        all.push(planned);
        Some((index, answer))
    }
}

impl Observer for Planner<'_> {
    fn pass(&mut self, pass: Pass, total: u64) {
        self.judge.pass(pass, total);
    }

    fn progress(&mut self, done: u64) {
        self.judge.progress(done);
    }

    fn found(&mut self, found: Found<'_>) {
        for finding in found.finding.chain() {
            let is_first = |repair: &Repair| self.may_prepare && repair.when() == When::First;
            let comes_first = finding.repair.as_ref().is_some_and(is_first);
            if self.prepares && !comes_first {
                return;
            }
            let Some((index, answer)) = self.answer(found.pass, finding) else { return };
            if answer {
                self.prepares |= comes_first;
                self.accepted.extend(finding.repair.clone().map(|repair| (index, repair)));
                return;
            }
        }
    }
}
