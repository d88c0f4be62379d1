//! Groups of the suballocators on a volume that is to have no discontiguous ones.

use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Structure};

use super::{Edit, EditError};
use crate::{SystemFile, Volume};

impl Volume {
    /// The groups of the allocators of inodes and blocks whose bitmaps have the size they have where
    /// discontiguous groups are possible.
    ///
    /// # Errors
    /// [`EditError::Refused`] if one is discontiguous; an allocator is damaged.
    pub fn short_groups(&self) -> Result<Vec<Blkno>, EditError> {
        let slots = || 0..self.max_slots();
        let files = std::iter::once(SystemFile::GlobalInodeAlloc)
            .chain(slots().map(SystemFile::InodeAlloc))
            .chain(slots().map(SystemFile::ExtentAlloc));
        let (mut short, whole) = (Vec::new(), GroupDesc::bitmap_size(self.block_size()));
        for file in files {
            let allocator = self.allocator(self.system_file(file)?)?;
            for group in self.groups(&allocator) {
                let group = group?;
                if group.is_discontiguous() {
                    let (name, at) = (file.name(), group.blkno);
                    let text = format!("group {at} of {name} is made of several pieces");
                    return Err(EditError::Refused(text));
                }
                if group.desc.bg_size < whole {
                    short.push(group.blkno);
                }
            }
        }
        Ok(short)
    }
}

impl Edit {
    /// Gives a group, which is in one piece, the bitmap it has on a volume without discontiguous
    /// groups.
    ///
    /// # Errors
    /// It is not a group, or cannot be written.
    pub fn widen_group(&mut self, group: Blkno) -> Result<(), EditError> {
        self.attempt(|edit| {
            let whole = GroupDesc::bitmap_size(edit.block_size());
            edit.forget_allocators()?;
            edit.update::<GroupDesc>(group, |desc, rest| {
                let from = GroupDesc::BITMAP_OFFSET + usize::from(desc.bg_size);
                let from = from.saturating_sub(GroupDesc::SIZE);
                // The list of the pieces was here.
                rest.get_mut(from..).unwrap_or_default().fill(0);
                desc.bg_size = whole;
            })
        })
    }
}
