//! Features that files show and the superblock does not say.

use ocfs2_format::Blkno;

/// Which inodes show a feature.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Shown {
    /// The first of them.
    pub first: Option<Blkno>,
    /// How many there are.
    pub count: u64,
}

impl Shown {
    /// An inode shows it.
    pub fn by(&mut self, inode: Blkno) {
        self.add(Self { first: Some(inode), count: 1 });
    }

    fn add(&mut self, other: Self) {
        self.first = self.first.into_iter().chain(other.first).min();
        self.count += other.count;
    }
}

/// What files have, and the volume has not by its superblock.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lacking {
    /// Holes.
    pub sparse: Shown,
    /// Extents that are allocated and not written.
    pub unwritten: Shown,
    /// Clusters that are shared.
    pub refcounts: Shown,
}

impl Lacking {
    /// Adds what others show.
    pub fn add(&mut self, other: Self) {
        self.sparse.add(other.sparse);
        self.unwritten.add(other.unwritten);
        self.refcounts.add(other.refcounts);
    }
}
