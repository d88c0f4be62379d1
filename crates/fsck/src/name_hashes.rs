//! The hash of names with bytes from 0x80 on: what a volume shows, and what follows for names whose
//! hash a repair writes.

use ocfs2_format::hash::CharSign;
use serde::Serialize;

/// The number of names per hash. Only names with two possible hashes are counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Signs {
    /// Names with the hash of signed bytes.
    pub signed: u64,
    /// Names with the hash of unsigned bytes.
    pub unsigned: u64,
}

impl Signs {
    /// Counts a name.
    pub fn add(&mut self, sign: CharSign) {
        match sign {
            CharSign::Signed => self.signed += 1,
            CharSign::Unsigned => self.unsigned += 1,
        }
    }

    /// Returns how many names have the other hash.
    pub fn but(self, sign: CharSign) -> u64 {
        match sign {
            CharSign::Signed => self.unsigned,
            CharSign::Unsigned => self.signed,
        }
    }

    /// Returns the hash of most names; `None` if there are none.
    pub fn most(self) -> Option<CharSign> {
        let sign = match self.signed > self.unsigned {
            true => CharSign::Signed,
            false => CharSign::Unsigned,
        };
        (self != Self::default()).then_some(sign)
    }
}

impl std::ops::AddAssign for Signs {
    fn add_assign(&mut self, other: Self) {
        self.signed += other.signed;
        self.unsigned += other.unsigned;
    }
}

/// The hashes that a volume shows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct NameHashes {
    /// Names in indexes of directories.
    pub names: Signs,
    /// Names of attributes in buckets.
    pub attributes: Signs,
}

impl std::ops::AddAssign for NameHashes {
    fn add_assign(&mut self, other: Self) {
        self.names += other.names;
        self.attributes += other.attributes;
    }
}

impl NameHashes {
    /// Returns the hash of most names; unsigned if there are none.
    pub fn most(self) -> CharSign {
        let mut all = self.names;
        all += self.attributes;
        all.most().unwrap_or_default()
    }

    /// Returns a sentence about names that some kernels do not find; `None` if there are none.
    pub fn note(self) -> Option<String> {
        let count = |count: u64, what: &str| {
            let plural = if count == 1 { "" } else { "s" };
            (count > 0).then(|| format!("{count} {what}{plural}"))
        };
        let all = [
            count(self.names.signed, "name"),
            count(self.attributes.signed, "name of an attribute"),
        ];
        let all: Vec<_> = all.into_iter().flatten().collect();
        let all = all.join(" and ").replace("name of an attributes", "names of attributes");
        (!all.is_empty()).then(|| {
            format!(
                "{all} with bytes from 0x80 on hashed as Linux before 6.2 on x86 does it; Linux 6.2 \
                 to 6.12.116, and up to 7.3.3, lists but does not open them \
                 (fsck.ocfs2 -fyD --name-hash unsigned changes that)"
            )
        })
    }
}

/// The hash that a repair gives to names with two possible ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hashing {
    /// The one that `--name-hash` demands.
    pub demanded: Option<CharSign>,
    /// The one that the volume shows, where the index itself shows none.
    pub volume: CharSign,
}

impl Hashing {
    /// Returns the hash for an index whose names so far showed `shown`.
    pub fn of(self, shown: Signs) -> CharSign {
        self.demanded.or(shown.most()).unwrap_or(self.volume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_evidence_decides_and_without_any_it_is_unsigned() {
        let none = Signs::default();
        let signed = Signs { signed: 2, unsigned: 1 };
        let old = NameHashes { names: signed, attributes: none };
        assert_eq!(Hashing::default().of(none), CharSign::Unsigned);
        assert_eq!(NameHashes::default().most(), CharSign::Unsigned);
        assert_eq!(Hashing { demanded: None, volume: old.most() }.of(none), CharSign::Signed);
        assert_eq!(Hashing::default().of(signed), CharSign::Signed);
        let demanded = Some(CharSign::Unsigned);
        assert_eq!(Hashing { demanded, volume: old.most() }.of(signed), CharSign::Unsigned);
    }

    #[test]
    fn only_names_that_some_kernels_do_not_find_are_worth_a_note() {
        let unsigned = Signs { signed: 0, unsigned: 5 };
        assert_eq!(NameHashes { names: unsigned, attributes: unsigned }.note(), None);
        let (one, two) = (Signs { signed: 1, unsigned: 0 }, Signs { signed: 2, unsigned: 5 });
        let note = |names, attributes| NameHashes { names, attributes }.note().unwrap();
        assert!(note(one, unsigned).starts_with("1 name with bytes"));
        assert!(note(two, one).starts_with("2 names and 1 name of an attribute with"));
        assert!(note(unsigned, two).starts_with("2 names of attributes with"));
    }
}
