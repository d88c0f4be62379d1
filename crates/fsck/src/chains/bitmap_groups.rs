//! The sound groups of the global bitmap, in a few bytes each.

use ocfs2_format::Blkno;
use ocfs2_format::geometry::Geometry;

use super::graph::Link;
use super::group::{Node, Seen, examine, expected_group};
use super::list::Allocator;
use crate::clusters::ClusterSet;
use crate::{Context, Stop, parallel};

/// Groups that a thread reads as one piece of work.
const AT_ONCE: u32 = 64;

/// The sound groups, by their number.
#[derive(Debug, Default)]
pub(super) struct BitmapGroups {
    geometry: Option<Geometry>,
    /// Index of the global bitmap among the allocators.
    allocator: usize,
    parent: Blkno,
    generation: u32,
    groups: Vec<Option<Brief>>,
    entered: u64,
    unused: ClusterSet,
}

/// What is kept of a group.
#[derive(Clone, Copy, Debug)]
struct Brief {
    /// The number of the next group of its chain.
    next: Option<std::num::NonZeroU32>,
    free: u16,
    chain: u16,
    /// The allocator and the chain that came to it first.
    first: Option<(u16, u16)>,
}

impl BitmapGroups {
    /// Reads all groups at the places where the global bitmap has to have them.
    ///
    /// # Errors
    /// [`Stop`] if the check was interrupted.
    pub fn read(
        context: &Context<'_>,
        allocators: &[Allocator],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, Stop> {
        let index = allocators.iter().position(|allocator| allocator.suballoc.is_none());
        let Some((index, allocator)) = index.and_then(|at| Some((at, allocators.get(at)?))) else {
            return Ok(Self::default());
        };
        let geometry = *context.geometry();
        let mut this = Self {
            geometry: Some(geometry),
            allocator: index,
            parent: allocator.blkno,
            generation: context.volume.generation(),
            ..Self::default()
        };
        let count = geometry.groups();
        let parts = (0..count.div_ceil(AT_ONCE)).map(|part| {
            let start = part * AT_ONCE;
            start..start.saturating_add(AT_ONCE).min(count)
        });
        let work = |part: std::ops::Range<u32>| -> Vec<_> {
            part.map(|group| brief(context, index, allocator, group)).collect()
        };
        parallel::ordered(context.options.threads, parts, work, |part| {
            for found in part {
                if found.is_some_and(|(_, unused)| unused) {
                    let group = this.groups.len() as u32;
                    this.unused.insert(group..group + 1, |_| {});
                }
                this.groups.push(found.map(|(brief, _)| brief));
            }
            progress(this.groups.len() as u64);
            !context.interrupt.requested()
        });
        context.check_interrupt()?;
        Ok(this)
    }

    fn number(&self, blkno: Blkno) -> Option<usize> {
        expected_group(self.geometry.as_ref()?, blkno).map(|group| group as usize)
    }

    /// Notes that a chain points to a block. Returns whether it is the first one; `None` if the
    /// block is not one of these groups.
    pub fn enter(&mut self, link: Link, blkno: Blkno) -> Option<bool> {
        let number = self.number(blkno)?;
        let brief = self.groups.get_mut(number)?.as_mut()?;
        if brief.first.is_some() {
            return Some(false);
        }
        brief.first = Some((link.allocator as u16, link.chain as u16));
        self.entered += 1;
        Some(true)
    }

    /// Returns the number of groups that chains pointed to.
    pub fn entered(&self) -> u64 {
        self.entered
    }

    /// Returns a group that a chain pointed to, and the first chain that did.
    pub fn get(&self, blkno: Blkno) -> Option<(Link, Node)> {
        let (number, geometry) = (self.number(blkno)?, self.geometry.as_ref()?);
        let brief = (*self.groups.get(number)?)?;
        let (allocator, chain) = brief.first?;
        let node = Node {
            allocator: self.allocator,
            next: brief.next.map_or(Blkno(0), |next| geometry.group_blkno(next.get())),
            parent: self.parent,
            chain: brief.chain,
            generation: self.generation,
            bits: geometry.group_clusters(number as u32) as u16,
            free: brief.free,
            familiar: true,
            unexpected: false,
            is_unused: self.unused.contains(number as u32),
            findings: Vec::new(),
            group: None,
        };
        Some((Link { allocator: allocator.into(), chain: chain.into() }, node))
    }

    /// Returns the groups in which only the first cluster is in use, by number.
    pub fn unused(&self) -> &ClusterSet {
        &self.unused
    }
}

/// Reads a group. Returns it, and whether only its first cluster is in use, if it is sound.
fn brief(
    context: &Context<'_>,
    index: usize,
    allocator: &Allocator,
    group: u32,
) -> Option<(Brief, bool)> {
    let geometry = context.geometry();
    let blkno = geometry.group_blkno(group);
    if !context.is_on_device(blkno) {
        return None;
    }
    let Seen::Group(node) = examine(context, index, allocator, blkno) else { return None };
    let usual = node.familiar && !node.unexpected && node.findings.is_empty();
    if !usual {
        return None;
    }
    // Group 0 is not the next one of any group. If it is, `NonZeroU32` has no room for that, and
    // the group is kept with the damaged ones.
    let next = match node.next {
        Blkno(0) => None,
        next => Some(expected_group(geometry, next).and_then(std::num::NonZeroU32::new)?),
    };
    let brief = Brief { next, free: node.free, chain: node.chain, first: None };
    // The cluster of group 0 is in use by more than the group.
    Some((brief, node.is_unused && group > 0))
}
