//! Extents that are inserted into a file, removed and changed at random.

use std::collections::BTreeMap;

use ocfs2_device::CountingDevice;
use ocfs2_format::extent::ExtentFlags;
use ocfs2_format::{Blkno, Cluster, Cpos};
use ocfs2_testing::Random;
use ocfs2_volume::allocator::Want;
use ocfs2_volume::edit::{Edit, EditOptions};
use ocfs2_volume::tree::Extent;
use ocfs2_volume::{Volume, VolumeOptions};

use crate::bench::Bench;

/// Each cluster of the file: its block and its flags.
type Model = BTreeMap<u32, (u64, ExtentFlags)>;

/// Number of positions that are used.
const POSITIONS: usize = 3000;

fn model_of(volume: &Volume, blkno: Blkno) -> Model {
    let inode = volume.inode(blkno).unwrap();
    let per_cluster = u64::from(volume.geometry().blocks_per_cluster());
    let mut model = Model::new();
    for extent in volume.tree(&inode).unwrap().extents() {
        let extent = extent.unwrap();
        for index in 0..u32::from(extent.clusters) {
            let block = extent.blkno.0 + u64::from(index) * per_cluster;
            model.insert(extent.cpos.0 + index, (block, extent.flags));
        }
    }
    model
}

/// Inserts an extent at a random position, if there is a hole.
fn insert(edit: &mut Edit, blkno: Blkno, random: &mut Random, model: &mut Model) {
    let at = random.below(POSITIONS) as u32;
    let room = (at..).take(4).take_while(|cpos| !model.contains_key(cpos)).count() as u32;
    if room == 0 {
        return;
    }
    let near = Cluster(random.below(edit.geometry().clusters as usize) as u32);
    let run = edit.take_clusters(Want::up_to(1 + random.below(room as usize) as u32).near(near));
    let Ok(run) = run else { return };
    let unwritten = random.below(3) == 0;
    let flags = if unwritten { ExtentFlags::UNWRITTEN } else { ExtentFlags::empty() };
    let start = edit.geometry().block_of(Cluster(run.start));
    let clusters = (run.end - run.start) as u16;
    edit.insert_extent(blkno, Extent { cpos: Cpos(at), clusters, blkno: start, flags }).unwrap();
    let per_cluster = u64::from(edit.geometry().blocks_per_cluster());
    for index in 0..u32::from(clusters) {
        model.insert(at + index, (start.0 + u64::from(index) * per_cluster, flags));
    }
}

/// Removes a range and frees its clusters, or marks it as written.
fn change(edit: &mut Edit, blkno: Blkno, random: &mut Random, model: &mut Model, most: usize) {
    let start = random.below(POSITIONS) as u32;
    let end = start + 1 + random.below(most) as u32;
    let takes = random.below(3) > 0;
    let mut taken = Vec::new();
    let range = u64::from(start)..u64::from(end);
    let change = |extent: Extent| {
        if takes {
            taken.push(extent);
            return None;
        }
        Some(Extent { flags: ExtentFlags::empty(), ..extent })
    };
    edit.change_extents(blkno, range, change).unwrap();
    for extent in taken {
        let first = edit.geometry().cluster_of(extent.blkno).unwrap().0;
        edit.give_clusters(first..first + u32::from(extent.clusters)).unwrap();
    }
    for cpos in start..end {
        if takes {
            model.remove(&cpos);
        } else if let Some((_, flags)) = model.get_mut(&cpos) {
            *flags = ExtentFlags::empty();
        }
    }
}

/// Makes batches of changes to one file and checks the volume after each.
fn at_random(options: &str, seed: u64, batches: usize) {
    let bench = Bench::new(options, "64M");
    let blkno = bench.file();
    let mut random = Random(seed);
    let mut model = model_of(&bench.volume(), blkno);
    let bytes = (POSITIONS as u64 + 10) << bench.volume().geometry().cluster_size.bits();
    for batch in 0..batches {
        let mut edit = bench.edit();
        edit.update_dinode(blkno, |dinode, _| dinode.i_size = bytes).unwrap();
        for _ in 0..200 {
            // It grows and shrinks in turns.
            match (batch % 4, random.below(4)) {
                (0..=2, 1..) | (_, 0) => insert(&mut edit, blkno, &mut random, &mut model),
                (3, _) => change(&mut edit, blkno, &mut random, &mut model, 400),
                _ => change(&mut edit, blkno, &mut random, &mut model, 6),
            }
        }
        assert!(model_of(&edit, blkno) == model, "seed {seed}, batch {batch}: before the commit");
        edit.finish().unwrap();
        bench.commit(&edit);
        assert!(model_of(&bench.volume(), blkno) == model, "seed {seed}, batch {batch}");
        bench.judge();
    }
}

#[test]
fn extents_put_in_and_taken_out_at_random_are_a_sound_tree() {
    at_random("-M local -N 1 -b 512 -C 4K -J size=4M", 1, 12);
    at_random("-M local -N 1 -b 1K -C 4K -J size=4M --fs-features=metaecc", 2, 6);
    at_random("-M local -N 1 -b 4K -C 4K -J size=4M --fs-features=metaecc", 3, 6);
}

#[test]
fn an_extent_put_into_a_tree_of_thousands_writes_a_few_blocks() {
    let bench = Bench::new("-M local -N 1 -b 512 -C 4K -J size=4M", "256M");
    let blkno = bench.file();
    let mut edit = bench.edit();
    // Every second position, so that no extent continues another one.
    for index in 0..20_000_u32 {
        let run = edit.take_clusters(Want::exactly(1)).unwrap();
        let start = edit.geometry().block_of(Cluster(run.start));
        let (cpos, flags) = (Cpos(100 + 2 * index), ExtentFlags::empty());
        edit.insert_extent(blkno, Extent { cpos, clusters: 1, blkno: start, flags }).unwrap();
    }
    edit.update_dinode(blkno, |dinode, _| dinode.i_size = 50_000 << 12).unwrap();
    edit.finish().unwrap();
    bench.commit(&edit);
    bench.judge();

    let counting = std::sync::Arc::new(CountingDevice::new(bench.device()));
    let volume = Volume::open(counting.clone(), &VolumeOptions::default()).unwrap();
    let mut edit = Edit::new(&volume, EditOptions::default());
    let run = edit.take_clusters(Want::exactly(1)).unwrap();
    let start = edit.geometry().block_of(Cluster(run.start));
    let (cpos, flags) = (Cpos(20_101), ExtentFlags::empty());
    edit.insert_extent(blkno, Extent { cpos, clusters: 1, blkno: start, flags }).unwrap();
    edit.finish().unwrap();
    // The group, the global bitmap's inode, the file's inode, a leaf, and what a split needs.
    assert!(edit.changed_blocks() <= 12, "{} blocks are changed", edit.changed_blocks());
    let reads = counting.counts().reads;
    assert!(reads < 60, "{reads} reads");
}
