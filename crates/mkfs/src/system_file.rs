//! The system inodes of a volume, in the order in which they are allocated.

use ocfs2_format::dinode::{FileKind, InodeFlags};
use ocfs2_format::feature::Incompat;
use ocfs2_volume::SystemFile;

use crate::plan::Layout;

/// A system inode; all slots of a kind come before the next kind.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum SystemInode {
    RootDir,
    SystemDir,
    /// A file with a name in the system directory.
    File(SystemFile),
}

impl SystemInode {
    /// The system inodes of a volume, in order.
    pub(crate) fn all(layout: &Layout) -> Vec<Self> {
        let mut features = layout.features;
        features.incompat.set(Incompat::HEARTBEAT_DEV, layout.slots == 0);
        let files = SystemFile::with_features(features, layout.slots).map(Self::File);
        [Self::RootDir, Self::SystemDir].into_iter().chain(files).collect()
    }

    /// Name of its entry in the system directory; `None` for the root and the system directory
    /// itself.
    pub(crate) fn name(self) -> Option<String> {
        match self {
            Self::RootDir | Self::SystemDir => None,
            Self::File(file) => Some(file.name()),
        }
    }

    pub(crate) fn kind(self) -> FileKind {
        match self {
            Self::RootDir | Self::SystemDir => FileKind::Directory,
            Self::File(file) => file.kind(),
        }
    }

    /// The value of `i_flags`.
    pub(crate) fn flags(self) -> InodeFlags {
        match self {
            Self::RootDir | Self::SystemDir => InodeFlags::VALID | InodeFlags::SYSTEM,
            Self::File(file) => file.flags(),
        }
    }
}
