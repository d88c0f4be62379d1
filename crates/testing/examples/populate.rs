//! `populate IMAGE FILES`: fills a fresh volume, to try programs on many files.

use std::path::Path;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: populate IMAGE FILES";
    let image = arguments.next().expect(usage);
    let files = arguments.next().and_then(|files| files.parse().ok()).expect(usage);
    ocfs2_testing::populate::populate(Path::new(&image), files);
}
