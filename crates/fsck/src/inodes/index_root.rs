//! The root of an index and the tree of its leaves.

use ocfs2_format::dx::DxRoot;
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::tree::Extent;

use crate::clusters::ClusterSet;
use crate::codes::{directories, general, inodes as codes};
use crate::extents::{self, TreeRoot, Walked};
use crate::read::dx_root::foreign;
use crate::read::holds::Holds;
use crate::repair::directory;
use crate::tables::collected::{BlockClaim, BlockUse, Collected};
use crate::{Context, Finding, Place};

/// An index that can be read.
#[derive(Debug)]
pub(crate) struct Index {
    /// The block of its root.
    pub blkno: Blkno,
    pub root: DxRoot,
    /// The contents of that block.
    pub block: Vec<u8>,
    /// The clusters of the leaves by hash, beginning with hash 0; empty if the entries are in the
    /// root.
    pub extents: Vec<Extent>,
}

/// Follows the index of `dir` whose root is block `blkno`, as far as possible. Returns it if all of
/// that is sound.
///
/// Everything wrong with the tree is one finding, as the index is then rebuilt as a whole.
pub(crate) fn follow(
    context: &Context<'_>,
    dir: Blkno,
    blkno: Blkno,
    out: &mut Collected,
) -> Option<Index> {
    let corrupt = |text: String| {
        let text = format!("directory {dir}: index root {blkno}: {text}");
        let finding = Finding::new(codes::DX_TREE_CORRUPT, Place::block(blkno).of(dir), text);
        finding.repaired_by(directory::rewrite(dir))
    };
    let block = match read(context, dir, blkno, out) {
        Ok(block) => block,
        Err(finding) => {
            // What it would have claimed is not known.
            out.incomplete = true;
            out.found(
                finding.unwrap_or_else(|| corrupt("is not a block of the volume".to_owned())),
            );
            return None;
        }
    };
    let root = DxRoot::decode(&block).ok()?;
    if let Some(text) = foreign(context.volume, (dir, blkno), &root) {
        out.incomplete = true;
        out.found(corrupt(text));
        return None;
    }
    out.blocks.push(BlockClaim {
        owner: dir,
        blkno,
        used_as: BlockUse::DxRoot,
        suballoc: (root.dr_suballoc_slot, root.dr_suballoc_bit, root.dr_suballoc_loc),
    });
    let mut wrong: Vec<String> = Vec::new();
    if root.dr_signature != DxRoot::SIGNATURE {
        wrong.push(format!("dr_signature is {}", root.dr_signature.escape_ascii()));
    }
    if root.dr_blkno != blkno {
        wrong.push(format!("dr_blkno is {}", root.dr_blkno));
    }
    let mut extents = Vec::new();
    let mut walked = Walked::default();
    if !root.is_inline() {
        walked = walk(context, (dir, blkno), &block, &mut extents, &mut wrong, out);
    }
    if let Some(first) = wrong.first() {
        let more = wrong.len() - 1;
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        out.found(corrupt(format!("{first}{more}")));
        return None;
    }
    if walked.incomplete {
        return None;
    }
    fields(dir, &root, &walked, blkno, out);
    Some(Index { blkno, root, block, extents })
}

/// Reads the block of the root. The error is `None` if the block is not in the volume.
fn read(
    context: &Context<'_>,
    dir: Blkno,
    blkno: Blkno,
    out: &mut Collected,
) -> Result<Vec<u8>, Option<Finding>> {
    if !context.geometry().is_valid_block(blkno) {
        return Err(None);
    }
    let of_dir = |finding: Finding| Finding { place: finding.place.clone().of(dir), ..finding };
    let block = context.read_block::<DxRoot>(blkno);
    let block = block.map_err(|finding| Some(of_dir(finding)))?;
    if block.bytes.starts_with(&DxRoot::SIGNATURE) {
        let ecc = block.ecc_finding(DxRoot::NAME, general::BLOCK_ECC).map(of_dir);
        out.findings.extend(ecc.map(|it| it.repaired_by(directory::rewrite(dir))));
    }
    Ok(block.bytes)
}

/// Follows the tree of the leaves.
fn walk(
    context: &Context<'_>,
    (dir, blkno): (Blkno, Blkno),
    block: &[u8],
    extents: &mut Vec<Extent>,
    wrong: &mut Vec<String>,
    out: &mut Collected,
) -> Walked {
    let list = block.get(DxRoot::LIST_OFFSET..).unwrap_or_default();
    let tree = TreeRoot {
        owner: dir,
        blkno,
        list,
        holds: Holds::Hashed,
        refcount_tree: None,
        may_be_unwritten: context.has_unwritten(),
        mend: &|| None,
    };
    let mut found = out.aside();
    let walked = extents::walk(context, &tree, &mut found, |_, extent| extents.push(extent));
    let (own, of_tree): (Vec<_>, Vec<_>) = std::mem::take(&mut found.findings)
        .into_iter()
        .partition(|it| it.code == general::IO_ERROR || it.code == general::BLOCK_ECC);
    wrong.extend(of_tree.into_iter().map(|finding| finding.text));
    let mut clusters = ClusterSet::default();
    for claim in &found.claims {
        let end = claim.start.saturating_add(claim.count);
        clusters.insert(claim.start..end, |again| {
            wrong.push(format!("cluster {} is in it twice", again.start));
        });
    }
    if !walked.incomplete {
        match extents.first() {
            None => wrong.push("has no leaves".to_owned()),
            Some(first) if first.cpos.0 != 0 => {
                wrong.push(format!("the first leaf is that of hash {:#010x}", first.cpos.0));
            }
            Some(_) => {}
        }
    }
    found.findings = own;
    out.append(found);
    walked
}

/// Compares what the root states about the tree with the tree.
fn fields(dir: Blkno, root: &DxRoot, walked: &Walked, blkno: Blkno, out: &mut Collected) {
    let stated = (u64::from(root.dr_clusters), root.dr_last_eb_blk);
    let expected = (walked.clusters, walked.last_leaf);
    if stated != expected {
        let text = format!(
            "directory {dir}: index root {blkno}: dr_clusters is {} and dr_last_eb_blk {}, \
             expected {} and {}",
            stated.0, stated.1, expected.0, expected.1
        );
        let finding = Finding::new(directories::DX_CLUSTERS, Place::block(blkno).of(dir), text);
        out.found(finding.repaired_by(directory::rewrite(dir)));
    }
}
