//! Names of cluster locks.

use ocfs2_format::Blkno;

/// The kinds of locks, by the first letter of their names.
const KINDS: [(u8, &str); 13] = [
    (b'M', "Meta"),
    (b'D', "Data"),
    (b'S', "Super"),
    (b'R', "Rename"),
    (b'W', "Write/Read"),
    (b'N', "Dentry"),
    (b'O', "Open"),
    (b'F', "Flock"),
    (b'Q', "Quota"),
    (b'Y', "NFSSync"),
    (b'P', "OrphanScan"),
    (b'T', "Refcount"),
    (b'I', "TrimFs"),
];

/// The length of a name in bytes, except for those of dentries.
const LENGTH: usize = 31;
/// The digits between the letter and the block.
const PAD: &str = "000000";

/// A cluster lock, as named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lock {
    /// The letter.
    letter: u8,
    /// The kind in words.
    pub kind: &'static str,
    /// The block of the lock; for a dentry the inode of the entry.
    pub block: Blkno,
    /// The generation of the inode; 0 if it is not part of the name.
    pub generation: u32,
    /// The directory, for a dentry.
    pub parent: Option<Blkno>,
}

/// The kind of lock with this letter.
fn kind_of(letter: u8) -> Option<&'static str> {
    KINDS.iter().find(|(known, _)| *known == letter).map(|(_, kind)| *kind)
}

fn hex(bytes: Option<&[u8]>) -> Option<u64> {
    let text = std::str::from_utf8(bytes?).ok()?;
    let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| is_hex)
}

impl Lock {
    /// Parses a name; `None` if it is not that of a lock.
    pub fn parse(name: &[u8]) -> Option<Self> {
        let letter = *name.first()?;
        let kind = kind_of(letter)?;
        if letter == b'N' {
            let parent = Blkno(hex(name.get(1..17))?);
            let block = Blkno(hex(name.get(17..).filter(|rest| rest.len() <= 16))?);
            return Some(Self { letter, kind, block, generation: 0, parent: Some(parent) });
        }
        if name.len() < LENGTH - 1 || name.len() > LENGTH {
            return None;
        }
        let block = Blkno(hex(name.get(7..23))?);
        let generation = hex(name.get(23..))? as u32;
        Some(Self { letter, kind, block, generation, parent: None })
    }

    /// The lock with this letter and block; `other` is the generation, or the directory of a
    /// dentry.
    pub fn new(letter: u8, block: Blkno, other: u64) -> Option<Self> {
        let kind = kind_of(letter)?;
        Some(match letter {
            b'N' => Self { letter, kind, block, generation: 0, parent: Some(Blkno(other)) },
            _ => Self { letter, kind, block, generation: u32::try_from(other).ok()?, parent: None },
        })
    }

    /// The name of the lock.
    pub fn name(&self) -> String {
        let (letter, block) = (char::from(self.letter), self.block.0);
        match self.parent {
            Some(parent) => format!("{letter}{:016x}{block:08x}", parent.0),
            None => format!("{letter}{PAD}{block:016x}{:08x}", self.generation),
        }
    }

    /// The parts of the name, one per line, without those that are 0.
    pub fn described(&self) -> String {
        let mut text = format!("Lockres:    {}\nType:       {}\n", self.name(), self.kind);
        if !self.block.is_none() {
            text += &format!("Block:      {}\n", self.block);
        }
        if self.generation != 0 {
            text += &format!("Generation: {:#010x}\n", self.generation);
        }
        if let Some(parent) = self.parent {
            text += &format!("Parent:     {parent}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_was_made_of() {
        let lock = Lock::parse(b"M00000000000000000000213515486d").unwrap();
        assert_eq!((lock.kind, lock.block, lock.generation), ("Meta", Blkno(33), 0x3515_486d));
        assert_eq!(lock.name(), "M00000000000000000000213515486d");
        let dentry = Lock::parse(b"N0000000000000005deadbeef").unwrap();
        // The C tool loses a digit of it.
        assert_eq!((dentry.block, dentry.parent), (Blkno(0xdead_beef), Some(Blkno(5))));
        assert_eq!(dentry.name(), "N0000000000000005deadbeef");
        let large = Lock::new(b'N', Blkno(0x1_2345_6789), 5).unwrap();
        assert_eq!(Lock::parse(large.name().as_bytes()), Some(large));
    }

    #[test]
    fn what_is_no_name_is_none() {
        for name in [
            &b""[..],
            b"M",
            b"N",
            b"X00000000000000000000213515486d",
            b"M0000000000000000000021351548+d",
            b"N000000000000000\xff00000005",
            b"N0000000000000005",
        ] {
            assert_eq!(Lock::parse(name), None);
        }
        assert!(Lock::new(b'M', Blkno(5), 1 << 32).is_none());
        assert!(Lock::new(b'X', Blkno(5), 0).is_none());
    }
}
