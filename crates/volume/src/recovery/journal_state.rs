//! The state of the journals of a volume. Nothing is changed.

use ocfs2_format::journal::{JournalCompat, JournalIncompat, JournalSuperblock, MIN_JOURNAL_BYTES};

use crate::replay::KNOWN_FEATURES;
use crate::{Error, Inode, Volume};

/// The journal of a slot. See [`Volume::journal_states`].
#[derive(Debug)]
pub struct JournalState {
    /// The slot.
    pub slot: u16,
    /// Its inode, if it can be read.
    pub inode: Option<Inode>,
    /// Its superblock, if it can be read and is one.
    pub superblock: Option<JournalSuperblock>,
    /// What is wrong with it.
    pub problems: Vec<JournalProblem>,
}

/// Something wrong with a journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalProblem {
    /// There is no such file, or it is not a journal.
    #[error("the file cannot be used: {0}")]
    File(Error),
    /// Its first block is not the superblock of a journal, or that is damaged.
    #[error("the superblock cannot be used: {0}")]
    Superblock(Error),
    /// A part of the file is not allocated.
    #[error("has a hole at cluster {cluster}")]
    Hole {
        /// The cluster of the file where it begins.
        cluster: u64,
    },
    /// It has features that are not known.
    #[error("unknown features: incompat {incompat:#x}, ro_compat {ro_compat:#x}")]
    UnknownFeatures {
        /// The incompat bits that are not known.
        incompat: u32,
        /// The ro_compat bits, none of which is known.
        ro_compat: u32,
    },
    /// The kernel gave it up because of an error.
    #[error("was aborted with error {errno}")]
    Aborted {
        /// The error's number, negative.
        errno: i32,
    },
    /// It is smaller than the kernel takes.
    #[error("has {bytes} bytes, at least {least} are needed")]
    TooSmall {
        /// Its size.
        bytes: u64,
        /// What it would have to be.
        least: u64,
    },
    /// It is smaller than that of another slot.
    #[error("has {clusters} clusters, another one has {largest}")]
    Smaller {
        /// Its clusters.
        clusters: u32,
        /// Those of the largest journal.
        largest: u32,
    },
    /// Other journals have features that it lacks.
    #[error("lacks features that others have: compat {compat:#x}, incompat {incompat:#x}")]
    MissingFeatures {
        /// Compat bits.
        compat: u32,
        /// Incompat bits.
        incompat: u32,
    },
}

impl JournalState {
    /// Whether it has to be replayed, as far as its inode says so.
    pub fn is_dirty(&self) -> bool {
        let flags = self.inode.as_ref().map_or(0, |inode| inode.dinode.journal_flags());
        flags & ocfs2_format::dinode::Dinode::JOURNAL_DIRTY != 0
    }

    fn new(volume: &Volume, slot: u16) -> Self {
        let mut state = Self { slot, inode: None, superblock: None, problems: Vec::new() };
        let inode = match volume.journal_inode(slot) {
            Ok(inode) => inode,
            Err(err) => {
                state.problems.push(JournalProblem::File(err));
                return state;
            }
        };
        let clusters = u64::from(inode.dinode.i_clusters);
        let bytes = clusters << volume.geometry().cluster_size.bits();
        if bytes < MIN_JOURNAL_BYTES {
            let least = MIN_JOURNAL_BYTES;
            state.problems.push(JournalProblem::TooSmall { bytes, least });
        }
        match volume.first_hole(&inode) {
            Ok(end) if end < clusters => state.problems.push(JournalProblem::Hole { cluster: end }),
            Ok(_) => {}
            Err(err) => state.problems.push(JournalProblem::File(err)),
        }
        state.inode = Some(inode);
        match volume.journal(slot) {
            Ok(journal) => {
                let superblock = journal.superblock;
                let incompat = (superblock.incompat() - KNOWN_FEATURES).bits();
                let ro_compat = superblock.s_feature_ro_compat;
                if (incompat, ro_compat) != (0, 0) {
                    state.problems.push(JournalProblem::UnknownFeatures { incompat, ro_compat });
                }
                if superblock.s_errno != 0 {
                    let errno = superblock.s_errno;
                    state.problems.push(JournalProblem::Aborted { errno });
                }
                state.superblock = Some(superblock);
            }
            Err(err) => state.problems.push(JournalProblem::Superblock(err)),
        }
        state
    }

    fn clusters(&self) -> u32 {
        self.inode.as_ref().map_or(0, |inode| inode.dinode.i_clusters)
    }
}

impl Volume {
    /// The states of the journals of all slots, each looked at by itself and compared with the
    /// others.
    pub fn journal_states(&self) -> Vec<JournalState> {
        let mut states: Vec<_> =
            (0..self.max_slots()).map(|slot| JournalState::new(self, slot)).collect();
        let largest = states.iter().map(JournalState::clusters).max().unwrap_or(0);
        // Features that the kernel sets depending on how it mounts, and leaves set.
        let passing =
            (JournalCompat::CHECKSUM, JournalIncompat::ASYNC_COMMIT | JournalIncompat::REVOKE);
        let features = |superblock: &JournalSuperblock| {
            let incompat = (superblock.incompat() & KNOWN_FEATURES) - passing.1;
            ((superblock.compat() - passing.0).bits(), incompat.bits())
        };
        let all = states.iter().filter_map(|state| state.superblock.as_ref().map(features));
        let all = all.fold((0, 0), |all, own| (all.0 | own.0, all.1 | own.1));
        for state in &mut states {
            let clusters = state.clusters();
            if state.inode.is_some() && clusters < largest {
                state.problems.push(JournalProblem::Smaller { clusters, largest });
            }
            if let Some(own) = state.superblock.as_ref().map(features) {
                let (compat, incompat) = (all.0 & !own.0, all.1 & !own.1);
                if (compat, incompat) != (0, 0) {
                    state.problems.push(JournalProblem::MissingFeatures { compat, incompat });
                }
            }
        }
        states
    }

    /// Where the first hole of a file is, in clusters; its end if it has none.
    fn first_hole(&self, inode: &Inode) -> Result<u64, Error> {
        let mut end = 0;
        for extent in self.tree(inode)?.extents() {
            let extent = extent?;
            if u64::from(extent.cpos.0) > end {
                break;
            }
            end = extent.end();
        }
        Ok(end)
    }
}
