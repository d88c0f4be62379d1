//! Taking clusters and blocks from the allocators of a volume, and giving them back, all at once.

use std::ops::Range;

use ocfs2_format::dinode::Dinode;

use super::pools::{Pool, Pools};
use super::{Suballocated, Want};
use crate::{Error, Volume};

/// Allocators while parts of them are taken and freed. Nothing is changed before
/// [`Space::write`], which needs a volume on an overlay.
#[derive(Debug)]
pub struct Space<'v> {
    volume: &'v Volume,
    pools: Pools,
}

impl<'v> Space<'v> {
    /// Nothing is changed yet.
    pub fn new(volume: &'v Volume) -> Self {
        Self { volume, pools: Pools::default() }
    }

    /// Takes so many clusters, in as few runs as there are. `None`, and none is taken, if fewer
    /// are free.
    ///
    /// # Errors
    /// The global bitmap cannot be read, or is wrong.
    pub fn take_runs(&mut self, count: u32) -> Result<Option<Vec<Range<u32>>>, Error> {
        self.pools.take_runs(self.volume, count)
    }

    /// Takes clusters in a row. `None` if there is no such run.
    ///
    /// # Errors
    /// The global bitmap cannot be read, or is wrong.
    pub fn take_clusters(&mut self, want: Want) -> Result<Option<Range<u32>>, Error> {
        self.pools.take_clusters(self.volume, want)
    }

    /// How many clusters are free, as the chains of the global bitmap have it.
    ///
    /// # Errors
    /// The global bitmap cannot be read.
    pub fn free_clusters(&mut self) -> Result<u64, Error> {
        self.pools.free(self.volume, Pool::Clusters)
    }

    /// How many blocks are free in the `extent_alloc` of a slot, as its chains have it.
    ///
    /// # Errors
    /// The allocator cannot be read.
    pub fn free_blocks(&mut self, slot: u16) -> Result<u64, Error> {
        self.pools.free(self.volume, Pool::Blocks(slot))
    }

    /// Takes a block of the `extent_alloc` of a slot, for an extent block, a block of
    /// attributes, an index root or a refcount block. The allocator gets another group where it
    /// has to. `None` if there is no room for that.
    ///
    /// # Errors
    /// An allocator cannot be read, or is wrong.
    pub fn take_block(
        &mut self,
        structure: &'static str,
        slot: u16,
    ) -> Result<Option<Suballocated>, Error> {
        self.pools.take_block(self.volume, structure, slot)
    }

    /// Takes a block for an inode, from the `inode_alloc` of a slot or the global one
    /// ([`Dinode::GLOBAL_SLOT`]).
    ///
    /// # Errors
    /// As [`Space::take_block`].
    pub fn take_inode(&mut self, slot: u16) -> Result<Option<Suballocated>, Error> {
        self.pools.take_inode(self.volume, slot)
    }

    /// Clears the bits of a run of clusters; those that are clear already stay so.
    ///
    /// # Errors
    /// The global bitmap cannot be read, or is wrong; a cluster is outside the volume.
    pub fn free_run(&mut self, run: Range<u32>) -> Result<(), Error> {
        self.pools.free_clusters(self.volume, run)
    }

    /// Frees a block that came from an `extent_alloc`.
    ///
    /// # Errors
    /// It did not come from there; the allocator cannot be read, or is wrong.
    pub fn free_block(&mut self, block: Suballocated) -> Result<(), Error> {
        self.pools.free_block(self.volume, block)
    }

    /// Frees a dinode.
    ///
    /// # Errors
    /// As [`Space::free_block`].
    pub fn free_inode(&mut self, dinode: &Dinode) -> Result<(), Error> {
        self.pools.free_inode(self.volume, dinode)
    }

    /// Writes what has changed.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(mut self) -> Result<(), Error> {
        self.pools.write(self.volume)
    }
}
