//! The fields of the superblock that the volume was opened by (invariants S-1, S-2, S-4, S-7, S-8).
//!
//! What keeps a volume from being opened at all was checked before: see `ocfs2_volume::open`.

use ocfs2_cluster::RunningCluster;
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::feature::{Incompat, RoCompat};
use ocfs2_format::geometry::Geometry;
use ocfs2_format::hash::uuid_hash;
use ocfs2_format::superblock::{REVISION, STATE_ERROR, Stack, SuperBlock};
use ocfs2_volume::Volume;

use crate::codes::general;
use crate::codes::start as codes;
use crate::repair::{Repair, system};
use crate::{Context, Finding, Place};

/// Returns everything that is wrong with it.
pub(super) fn check(context: &Context<'_>) -> Vec<Finding> {
    let found = context.volume.found_superblock();
    let place = Place::block(found.blkno);
    let mut findings = Vec::new();
    if let Some(bit) = found.corrected_bit {
        let text =
            format!("superblock {}: bit {} of byte {} is wrong", found.blkno, bit & 7, bit >> 3);
        let finding = Finding::new(general::BLOCK_ECC, place.clone(), text);
        findings.push(finding.repaired_by(Repair::block_check::<Dinode>(found.blkno)));
    }
    if let Some((stored, computed)) = found.wrong_checksum {
        let text = format!(
            "superblock {}: the checksum is {stored:#010x}, expected {computed:#010x}; sizes, \
             places and UUID agree with the rest of the volume",
            found.blkno
        );
        let finding = Finding::new(general::BLOCK_ECC, place.clone(), text);
        findings.push(finding.repaired_by(Repair::block_check::<Dinode>(found.blkno)));
    }
    let (dinode, superblock) = (&found.dinode, &found.superblock);
    let wrong = fields(context, dinode, superblock).into_iter();
    let geometry = *context.geometry();
    findings.extend(wrong.map(|text| {
        let finding = Finding::new(codes::SUPERBLOCK_FIELD, place.clone(), text);
        finding.repaired_by(mended(geometry))
    }));
    let others = [uuid(superblock), in_progress(superblock), state(superblock)];
    let repairs = [
        system::superblock(|_, it| it.s_uuid_hash = uuid_hash(&it.s_uuid)),
        system::superblock_when_sound(|_, it| {
            let marks = Incompat::RESIZE_INPROG | Incompat::TUNEFS_INPROG;
            it.s_feature_incompat &= !marks.bits();
            it.s_tunefs_flag = 0;
        }),
        system::superblock_when_sound(|_, it| it.s_state &= !STATE_ERROR),
    ];
    let others = others.into_iter().zip(repairs);
    let others = others.filter_map(|(wrong, repair)| Some((wrong?, repair)));
    findings.extend(
        others.map(|((code, text), repair)| {
            Finding::new(code, place.clone(), text).repaired_by(repair)
        }),
    );
    findings
}

/// Returns the repair of all fields with values that they have on no volume.
fn mended(geometry: Geometry) -> Repair {
    system::superblock(move |dinode, superblock| {
        (superblock.s_major_rev_level, superblock.s_minor_rev_level) = REVISION;
        let flags = InodeFlags::VALID | InodeFlags::SYSTEM | InodeFlags::SUPER_BLOCK;
        dinode.i_flags = flags.bits();
        let expected = Geometry::new(geometry.block_size, geometry.cluster_size, geometry.clusters);
        superblock.s_first_cluster_group = expected.first_group;
        let inline_size = usize::from(superblock.s_xattr_inline_size);
        let room = geometry.block_size.size() - Dinode::ID2_OFFSET;
        let fits = inline_size > 0 && inline_size.is_multiple_of(16) && inline_size < room;
        if superblock.has(Incompat::XATTR) && !fits {
            superblock.s_xattr_inline_size = 256;
        }
        if lacks_sparse(superblock) {
            superblock.s_feature_incompat |= Incompat::SPARSE_ALLOC.bits();
        }
        if names_no_stack(superblock) {
            superblock.s_feature_incompat &= !STATES_STACK.bits();
        }
    })
}

/// The features with which the superblock names a cluster stack.
const STATES_STACK: Incompat = Incompat::CLUSTERINFO.union(Incompat::USERSPACE_STACK);

/// Returns whether a cluster stack is to be named and is not: the kernel wants four bytes of it,
/// also on a volume for one node.
fn names_no_stack(superblock: &SuperBlock) -> bool {
    superblock.features().incompat.intersects(STATES_STACK)
        && superblock.s_cluster_info.ci_stack.contains(&0)
}

/// Returns whether a feature is missing that another one needs (section 5.4).
fn lacks_sparse(superblock: &SuperBlock) -> bool {
    let ro_compat = RoCompat::from_bits_retain(superblock.s_feature_ro_compat);
    ro_compat.contains(RoCompat::UNWRITTEN) && !superblock.has(Incompat::SPARSE_ALLOC)
}

/// Returns the fields with values that they have on no volume, in words.
fn fields(context: &Context<'_>, dinode: &Dinode, superblock: &SuperBlock) -> Vec<String> {
    let mut wrong = Vec::new();
    let revision = (superblock.s_major_rev_level, superblock.s_minor_rev_level);
    if revision != REVISION {
        let ((major, minor), expected) = (revision, REVISION);
        let text =
            format!("the revision is {major}.{minor}, expected {}.{}", expected.0, expected.1);
        wrong.push(text);
    }
    let expected = InodeFlags::VALID | InodeFlags::SYSTEM | InodeFlags::SUPER_BLOCK;
    if dinode.flags() != expected {
        wrong.push(format!("i_flags is {:#x}, expected {expected:#x}", dinode.i_flags));
    }
    let geometry = context.geometry();
    let expected = Geometry::new(geometry.block_size, geometry.cluster_size, geometry.clusters);
    if geometry.first_group != expected.first_group {
        let (found, expected) = (geometry.first_group, expected.first_group);
        wrong.push(format!("s_first_cluster_group is {found}, expected {expected}"));
    }
    if lacks_sparse(superblock) {
        wrong.push("it has unwritten extents, and not the sparse files these need".to_owned());
    }
    let inline_size = usize::from(superblock.s_xattr_inline_size);
    let room = geometry.block_size.size() - Dinode::ID2_OFFSET;
    let fits = inline_size > 0 && inline_size.is_multiple_of(16) && inline_size < room;
    if superblock.has(Incompat::XATTR) && !fits {
        wrong.push(format!("s_xattr_inline_size is {inline_size}, expected 256"));
    }
    if names_no_stack(superblock) {
        wrong.push("it has a feature that names the cluster stack, and names none".to_owned());
    }
    wrong.into_iter().map(|wrong| format!("superblock: {wrong}")).collect()
}

type Wrong = Option<(&'static crate::codes::Code, String)>;

/// Checks the hash of the UUID. It stays when the UUID is changed, so that any value but 0 may be
/// right.
fn uuid(superblock: &SuperBlock) -> Wrong {
    let features = Incompat::XATTR | Incompat::INDEXED_DIRS;
    let is_used = superblock.features().incompat.intersects(features);
    let expected = uuid_hash(&superblock.s_uuid);
    let is_missing = is_used && superblock.s_uuid_hash == 0 && expected != 0;
    let text = || format!("superblock: s_uuid_hash is 0, expected {expected:#010x}");
    is_missing.then(|| (codes::SUPERBLOCK_UUID_HASH, text()))
}

fn in_progress(superblock: &SuperBlock) -> Wrong {
    let marks = Incompat::RESIZE_INPROG | Incompat::TUNEFS_INPROG;
    let marked = superblock.features().incompat & marks;
    if marked.is_empty() && superblock.s_tunefs_flag == 0 {
        return None;
    }
    let marks = [
        (marked.contains(Incompat::RESIZE_INPROG), "a resize is marked as in progress".to_owned()),
        (
            marked.contains(Incompat::TUNEFS_INPROG),
            "an operation of tunefs.ocfs2 is marked as in progress".to_owned(),
        ),
        (
            superblock.s_tunefs_flag != 0,
            format!("s_tunefs_flag is {:#x}", superblock.s_tunefs_flag),
        ),
    ];
    let marks: Vec<_> = marks.into_iter().filter_map(|(is, text)| is.then_some(text)).collect();
    Some((codes::SUPERBLOCK_INPROG, format!("superblock: {}", marks.join(", "))))
}

fn state(superblock: &SuperBlock) -> Wrong {
    let is_marked = superblock.s_state & STATE_ERROR != 0;
    let text = || format!("superblock: s_state is {:#x}: errors were detected", superblock.s_state);
    is_marked.then(|| (codes::SUPERBLOCK_STATE, text()))
}

/// Returns the finding that another cluster than that of the volume runs on this machine.
pub(super) fn cluster(volume: &Volume, running: Option<&RunningCluster>) -> Option<Finding> {
    let running = running?;
    let superblock = volume.superblock();
    let info = superblock.cluster_info();
    let (agrees, own) = match (superblock.stack(), info) {
        (Stack::Local, _) => return None,
        // Classic o2cb does not state a cluster.
        (Stack::O2cb { .. }, None) => {
            (running.is_o2cb() && !running.global_heartbeat, "o2cb".to_owned())
        }
        (stack, Some(info)) => {
            let global = matches!(stack, Stack::O2cb { global_heartbeat: true });
            let own = RunningCluster {
                stack: info.ci_stack,
                name: info.cluster(),
                global_heartbeat: global,
            };
            (own == *running, own.to_string())
        }
        (Stack::Userspace(_), None) => return None,
    };
    if agrees {
        return None;
    }
    let text = format!("superblock: the volume belongs to {own}, {running} runs here");
    let place = Place::block(volume.found_superblock().blkno);
    Some(Finding::new(codes::RECOVER_CLUSTER_INFO, place, text))
}

#[cfg(test)]
mod tests {
    use ocfs2_device::{DeviceOptions, open};
    use ocfs2_testing::fixture;
    use ocfs2_volume::VolumeOptions;

    use super::*;

    #[test]
    fn only_a_volume_of_another_cluster_than_the_one_that_runs_is_told_of() {
        let volume = |name| {
            let device = open(&fixture(name), &DeviceOptions::default()).unwrap();
            Volume::open(device, &VolumeOptions::default()).unwrap()
        };
        let running = |stack: &[u8; 4], name: &str| RunningCluster {
            stack: *stack,
            name: name.to_owned(),
            global_heartbeat: false,
        };
        let clustered = volume("clean-4k-o2cb");
        let name = clustered.superblock().cluster_info().map_or("any".to_owned(), |i| i.cluster());
        assert!(cluster(&clustered, None).is_none());
        assert!(cluster(&clustered, Some(&running(b"o2cb", &name))).is_none());
        let other = cluster(&clustered, Some(&running(b"pcmk", &name))).unwrap();
        assert_eq!(other.code, codes::RECOVER_CLUSTER_INFO);
        assert!(other.text.contains("of stack pcmk runs here"), "{}", other.text);
        assert!(cluster(&volume("clean-512-local"), Some(&running(b"pcmk", "x"))).is_none());
    }
}
