//! Access control lists: what new files get of them, and what a change of permissions does to them.

use ocfs2_format::acl::{AclEntry, entries};
use ocfs2_format::xattr::XattrPrefix;

use super::Failure;
use crate::{Inode, Volume};

/// A list as it is stored, and which one it is.
pub(super) type List = (XattrPrefix, Vec<u8>);

fn list_of(
    volume: &Volume,
    inode: &Inode,
    prefix: XattrPrefix,
) -> Result<Option<Vec<AclEntry>>, Failure> {
    if !volume.has(ocfs2_format::feature::Incompat::XATTR) {
        return Ok(None);
    }
    let Some(xattr) = volume.xattr(inode, prefix, b"")? else { return Ok(None) };
    Ok(entries(&volume.xattr_value(&xattr)?))
}

/// The list that a directory gives to what is made in it.
pub(super) fn default_of(volume: &Volume, dir: &Inode) -> Result<Option<Vec<AclEntry>>, Failure> {
    list_of(volume, dir, XattrPrefix::PosixAclDefault)
}

/// The access list of an inode.
pub(super) fn access_of(volume: &Volume, inode: &Inode) -> Result<Option<Vec<AclEntry>>, Failure> {
    list_of(volume, inode, XattrPrefix::PosixAclAccess)
}

fn stored(list: Vec<AclEntry>) -> Vec<u8> {
    list.into_iter().flat_map(AclEntry::encoded).collect()
}

/// A list as the default one.
pub(super) fn as_default(list: Vec<AclEntry>) -> List {
    (XattrPrefix::PosixAclDefault, stored(list))
}

/// The access list that a new file gets from a default list, if it says more than permissions. These
/// lose what the list does not allow, and the other way round.
pub(super) fn inherited(default: &[AclEntry], mode: &mut u16) -> Option<List> {
    let mut list = default.to_vec();
    let has_mask = list.iter().any(|entry| entry.tag == AclEntry::MASK);
    let mut allowed = *mode & !0o777;
    for entry in &mut list {
        let shift = match entry.tag {
            AclEntry::USER_OBJ => 6,
            AclEntry::MASK => 3,
            AclEntry::GROUP_OBJ if !has_mask => 3,
            AclEntry::OTHER => 0,
            _ => continue,
        };
        entry.permissions &= *mode >> shift & 7;
        allowed |= entry.permissions << shift;
    }
    *mode = allowed;
    (list.len() > 3).then(|| (XattrPrefix::PosixAclAccess, stored(list)))
}

/// An access list with the permissions of `mode`.
pub(super) fn with_mode(mut list: Vec<AclEntry>, mode: u16) -> List {
    let has_mask = list.iter().any(|entry| entry.tag == AclEntry::MASK);
    for entry in &mut list {
        entry.permissions = match entry.tag {
            AclEntry::USER_OBJ => mode >> 6 & 7,
            AclEntry::MASK => mode >> 3 & 7,
            AclEntry::GROUP_OBJ if !has_mask => mode >> 3 & 7,
            AclEntry::OTHER => mode & 7,
            _ => continue,
        };
    }
    (XattrPrefix::PosixAclAccess, stored(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_gets_what_both_the_list_and_the_program_allow() {
        let entry = |tag, permissions| AclEntry { tag, id: AclEntry::NO_ID, permissions };
        let user = AclEntry { tag: AclEntry::USER, id: 1000, permissions: 7 };
        let full = [
            entry(AclEntry::USER_OBJ, 7),
            user,
            entry(AclEntry::GROUP_OBJ, 5),
            entry(AclEntry::MASK, 7),
            entry(AclEntry::OTHER, 5),
        ];
        let mut mode = 0o4640;
        let (_, list) = inherited(&full, &mut mode).unwrap();
        assert_eq!(mode, 0o4640);
        let list: Vec<_> = entries(&list).unwrap().iter().map(|entry| entry.permissions).collect();
        assert_eq!(list, [6, 7, 5, 4, 0]);
        let mut mode = 0o777;
        let short = [full[0], full[2], full[4]];
        assert!(inherited(&short, &mut mode).is_none());
        assert_eq!(mode, 0o755);
        let (_, list) = with_mode(full.to_vec(), 0o610);
        let list: Vec<_> = entries(&list).unwrap().iter().map(|entry| entry.permissions).collect();
        assert_eq!(list, [6, 7, 5, 1, 0]);
    }
}
