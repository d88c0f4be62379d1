//! The heartbeat region: one piece, large enough, without damaged blocks (invariant J-4).

use ocfs2_format::Structure;
use ocfs2_format::heartbeat::{HeartbeatBlock, MAX_NODES};
use ocfs2_volume::SystemFile;
use ocfs2_volume::tree::Extent;

use crate::codes::start as codes;
use crate::context::io_error;
use crate::repair::system;
use crate::system_files::{SystemFiles, extents_of};
use crate::{Context, Finding, Place};

/// Returns everything that is wrong with the region.
pub(super) fn check(context: &Context<'_>, files: &SystemFiles) -> Vec<Finding> {
    let Some(inode) = files.inode(context, SystemFile::Heartbeat) else { return Vec::new() };
    let place = Place::inode(inode.blkno);
    let block_size = u64::from(context.volume.block_size().bytes());
    let needed = u64::from(MAX_NODES) * block_size;
    let extents = extents_of(context, &inode);
    let first = extents.first().filter(|extent| extent.cpos.0 == 0);
    let stored = first.map_or(0, |extent| bytes(context, extent));
    if stored < needed || inode.dinode.i_size < needed {
        let text = format!(
            "heartbeat region, inode {}: i_size is {}, the first piece has {stored} bytes, \
             expected at least {needed}",
            inode.blkno, inode.dinode.i_size
        );
        let finding = Finding::new(codes::HEARTBEAT_SIZE, place, text);
        return vec![finding.repaired_by(system::new_heartbeat(inode.blkno))];
    }
    let Some(extent) = first else { return Vec::new() };
    let count = u32::from(MAX_NODES);
    let region = match context.volume.read_blocks(extent.blkno, count) {
        Ok(region) => region,
        Err(err) => return vec![io_error("heartbeat region", extent.blkno, &err)],
    };
    let bad = damaged(&region, context.volume.device().sector_size());
    if bad.is_empty() {
        return Vec::new();
    }
    let nodes: Vec<_> = bad.iter().take(20).map(ToString::to_string).collect();
    let more = if bad.len() > nodes.len() { " and others" } else { "" };
    let text =
        format!("heartbeat region: the blocks of nodes {}{more} are damaged", nodes.join(", "));
    let finding = Finding::new(codes::HEARTBEAT_BLOCK, place, text);
    vec![finding.repaired_by(system::clear_heartbeat(extent.blkno))]
}

fn bytes(context: &Context<'_>, extent: &Extent) -> u64 {
    u64::from(extent.clusters) << context.geometry().cluster_size.bits()
}

/// Returns the nodes whose blocks are damaged. Blocks are as long as the sectors of the device on
/// which they were written, which an image does not state: of all sizes the one with the least
/// damage counts.
fn damaged(region: &[u8], sector_size: u32) -> Vec<u8> {
    if region.iter().all(|byte| *byte == 0) {
        return Vec::new();
    }
    let sizes = [sector_size, 512, 1024, 2048, 4096].map(|size| size as usize);
    let by_size = sizes.into_iter().filter(|size| *size >= HeartbeatBlock::SIZE);
    let by_size = by_size.map(|size| {
        let sectors = (0..MAX_NODES).zip(region.chunks_exact(size));
        let bad = sectors.filter(|(node, sector)| {
            HeartbeatBlock::decode(sector).is_ok_and(|block| block.verify(sector, *node).is_err())
        });
        bad.map(|(node, _)| node).collect::<Vec<_>>()
    });
    by_size.min_by_key(Vec::len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(region: &mut [u8], sector_size: usize, node: u8) {
        let sector = &mut region[usize::from(node) * sector_size..][..sector_size];
        let mut block =
            HeartbeatBlock { hb_seq: 1_700_000_000, hb_node: node, ..Default::default() };
        block.encode(sector).unwrap();
        block.hb_cksum = HeartbeatBlock::checksum(sector);
        block.encode(sector).unwrap();
    }

    #[test]
    fn blocks_are_recognised_whatever_sectors_they_were_written_to() {
        for size in [512, 4096] {
            let mut region = vec![0; 255 * 4096];
            beat(&mut region, size, 3);
            beat(&mut region, size, 7);
            assert_eq!(damaged(&region, 512), [0; 0], "{size}");
            region[7 * size] += 1;
            assert_eq!(damaged(&region, size as u32), [7], "{size}");
        }
        assert_eq!(damaged(&[0; 255 * 512], 512), [0; 0]);
    }
}
