//! Extended attributes in the form that the kernel and archives have them.

use ocfs2_format::acl::{self, AclEntry};
use ocfs2_format::xattr::MAX_VALUE;

use crate::{Copied, CopyError, reason};

/// Calls `each` with every attribute of an inode that can be read: its whole name, its value.
/// Returns the first problem with the others.
pub(super) fn each_attribute(
    it: &Copied<'_>,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), CopyError>,
) -> Result<Option<CopyError>, CopyError> {
    let mut first = None;
    for xattr in it.volume.xattrs(it.inode) {
        it.interrupt.check()?;
        let what = format!("while reading attributes of inode {}", it.inode.blkno);
        let unread = |reason: &str| CopyError::Incomplete(format!("{reason} {what}"));
        let read = xattr.map_err(|err| unread(&reason(&err))).and_then(|xattr| {
            if xattr.size() > MAX_VALUE {
                return Err(unread("Names or values of attributes are outside their area"));
            }
            let value = it.volume.shown_xattr_value(&xattr);
            Ok((xattr.name, value.map_err(|err| unread(&reason(&err)))?))
        });
        match read {
            Ok((name, value)) => each(&name, &value)?,
            Err(err) => first = first.or(Some(err)),
        }
    }
    Ok(first)
}

/// The text of an access control list that `getxattr` returned, as archives have it, with numbers
/// for users and groups; `None` if it is none.
pub(super) fn acl_text(value: &[u8]) -> Option<String> {
    let entries = acl::entries(value.strip_prefix(&acl::VERSION)?)?;
    let texts = entries.iter().map(|AclEntry { tag, id, permissions }| {
        let who = match *tag {
            AclEntry::USER_OBJ => "user:".to_owned(),
            AclEntry::USER => format!("user:{id}"),
            AclEntry::GROUP_OBJ => "group:".to_owned(),
            AclEntry::GROUP => format!("group:{id}"),
            AclEntry::MASK => "mask:".to_owned(),
            AclEntry::OTHER => "other:".to_owned(),
            _ => return None,
        };
        let letter = |bit, letter| if permissions & bit == 0 { '-' } else { letter };
        Some(format!("{who}:{}{}{}", letter(4, 'r'), letter(2, 'w'), letter(1, 'x')))
    });
    Some(texts.collect::<Option<Vec<_>>>()?.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_the_text_of_archives() {
        let entry =
            |tag: u8, perm: u8, id: u32| [&[tag, 0, perm, 0][..], &id.to_le_bytes()].concat();
        let none = u32::MAX;
        let list = [entry(1, 6, none), entry(2, 4, 1000), entry(4, 4, none), entry(8, 7, 5)];
        let rest = [entry(0x10, 7, none), entry(0x20, 0, none)];
        let value = [acl::VERSION.to_vec(), list.concat(), rest.concat()].concat();
        let text = "user::rw-,user:1000:r--,group::r--,group:5:rwx,mask::rwx,other::---";
        assert_eq!(acl_text(&value).as_deref(), Some(text));
        assert_eq!(acl_text(&value[..value.len() - 1]), None);
        assert_eq!(acl_text(&[2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(acl_text(b""), None);
    }
}
