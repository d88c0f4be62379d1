//! `populate IMAGE FILES`: fills a fresh volume, to try programs on many files.

use std::path::Path;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: populate IMAGE FILES";
    let image = arguments.next().context(usage)?;
    let files = arguments.next().context(usage)?.parse().context(usage)?;
    ocfs2_testing::populate::populate(Path::new(&image), files);
    Ok(())
}
