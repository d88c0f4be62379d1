//! Damaged volumes: at least one for every code of fsck.ocfs2, damaged through their structures.
//!
//! A [`Recipe`] damages a copy of a volume in one way and states exactly which codes have to be
//! found in it. That the C fsck finds the same codes shows that a recipe makes the damage it is
//! meant to make; where it does not, the recipe states why.

mod c_fsck;
mod files;
mod find;
mod hostile;
mod image;
mod judge;

mod allocators;
mod chains;
mod directories;
mod inodes;
mod journals;
mod quota;
mod random;
mod refcounts;
mod refused;
mod shapes;
mod start;
mod unchecked;
mod xattrs;

pub use c_fsck::{CReport, c_fsck, c_fsck_in_little_memory, complaints};
pub use files::Files;
pub use image::{Image, edit_list};
pub use judge::{demand_none, judge_all, recipes};
pub use random::{Damage, Metadata};

/// A way to damage a volume.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// The code that it is for.
    pub code: &'static str,
    /// What is wrong then, in a few words. It is unique.
    pub name: &'static str,
    /// The volume that is damaged.
    pub on: Base,
    /// Damages it.
    pub damage: fn(&Image),
    /// All codes that have to be found, in alphabetical order.
    pub found: &'static [&'static str],
    /// What the C fsck reports.
    pub c: CFsck,
}

impl Recipe {
    /// Makes a damaged volume.
    ///
    /// # Panics
    /// If the volume does not have what is to be damaged.
    pub fn image(&self) -> Image {
        let image = self.on.image();
        (self.damage)(&image);
        image
    }
}

/// A sound volume.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Base {
    /// A fixture, e.g. `clean-4k-o2cb`.
    Fixture(&'static str),
    /// The same, repaired by our fsck.ocfs2: without what one kernel writes and others reject.
    Repaired(&'static str),
    /// An empty one, made by our mkfs.ocfs2: its options and the size, e.g. `64M`.
    Made(&'static [&'static str], &'static str),
}

impl Base {
    /// Makes a copy of it.
    ///
    /// # Panics
    /// If it cannot be made.
    /// It cannot be made.
    pub fn image(self) -> Image {
        Image::new(self)
    }
}

/// What the C `fsck.ocfs2 -fn`, version 1.8.7, reports about a damaged volume, beyond what it
/// reports about the sound one.
#[derive(Clone, Copy, Debug)]
pub enum CFsck {
    /// The codes that have to be found, and it runs to its end.
    Same,
    /// The codes that have to be found, but it stops after the answer no (status 8).
    GivesUp,
    /// The codes that have to be found, but then it crashes with this status.
    Dies(i32),
    /// These codes: also those that the damage leads to, because the check continues as if nothing
    /// had been repaired.
    Follows(&'static [&'static str]),
    /// The codes that have to be found, and it repairs them, but only if it may write: with `-n` it
    /// does not look for them.
    Repairing,
    /// Something else.
    Differs {
        /// The codes, in alphabetical order.
        codes: &'static [&'static str],
        /// Its exit status; 0 if it ran to its end, 128 + N if signal N ended it.
        status: i32,
        /// Why it is right to differ, in one sentence.
        why: &'static str,
    },
    /// It is not run, for a reason given in one sentence.
    NotCompared(&'static str),
}

impl Recipe {
    /// Returns the options of the C fsck; ours gets them as well, but never `-y`.
    pub fn options(&self) -> &'static str {
        match self.c {
            CFsck::Repairing => "-fy",
            // Where another volume was before, most inodes are of another generation.
            _ if self.found.contains(&"INODE_GEN") => "-fnG",
            _ => "-fn",
        }
    }

    /// Returns the codes that the C fsck finds, in alphabetical order, and its exit status; `None`
    /// if it is not run.
    pub fn c_codes(&self) -> Option<(&'static [&'static str], i32)> {
        Some(match self.c {
            CFsck::Same => (self.found, 0),
            CFsck::Repairing => (self.found, 0),
            CFsck::GivesUp => (self.found, 8),
            CFsck::Dies(status) => (self.found, status),
            CFsck::Follows(codes) => (codes, 0),
            CFsck::Differs { codes, status, .. } => (codes, status),
            CFsck::NotCompared(_) => return None,
        })
    }

    /// Returns why it is right to differ from the C fsck, if it is.
    pub fn why_not_as_c(&self) -> Option<&'static str> {
        Some(match self.c {
            CFsck::Same => return None,
            CFsck::Repairing => "It looks at this only when it may write, with -y.",
            CFsck::GivesUp => "It does not go on after the answer no.",
            CFsck::Dies(_) => "It crashes after the answer no.",
            CFsck::Follows(_) => "It also says what follows from the damage, and a repair undoes.",
            CFsck::Differs { why, .. } | CFsck::NotCompared(why) => why,
        })
    }
}

/// Returns all recipes.
pub fn all() -> Vec<Recipe> {
    [
        start::RECIPES,
        journals::RECIPES,
        chains::RECIPES,
        allocators::RECIPES,
        inodes::RECIPES,
        unchecked::RECIPES,
        refused::RECIPES,
        shapes::RECIPES,
        xattrs::RECIPES,
        refcounts::RECIPES,
        directories::RECIPES,
        quota::RECIPES,
    ]
    .concat()
}

/// One of everything; blocks of 512 bytes, clusters of 4096, one slot.
const ONE_OF_ALL_512: Base = Base::Repaired("clean-512-local");
/// One of everything; blocks of 1024 bytes, clusters of 16384, two slots.
const ONE_OF_ALL_1K: Base = Base::Fixture("clean-1k-local");
/// Only /lost+found; blocks and clusters of 4096 bytes, one slot.
const EMPTY: Base = Base::Made(&["-M", "local", "-N", "1", "-b", "4K", "-C", "4K"], "64M");
/// Filled by two nodes; blocks and clusters of 4096 bytes, four slots.
const CLUSTER_4K: Base = Base::Fixture("clean-4k-o2cb");
/// Large files; blocks of 4096 bytes, clusters of 1 MiB; no block checks, no quota.
const DISKS_1M: Base = Base::Fixture("clean-1m-global");

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn recipes_have_names_of_their_own_and_codes_in_order() {
        let mut names = HashSet::new();
        for recipe in all() {
            assert!(names.insert(recipe.name), "{} is used twice", recipe.name);
            assert!(recipe.found.is_sorted(), "{}", recipe.name);
            assert!(recipe.found.contains(&recipe.code), "{}", recipe.name);
            if let Some((codes, status)) = recipe.c_codes() {
                assert!(codes.is_sorted(), "{}", recipe.name);
                let asked_otherwise = matches!(recipe.c, CFsck::Repairing);
                let differs = codes != recipe.found || status != 0 || asked_otherwise;
                assert_eq!(recipe.why_not_as_c().is_some(), differs, "{}", recipe.name);
            }
        }
    }
}
