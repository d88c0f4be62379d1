//! Checks before anything is changed.

use std::num::NonZero;
use std::ops::Range;
use std::thread;

use anyhow::{Result, bail};
use ocfs2_format::Blkno;
use ocfs2_format::superblock::STATE_ERROR;
use ocfs2_volume::Volume;
use ocfs2_volume::allocator::Allocator;

/// Groups below which one thread reads them all.
const FEW: u32 = 256;

/// Most threads that read groups.
const MOST_THREADS: u32 = 8;

/// What is kept of a group.
struct Brief {
    chain: u16,
    bits: u16,
    free: u16,
    next: Blkno,
}

/// Fails for a volume that is marked as having errors, or if the counts of the global bitmap and
/// its chains are wrong.
///
/// # Errors
/// A description of what is wrong.
pub fn verify_sound(volume: &Volume) -> Result<()> {
    no_errors(volume)?;
    let bitmap = volume.global_bitmap()?;
    let mut counted = vec![(0_u64, 0_u64); bitmap.chains.len()];
    let groups = read_all(volume, &bitmap)?;
    for group in &groups {
        if let Some((total, sum)) = counted.get_mut(usize::from(group.chain)) {
            *total += u64::from(group.bits);
            *sum += u64::from(group.free);
        }
    }
    for (index, (chain, counted)) in bitmap.chains.iter().zip(&counted).enumerate() {
        if (u64::from(chain.c_total), u64::from(chain.c_free)) != *counted {
            bail!(
                "chain {index} of the global bitmap does not count what its groups have: run \
                 fsck.ocfs2 -f first"
            );
        }
    }
    verify_chains(volume, &bitmap, &groups)?;
    verify_total(volume, counted.iter().map(|(total, _)| total).sum())
}

/// Fails for a volume that is marked as having errors, or if what the chains state does not add up,
/// or if the last group is damaged: what depends on no other group, such as growth alone.
///
/// # Errors
/// A description of what is wrong.
pub fn verify_end(volume: &Volume) -> Result<()> {
    no_errors(volume)?;
    let bitmap = volume.global_bitmap()?;
    verify_total(volume, bitmap.chains.iter().map(|chain| u64::from(chain.c_total)).sum())?;
    let free: u64 = bitmap.chains.iter().map(|chain| u64::from(chain.c_free)).sum();
    let (used, total) = bitmap.inode.dinode.bitmap();
    if u64::from(total) != free + u64::from(used) {
        bail!(
            "the global bitmap states {used} of {total} clusters as used, and its chains {free} as \
             free: run fsck.ocfs2 -f first"
        );
    }
    let last = volume.geometry().groups().saturating_sub(1);
    let group = read_part(volume, &bitmap, last..last + 1)?.pop();
    let chain = group.and_then(|group| bitmap.chains.get(usize::from(group.chain)));
    match chain {
        Some(_) => Ok(()),
        None => bail!("the last group is in no chain: run fsck.ocfs2 -f first"),
    }
}

fn no_errors(volume: &Volume) -> Result<()> {
    if volume.superblock().s_state & STATE_ERROR != 0 {
        bail!("the volume is marked as having errors: run fsck.ocfs2 -f first");
    }
    Ok(())
}

fn verify_total(volume: &Volume, total: u64) -> Result<()> {
    let clusters = volume.geometry().clusters;
    if total != u64::from(clusters) {
        bail!(
            "the global bitmap has {total} clusters, the volume {clusters}: run fsck.ocfs2 -f first"
        );
    }
    Ok(())
}

/// Reads all groups of the global bitmap in the order of their places, which are known, and not
/// chain by chain.
fn read_all(volume: &Volume, bitmap: &Allocator) -> Result<Vec<Brief>> {
    let groups = volume.geometry().groups();
    let threads = thread::available_parallelism().map_or(1, NonZero::get) as u32;
    let threads = if groups < FEW { 1 } else { threads.clamp(1, MOST_THREADS) };
    let part = groups.div_ceil(threads).max(1);
    let mut all = Vec::with_capacity(groups as usize);
    thread::scope(|scope| {
        let parts = (0..threads).map(|index| {
            let start = groups.min(index * part);
            let range = start..groups.min(start + part);
            scope.spawn(move || read_part(volume, bitmap, range))
        });
        for part in parts.collect::<Vec<_>>() {
            match part.join() {
                Ok(groups) => all.extend(groups?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(all)
    })
}

fn read_part(volume: &Volume, bitmap: &Allocator, range: Range<u32>) -> Result<Vec<Brief>> {
    let mut found = Vec::with_capacity(range.len());
    for index in range {
        let group = volume.group_at(bitmap, volume.geometry().group_blkno(index))?;
        let (free, stated) = (group.free_bits(), u32::from(group.desc.bg_free_bits_count));
        if free != stated {
            bail!(
                "group {} of the global bitmap has {free} free clusters and states {stated}: run \
                 fsck.ocfs2 -f first",
                group.blkno
            );
        }
        found.push(Brief {
            chain: group.chain,
            bits: group.desc.bg_bits,
            free: group.desc.bg_free_bits_count,
            next: group.desc.bg_next_group,
        });
    }
    Ok(found)
}

/// Fails unless each group is in the chain that it states, once.
fn verify_chains(volume: &Volume, bitmap: &Allocator, groups: &[Brief]) -> Result<()> {
    let geometry = volume.geometry();
    let mut is_reached = vec![false; groups.len()];
    for (index, chain) in bitmap.chains.iter().enumerate() {
        let mut next = chain.c_blkno;
        while !next.is_none() {
            let number = geometry.cluster_of(next).map(|cluster| geometry.group_of(cluster).0);
            let number = number.filter(|number| geometry.group_blkno(*number) == next);
            let number = number.map_or(usize::MAX, |number| number as usize);
            let (group, reached) = (groups.get(number), is_reached.get_mut(number));
            let (Some(group), Some(reached)) = (group, reached) else {
                bail!(
                    "chain {index} of the global bitmap points to block {next}, where no group \
                     is: run fsck.ocfs2 -f first"
                );
            };
            if *reached || usize::from(group.chain) != index {
                bail!(
                    "group {next} of the global bitmap is in chain {index} and states {}, or is \
                     in it twice: run fsck.ocfs2 -f first",
                    group.chain
                );
            }
            *reached = true;
            next = group.next;
        }
    }
    match is_reached.iter().position(|reached| !reached) {
        None => Ok(()),
        Some(group) => bail!(
            "group {} of the global bitmap is in no chain: run fsck.ocfs2 -f first",
            geometry.group_blkno(group as u32)
        ),
    }
}
