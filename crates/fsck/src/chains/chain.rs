//! The chains of an allocator, and the sums over them (invariants ).

use std::collections::{HashMap, HashSet};

use ocfs2_format::Blkno;
use ocfs2_format::chain::ChainRec;

use super::graph::{Graph, Link};
use super::group::{Node, Seen, examine};
use super::list::Allocator;
use super::places::Places;
use crate::codes::chains as codes;
use crate::tables::suballocs::{Group, Suballoc};
use crate::{Context, Finding};

/// Bits, and how many of them are clear.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Sum {
    pub total: u64,
    pub free: u64,
}

impl Sum {
    pub fn add(&mut self, other: Self) {
        self.total += other.total;
        self.free += other.free;
    }

    pub fn of(node: &Node) -> Self {
        Self { total: node.bits.into(), free: node.free.into() }
    }

    fn stated(rec: &ChainRec) -> Self {
        Self { total: rec.c_total.into(), free: rec.c_free.into() }
    }
}

/// The result of following the chains of an allocator.
#[derive(Debug, Default)]
pub(super) struct Chains {
    /// The sum of each chain; `None` if it broke off, or a group of it cannot be used.
    sums: Vec<Option<Sum>>,
    /// The descriptors of its groups.
    pub groups: HashSet<Blkno>,
    /// Its usable groups, if it is an allocator of blocks.
    pub usable: Vec<Group>,
    /// Whether any group is lost, or a part of one.
    pub incomplete: bool,
    /// Its groups in the order of the chains, to rewrite them. See [`Judge::keeps_members`].
    pub members: Vec<Member>,
    /// Chains that broke off, and the blocks where they did: what is there may have been a group.
    pub broken: Vec<(usize, Blkno)>,
    /// By chain, the bits of groups that say they belong to it and are in no chain.
    pub lost: HashMap<u16, Sum>,
}

/// A group of a chain.
#[derive(Debug)]
pub(super) struct Member {
    /// The index of the chain.
    pub chain: usize,
    /// The block of its descriptor.
    pub blkno: Blkno,
    /// The group; `None` if it is to be made.
    pub node: Option<Node>,
    /// The blocks of a group of blocks that is to be made.
    pub made: Option<Group>,
}

/// Checks the chains of the allocator of that index.
pub(super) struct Judge<'a> {
    pub context: &'a Context<'a>,
    pub allocators: &'a [Allocator],
    pub index: usize,
    pub allocator: &'a Allocator,
    pub graph: &'a Graph,
    pub places: &'a mut Places,
    pub findings: Vec<Finding>,
    /// Whether the groups are kept in [`Chains::members`]. They may be many, and only a repair
    /// needs them.
    pub keeps_members: bool,
}

/// Where a reference to a group is.
#[derive(Clone, Copy, Debug)]
struct From {
    chain: usize,
    /// The group that has it; `None` for the chain's record.
    group: Option<Blkno>,
}

impl Judge<'_> {
    fn found(&mut self, from: From, code: &'static crate::codes::Code, text: String) {
        let text = format!("chain {}: {text}", from.chain);
        let finding = match from.group {
            Some(group) => self.allocator.group_finding(code, group, text),
            None => self.allocator.finding(code, text),
        };
        self.findings.push(finding);
    }

    /// Follows all chains.
    pub fn chains(&mut self) -> Chains {
        let mut chains = Chains::default();
        let allocator = self.allocator;
        for (index, rec) in allocator.chains.iter().enumerate() {
            let sum = self.chain(index, rec, &mut chains);
            chains.incomplete |= sum.is_none();
            chains.sums.push(sum);
        }
        chains
    }

    /// Follows a chain. Returns its sum, if it was followed to its end and all its groups can be
    /// used.
    fn chain(&mut self, index: usize, rec: &ChainRec, chains: &mut Chains) -> Option<Sum> {
        let mut sum = Sum::default();
        let mut complete = true;
        let mut from = From { chain: index, group: None };
        let mut at = rec.c_blkno;
        if at.is_none() {
            // Linux 7 leaves a record of zeros where it returned the only group of a chain.
            let is_given_back =
                matches!(self.allocator.suballoc, Some(Suballoc::Inodes(_) | Suballoc::Extents(_)))
                    && *rec == ChainRec::default();
            if !self.allocator.guessed && !is_given_back {
                self.found(from, codes::CHAIN_EMPTY, "has no group".to_owned());
            }
            // A record that counts bits without a group has lost its groups.
            return (rec.c_total == 0).then_some(sum);
        }
        let mut visited = HashSet::new();
        while !at.is_none() {
            if !self.context.geometry().is_valid_block(at) {
                let code = match from.group {
                    Some(_) => codes::CHAIN_LINK_RANGE,
                    None => codes::CHAIN_HEAD_LINK_RANGE,
                };
                self.found(from, code, format!("goes on at block {at}"));
                return None;
            }
            if visited.contains(&at) {
                let text = format!("goes on at block {at}, which it has come from");
                self.found(from, codes::GROUP_CHAIN_LOOP, text);
                return None;
            }
            let graph = self.graph;
            let seen = graph.get(at);
            let node = match seen.as_deref() {
                None => {
                    let text = format!("goes on at block {at}, with more groups than there can be");
                    self.found(from, codes::GROUP_CHAIN_LOOP, text);
                    return None;
                }
                Some(Seen::Unreadable(finding)) => {
                    self.findings.push(finding.clone());
                    chains.broken.push((index, at));
                    return None;
                }
                Some(Seen::NoGroup) => {
                    let text = format!("goes on at block {at}, which is not a group descriptor");
                    self.found(from, codes::CHAIN_LINK_MAGIC, text);
                    chains.broken.push((index, at));
                    return None;
                }
                Some(Seen::Group(node)) => node,
            };
            visited.insert(at);
            if !self.generation(from, at, node) {
                chains.broken.push((index, at));
                return None;
            }
            if !self.is_owner(from, at, node) {
                return None;
            }
            if node.unexpected {
                let text = "the bitmap has no group there".to_owned();
                let from = From { group: Some(at), ..from };
                self.found(from, codes::GROUP_UNEXPECTED_DESC, text);
            } else if let Some(node) = self.examined(at, node) {
                self.member(index, at, &node);
                chains.groups.insert(at);
                let is_used = self.use_group(at, &node, chains);
                complete &= is_used;
                sum.add(Sum::of(&node));
                if !is_used {
                    chains.broken.push((index, at));
                } else if self.keeps_members {
                    let node = Some(node);
                    chains.members.push(Member { chain: index, blkno: at, node, made: None });
                }
            }
            from.group = Some(at);
            at = node.next;
        }
        complete.then_some(sum)
    }

    /// Takes the blocks of a group, if they are known and no other group has them. Returns whether
    /// the group can be used.
    fn use_group(&mut self, blkno: Blkno, node: &Node, chains: &mut Chains) -> bool {
        if self.allocator.suballoc.is_none() {
            return true;
        }
        let Some(group) = node.group.as_deref() else { return false };
        if !self.places.take(self.context, group) {
            let text = "lies where another group is";
            self.findings.push(self.allocator.group_finding(codes::GROUP_OVERLAP, blkno, text));
            return false;
        }
        let covered: u32 = group.runs.iter().map(|run| run.bits).sum();
        chains.incomplete |= covered < group.bits;
        chains.usable.push(group.clone());
        true
    }

    /// Returns the group, examined as one of this allocator.
    fn examined(&self, blkno: Blkno, node: &Node) -> Option<Node> {
        if node.allocator == self.index {
            return Some(node.clone());
        }
        match examine(self.context, self.index, self.allocator, blkno) {
            Seen::Group(node) => Some(node),
            _ => None,
        }
    }

    /// Checks the generation of a group. Returns whether to follow the chain through it.
    fn generation(&mut self, from: From, blkno: Blkno, node: &Node) -> bool {
        let generation = self.context.volume.generation();
        if node.generation == generation {
            return true;
        }
        let text = format!(
            "chain {}: bg_generation is {:#010x}, expected {generation:#010x}",
            from.chain, node.generation
        );
        let finding = self.allocator.group_finding(codes::CHAIN_LINK_GEN, blkno, text);
        self.findings.push({
            let mend = finding.repair.clone();
            finding.or_else(codes::GROUP_GEN).repaired_otherwise_by(mend)
        });
        !node.unexpected && node.parent == self.allocator.blkno
    }

    /// Returns whether a group belongs to this chain, of all that point to it.
    fn is_owner(&mut self, from: From, blkno: Blkno, node: &Node) -> bool {
        let here = Link { allocator: self.index, chain: from.chain };
        let owner = self.graph.owner(self.allocators, blkno);
        let Some(owner) = owner.filter(|owner| *owner != here) else { return true };
        let name = self.allocators.get(owner.allocator).map_or(String::new(), Allocator::name);
        let text = format!(
            "goes on at block {blkno}, a group of chain {} of {name}, bg_parent_dinode is {}",
            owner.chain, node.parent
        );
        self.found(from, codes::GROUP_DUPLICATE, text);
        false
    }

    /// Adds what is wrong with a group of this chain, and compares the allocator and the chain that
    /// it states.
    fn member(&mut self, chain: usize, blkno: Blkno, node: &Node) {
        self.findings.extend(node.findings.iter().cloned());
        let parent = self.allocator.blkno;
        if node.parent != parent {
            let text = format!("bg_parent_dinode is {}, expected {parent}", node.parent);
            let finding = self.allocator.group_finding(codes::GROUP_PARENT, blkno, text);
            self.findings.push(finding);
        }
        if usize::from(node.chain) != chain {
            let text = format!("bg_chain is {}, expected {chain}", node.chain);
            let finding = self.allocator.group_finding(codes::GROUP_CHAIN, blkno, text);
            self.findings.push(finding);
        }
    }

    /// Compares the stated sums with those of the groups.
    pub fn sums(&mut self, chains: &Chains) {
        let allocator = self.allocator;
        let (mut sum, mut as_stated) = (Sum::default(), Sum::default());
        for (index, (rec, linked)) in allocator.chains.iter().zip(&chains.sums).enumerate() {
            let stated = Sum::stated(rec);
            let lost = u16::try_from(index).ok().and_then(|index| chains.lost.get(&index));
            as_stated.add(stated);
            let Some(linked) = *linked else {
                sum.add(stated);
                continue;
            };
            let mut all = linked;
            all.add(lost.copied().unwrap_or_default());
            // The record may count a lost group, or not any more: both are right.
            if stated == linked || stated == all {
                sum.add(stated);
                continue;
            }
            sum.add(all);
            let text = format!(
                "chain {index}: {} of {} bits are free, expected {} of {}",
                stated.free, stated.total, all.free, all.total
            );
            self.findings.push(allocator.finding(codes::CHAIN_BITS, text));
        }
        self.inode(sum);
    }

    /// Compares the sums that the inode states.
    fn inode(&mut self, sum: Sum) {
        let (allocator, geometry) = (self.allocator, self.context.geometry());
        let dinode = &allocator.dinode;
        let (used, total) = dinode.bitmap();
        let expected = sum.total.saturating_sub(sum.free);
        if u64::from(total) != sum.total || u64::from(used) != expected {
            let text =
                format!("{used} of {total} bits are used, expected {expected} of {}", sum.total);
            self.findings.push(allocator.finding(codes::CHAIN_GROUP_BITS, text));
        }
        let clusters = sum.total / u64::from(allocator.bits_per_cluster(self.context));
        if u64::from(dinode.i_clusters) != clusters {
            let text = format!("i_clusters is {}, expected {clusters}", dinode.i_clusters);
            self.findings.push(allocator.finding(codes::CHAIN_I_CLUSTERS, text));
        }
        let size = clusters << geometry.cluster_size.bits();
        if dinode.i_size != size {
            let text = format!("i_size is {}, expected {size}", dinode.i_size);
            self.findings.push(allocator.finding(codes::CHAIN_I_SIZE, text));
        }
    }
}
