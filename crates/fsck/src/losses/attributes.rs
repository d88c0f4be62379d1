//! Attributes that are not there any more.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::hash::{CharSign, xattr_hash};
use ocfs2_format::xattr::XattrPrefix;
use ocfs2_volume::{Inode, Volume};

use super::Touched;
use super::contents::Sides;

/// Which attributes of an inode are gone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GoneAttributes {
    /// Their names, with prefix.
    pub names: Vec<Vec<u8>>,
    /// Whether there were others whose names are not known.
    pub others: bool,
}

/// The attributes there are, each with a number that stands for its value, and whether there may
/// be more.
struct Known {
    values: HashMap<Vec<u8>, Option<u64>>,
    is_incomplete: bool,
}

/// Compares the attributes of an inode.
pub(super) fn compare(
    sides: &Sides<'_>,
    touched: &Touched,
    before: &Inode,
    after: &Inode,
) -> Option<GoneAttributes> {
    let flags = DynFeatures::HAS_XATTR | DynFeatures::INLINE_XATTR;
    if !before.dinode.dyn_features().intersects(flags) && before.dinode.i_xattr_loc.is_none() {
        return None;
    }
    let state = RandomState::new();
    let was = known(sides.before, before, &state);
    let is = known(sides.after, after, &state);
    let is_mended = touched.mended.contains(&before.blkno);
    let is_gone = |(name, value): (&Vec<u8>, &Option<u64>)| match is.values.get(name) {
        None => true,
        // One that had another size is as it was.
        Some(now) => value.is_some() && value != now && !is_mended,
    };
    let gone = was.values.iter().filter(|it| is_gone((it.0, it.1)));
    let mut names: Vec<_> = gone.map(|(name, _)| name.clone()).collect();
    names.sort_unstable();
    let lost_block = !before.dinode.i_xattr_loc.is_none()
        && after.dinode.i_xattr_loc.is_none()
        && before.dinode.dyn_features().contains(DynFeatures::HAS_XATTR)
        && was.is_incomplete;
    // As many as before, though not all of these could be read: they were mended.
    let is_explained = !touched.unexplained.contains(&before.blkno);
    let others = lost_block
        || touched.without_attributes.contains(&before.blkno)
        || was.is_incomplete && is.values.len() <= was.values.len() && !is_explained;
    (!names.is_empty() || others).then_some(GoneAttributes { names, others })
}

fn known(volume: &Volume, inode: &Inode, state: &RandomState) -> Known {
    let mut known = Known { values: HashMap::new(), is_incomplete: false };
    let seed = volume.superblock().s_uuid_hash;
    for xattr in volume.xattrs(inode) {
        let Ok(xattr) = xattr else {
            known.is_incomplete = true;
            continue;
        };
        // What is not a name is known to be none, and what it was is not.
        let prefix = xattr.prefix.as_str().len();
        let name = xattr.name.get(prefix..).unwrap_or_default();
        let is_list =
            matches!(xattr.prefix, XattrPrefix::PosixAclAccess | XattrPrefix::PosixAclDefault);
        let is_it = |sign: CharSign| xattr_hash(name, seed, sign) == xattr.entry.xe_name_hash;
        if !CharSign::ALL.into_iter().any(is_it) || is_list && !name.is_empty() {
            known.is_incomplete = true;
            continue;
        }
        let value = volume.xattr_value(&xattr).ok().map(|value| state.hash_one(value));
        known.values.insert(xattr.name, value);
    }
    known
}
