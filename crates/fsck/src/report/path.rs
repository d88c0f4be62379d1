//! Paths as they are shown.

use ocfs2_cli::encode;
use serde::{Serialize, Serializer};

/// A path on a volume: any bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ShownPath(Vec<u8>);

impl ShownPath {
    pub fn new(path: &[u8]) -> Self {
        Self(path.to_vec())
    }

    /// The path for people, on one line.
    pub fn text(&self) -> String {
        encode::path(&self.0)
    }

    /// The whole path with a reversible escaping; `None` if it is UTF-8.
    pub fn escaped(&self) -> Option<String> {
        encode::json_escaped(&self.0)
    }
}

/// Bytes that are not UTF-8 are replaced.
impl Serialize for ShownPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode::json_text(&self.0))
    }
}
