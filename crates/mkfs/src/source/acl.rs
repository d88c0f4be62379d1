//! Access control lists in the text form of archives.

use ocfs2_format::acl::{self, AclEntry};

/// Length of a list for only owner, group and others.
pub(super) const MINIMAL: usize = acl::VERSION.len() + 3 * AclEntry::SIZE;

/// Parses a list such as `user::rw-,user:1000:r--,group::r--,mask::r--,other::---`. Returns it in
/// the form of `getxattr`; `None` if it is not valid, or an entry has no number. The number may be
/// the second field or a fourth one.
pub(super) fn parse(text: &str) -> Option<Vec<u8>> {
    let mut entries = Vec::new();
    let lines = text.split([',', '\n']).map(|line| line.split('#').next().unwrap_or_default());
    for line in lines.map(str::trim).filter(|line| !line.is_empty()) {
        let fields: Vec<_> = line.split(':').map(str::trim).collect();
        let (kind, name, permissions, number) = match fields[..] {
            [kind, name, permissions] => (kind, name, permissions, None),
            [kind, name, permissions, number] => (kind, name, permissions, Some(number)),
            // `mask:rwx` and `other:rwx` have no name.
            [kind, permissions] => (kind, "", permissions, None),
            _ => return None,
        };
        let tag = match (kind, name.is_empty()) {
            ("user" | "u", true) => AclEntry::USER_OBJ,
            ("user" | "u", false) => AclEntry::USER,
            ("group" | "g", true) => AclEntry::GROUP_OBJ,
            ("group" | "g", false) => AclEntry::GROUP,
            ("mask" | "m", true) => AclEntry::MASK,
            ("other" | "o", true) => AclEntry::OTHER,
            _ => return None,
        };
        let id = match tag {
            AclEntry::USER | AclEntry::GROUP => number.unwrap_or(name).parse().ok()?,
            _ => AclEntry::NO_ID,
        };
        let mut bits = 0_u16;
        for letter in permissions.chars() {
            bits |= match letter {
                'r' => 4,
                'w' => 2,
                'x' => 1,
                '-' => 0,
                _ => return None,
            };
        }
        entries.push(AclEntry { tag, id, permissions: bits });
    }
    // The kernel requires this order.
    entries.sort_unstable();
    let stored: Vec<_> = entries.into_iter().flat_map(AclEntry::encoded).collect();
    Some(acl::shown(&stored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_in_text_is_that_of_getxattr() {
        let text = "user::rw-,group::r--,user:alice:rwx:1000,group:7:r-x,mask::rwx,other::---";
        let bytes = parse(text).unwrap();
        let entries: Vec<_> = bytes[4..].chunks(8).map(|entry| (entry[0], entry[2])).collect();
        assert_eq!(bytes[..4], [2, 0, 0, 0]);
        assert_eq!(entries, [(1, 6), (2, 7), (4, 4), (8, 5), (0x10, 7), (0x20, 0)]);
        assert_eq!(bytes[4 + 8 + 4..][..4], 1000_u32.to_le_bytes());
        assert_eq!(bytes[8..12], [0xff; 4]);
        for text in ["user:alice:rwx", "somebody::r--", "user::rwz", "x", "mask:5:rwx"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
