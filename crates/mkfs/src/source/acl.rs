//! Access control lists in the text form of archives.

/// Tags of entries.
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
/// The ID of an entry for no particular user or group.
const NO_ID: u32 = u32::MAX;

/// Length of a list for only owner, group and others.
pub(super) const MINIMAL: usize = 4 + 3 * 8;

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
            ("user" | "u", true) => USER_OBJ,
            ("user" | "u", false) => USER,
            ("group" | "g", true) => GROUP_OBJ,
            ("group" | "g", false) => GROUP,
            ("mask" | "m", true) => MASK,
            ("other" | "o", true) => OTHER,
            _ => return None,
        };
        let id = match tag {
            USER | GROUP => number.unwrap_or(name).parse().ok()?,
            _ => NO_ID,
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
        entries.push((tag, id, bits));
    }
    // The kernel requires this order.
    entries.sort_unstable();
    let mut bytes = vec![2, 0, 0, 0];
    for (tag, id, bits) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(bits.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    Some(bytes)
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
