//! Setting and removing extended attributes.
//!
//! Attributes are put where Linux puts them: into the inode if its contents leave the room, else
//! into a block of its own, and when that is full into buckets that a tree points to. Each change
//! writes only the area it is made in.

mod area;
mod block;
mod bucket;
mod inline;
mod removal;
mod sharing;
mod value;

use ocfs2_format::Blkno;
use ocfs2_format::feature::Incompat;
use ocfs2_format::hash::xattr_hash;
use ocfs2_format::xattr::{MAX_VALUE, XattrPrefix};

use super::{Edit, EditError};
use crate::xattr::{FoundXattr, Where};
use crate::{Error, Inode};
use area::{Area, Item};

/// Attributes that are looked at to see how names with bytes from 0x80 on are hashed.
const LOOKED_AT: usize = 1000;

/// The name of an attribute.
#[derive(Clone, Copy, Debug)]
struct Key<'a> {
    prefix: XattrPrefix,
    /// Without its prefix.
    name: &'a [u8],
}

impl<'a> Key<'a> {
    fn new(prefix: XattrPrefix, name: &'a [u8]) -> Result<Self, EditError> {
        let is_acl = matches!(prefix, XattrPrefix::PosixAclAccess | XattrPrefix::PosixAclDefault);
        if name.len() > usize::from(u8::MAX) {
            return Err(EditError::TooLarge("the name of an attribute has more than 255 bytes"));
        }
        if name.contains(&0) || name.is_empty() != is_acl {
            let shown = [prefix.as_str().as_bytes(), name].concat();
            let text = format!("{} is not a name of an attribute", shown.escape_ascii());
            return Err(EditError::Refused(text));
        }
        Ok(Self { prefix, name })
    }
}

/// An existing attribute, with the whole area it is in.
struct Present {
    at: Where,
    area: Area,
    index: usize,
}

impl Edit {
    /// Gives an inode an attribute, or an existing one another value. `name` is without its prefix,
    /// `value` as it is stored: access control lists without their version.
    ///
    /// # Errors
    /// [`EditError::TooLarge`] for names of more than 255 bytes and values of more than 65,536;
    /// [`EditError::Refused`] for invalid names, on a volume without attributes, and if the
    /// existing value has clusters that it shares with the value of a copy of the inode;
    /// [`EditError::NoRoom`]; something is damaged.
    pub fn set_xattr(
        &mut self,
        inode: Blkno,
        prefix: XattrPrefix,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), EditError> {
        let key = Key::new(prefix, name)?;
        if value.len() as u64 > MAX_VALUE {
            return Err(EditError::TooLarge("the value of an attribute has more than 65536 bytes"));
        }
        self.attempt(|edit| {
            if !edit.volume().has(Incompat::XATTR) {
                let text = "the volume has no extended attributes";
                return Err(EditError::Refused(text.to_owned()));
            }
            let owner = edit.volume().inode(inode)?;
            match edit.present_xattr(&owner, &key)? {
                Some(present) => edit.replace_xattr(&owner, &key, present, value)?,
                None => {
                    let hash = edit.new_hash(&owner, &key);
                    let item = edit.new_item(inode, &key, hash, value)?;
                    edit.put_xattr(inode, item)?;
                }
            }
            edit.set_ctime(inode)
        })
    }

    /// Removes an attribute from an inode. A block that has no attributes left is given back.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`EditError::Refused`] where clusters of the value are shared;
    /// something is damaged.
    pub fn remove_xattr(
        &mut self,
        inode: Blkno,
        prefix: XattrPrefix,
        name: &[u8],
    ) -> Result<(), EditError> {
        let key = Key::new(prefix, name)?;
        self.attempt(|edit| {
            let owner = edit.volume().inode(inode)?;
            let Some(mut present) = edit.present_xattr(&owner, &key)? else {
                let name = [prefix.as_str().as_bytes(), name].concat();
                return Err(Error::NotFound { name }.into());
            };
            if let Some(item) = present.area.remove(present.index) {
                edit.free_value(&owner, &item)?;
            }
            edit.store_area(&owner, present.at, present.area)?;
            edit.set_ctime(inode)
        })
    }

    fn present_xattr(&self, inode: &Inode, key: &Key<'_>) -> Result<Option<Present>, Error> {
        let found = self.volume().find_xattr(inode, key.prefix, key.name)?;
        let Some(FoundXattr { at, area: bytes, index }) = found else { return Ok(None) };
        let (blkno, area) = match at {
            Where::Inline => (inode.blkno, Area::plain(bytes.len())),
            Where::Block(blkno) => (blkno, Area::plain(bytes.len())),
            Where::Bucket(at) => {
                let blkno = self.volume().bucket_blkno(&at.extent, at.index);
                (blkno, Area::bucket(self.volume().block_size()))
            }
        };
        Ok(Some(Present { at, area: area.read(blkno, &bytes)?, index }))
    }

    /// Gives an attribute another value: where it is, or elsewhere if it does not fit there.
    fn replace_xattr(
        &mut self,
        owner: &Inode,
        key: &Key<'_>,
        present: Present,
        value: &[u8],
    ) -> Result<(), EditError> {
        let Present { at, mut area, index } = present;
        let Some(old) = area.remove(index) else { return Ok(()) };
        self.free_value(owner, &old)?;
        let item = self.new_item(owner.blkno, key, old.hash(), value)?;
        if area.insert(item.clone()) {
            return self.store_area(owner, at, area);
        }
        self.store_area(owner, at, area)?;
        self.put_xattr(owner.blkno, item)
    }

    /// Puts an attribute that the inode does not have to the first place with room for it.
    fn put_xattr(&mut self, inode: Blkno, item: Item) -> Result<(), EditError> {
        let owner = self.volume().inode(inode)?;
        if self.put_inline(&owner, &item)? {
            return Ok(());
        }
        self.put_in_block(&owner, item)
    }

    /// Writes an area of attributes. If it is empty, the block or bucket it is in is given back.
    fn store_area(&mut self, owner: &Inode, at: Where, area: Area) -> Result<(), EditError> {
        match at {
            Where::Inline => self.store_inline(owner.blkno, area),
            Where::Block(_) if area.is_empty() => self.drop_xattr_block(owner),
            Where::Block(blkno) => self.store_in_block(blkno, area),
            Where::Bucket(at) if area.is_empty() => {
                if !self.drop_bucket(owner.dinode.i_xattr_loc, &at)? {
                    self.drop_xattr_block(owner)?;
                }
                Ok(())
            }
            Where::Bucket(at) => self.store_bucket(&at, area),
        }
    }

    /// The hash of a new name. A name with two possible hashes gets the kind that the inode's other
    /// names show.
    fn new_hash(&self, owner: &Inode, key: &Key<'_>) -> u32 {
        let volume = self.volume();
        let sign = match key.name.is_ascii() {
            true => None,
            false => volume.xattrs(owner).shown_sign(LOOKED_AT),
        };
        xattr_hash(key.name, volume.superblock().s_uuid_hash, sign.unwrap_or_default())
    }

    fn set_ctime(&mut self, inode: Blkno) -> Result<(), EditError> {
        let time = self.time();
        self.update_dinode(inode, |dinode, _| {
            dinode.i_ctime = time.seconds as u64;
            dinode.i_ctime_nsec = time.nanoseconds;
        })
    }
}
