//! Features that files show and the superblock lacks.

use ocfs2_format::Blkno;

/// The inodes that show a feature.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Shown {
    /// The first of them.
    pub first: Option<Blkno>,
    /// Number of inodes.
    pub inodes: u64,
    /// Number of holes or extents in them.
    pub pieces: u64,
}

impl Shown {
    /// Notes that an inode shows it by so many `pieces`, if by any.
    pub fn by(&mut self, inode: Blkno, pieces: u64) {
        if pieces > 0 {
            self.add(Self { first: Some(inode), inodes: 1, pieces });
        }
    }

    fn add(&mut self, other: Self) {
        self.first = self.first.into_iter().chain(other.first).min();
        self.inodes += other.inodes;
        self.pieces += other.pieces;
    }
}

/// The features that files have and the superblock lacks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lacking {
    /// Holes.
    pub sparse: Shown,
    /// Extents that are allocated and not written.
    pub unwritten: Shown,
    /// Shared clusters.
    pub refcounts: Shown,
    /// Indexes of directories.
    pub indexes: Shown,
    /// Quotas of users.
    pub user_quota: Shown,
    /// Quotas of groups.
    pub group_quota: Shown,
}

impl Lacking {
    /// Adds what other inodes show.
    pub fn add(&mut self, other: Self) {
        self.sparse.add(other.sparse);
        self.unwritten.add(other.unwritten);
        self.refcounts.add(other.refcounts);
        self.indexes.add(other.indexes);
        self.user_quota.add(other.user_quota);
        self.group_quota.add(other.group_quota);
    }
}
