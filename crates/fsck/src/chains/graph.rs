//! All groups that the chains of all allocators lead to, each read once.
//!
//! The groups that come next in all chains are read together, by several threads, then those
//! that come next in turn. A chain that comes to a group that was read already ends there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ocfs2_format::Blkno;
use ocfs2_format::chain::suballocator_cpg;

use super::group::{Seen, examine};
use super::list::Allocator;
use crate::{Context, Stop, parallel};

/// Groups a thread reads at once.
const AT_ONCE: usize = 16;

/// A chain of an allocator, both by their index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Link {
    pub allocator: usize,
    pub chain: usize,
}

/// What the chains lead to.
#[derive(Debug, Default)]
pub(super) struct Graph {
    seen: HashMap<Blkno, (Link, Option<Seen>)>,
    /// Chains that lead to a group besides the first one.
    again: HashMap<Blkno, Vec<Link>>,
}

impl Graph {
    /// Follows all chains.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn build(
        context: &Context<'_>,
        allocators: &[Allocator],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, Stop> {
        let mut graph = Self::default();
        let heads = allocators.iter().enumerate().flat_map(|(allocator, list)| {
            let chains = list.chains.iter().enumerate();
            chains.map(move |(chain, rec)| (Link { allocator, chain }, rec.c_blkno))
        });
        let mut frontier: Vec<_> = heads.collect();
        let most = most_groups(context);
        while !frontier.is_empty() && graph.seen.len() as u64 <= most {
            context.check_interrupt()?;
            frontier.retain(|(link, blkno)| graph.enter(context, *link, *blkno));
            // A few are read sooner than threads are started.
            let threads = if frontier.len() <= AT_ONCE { 1 } else { context.options.threads };
            let mut next = Vec::new();
            let work = |part: &[(Link, Blkno)]| -> Vec<_> {
                let look = |(link, blkno): &(Link, Blkno)| {
                    let list = &allocators[link.allocator];
                    (*link, *blkno, examine(context, link.allocator, list, *blkno))
                };
                part.iter().map(look).collect()
            };
            parallel::ordered(threads, frontier.chunks(AT_ONCE), work, |part| {
                for (link, blkno, seen) in part {
                    if let Seen::Group(node) = &seen {
                        next.push((link, node.next));
                    }
                    graph.seen.insert(blkno, (link, Some(seen)));
                }
                true
            });
            frontier = next;
            progress(graph.seen.len() as u64);
        }
        Ok(graph)
    }

    /// Whether a block a chain leads to is to be read.
    fn enter(&mut self, context: &Context<'_>, link: Link, blkno: Blkno) -> bool {
        if !context.geometry().is_valid_block(blkno) {
            return false;
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

    /// What a block is; nothing if it was not read.
    pub fn get(&self, blkno: Blkno) -> Option<&Seen> {
        self.seen.get(&blkno)?.1.as_ref()
    }

    /// The chain a group belongs to, of those that lead to it: the one it says, or else one of
    /// the allocator it says, or else the first.
    pub fn owner(&self, allocators: &[Allocator], blkno: Blkno) -> Option<Link> {
        let (first, seen) = self.seen.get(&blkno)?;
        let (Some(again), Some(Seen::Group(node))) = (self.again.get(&blkno), seen) else {
            return Some(*first);
        };
        let links = || std::iter::once(first).chain(again);
        let is_parent = |link: &&Link| {
            allocators.get(link.allocator).is_some_and(|list| list.blkno == node.parent)
        };
        let named = links().filter(is_parent).find(|link| link.chain == usize::from(node.chain));
        named.or_else(|| links().find(is_parent)).or(Some(first)).copied()
    }
}

/// More groups than there can be.
fn most_groups(context: &Context<'_>) -> u64 {
    let geometry = context.geometry();
    let cpg = suballocator_cpg(geometry.block_size, geometry.cluster_size).max(1);
    u64::from(geometry.clusters / u32::from(cpg)) + u64::from(geometry.groups()) + 1024
}
