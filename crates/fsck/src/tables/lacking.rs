//! Features that files show and the superblock lacks.

use ocfs2_format::Blkno;

/// The inodes that show a feature.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Shown {
    /// The first of them.
    pub first: Option<Blkno>,
    /// The number of these inodes.
    pub count: u64,
}

impl Shown {
    /// Adds an inode that shows it.
    pub fn by(&mut self, inode: Blkno) {
        self.add(Self { first: Some(inode), count: 1 });
    }

    fn add(&mut self, other: Self) {
        self.first = self.first.into_iter().chain(other.first).min();
        self.count += other.count;
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
}

impl Lacking {
    /// Adds what other inodes show.
    pub fn add(&mut self, other: Self) {
        self.sparse.add(other.sparse);
        self.unwritten.add(other.unwritten);
        self.refcounts.add(other.refcounts);
    }
}
