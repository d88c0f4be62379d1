//! Both fsck, as judges of changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ocfs2_testing::{Run, oracle, program};

/// Returns what the C fsck finds.
pub fn found_by_c(image: &Path) -> BTreeSet<String> {
    let Some(fsck) = oracle("fsck.ocfs2") else { return BTreeSet::new() };
    // It uses all available memory as a cache, which takes most of its time.
    let line = "ulimit -v 200000; exec timeout 60 \"$0\" -fn \"$1\"";
    let said = Run::new("sh").args(["-c", line]).arg(fsck).arg(image).output();
    assert_ne!(said.status, 124, "{said}");
    // It complains about preallocation, which Linux does as well. For the second value of a bucket
    // whose tree has extent blocks, it expects the depth found below the first one.
    let known = ["[INODE_SPARSE_SIZE]", "[EXTENT_LIST_DEPTH]"];
    let lines = said.stdout.lines().chain(said.stderr.lines()).filter(|line| line.starts_with('['));
    lines.filter(|line| !known.iter().any(|it| line.starts_with(it))).map(str::to_owned).collect()
}

/// Returns what our fsck finds. Its status has to agree.
fn found_by_ours(image: &Path) -> BTreeSet<String> {
    let said = Run::new(program("fsck.ocfs2")).arg("-fn").arg(image).output();
    let lines = said.stdout.lines().filter(|line| line.starts_with('['));
    let found: BTreeSet<_> = lines.map(str::to_owned).collect();
    assert_eq!(said.status, if found.is_empty() { 0 } else { 4 }, "{said}");
    found
}

/// The judges, with what they found before any change.
pub struct Judge {
    image: PathBuf,
    known: [BTreeSet<String>; 2],
}

impl Judge {
    pub fn new(image: &Path) -> Self {
        Self { image: image.to_owned(), known: [found_by_ours(image), found_by_c(image)] }
    }

    /// Makes sure that they find nothing new after `what`.
    pub fn judge(&self, what: &str) {
        let found = [found_by_ours(&self.image), found_by_c(&self.image)];
        for (found, known) in found.iter().zip(&self.known) {
            assert!(found.is_subset(known), "{what}: {found:#?}");
        }
    }
}
