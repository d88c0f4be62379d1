//! The slot map: its size, and who holds which slot (invariant J-3).
//!
//! A slot that is held while its journal is dirty waits for recovery, or is mounted: the check of
//! the journals reports that.

use std::collections::HashSet;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::Incompat;
use ocfs2_format::slot_map::SlotMapFormat;
use ocfs2_format::superblock::Stack;
use ocfs2_volume::{Inode, SystemFile};

use crate::codes::start as codes;
use crate::context::io_error;
use crate::repair::system;
use crate::system_files::{SystemFiles, block_of, extents_of};
use crate::{Context, Finding, Place};

/// The number of nodes of an o2cb cluster; they are counted from 0.
const O2CB_NODES: u32 = 255;

/// Returns everything that is wrong with the map.
pub(super) fn check(context: &Context<'_>, files: &SystemFiles) -> Vec<Finding> {
    if context.volume.has(Incompat::HEARTBEAT_DEV) {
        return Vec::new();
    }
    let Some(inode) = files.inode(context, SystemFile::SlotMap) else { return Vec::new() };
    let format = context.volume.slot_map_format();
    let slots = context.volume.max_slots();
    let needed = format.size(slots);
    let map = match read(context, &inode, needed) {
        Ok(map) => map,
        Err(finding) => return vec![finding],
    };
    let place = Place::inode(inode.blkno);
    if inode.dinode.i_size < needed as u64 || map.len() < needed {
        let text = format!(
            "slot map, inode {}: i_size is {}, {} bytes are stored, {slots} slots need {needed}",
            inode.blkno,
            inode.dinode.i_size,
            map.len()
        );
        let finding = Finding::new(codes::SLOT_MAP_SIZE, place, text);
        return vec![finding.repaired_by(system::new_slot_map(inode.blkno))];
    }
    let stack = context.volume.superblock().stack();
    let mut holders = HashSet::new();
    let mut findings = Vec::new();
    for taken in format.taken(&map, files.slots().min(slots)) {
        let (slot, node) = (taken.slot, taken.node);
        let flag = map.get(usize::from(slot) * format.entry_size()).copied().unwrap_or_default();
        let nonsense = if format == SlotMapFormat::Extended && flag != 1 {
            Some(format!("es_valid is {flag}"))
        } else if stack == Stack::Local && node != 0 {
            Some(format!("node {node} holds it, the volume is local"))
        } else if matches!(stack, Stack::O2cb { .. }) && node >= O2CB_NODES {
            Some(format!("node {node} holds it, the last one can be {}", O2CB_NODES - 1))
        } else if !holders.insert(node) {
            Some(format!("node {node} holds it, and another slot before"))
        } else {
            None
        };
        let place = place.clone().in_slot(slot);
        if let Some(nonsense) = nonsense {
            let text = format!("slot map: slot {slot}: {nonsense}");
            let finding = Finding::new(codes::SLOT_MAP_NODE, place, text);
            findings.push(finding.repaired_by(system::free_slot(slot)));
        } else if has_clean_journal(context, files, slot) {
            let text = format!("slot map: node {node} holds slot {slot}, whose journal is clean");
            let finding = Finding::new(codes::SLOT_MAP_TAKEN, place, text);
            findings.push(finding.repaired_by(system::free_slot(slot)));
        }
    }
    findings
}

/// Returns the first `needed` bytes of the map, as far as they are stored.
fn read(context: &Context<'_>, inode: &Inode, needed: usize) -> Result<Vec<u8>, Finding> {
    let extents = extents_of(context, inode);
    let mut map = Vec::with_capacity(needed);
    for index in 0.. {
        let Some(blkno) = block_of(context, &extents, index).filter(|_| map.len() < needed) else {
            break;
        };
        let block = context.volume.read_block(blkno);
        map.extend(block.map_err(|err| io_error("slot map", blkno, &err))?);
    }
    map.truncate(needed);
    Ok(map)
}

fn has_clean_journal(context: &Context<'_>, files: &SystemFiles, slot: u16) -> bool {
    let journal = files.inode(context, SystemFile::Journal(slot));
    journal.is_some_and(|inode| inode.dinode.journal_flags() & Dinode::JOURNAL_DIRTY == 0)
}
