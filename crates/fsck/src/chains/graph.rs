//! All groups that the chains of all allocators point to, each read once.
//!
//! The places of the groups of the global bitmap follow from its size, so that they are all read
//! first, without following a chain. Of the sound ones next to nothing is kept, as their number
//! grows with the volume.
//!
//! Of the other groups, the next ones of all chains are read together by several threads, then
//! those after them, and so on: a chain alone would be read one group at a time. A chain that comes
//! to a group that was read before ends there.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ocfs2_format::Blkno;
use ocfs2_format::chain::suballocator_cpg;

use super::bitmap_groups::BitmapGroups;
use super::group::{Seen, examine};
use super::list::Allocator;
use crate::clusters::ClusterSet;
use crate::{Context, Stop, parallel};

/// Groups that a thread reads as one piece of work.
const AT_ONCE: usize = 16;

/// A chain of an allocator, both by their index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Link {
    pub allocator: usize,
    pub chain: usize,
}

/// The groups that the chains point to.
#[derive(Debug, Default)]
pub(super) struct Graph {
    bitmap: BitmapGroups,
    /// All other groups.
    seen: HashMap<Blkno, (Link, Option<Seen>)>,
    /// Further chains that point to a group, after the first one.
    again: HashMap<Blkno, Vec<Link>>,
}

impl Graph {
    /// Follows all chains.
    ///
    /// # Errors
    /// [`Stop`] if the check was interrupted.
    pub fn build(
        context: &Context<'_>,
        allocators: &[Allocator],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, Stop> {
        let bitmap = BitmapGroups::read(context, allocators, progress)?;
        let mut graph = Self { bitmap, ..Self::default() };
        let heads = allocators.iter().enumerate().flat_map(|(allocator, list)| {
            let chains = list.chains.iter().enumerate();
            chains.map(move |(chain, rec)| (Link { allocator, chain }, rec.c_blkno))
        });
        let mut frontier: Vec<_> = heads.collect();
        let most = most_groups(context);
        while !frontier.is_empty() && graph.entered() <= most {
            context.check_interrupt()?;
            frontier.retain(|(link, blkno)| graph.enter(context, *link, *blkno));
            let unread = frontier.iter().filter(|(_, blkno)| graph.bitmap.get(*blkno).is_none());
            let unread: Vec<_> = unread.copied().collect();
            // A few are read faster than threads are started.
            let threads = if unread.len() <= AT_ONCE { 1 } else { context.options.threads };
            let work = |part: &[(Link, Blkno)]| -> Vec<_> {
                let look = |(link, blkno): &(Link, Blkno)| {
                    let list = &allocators[link.allocator];
                    (*link, *blkno, examine(context, link.allocator, list, *blkno))
                };
                part.iter().map(look).collect()
            };
            parallel::ordered(threads, unread.chunks(AT_ONCE), work, |part| {
                for (link, blkno, seen) in part {
                    graph.seen.insert(blkno, (link, Some(seen)));
                }
                true
            });
            let next = frontier.iter().filter_map(|(link, blkno)| match &*graph.get(*blkno)? {
                Seen::Group(node) => Some((*link, node.next)),
                _ => None,
            });
            frontier = next.collect();
            progress(graph.entered());
        }
        Ok(graph)
    }

    /// Returns the number of groups that chains pointed to so far.
    fn entered(&self) -> u64 {
        self.bitmap.entered() + self.seen.len() as u64
    }

    /// Notes that a chain points to a block. Returns whether to follow it there.
    fn enter(&mut self, context: &Context<'_>, link: Link, blkno: Blkno) -> bool {
        if !context.geometry().is_valid_block(blkno) {
            return false;
        }
        if let Some(is_first) = self.bitmap.enter(link, blkno) {
            if !is_first {
                self.again.entry(blkno).or_default().push(link);
            }
            return is_first;
        }
        match self.seen.entry(blkno) {
            Entry::Vacant(entry) => {
                entry.insert((link, None));
                true
            }
            Entry::Occupied(_) => {
                self.again.entry(blkno).or_default().push(link);
                false
            }
        }
    }

    /// Returns what a block is; `None` if no chain points there.
    pub fn get(&self, blkno: Blkno) -> Option<Cow<'_, Seen>> {
        if let Some((_, node)) = self.bitmap.get(blkno) {
            return Some(Cow::Owned(Seen::Group(node)));
        }
        self.seen.get(&blkno)?.1.as_ref().map(Cow::Borrowed)
    }

    /// Returns groups of the global bitmap in which only the first cluster, their own, is in use;
    /// not necessarily all of them.
    pub fn unused(&self) -> &ClusterSet {
        self.bitmap.unused()
    }

    /// Returns the chain that a group belongs to, of those that point to it: the one that it
    /// states, or else a chain of the allocator that it states, or else the first one.
    pub fn owner(&self, allocators: &[Allocator], blkno: Blkno) -> Option<Link> {
        let known = self.bitmap.get(blkno).map(|(first, _)| first);
        let first = known.or_else(|| Some(self.seen.get(&blkno)?.0))?;
        let Some(again) = self.again.get(&blkno) else { return Some(first) };
        let seen = self.get(blkno);
        let Some(Seen::Group(node)) = seen.as_deref() else { return Some(first) };
        let links = || std::iter::once(&first).chain(again);
        let is_parent = |link: &&Link| {
            allocators.get(link.allocator).is_some_and(|list| list.blkno == node.parent)
        };
        let named = links().filter(is_parent).find(|link| link.chain == usize::from(node.chain));
        named.or_else(|| links().find(is_parent)).or(Some(&first)).copied()
    }
}

/// Returns an upper limit for the number of groups.
fn most_groups(context: &Context<'_>) -> u64 {
    let geometry = context.geometry();
    let cpg = suballocator_cpg(geometry.block_size, geometry.cluster_size).max(1);
    u64::from(geometry.clusters / u32::from(cpg)) + u64::from(geometry.groups()) + 1024
}
