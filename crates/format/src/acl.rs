//! Access control lists, which are the values of two attributes.
//!
//! The kernel's interface has a version before a list; on the disk there are only the entries.

/// The version that the kernel's interface has before a list.
pub const VERSION: [u8; 4] = 2_u32.to_le_bytes();

/// An entry, 8 bytes: `struct ocfs2_acl_entry`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct AclEntry {
    /// 0x00: whom it is about: one of the constants below.
    pub tag: u16,
    /// 0x04: the user or group of [`AclEntry::USER`] and [`AclEntry::GROUP`]; else
    /// [`AclEntry::NO_ID`].
    pub id: u32,
    /// 0x02: 4 to read, 2 to write, 1 to execute, or a sum of them.
    pub permissions: u16,
}

impl AclEntry {
    /// Bytes of an entry.
    pub const SIZE: usize = 8;
    /// The owner.
    pub const USER_OBJ: u16 = 0x01;
    /// A user.
    pub const USER: u16 = 0x02;
    /// The group of the file.
    pub const GROUP_OBJ: u16 = 0x04;
    /// A group.
    pub const GROUP: u16 = 0x08;
    /// The most that users and groups of this list may do.
    pub const MASK: u16 = 0x10;
    /// Everybody else.
    pub const OTHER: u16 = 0x20;
    /// The ID of an entry for no particular user or group.
    pub const NO_ID: u32 = u32::MAX;

    /// The entry as it is stored.
    pub fn encoded(self) -> [u8; Self::SIZE] {
        let ([a, b], [c, d]) = (self.tag.to_le_bytes(), self.permissions.to_le_bytes());
        let [e, f, g, h] = self.id.to_le_bytes();
        [a, b, c, d, e, f, g, h]
    }
}

/// The entries of a stored list; `None` if the length is none of a list.
pub fn entries(stored: &[u8]) -> Option<Vec<AclEntry>> {
    let (entries, []) = stored.as_chunks::<{ AclEntry::SIZE }>() else { return None };
    let entry = |[a, b, c, d, id @ ..]: &[u8; AclEntry::SIZE]| AclEntry {
        tag: u16::from_le_bytes([*a, *b]),
        permissions: u16::from_le_bytes([*c, *d]),
        id: u32::from_le_bytes(*id),
    };
    Some(entries.iter().map(entry).collect())
}

/// Whether Linux takes a stored list: one entry each for owner, group and others, in the order of
/// the tags, and a mask if there are users or groups.
pub fn is_valid(stored: &[u8]) -> bool {
    let Some(entries) = entries(stored) else { return false };
    let count = |tag| entries.iter().filter(|entry| entry.tag == tag).count();
    let is_known = |entry: &AclEntry| {
        let is_named = matches!(entry.tag, AclEntry::USER | AclEntry::GROUP);
        entry.permissions <= 7 && (!is_named || entry.id != AclEntry::NO_ID)
    };
    let named = count(AclEntry::USER) + count(AclEntry::GROUP);
    let once = [AclEntry::USER_OBJ, AclEntry::GROUP_OBJ, AclEntry::OTHER];
    entries.iter().all(is_known)
        && entries.is_sorted_by_key(|entry| entry.tag)
        && once.into_iter().all(|tag| count(tag) == 1)
        && count(AclEntry::MASK) <= 1
        && (named == 0 || count(AclEntry::MASK) == 1)
        && entries.len() == once.len() + count(AclEntry::MASK) + named
}

/// What Linux makes of an access list that is set: the nine permission bits that the file's mode gets,
/// and whether the list says more than these, otherwise it is not stored. `None` if it is not valid.
pub fn as_mode(stored: &[u8]) -> Option<(u16, bool)> {
    if !is_valid(stored) {
        return None;
    }
    let entries = entries(stored)?;
    let of = |tag| entries.iter().find(|entry| entry.tag == tag).map(|entry| entry.permissions);
    let group = of(AclEntry::MASK).or(of(AclEntry::GROUP_OBJ))?;
    let bits = of(AclEntry::USER_OBJ)? << 6 | group << 3 | of(AclEntry::OTHER)?;
    Some((bits, entries.len() > 3))
}

/// A stored list as getxattr(2) returns it.
pub fn shown(stored: &[u8]) -> Vec<u8> {
    [&VERSION[..], stored].concat()
}

/// The entries to store of a list in the form of getxattr(2); `None` if Linux would not take it.
pub fn stored(shown: &[u8]) -> Option<&[u8]> {
    shown.strip_prefix(&VERSION).filter(|entries| is_valid(entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u32, u16)]) -> Vec<u8> {
        let entry = |(tag, id, permissions): &(u16, u32, u16)| {
            AclEntry { tag: *tag, id: *id, permissions: *permissions }.encoded()
        };
        entries.iter().flat_map(entry).collect()
    }

    #[test]
    fn a_list_is_as_linux_wants_it() {
        const NO: u32 = AclEntry::NO_ID;
        let (user, group, other) = ((1, NO, 6), (4, NO, 4), (0x20, NO, 0));
        let full = [user, (2, 1000, 7), group, (8, 5, 5), (0x10, NO, 7), other];
        assert!(is_valid(&list(&[user, group, other])) && is_valid(&list(&full)));
        let shown = shown(&list(&full));
        assert_eq!(stored(&shown), Some(&list(&full)[..]));
        assert_eq!(entries(&list(&full)).unwrap().len(), 6);
        assert_eq!(as_mode(&list(&full)), Some((0o670, true)));
        assert_eq!(as_mode(&list(&[user, group, other])), Some((0o640, false)));
        for wrong in [
            &[][..],
            &[user, group],
            &[user, other, group],
            &[user, user, group, other],
            &[user, (2, 1000, 7), group, other],
            &[user, group, other, (0x40, NO, 0)],
            &[(1, NO, 8), group, other],
            &[user, (2, NO, 7), group, (0x10, NO, 7), other],
        ] {
            assert!(!is_valid(&list(wrong)), "{wrong:?}");
        }
        assert!(!is_valid(&list(&full)[1..]) && stored(&list(&full)).is_none());
    }
}
