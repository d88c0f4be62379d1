//! What is done to a volume: pieces put together, free space put together.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use ocfs2_cli::Interrupt;
use ocfs2_format::Blkno;
use ocfs2_format::dinode::Arm;
use ocfs2_users::work::Work;
use ocfs2_volume::Volume;

use super::mover::Mover;
use super::owners::Owners;
use super::pieces::{Piece, count, least, pieces, pieces_of};

/// Times that what is free is put together so that more files can be.
const MOST_ROUNDS: u32 = 64;

/// The part of the pieces of which one has to go each time.
const LEAST_GAIN: usize = 1024;

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// The inodes that may move; `None` for all.
    pub only: Option<BTreeSet<Blkno>>,
    /// Whether free space is put together in any case.
    pub packs: bool,
}

/// A file or directory in several pieces, before and after.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub blkno: Blkno,
    pub is_dir: bool,
    pub before: usize,
    pub after: usize,
    pub problem: Option<String>,
}

/// Files and directories of a volume, by their pieces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census {
    pub files: u64,
    pub directories: u64,
    pub pieces: u64,
    /// Those with more pieces than necessary, those with most first.
    pub found: Vec<Found>,
    /// Files of which something stays because others may use it, too.
    pub shared: u64,
}

impl Census {
    /// Looks at all that may move.
    ///
    /// # Errors
    /// Something that matters for this is damaged; interrupts.
    pub fn of(volume: &Volume, wanted: &Wanted, interrupt: &Interrupt) -> Result<Self> {
        Self::counted(volume, wanted, interrupt, None)
    }

    /// The same before something is moved: no cluster may have two owners, or none.
    ///
    /// # Errors
    /// Something is damaged; interrupts.
    pub fn verified(volume: &Volume, wanted: &Wanted, interrupt: &Interrupt) -> Result<Self> {
        let mut owners = Owners::default();
        let census = Self::counted(volume, wanted, interrupt, Some(&mut owners))?;
        owners.verify(volume, interrupt)?;
        Ok(census)
    }

    fn counted(
        volume: &Volume,
        wanted: &Wanted,
        interrupt: &Interrupt,
        mut owners: Option<&mut Owners>,
    ) -> Result<Self> {
        let longest = volume.geometry().clusters_per_group().saturating_sub(1);
        let mut census = Self::default();
        for inode in volume.inodes() {
            interrupt.check()?;
            let inode = inode?;
            let is_wanted = wanted.only.as_ref().is_none_or(|it| it.contains(&inode.blkno));
            let moves = is_wanted && volume.is_movable(&inode);
            let is_owner = owners.is_some() && inode.dinode.arm() == Arm::ExtentList;
            if !moves && !is_owner {
                continue;
            }
            let extents = volume.tree(&inode)?.extents().collect::<Result<Vec<_>, _>>()?;
            if let Some(owners) = &mut owners {
                owners.add(volume, inode.blkno, &extents);
            }
            if !moves {
                continue;
            }
            let is_dir = inode.is_dir();
            *(if is_dir { &mut census.directories } else { &mut census.files }) += 1;
            let pieces = pieces(volume, &extents);
            let before = count(&pieces);
            census.pieces += before as u64;
            census.shared += u64::from(pieces.iter().any(|piece| piece.is_fixed));
            if before > least(&pieces, longest) {
                let blkno = inode.blkno;
                census.found.push(Found { blkno, is_dir, before, after: before, problem: None });
            }
        }
        census.found.sort_by_key(|found| (Reverse(found.before), found.blkno));
        Ok(census)
    }
}

/// Puts together what `census` has found, and free space if that helps or is wanted. Returns the number
/// of clusters that were moved.
///
/// Directories come first: all of one has to fit into one run. While something is left that would have
/// room if what is free were in a row, free space is put together and the rest tried again.
///
/// # Errors
/// The volume is damaged or cannot be written; interrupts. What was committed stays.
pub(crate) fn arrange(
    work: &mut Work<'_>,
    wanted: &Wanted,
    census: &mut Census,
    interrupt: &Interrupt,
) -> Result<u64> {
    let mut mover = Mover::new(work, interrupt)?;
    let (mut is_packed, mut last) = (false, usize::MAX);
    for _ in 0..MOST_ROUNDS {
        mover.lacks = false;
        gather(&mut mover, census)?;
        let left: usize = census.found.iter().map(|found| found.after).sum();
        let is_gain = left < last - last / LEAST_GAIN;
        if !mover.lacks || wanted.only.is_some() || !is_gain {
            break;
        }
        last = left;
        is_packed = true;
        if pack(&mut mover, census)? == 0 {
            break;
        }
    }
    if wanted.packs && wanted.only.is_none() {
        is_packed = true;
        pack(&mut mover, census)?;
    }
    if is_packed {
        measure(&mover, census)?;
    }
    Ok(mover.moved)
}

fn gather(mover: &mut Mover<'_, '_>, census: &mut Census) -> Result<()> {
    for (dirs, task) in [(true, "Putting directories together"), (false, "Putting files together")]
    {
        let chosen =
            |found: &&mut Found| found.is_dir == dirs && found.after > 1 && found.problem.is_none();
        let all: Vec<_> = census.found.iter_mut().filter(chosen).collect();
        mover.begin(task, all.len());
        for found in all {
            found.problem = mover.gather(found.blkno)?;
            mover.advance();
        }
        mover.flush()?;
    }
    measure(mover, census)
}

/// Counts the pieces of what was found again.
fn measure(mover: &Mover<'_, '_>, census: &mut Census) -> Result<()> {
    for found in &mut census.found {
        let inode = mover.volume().inode(found.blkno)?;
        found.after = count(&pieces_of(mover.volume(), &inode)?);
    }
    Ok(())
}

/// Moves pieces from the end of the volume to free runs before them that have room for all of a piece:
/// what is free gets into a row where they were. Returns how many clusters were moved.
fn pack(mover: &mut Mover<'_, '_>, census: &mut Census) -> Result<u64> {
    let (before, mut spots) = (mover.moved, Vec::<(Blkno, Piece)>::new());
    for inode in mover.volume().inodes() {
        let inode = inode?;
        if mover.volume().is_movable(&inode) {
            let pieces = pieces_of(mover.volume(), &inode)?;
            let own = pieces.into_iter().filter(|piece| !piece.is_fixed);
            spots.extend(own.map(|piece| (inode.blkno, piece)));
        }
    }
    spots.sort_by_key(|(_, piece)| Reverse(piece.place));
    mover.begin("Putting free space together", spots.len());
    let mut problems = BTreeMap::new();
    for (blkno, piece) in spots {
        if !problems.contains_key(&blkno)
            && let Some(problem) = mover.move_down(blkno, &piece)?
        {
            problems.insert(blkno, problem);
        }
        mover.advance();
    }
    mover.flush()?;
    for found in &mut census.found {
        if let Some(problem) = problems.remove(&found.blkno) {
            found.problem = Some(problem);
        }
    }
    Ok(mover.moved - before)
}
