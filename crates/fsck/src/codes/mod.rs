//! The codes of all findings: one table, from which the manual is made as well.
//!
//! The names are those of `fsck.ocfs2.checks(8)`, which people and scripts know; what the C
//! tool never looks at has names of the same kind.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::Pass;

pub mod chains;
pub mod connectivity;
pub mod directories;
pub mod extents;
pub mod general;
pub mod inodes;
pub mod journals;
pub mod kernels;
pub mod quota;
pub mod refcounts;
pub mod slots;
pub mod start;
pub mod xattrs;

/// A kind of finding. There is one value of each, compared by name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Code {
    /// The name, in capitals.
    pub name: &'static str,
    /// The pass that usually raises it.
    pub pass: Pass,
    /// The answer if nobody gives one.
    pub default: Default,
    /// What is wrong.
    pub condition: &'static str,
    /// What a yes does, as an order; with a question mark it is the question.
    pub repair: &'static str,
    /// Its repair loses nothing, unless a finding says so (`Finding::losing`): `-p` makes it
    /// without a question. These are counts, links and bits that follow from what else is there;
    /// bits are cleared only where everything was read that could point to what they stand for.
    /// Not safe is what only looks harmless: a number of clusters or a size may be what is left of
    /// a lost extent, and where a backup of the superblock belongs there may be a file.
    pub safe: bool,
    /// It is about something that cannot be read to its end, so that nobody knows what else that
    /// claims. Extent trees say so themselves.
    pub hides: bool,
}

/// The answer to a question that nobody answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Default {
    /// It is repaired.
    Yes,
    /// It is left.
    No,
    /// It is asked until somebody answers.
    Ask,
}

impl Default {
    /// `yes`, `no` or `ask`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Ask => "ask",
        }
    }
}

impl Code {
    /// The question a repair begins with.
    pub fn question(&self) -> String {
        let mut letters = self.repair.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).chain(['?']).collect()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

/// Defines a constant for each code of a file, and `ALL` of them.
macro_rules! codes {
    ($($name:ident {
        pass: $pass:ident,
        default: $default:ident,
        condition: $condition:literal,
        repair: $repair:literal,
        $(safe: $safe:literal,)?
        $(hides: $hides:literal,)?
    })*) => {
        $(
            #[doc = concat!("When ", $condition, ".")]
            pub const $name: &super::Code = &super::Code {
                name: stringify!($name),
                pass: crate::Pass::$pass,
                default: super::Default::$default,
                condition: $condition,
                repair: $repair,
                safe: false $(|| $safe)?,
                hides: false $(|| $hides)?,
            };
        )*
        /// All of this file.
        pub const ALL: &[&super::Code] = &[$($name),*];
    };
}
use codes;

/// All codes, area by area.
pub fn all() -> impl Iterator<Item = &'static Code> {
    let areas = [
        start::ALL,
        journals::ALL,
        chains::ALL,
        slots::ALL,
        inodes::ALL,
        extents::ALL,
        xattrs::ALL,
        refcounts::ALL,
        directories::ALL,
        connectivity::ALL,
        quota::ALL,
        general::ALL,
    ];
    areas.into_iter().flatten().copied()
}

/// The code of that name.
pub fn find(name: &str) -> Option<&'static Code> {
    all().find(|code| code.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_there_once_and_texts_read_as_sentences() {
        let names: HashSet<_> = all().map(|code| code.name).collect();
        assert_eq!(names.len(), all().count());
        assert!(names.len() > 153);
        for code in all() {
            for text in [code.condition, code.repair] {
                assert!(!text.is_empty() && !text.ends_with(['.', '?']), "{code}: {text}");
                assert!(!text.contains("can not"), "{code}: {text}: the manual writes cannot");
            }
            assert!(code.question().ends_with('?'), "{code}");
        }
    }
}
