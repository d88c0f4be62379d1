//! Feature flags, their names, dependencies and levels.

use bitflags::bitflags;

use crate::quota::QuotaKind;

bitflags! {
    /// `s_feature_compat`: an unknown bit prevents nothing.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
    pub struct Compat: u32 {
        /// Backup superblocks are kept.
        const BACKUP_SB = 0x0001;
        /// The feature fields of the journals' superblocks can be trusted.
        const JBD2_SB = 0x0002;
        const _ = !0;
    }

    /// `s_feature_incompat`: an unknown bit prevents any use.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
    pub struct Incompat: u32 {
        /// The device holds nothing but a heartbeat region.
        const HEARTBEAT_DEV = 0x0002;
        /// An offline resize was interrupted.
        const RESIZE_INPROG = 0x0004;
        /// For a single node, without a cluster stack.
        const LOCAL_MOUNT = 0x0008;
        /// Files may have holes.
        const SPARSE_ALLOC = 0x0010;
        /// tunefs was interrupted, see `s_tunefs_flag`.
        const TUNEFS_INPROG = 0x0020;
        /// File contents in the dinode.
        const INLINE_DATA = 0x0040;
        /// A stack other than o2cb; the cluster info is valid.
        const USERSPACE_STACK = 0x0080;
        /// Slot map in the extended format.
        const EXTENDED_SLOT_MAP = 0x0100;
        /// Extended attributes.
        const XATTR = 0x0200;
        /// Directory indexes.
        const INDEXED_DIRS = 0x0400;
        /// Block checks.
        const META_ECC = 0x0800;
        /// Refcount trees.
        const REFCOUNT_TREE = 0x1000;
        /// Suballocator groups may be discontiguous.
        const DISCONTIG_BG = 0x2000;
        /// The cluster info is valid, whatever the stack.
        const CLUSTERINFO = 0x4000;
        /// There may be direct-I/O orphans.
        const APPEND_DIO = 0x8000;
        const _ = !0;
    }

    /// `s_feature_ro_compat`: an unknown bit prevents writing.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
    pub struct RoCompat: u32 {
        /// Extents may be allocated but not written.
        const UNWRITTEN = 0x0001;
        /// User quota files exist.
        const USRQUOTA = 0x0002;
        /// Group quota files exist.
        const GRPQUOTA = 0x0004;
        const _ = !0;
    }
}

/// The three feature fields of a superblock.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Features {
    /// `s_feature_compat`.
    pub compat: Compat,
    /// `s_feature_incompat`.
    pub incompat: Incompat,
    /// `s_feature_ro_compat`.
    pub ro_compat: RoCompat,
}

/// A feature by name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Feature {
    /// The name that `--fs-features` takes and the tools print.
    pub name: &'static str,
    /// The one bit that stands for it.
    pub bit: Features,
    /// Whether a user may ask for it; the others are only printed.
    pub selectable: bool,
}

const fn compat(name: &'static str, bit: Compat, selectable: bool) -> Feature {
    let bit = Features { compat: bit, incompat: Incompat::empty(), ro_compat: RoCompat::empty() };
    Feature { name, bit, selectable }
}

const fn incompat(name: &'static str, bit: Incompat, selectable: bool) -> Feature {
    let bit = Features { compat: Compat::empty(), incompat: bit, ro_compat: RoCompat::empty() };
    Feature { name, bit, selectable }
}

const fn ro_compat(name: &'static str, bit: RoCompat) -> Feature {
    let bit = Features { compat: Compat::empty(), incompat: Incompat::empty(), ro_compat: bit };
    Feature { name, bit, selectable: true }
}

/// Every feature, in the order in which the tools print them.
pub const FEATURES: [Feature; 20] = [
    incompat("heartbeat-device", Incompat::HEARTBEAT_DEV, false),
    incompat("aborted-resize", Incompat::RESIZE_INPROG, false),
    incompat("local", Incompat::LOCAL_MOUNT, true),
    incompat("sparse", Incompat::SPARSE_ALLOC, true),
    incompat("extended-slotmap", Incompat::EXTENDED_SLOT_MAP, true),
    incompat("aborted-tunefs", Incompat::TUNEFS_INPROG, false),
    incompat("userspace-stack", Incompat::USERSPACE_STACK, false),
    compat("backup-super", Compat::BACKUP_SB, true),
    ro_compat("unwritten", RoCompat::UNWRITTEN),
    incompat("inline-data", Incompat::INLINE_DATA, true),
    compat("strict-journal-super", Compat::JBD2_SB, false),
    incompat("metaecc", Incompat::META_ECC, true),
    incompat("xattr", Incompat::XATTR, true),
    incompat("indexed-dirs", Incompat::INDEXED_DIRS, true),
    ro_compat("usrquota", RoCompat::USRQUOTA),
    ro_compat("grpquota", RoCompat::GRPQUOTA),
    incompat("refcount", Incompat::REFCOUNT_TREE, true),
    incompat("discontig-bg", Incompat::DISCONTIG_BG, true),
    incompat("clusterinfo", Incompat::CLUSTERINFO, true),
    incompat("append-dio", Incompat::APPEND_DIO, true),
];

impl RoCompat {
    /// The feature of a volume that keeps quota of that kind.
    pub fn of_quota(kind: QuotaKind) -> Self {
        match kind {
            QuotaKind::User => Self::USRQUOTA,
            QuotaKind::Group => Self::GRPQUOTA,
        }
    }
}

impl Features {
    /// Whether the volume keeps quota of that kind.
    pub fn has_quota(&self, kind: QuotaKind) -> bool {
        self.ro_compat.contains(RoCompat::of_quota(kind))
    }

    /// `--fs-feature-level=max-compat`: what the oldest drivers mount.
    pub const MAX_COMPAT: Self = Self {
        compat: Compat::BACKUP_SB.union(Compat::JBD2_SB),
        incompat: Incompat::empty(),
        ro_compat: RoCompat::empty(),
    };

    /// `--fs-feature-level=default`.
    pub const DEFAULT: Self = Self {
        compat: Self::MAX_COMPAT.compat,
        incompat: Incompat::SPARSE_ALLOC
            .union(Incompat::INLINE_DATA)
            .union(Incompat::EXTENDED_SLOT_MAP)
            .union(Incompat::XATTR)
            .union(Incompat::INDEXED_DIRS)
            .union(Incompat::REFCOUNT_TREE)
            .union(Incompat::DISCONTIG_BG)
            .union(Incompat::APPEND_DIO),
        ro_compat: RoCompat::UNWRITTEN,
    };

    /// `--fs-feature-level=max-features`.
    pub const MAX_FEATURES: Self = Self {
        compat: Self::DEFAULT.compat,
        incompat: Self::DEFAULT.incompat.union(Incompat::META_ECC),
        ro_compat: Self::DEFAULT.ro_compat.union(RoCompat::USRQUOTA).union(RoCompat::GRPQUOTA),
    };

    /// All features that this crate knows.
    pub fn known() -> Self {
        FEATURES.iter().fold(Self::default(), |known, feature| known.union(feature.bit))
    }

    /// Bits set in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            compat: self.compat | other.compat,
            incompat: self.incompat | other.incompat,
            ro_compat: self.ro_compat | other.ro_compat,
        }
    }

    /// Bits set in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self {
            compat: self.compat & other.compat,
            incompat: self.incompat & other.incompat,
            ro_compat: self.ro_compat & other.ro_compat,
        }
    }

    /// Bits set here and not in `other`.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        Self {
            compat: self.compat.difference(other.compat),
            incompat: self.incompat.difference(other.incompat),
            ro_compat: self.ro_compat.difference(other.ro_compat),
        }
    }

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        other.difference(self) == Self::default()
    }

    /// The unknown bits of all three fields.
    #[must_use]
    pub fn unknown(self) -> Self {
        self.difference(Self::known())
    }

    /// Names of the bits that are set, in the order of [`FEATURES`]; then `unknown` if any
    /// other bit is.
    pub fn names(self) -> Vec<&'static str> {
        let known = FEATURES.iter().filter(|feature| self.contains(feature.bit));
        let mut names: Vec<_> = known.map(|feature| feature.name).collect();
        if self.unknown() != Self::default() {
            names.push("unknown");
        }
        names
    }
}

/// Why a `--fs-features` list cannot be followed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// There is no such feature, or it can only be printed.
    #[error("unknown feature `{0}`; known are: {names}", names = selectable_names())]
    Unknown(String),
    /// Asked for and against, perhaps through a dependency.
    #[error("feature `{0}` is both asked for and asked against")]
    Conflict(&'static str),
}

fn selectable_names() -> String {
    let names: Vec<_> = FEATURES.iter().filter(|f| f.selectable).map(|f| f.name).collect();
    names.join(", ")
}

/// What a `--fs-features` list asks for and against.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FeatureRequest {
    /// To be set, with what it depends on.
    pub set: Features,
    /// To be cleared, with what depends on it.
    pub clear: Features,
}

/// `unwritten` needs `sparse`; there is no other dependency.
const UNWRITTEN: Features = Features {
    compat: Compat::empty(),
    incompat: Incompat::empty(),
    ro_compat: RoCompat::UNWRITTEN,
};
const SPARSE: Features = Features {
    compat: Compat::empty(),
    incompat: Incompat::SPARSE_ALLOC,
    ro_compat: RoCompat::empty(),
};

impl FeatureRequest {
    /// Parses a comma-separated list of names, each perhaps with `no` in front.
    ///
    /// # Errors
    /// A name is unknown, or a feature is asked for both ways.
    pub fn parse(list: &str) -> Result<Self, FeatureError> {
        let mut request = Self::default();
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let find = |name: &str| FEATURES.iter().find(|f| f.selectable && f.name == name);
            if let Some(feature) = find(word) {
                request.set = request.set.union(feature.bit);
            } else if let Some(feature) = word.strip_prefix("no").and_then(find) {
                request.clear = request.clear.union(feature.bit);
            } else {
                return Err(FeatureError::Unknown(word.to_owned()));
            }
        }
        if request.set.contains(UNWRITTEN) {
            request.set = request.set.union(SPARSE);
        }
        if request.clear.contains(SPARSE) {
            request.clear = request.clear.union(UNWRITTEN);
        }
        match request.set.intersection(request.clear).names().first() {
            Some(name) => Err(FeatureError::Conflict(name)),
            None => Ok(request),
        }
    }

    /// `level` with what was asked for and without what was asked against.
    #[must_use]
    pub fn apply(self, level: Features) -> Features {
        level.union(self.set).difference(self.clear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_the_documented_bits() {
        let bits = |f: Features| (f.compat.bits(), f.incompat.bits(), f.ro_compat.bits());
        assert_eq!(bits(Features::MAX_COMPAT), (0x3, 0, 0));
        assert_eq!(bits(Features::DEFAULT), (0x3, 0xb750, 0x1));
        assert_eq!(bits(Features::MAX_FEATURES), (0x3, 0xbf50, 0x7));
        assert_eq!(bits(Features::known()), (0x3, 0xfffe, 0x7));
    }

    #[test]
    fn names_come_in_the_order_of_the_tools() {
        assert_eq!(
            Features::DEFAULT.names().join(" "),
            "sparse extended-slotmap backup-super unwritten inline-data strict-journal-super \
             xattr indexed-dirs refcount discontig-bg append-dio"
        );
        let odd = Features { incompat: Incompat::from_bits_retain(1), ..Default::default() };
        assert_eq!(odd.names(), ["unknown"]);
    }

    #[test]
    fn unwritten_and_sparse_depend_on_each_other() {
        let none = Features::default();
        let parse = |list: &str| FeatureRequest::parse(list).map(|r| r.apply(none).names());
        assert_eq!(parse("unwritten").unwrap(), ["sparse", "unwritten"]);
        let request = FeatureRequest::parse("nosparse, xattr").unwrap();
        let names = request.apply(Features::DEFAULT).names();
        assert!(!names.contains(&"sparse") && !names.contains(&"unwritten"));
        assert_eq!(parse("unwritten,nosparse"), Err(FeatureError::Conflict("sparse")));
        assert_eq!(parse("xattr,noxattr"), Err(FeatureError::Conflict("xattr")));
    }

    #[test]
    fn a_feature_that_can_only_be_printed_can_not_be_asked_for() {
        for name in ["strict-journal-super", "aborted-resize", "nope", "nono"] {
            let error = FeatureRequest::parse(name).unwrap_err();
            assert_eq!(error, FeatureError::Unknown(name.to_owned()));
            assert!(error.to_string().contains("known are: local, sparse,"), "{error}");
        }
        assert_eq!(FeatureRequest::parse("").unwrap(), FeatureRequest::default());
    }
}
