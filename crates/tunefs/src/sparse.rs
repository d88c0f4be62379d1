//! `--list-sparse`: files with holes.

use std::collections::HashSet;
use std::io::Write;

use anyhow::Result;
use ocfs2_cli::{Interrupt, terminal};
use ocfs2_format::dinode::FileKind;
use ocfs2_format::{Blkno, Cpos};
use ocfs2_volume::edit::{Edit, EditOptions};
use ocfs2_volume::{Inode, SystemFile, Volume};

/// Greatest depth of folders that are visited; paths on Linux are much shorter.
const DEEPEST: usize = 4096;

/// Lists files with holes below their end, with the number of clusters in the holes.
///
/// # Errors
/// If something is damaged; those of `out`.
pub(crate) fn list(volume: &Volume, out: &mut impl Write, interrupt: &Interrupt) -> Result<()> {
    let mut walk = Walk { volume, interrupt, counted: HashSet::new(), out };
    writeln!(walk.out, "Iterating from the root directory:")?;
    writeln!(walk.out, "#inode\tcluster nums\tfilepath")?;
    let root = walk.below(volume.superblock().s_root_blkno)?;
    writeln!(walk.out, "Total hole clusters in /: {root}")?;
    writeln!(walk.out, "Iterating orphan_dirs:")?;
    let mut total = root;
    for slot in 0..volume.max_slots() {
        let dir = volume.system_file(SystemFile::OrphanDir(slot))?;
        let holes = walk.below(dir.blkno)?;
        writeln!(walk.out, "Total hole clusters in orphan_dir:{slot:04}: {holes}")?;
        total += holes;
    }
    writeln!(walk.out, "Total hole clusters in the volume: {total}")?;
    let free = Edit::new(volume, EditOptions::default()).free_clusters()?;
    writeln!(walk.out, "\nTotal free {free} clusters in the volume.")?;
    walk.out.flush()?;
    Ok(())
}

struct Walk<'a, W> {
    volume: &'a Volume,
    interrupt: &'a Interrupt,
    /// Files with several names that were already counted.
    counted: HashSet<Blkno>,
    out: &'a mut W,
}

impl<W: Write> Walk<'_, W> {
    /// Lists the files below a directory. Returns the number of clusters in their holes.
    fn below(&mut self, dir: Blkno) -> Result<u64> {
        let (mut total, mut visited) = (0, HashSet::from([dir]));
        // For each folder on the path, the entries still to visit.
        let mut stack = vec![(Vec::new(), self.children(dir)?)];
        while let Some((path, entries)) = stack.last_mut() {
            self.interrupt.check()?;
            let Some((name, blkno)) = entries.next() else {
                stack.pop();
                continue;
            };
            let path = [path.as_slice(), b"/", &name].concat();
            let inode = self.volume.inode(blkno)?;
            if inode.is_dir() {
                if visited.insert(blkno) && stack.len() < DEEPEST {
                    let children = self.children(blkno)?;
                    stack.push((path, children));
                }
                continue;
            }
            let holes = holes_of(self.volume, &inode)?;
            if holes > 0 {
                writeln!(self.out, "{blkno}\t{holes}\t\t{}", terminal(&path))?;
                let has_names = self.volume.links_count(&inode) > 1;
                if !has_names || self.counted.insert(blkno) {
                    total += holes;
                }
            }
        }
        Ok(total)
    }

    fn children(&self, dir: Blkno) -> Result<std::vec::IntoIter<(Vec<u8>, Blkno)>> {
        let mut children = Vec::new();
        for entry in self.volume.entries(&self.volume.inode(dir)?)? {
            let entry = entry?;
            if !entry.is_dot() {
                children.push((entry.name.clone(), entry.inode));
            }
        }
        Ok(children.into_iter())
    }
}

/// The number of clusters missing in a regular file, up to its end.
fn holes_of(volume: &Volume, inode: &Inode) -> Result<u64> {
    if inode.kind() != Some(FileKind::Regular) || inode.is_inline() {
        return Ok(0);
    }
    let end = inode.size().div_ceil(volume.geometry().cluster_size.bytes().into());
    let (mut at, mut holes) = (0, 0);
    for extent in volume.tree(inode)?.extents() {
        let extent = extent?;
        let Cpos(start) = extent.cpos;
        holes += u64::from(start).min(end).saturating_sub(at);
        at = at.max(extent.end());
    }
    Ok(holes + end.saturating_sub(at))
}
